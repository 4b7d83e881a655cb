package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"edged/batch"
	"edged/handover"
)

// A note has the version of its head (StateVersion), the head, the next number, the position in the ring up to which everything
// is of no interest, and records of Managers that are not configured.

// mostNumbers bounds how many numbers a Manager may not have receipted: far more than batches can be kept.
const mostNumbers = 1 << 17

// putNote writes the note. A name that is too long for it is left out: the Manager then counts as another one after a crash.
func (s *stream) putNote() {
	k := &s.keeper
	h := s.core()
	h.last, h.owed = s.state.inbox.done, 0
	o := &s.state.outbox
	b := h.appendNote(k.note[:0], o.first+uint64(len(o.kept)), o.freed)
	if len(b) > handover.NoteBytes {
		h.peer = peer{met: true}
		b = h.appendNote(b[:0], o.first+uint64(len(o.kept)), o.freed)
	}
	if k.note = b; len(b)+len(k.tail) <= handover.NoteBytes {
		k.note = append(b, k.tail...)
	}
	k.ring.PutNote(k.note)
}

func (h *head) appendNote(b []byte, next, freed uint64) []byte {
	b = binary.AppendUvarint(b, uint64(StateVersion))
	b = h.append(b, StateVersion)
	b = binary.AppendUvarint(b, next)
	return binary.AppendUvarint(b, freed)
}

// noteAll writes the first notes, before anything goes out.
func (r *Relay) noteAll() {
	for _, s := range r.streams {
		if s.keeper.ring == nil {
			continue
		}
		if s.out.number == 0 {
			for i := range r.absent {
				if a := &r.absent[i]; a.shard == s.port.shard {
					s.keeper.tail = a.append(s.keeper.tail, StateVersion)
				}
			}
		}
		s.mu.Lock()
		s.tidy()
		s.mu.Unlock()
	}
}

// inheritCarried has streams leave out what the shards of a predecessor had carried out. What came by streams that are not
// configured any more will not be repeated.
func (r *Relay) inheritCarried(from []Carried, streams map[streamKey]*stream) error {
	for _, c := range from {
		if c.Shard < 0 || c.Shard >= len(r.ports) {
			return fmt.Errorf("%w: there is no shard %d of %d", ErrState, c.Shard, len(r.ports))
		}
		s := streams[streamKey{c.From, c.Address}]
		if s != nil {
			s.carry(c)
		}
	}
	return nil
}

// RecoverState returns what a relay that died without a word left in its rings, as AppendState would have said it (Inheritance).
// Of the Managers it is not said who can be reached: that is told anew. The rings are those that Options.Rings returned, n being
// the Manager; a nil one is left out. An error says that the memory was damaged, which no crash of the relay brings about.
func RecoverState(rings func(shard, n int) *handover.Ring, shards, managers int) (version uint16, state []byte, err error) {
	for shard := range shards {
		for n := range managers {
			ring := rings(shard, n)
			if ring == nil {
				continue
			}
			if state, err = recoverRing(state, ring, shard); err != nil {
				return 0, nil, fmt.Errorf("relay: ring of shard %d, manager %d: %w", shard, n, err)
			}
		}
	}
	if _, err := parseState(state, shards); err != nil {
		return 0, nil, fmt.Errorf("relay: what the rings say: %w", err)
	}
	return StateVersion, state, nil
}

var errNoNote = errors.New("there is no note, or none that can be read")

// salvage is what a ring says.
type salvage struct {
	record
	next    uint64 // number
	freed   uint64
	bad     error
	pending []byte // items of entries without a mark yet
}

func recoverRing(state []byte, ring *handover.Ring, shard int) ([]byte, error) {
	note := ring.Note()
	if note == nil {
		return state, emptyRing(ring)
	}
	v, tail, err := parseNote(note)
	if err != nil {
		return nil, err
	}
	if v.shard != shard {
		return nil, fmt.Errorf("%w: it is that of shard %d", errNoNote, v.shard)
	}
	if err := errors.Join(ring.Each(v.entry), v.bad); err != nil {
		return nil, err
	}
	if v.waiting, err = cut(v.pending); err != nil {
		return nil, err
	}
	v.fill()
	return append(v.record.append(state, StateVersion), tail...), nil
}

func emptyRing(ring *handover.Ring) error {
	entries := 0
	if err := ring.Each(func(_, _, _ uint64, _ []byte) { entries++ }); err != nil {
		return err
	}
	if entries > 0 {
		return errNoNote
	}
	return nil
}

func parseNote(b []byte) (v *salvage, tail []byte, err error) {
	r := &reader{b: b}
	if n := r.number("version", math.MaxUint16); n != uint64(StateVersion) {
		return nil, nil, fmt.Errorf("%w: version %d", errNoNote, n)
	}
	v = &salvage{record: record{head: r.head(StateVersion)}}
	v.next = r.number("next", math.MaxUint64)
	v.freed = r.number("freed", math.MaxUint64)
	if v.next < v.first || v.next-v.first > mostNumbers {
		r.fail("next")
	}
	if r.bad != "" {
		return nil, nil, fmt.Errorf("%w: %s cannot be", errNoNote, r.bad)
	}
	v.kept = make([][]byte, v.next-v.first)
	return v, r.b, nil
}

// entry takes in the next entry of the ring. A number that the note does not know was given after it was written.
func (v *salvage) entry(_, end, mark uint64, body []byte) {
	switch {
	case v.bad != nil || end <= v.freed:
		return
	case len(body) == 0: // all before was handed back; the numbers stay
		v.pending = nil
		clear(v.kept)
		return
	}
	v.pending = append(v.pending, body...)
	if mark == 0 {
		return
	}
	items := v.pending
	v.pending = nil
	if mark < v.first {
		return // it was receipted
	}
	i := mark - v.first
	if i >= mostNumbers {
		v.bad = fmt.Errorf("number %d after %d", mark, v.first)
		return
	}
	for i >= uint64(len(v.kept)) {
		v.kept = append(v.kept, nil)
	}
	if v.kept[i] != nil {
		v.bad = fmt.Errorf("number %d twice", mark)
		return
	}
	v.kept[i] = items
}

// fill forgets what was sent to a Manager that gives no receipts.
func (v *salvage) fill() {
	if v.keep == keepNone {
		clear(v.kept)
	}
}

// cut makes batches of a row of items.
func cut(b []byte) (batches [][]byte, err error) {
	items := batch.UpItems(b)
	start := 0
	for at := 0; ; {
		_, _, ok := items.Next()
		if !ok {
			if at > start {
				batches = append(batches, b[start:at:at])
			}
			return batches, items.Err()
		}
		end := len(b) - items.Left()
		if at > start && end-start > frameLen-suffixLen {
			batches = append(batches, b[start:at:at])
			start = at
		}
		at = end
	}
}

func (rec *record) append(b []byte, version uint16) []byte {
	b, start := handover.Begin(b, version)
	b = rec.head.append(b, version)
	b = (*before)(nil).append(b, version)
	b = binary.AppendUvarint(b, uint64(len(rec.kept)))
	b = binary.AppendUvarint(b, uint64(len(rec.waiting)))
	for _, batches := range [][][]byte{rec.kept, rec.waiting} {
		for _, items := range batches {
			b = binary.AppendUvarint(b, uint64(len(items)))
			b = append(b, items...)
		}
	}
	handover.End(b, start)
	return b
}
