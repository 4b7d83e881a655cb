package gateway

import (
	"encoding/binary"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/wire"
)

// ackChunk is how many receipts go into one item, so that it fits into a batch with the longest msg_ids.
const ackChunk = 32

// lossChunk is the same of losses.
const lossChunk = 32

func linkpoolMillis(m delivery.Millis) linkpool.Millis { return linkpool.Millis(m) }

// acked takes an ACK: the pushes leave the link's window and its Manager is told.
func (s *shard) acked(place, uniq uint32, l *link, rest []byte) outcome {
	n := len(rest) / 4
	if l.flags&latent != 0 || !l.unacked.Open() {
		s.strayAcks(l, rest)
		return frameTaken
	}
	if len(s.managers.list) > 0 {
		if l.flags&announced == 0 || s.managers.of(l).gone {
			s.managers.home(s, place, uniq, l)
		}
		room := len(s.field(place, uniq, l)) + 64 + min(n, ackChunk)*(maxMsgID+32)
		if s.managers.roomFor(s, int(l.manager), room) == nil {
			s.wait(place, uniq, l)
			return frameWaits
		}
	}
	for at := 0; at < n; at += ackChunk {
		s.ackedSome(place, uniq, l, rest[4*at:min(4*(at+ackChunk), 4*n)])
	}
	if l.order != 0 {
		s.unsync(place, l)
	}
	if s.feedIfRoomy(place, uniq, l); s.links.Get(place, uniq) == nil {
		return linkEnded
	}
	return frameTaken
}

// strayAcks counts what acknowledges nothing that is waited for.
func (s *shard) strayAcks(l *link, rest []byte) {
	for ; len(rest) >= 4; rest = rest[4:] {
		if l.flags&latent == 0 && binary.BigEndian.Uint32(rest) < l.tid {
			s.count.DuplicateAcks++
		} else {
			s.count.UnknownAcks++
		}
	}
}

func (s *shard) ackedSome(place, uniq uint32, l *link, tids []byte) {
	now := delivery.Millis(s.now())
	s.keep.change(place)
	k, ids := 0, s.ids[:0]
	for i := range len(tids) / 4 {
		var rc delivery.Receipt
		var answer delivery.Answer
		l.unacked, answer = s.windows.Ack(l.unacked, now, wire.AckTID(tids, i), l.tid, &rc)
		switch answer {
		case delivery.Duplicate:
			s.count.DuplicateAcks++
			continue
		case delivery.Unknown:
			s.count.UnknownAcks++
			continue
		}
		s.count.Acked++
		if rc.Sampled {
			s.count.SampledAcked++
		}
		from := len(ids)
		ids = append(ids, rc.MsgID...)
		s.receipts[k] = batch.Receipt{TID: rc.TID, MsgID: ids[from:], Sampled: rc.Sampled, Tries: uint32(rc.Tries)}
		k++
	}
	s.ids = ids
	if k == 0 || len(s.managers.list) == 0 {
		return
	}
	s.scratch = batch.AppendAcked(s.scratch[:0], s.name(place, uniq), s.field(place, uniq, l), s.receipts[:k]...)
	s.managers.must(s, int(l.manager), s.scratch)
}

// repeat sends what was not acknowledged in time once more, or gives it up. A turn looks at repeatBudget of a link's pushes.
func (s *shard) repeat(place, uniq uint32, l *link) {
	now := delivery.Millis(s.now())
	s.keep.change(place)
	lost := s.newLosses(place, uniq, l)
	for range repeatBudget {
		var ev delivery.Event
		var ok bool
		if l.unacked, ok = s.windows.Due(l.unacked, now, &ev); !ok {
			break
		}
		if ev.What != delivery.Repeat {
			s.gaveUp(place, l, &ev)
			if !ev.Sampled {
				lost.add(ev.MsgID, batch.LossNoAck)
			}
			continue
		}
		if l.flags&blocked != 0 {
			continue // what was sent before may be waiting still
		}
		s.scratch = append(wire.AppendHead(s.scratch[:0], wire.KindPush, len(ev.Frame)), ev.Frame...)
		if s.loop.Write(l.conn, s.scratch) {
			s.count.FramesOut[wire.KindPush]++
			s.count.Repeats++
		}
	}
	lost.tell()
	s.feedIfRoomy(place, uniq, l)
}

// repeatBudget bounds the pushes of a link that one look at it repeats or gives up.
const repeatBudget = 64

// gaveUp notes that a stored message did not reach its device: how far that has everything stays before it. One whose time to
// live is over is not wanted any more.
func (s *shard) gaveUp(place uint32, l *link, ev *delivery.Event) {
	if ev.What == delivery.Expired {
		s.unsync(place, l)
	} else if !ev.Sampled {
		s.stick(place, l, frameVersion(ev.Frame))
	}
}

// frameVersion returns the version in the rest of a PUSH; 0: none.
func frameVersion(rest []byte) uint64 {
	if rest == nil {
		return 0
	}
	p, err := wire.ParsePush(rest)
	if err != nil {
		return 0
	}
	return p.Version
}

// losses gathers what is to be told to the Manager of one link.
type losses struct {
	s           *shard
	place, uniq uint32
	l           *link
	n           int
}

func (s *shard) newLosses(place, uniq uint32, l *link) losses {
	s.ids = s.ids[:0]
	return losses{s: s, place: place, uniq: uniq, l: l}
}

func (x *losses) add(msgID []byte, why batch.LossReason) {
	s := x.s
	s.count.Undelivered[why]++
	from := len(s.ids)
	s.ids = append(s.ids, msgID...)
	s.lost[x.n] = batch.Loss{MsgID: s.ids[from:], Reason: why}
	if x.n++; x.n == lossChunk {
		x.tell()
	}
}

// tell sends what was gathered.
func (x *losses) tell() {
	s := x.s
	if x.n > 0 && len(s.managers.list) > 0 {
		name := s.name(x.place, x.uniq)
		s.scratch = batch.AppendUndelivered(s.scratch[:0], &name, s.field(x.place, x.uniq, x.l), s.lost[:x.n]...)
		s.managers.answer(s, int(x.l.manager), s.scratch)
	}
	x.n, s.ids = 0, s.ids[:0]
}

// endDelivery gives up what a link that ends has not acknowledged, or had not had its turn yet.
func (s *shard) endDelivery(place, uniq uint32, l *link) {
	if !l.delivers() {
		return
	}
	s.settle(place, uniq, l)
	lost := s.newLosses(place, uniq, l)
	var ev delivery.Event
	for {
		var ok bool
		if l.unacked, ok = s.windows.End(l.unacked, &ev); !ok {
			break
		}
		if !ev.Sampled {
			lost.add(ev.MsgID, batch.LossLinkClosed)
		}
	}
	s.endOrder(l, &lost)
	lost.tell()
}

// endOrder drops what is held back for a link.
func (s *shard) endOrder(l *link, lost *losses) {
	var out delivery.Released
	for {
		var ok bool
		if l.order, ok = s.orders.End(l.order, &out); !ok {
			return
		}
		if s.parseHeld(out.Message) && s.held.Push.Ack == batch.AckRequired {
			lost.add(s.held.Push.MsgID, batch.LossLinkClosed)
		}
	}
}
