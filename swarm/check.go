package swarm

import (
	"maps"
	"time"

	"edged/wire"
)

// tally is a loop's counters. Owned by the loop; the coordinator gets copies.
type tally struct {
	opened, retries                             uint64
	sent, answered, unanswered, unsent          uint64
	renumbered, pushes, acks, heartbeats, fault uint64
	bytesIn, bytesOut                           uint64
	errors, byes, lost                          map[string]uint64 // touched only when a link fails
}

func newTally() tally {
	return tally{errors: map[string]uint64{}, byes: map[string]uint64{}, lost: map[string]uint64{}}
}

func (t *tally) clone() tally {
	c := *t
	c.errors, c.byes, c.lost = maps.Clone(t.errors), maps.Clone(t.byes), maps.Clone(t.lost)
	return c
}

// findings is what a loop measured and found wrong. Owned by the loop.
type findings struct {
	latency Histogram // of the last second
	connect Histogram
	away    Histogram
	lag     Histogram

	pause pause

	corrupt List
	checks  Checks
}

// pause is the longest time that a client of a loop waited for an answer.
type pause struct {
	took, at time.Duration // at: since the loop's run began
	place    uint32
}

// corrupt notes an answer that is not what was sent; seq is 0 where not even that can be told.
func (r *loop) corrupt(place, seq uint32) {
	r.count.fault++
	r.note(&r.find.corrupt, place, 1, seq)
}

// note adds a fault to a list. Faults of one link that follow each other share an entry.
func (r *loop) note(list *List, place uint32, count uint64, seqs ...uint32) {
	if len(seqs) > 0 && seqs[0] == 0 {
		seqs = nil
	}
	if k := len(list.First); k > 0 && list.First[k-1].Link == r.name(place) {
		f := &list.First[k-1]
		list.Total += count
		f.Count += count
		f.Numbers = append(f.Numbers, seqs[:min(len(seqs), MaxTallyList-len(f.Numbers))]...)
		return
	}
	list.add(func() string { return r.name(place) }, count, seqs...)
}

// account notes the number of an answer; false: it came before.
func (r *loop) account(place, seq uint32) bool {
	if r.ledgers == nil {
		return true
	}
	answers := &r.find.checks.Answers
	switch r.ledgers[place].Receive(seq) {
	case Double:
		r.count.fault++
		r.note(&answers.Doubled, place, 1, seq)
		return false
	case Late:
		r.count.fault++
		r.note(&answers.Disordered, place, 1, seq)
	}
	return true
}

// countManager notes the Manager's own number of something that it sent.
func (r *loop) countManager(place, number uint32) {
	if r.numbers == nil {
		return
	}
	sent := &r.find.checks.Manager
	switch r.numbers[place].Receive(number) {
	case Double:
		r.count.fault++
		r.note(&sent.Doubled, place, 1, number)
	case Late:
		r.count.fault++
		r.note(&sent.Disordered, place, 1, number)
	}
}

// missingOfManager lists the numbers up to last that the Manager gave and that did not come; 0: up to the highest that did.
func (r *loop) missingOfManager(place, last uint32) {
	if t := r.numbers[place].Report(last); t.Missing > 0 {
		r.count.fault += uint64(t.Missing)
		r.note(&r.find.checks.Manager.Missing, place, uint64(t.Missing), t.First...)
	}
}

// closeAccount ends the numbering of a link that was up: the next one begins with 1 again, for the Manager knows links, and
// those it forgets. In phaseFinish and later the answers are accounted for by finish.
func (r *loop) closeAccount(place uint32, l *link) {
	if l.flags&finishing != 0 {
		l.flags &^= finishing
		r.awaiting--
		r.noReport(place)
	}
	if r.phase >= phaseFinish {
		return
	}
	if r.ledgers != nil {
		r.missing(place, l)
		r.unheard(place, l)
		r.missingOfManager(place, 0)
		r.ledgers[place], r.numbers[place] = Ledger{}, Ledger{}
	}
	l.sent, l.manager = 0, 0
}

// missing lists the answers that did not come.
func (r *loop) missing(place uint32, l *link) {
	if t := r.ledgers[place].Report(l.sent); t.Missing > 0 {
		r.count.fault += uint64(t.Missing)
		r.note(&r.find.checks.Answers.Missing, place, uint64(t.Missing), t.First...)
	}
}

// unheard notes how many of the missing answers a link was waiting for when it ended: behind the last one that came.
func (r *loop) unheard(place uint32, l *link) {
	if n := r.ledgers[place].Report(l.sent).Missing - r.ledgers[place].Report(0).Missing; n > 0 {
		r.note(&r.find.checks.Unheard, place, uint64(n))
	}
}

// finish asks the Manager for its account of a link; the walk of phaseFinish.
func (r *loop) finish(place uint32, l *link) {
	if l.sent == 0 {
		return
	}
	r.missing(place, l)
	if l.state != up {
		r.noReport(place)
		return
	}
	r.buf = wire.AppendHead(r.buf[:0], wire.KindData, PayloadHead)
	r.buf = AppendPayload(r.buf, Payload{Op: OpFinish, Seq: l.sent, SentNs: uint64(r.now)})
	if !r.write(l, r.buf) {
		r.noReport(place)
		return
	}
	l.flags |= finishing
	r.awaiting++
}

func (r *loop) noReport(place uint32) {
	r.count.fault++
	r.note(&r.find.checks.NoReport, place, 1)
}

// reported takes the Manager's account of a link.
func (r *loop) reported(place uint32, l *link, p Payload) {
	t, ok := ParseReport(p.Rest)
	switch {
	case !ok || p.Seq != l.sent:
		r.corrupt(place, p.Seq)
		return
	case l.flags&finished != 0: // the report itself was doubled
		r.count.fault++
		r.note(&r.find.checks.Answers.Doubled, place, 1, p.Seq)
		return
	case l.flags&finishing == 0:
		r.corrupt(place, p.Seq) // nobody asked
		return
	}
	l.flags = l.flags&^finishing | finished
	r.awaiting--
	r.missingOfManager(place, p.Answer)
	c := &r.find.checks
	c.Reports++
	for _, f := range []struct {
		list  *List
		count uint32
		first []uint32
	}{{&c.Messages.Missing, t.Missing, t.First}, {&c.Messages.Doubled, t.Doubled, nil}, {&c.Messages.Disordered, t.Disordered, nil}} {
		if f.count > 0 {
			r.count.fault += uint64(f.count)
			r.note(f.list, place, uint64(f.count), f.first...)
		}
	}
}
