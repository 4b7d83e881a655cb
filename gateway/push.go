package gateway

import (
	"edged/batch"
	"edged/delivery"
	"edged/wire"
)

// posting says what became of a letter to one link.
type posting byte

const (
	posted    posting = iota
	postFull          // the link takes no more at present; it lives
	postLarge         // longer than max_frame
)

// push brings a push to one link in its turn, or says why not.
func (s *shard) push(from int, place, uniq uint32, l *link, d *batch.DownItem) {
	if why := pushFault(&d.Push); why != "" {
		name := s.name(place, uniq)
		s.refuse(from, d, &name, l, batch.CodeInvalid, why)
		return
	}
	s.settle(place, uniq, l)
	if d.Push.Version != 0 || d.Push.PackageID != 0 {
		s.inTurn(from, place, uniq, l, d)
		return
	}
	s.deliver(from, place, uniq, l, d, false)
}

// deliver sends a push whose turn it is. Where the link does not take it, it may end: then, and where it was left to the log,
// deliver returns false.
func (s *shard) deliver(from int, place, uniq uint32, l *link, d *batch.DownItem, late bool) bool {
	switch s.post(place, l, s.letter(d), late) {
	case postFull:
		return s.overfull(from, place, uniq, l, d)
	case postLarge:
		name := s.name(place, uniq)
		s.refuse(from, d, &name, l, batch.CodeTooLarge, tooLarge)
	}
	return true
}

// post writes a letter to a link, and keeps it where it has to be acknowledged.
func (s *shard) post(place uint32, l *link, m *letter, late bool) posting {
	if m.body() > s.g.cfg.MaxFrame {
		return postLarge
	}
	p := wire.Push{Flags: m.flags, TID: l.tid, Version: m.version, MsgID: m.msgID, Payload: m.payload}
	if late {
		p.Flags |= wire.FlagLate
	}
	ok := false
	if m.ack == batch.AckRequired || m.ack == batch.AckSampled && s.samples() {
		ok = s.ask(place, l, m, &p)
	}
	if !ok && m.ack != batch.AckRequired {
		s.scratch = wire.AppendPushHead(s.scratch[:0], p)
		ok = s.write(place, l, s.scratch, m.payload)
	}
	if !ok {
		return postFull
	}
	l.tid++
	s.countPush(m, late)
	if m.version != 0 && m.ack != batch.AckRequired {
		l.flags |= loose
		s.unsync(place, l)
	}
	return posted
}

func (s *shard) countPush(m *letter, late bool) {
	s.count.FramesOut[wire.KindPush]++
	s.count.Pushes[m.ack]++
	if late {
		s.count.LateSent++
	}
	if m.saved > 0 {
		s.count.Gzipped++
		s.count.GzipSaved += uint64(m.saved)
	}
}

// ask sends a push that the client has to acknowledge; false: nothing was sent, as the link's window or output is full.
func (s *shard) ask(place uint32, l *link, m *letter, p *wire.Push) bool {
	sampled := m.ack == batch.AckSampled
	flags := p.Flags | wire.FlagAck
	if sampled {
		flags |= wire.FlagSampled
	}
	const flagsAt = wire.HeadLen + 1
	q := *p
	q.Flags = flags | wire.FlagAgain // as it is repeated
	frame := wire.AppendPush(s.scratch[:0], q)
	s.scratch = frame
	s.keep.change(place)
	now := delivery.Millis(s.now())
	ref, err := s.windows.Send(l.unacked, now, &delivery.Push{TID: p.TID, Sampled: sampled, TTL: m.ttl, MsgID: m.msgID, Frame: frame[flagsAt:]})
	if l.unacked = ref; err != nil {
		return false
	}
	frame[flagsAt] = byte(flags)
	if !s.write(place, l, frame) {
		l.unacked = s.windows.Forget(l.unacked, p.TID)
		return false
	}
	if sampled {
		s.count.Sampled++
	}
	s.wakeFor(place, l)
	return true
}

// samples draws whether a link is asked for a sampled acknowledgement.
func (s *shard) samples() bool {
	return s.g.delivery.Sample > 0 && s.random.Float64() < s.g.delivery.Sample
}

// wakeFor sees to it that the link is looked at when a push of it is due.
func (s *shard) wakeFor(place uint32, l *link) {
	if at, ok := s.windowDue(l); ok {
		s.deadlines.Earlier(place, at)
	}
}
