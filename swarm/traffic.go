package swarm

import (
	"math/rand/v2"
	"time"

	"edged/linkpool"
	"edged/netpoll"
	"edged/wire"
)

// lagSlack is how late a scheduled message may go out and still count as in time: a loop sleeps in whole milliseconds.
const lagSlack = 2 * time.Millisecond

// schedule is the times of an open loop's messages.
type schedule struct {
	rate  float64 // messages/s of this loop; 0: none
	start time.Duration
	next  uint64 // number of the next message
}

func (s *schedule) due() time.Duration {
	return s.start + time.Duration((float64(s.next)+0.5)*float64(time.Second)/s.rate)
}

// closed says whether messages are sent as answers come.
func (r *loop) closed() bool { return r.cfg.Rate == 0 && !r.cfg.Silent }

// run sends what is due and says when to come again.
func (r *loop) run() time.Duration {
	if r.closed() && !r.walked() {
		r.walkLinks(r.start)
	}
	if r.schedule.rate == 0 {
		return -1
	}
	for range sendBudget {
		at := r.schedule.due()
		if wait := at - r.now; wait > 0 {
			return wait
		}
		r.sendScheduled(at)
	}
	r.more = true
	return 0
}

// sendScheduled sends the next message of the schedule, whose time was at, on the link whose turn it is. A link that takes
// no more is not passed over: the message counts as unsent.
func (r *loop) sendScheduled(at time.Duration) {
	lag := r.now - at
	r.find.lag.Record(lag)
	n := r.schedule.next
	r.schedule.next++
	if len(r.ups) == 0 {
		r.count.unsent++
		return
	}
	stamp := r.now
	if lag > lagSlack {
		stamp = at
	}
	place := r.ups[n%uint64(len(r.ups))]
	if !r.send(place, &r.links[place], stamp) {
		r.count.unsent++
	}
}

// start lets a link of a closed loop begin.
func (r *loop) start(place uint32, l *link) {
	switch {
	case l.state != up || !r.closed() || l.flags&thinking != 0:
	case r.cfg.Think > 0:
		r.think(place, l, rand.N(r.cfg.Think)) // not all at once
	default:
		r.topUp(place, l)
	}
}

// think puts the link's next message off.
func (r *loop) think(place uint32, l *link, d time.Duration) {
	l.flags |= thinking
	l.act = r.millis + linkpool.Millis(millis(d))
	r.deadlines.Earlier(place, l.act)
}

// topUp sends until as many messages wait for answers as are to.
func (r *loop) topUp(place uint32, l *link) {
	for r.phase == phaseRun && l.flying < uint32(r.cfg.Depth) {
		if !r.send(place, l, r.now) {
			r.think(place, l, 10*time.Millisecond) // it takes no more for now
			return
		}
	}
}

// send sends one message; stamp is the time from which its latency counts.
func (r *loop) send(place uint32, l *link, stamp time.Duration) bool {
	seq := l.sent + 1
	r.buf = wire.AppendHead(r.buf[:0], wire.KindData, r.cfg.Size)
	op := OpEcho
	if n := uint32(r.cfg.Pushes); n > 0 && seq%n == 0 {
		op = OpPush
	}
	r.buf = AppendPayload(r.buf, Payload{Op: op, Seq: seq, SentNs: uint64(stamp)})
	r.buf = AppendFiller(r.buf, r.number(place), seq, r.cfg.Size-PayloadHead)
	if !r.write(l, r.buf) {
		return false
	}
	if l.flying == 0 {
		l.act = r.millis
		if r.closed() {
			r.deadlines.Earlier(place, l.act.Deadline(r.cfg.Patience))
		}
	}
	l.sent = seq
	l.flying++
	r.flying++
	r.count.sent++
	return true
}

// write sends bytes on a link; false: it takes no more.
func (r *loop) write(l *link, b []byte) bool {
	if !r.net.Write(l.conn, b) {
		return false
	}
	l.wrote = r.millis
	r.count.bytesOut += uint64(len(b))
	return true
}

func (r *loop) heartbeat(l *link) {
	l.flags |= asked
	r.count.heartbeats++
	r.buf = wire.AppendHeartbeat(r.buf[:0])
	if !r.write(l, r.buf) {
		l.wrote = r.millis // it has enough to send as it is
	}
}

// Backlog is of no interest: a full link refuses the next Write.
func (r *loop) Backlog(netpoll.Conn, int) {}

// giveUp waits no longer for the answers to what was sent.
func (r *loop) giveUp(l *link) {
	r.count.unanswered += uint64(l.flying)
	r.flying -= uint64(l.flying)
	l.flying = 0
}

// Read takes frames apart.
func (r *loop) Read(c netpoll.Conn, in []byte) (used int) {
	if now := r.net.Now(); now != r.now {
		r.tick(now) // the first event of a turn
	}
	place, l := r.owner(c)
	if l == nil {
		return len(in)
	}
	r.count.bytesIn += uint64(len(in)) // what is left comes again
	l.heard = r.millis
	l.flags &^= asked
	for {
		body, n, _ := wire.Split(in[used:], wire.MaxBody)
		if n == 0 {
			r.count.bytesIn -= uint64(len(in) - used)
			return used
		}
		used += n
		if len(body) > 0 {
			if r.frame(place, l, body); l.conn != c {
				return len(in)
			}
		}
	}
}

// frame handles one body.
func (r *loop) frame(place uint32, l *link, body []byte) {
	if wire.CheckGateway(body) != nil {
		r.lost(place, l, "protocol error")
		return
	}
	rest := body[1:]
	switch wire.Kind(body[0]) {
	case wire.KindWelcome:
		r.welcomed(place, l, rest)
	case wire.KindData:
		r.data(place, l, rest)
	case wire.KindPush:
		r.push(place, l, rest)
	case wire.KindPing:
		r.buf = wire.AppendPong(r.buf[:0], wire.ParsePing(rest))
		r.answer(place, l)
	case wire.KindBye:
		r.bye(place, l, rest)
	}
}

func (r *loop) push(place uint32, l *link, rest []byte) {
	p, _ := wire.ParsePush(rest) // checked
	r.count.pushes++
	if p.Flags&wire.FlagAck != 0 {
		r.count.acks++
		r.buf = wire.AppendAck(r.buf[:0], p.TID)
		if r.answer(place, l); l.state != up {
			return
		}
	}
	if _, ours := ParsePayload(p.Payload); ours { // else somebody else has something to say
		r.data(place, l, p.Payload)
	}
}

// answer sends the frame in buf, which the gateway waits for.
func (r *loop) answer(place uint32, l *link) {
	if !r.write(l, r.buf) {
		r.lost(place, l, "gateway does not read")
	}
}

// data handles the Manager's answers.
func (r *loop) data(place uint32, l *link, payload []byte) {
	p, ok := ParsePayload(payload)
	if !ok || p.Seq == 0 || p.Seq > l.sent || p.SentNs > uint64(r.now) || p.SentNs < uint64(r.opening.start) {
		r.corrupt(place, 0)
		return
	}
	if p.Answer != 0 { // some Manager that only echoes
		if p.Answer != l.manager+1 {
			r.count.renumbered++
		}
		l.manager = p.Answer
		r.countManager(place, p.Answer)
	}
	switch p.Op {
	case OpReport:
		r.reported(place, l, p)
	case OpEcho, OpPush:
		r.echoed(place, l, p, len(payload))
	default:
		r.corrupt(place, p.Seq)
	}
}

func (r *loop) echoed(place uint32, l *link, p Payload, size int) {
	if size != r.cfg.Size || !FillerOK(p.Rest, r.number(place), p.Seq) {
		r.corrupt(place, p.Seq)
	}
	if !r.account(place, p.Seq) {
		return // it was answered before
	}
	r.count.answered++
	took := r.now - time.Duration(p.SentNs)
	r.find.latency.Record(took)
	if took > r.find.pause.took {
		r.find.pause = pause{took, r.now - r.schedule.start, place}
	}
	if l.flying > 0 {
		l.flying--
		r.flying--
		l.act = r.millis
	}
	switch {
	case r.phase != phaseRun || !r.closed():
	case r.cfg.Think > 0:
		r.think(place, l, r.cfg.Think)
	default:
		r.topUp(place, l)
	}
}
