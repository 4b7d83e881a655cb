package gateway

import (
	"errors"
	"time"

	"edged/batch"
	"edged/linkpool"
	"edged/session"
	"edged/wire"
)

// carryOut does what a Manager says: from the Manager towards the client. items are `items` fields of a Downstream.
func (s *shard) carryOut(manager int, items []byte) {
	it := batch.DownItems(items)
	for {
		item, _, ok := it.Next()
		if !ok {
			return
		}
		s.count.ItemsIn++
		if batch.ParseDownItem(item, &s.item) != nil {
			s.count.Dropped[DropMalformed]++
			continue
		}
		s.operation(manager, &s.item)
	}
}

// find returns the live link of a name; l is nil when the name is stale, of another shard, or of nobody.
func (s *shard) find(name batch.Link) (place, uniq uint32, l *link) {
	shard, place := linkpool.Place(name.Index)
	if shard != s.number {
		return place, name.Uniq, nil
	}
	return place, name.Uniq, s.links.Get(place, name.Uniq)
}

// operation carries one item out, or says why not: a push that wanted an acknowledgement comes back as undelivered, any other
// operation with a ref as refused, and always there is a counter.
func (s *shard) operation(manager int, d *batch.DownItem) {
	if d.Target != batch.TargetLink {
		if d.Op == batch.OpNone || d.Target == batch.TargetNone {
			s.refuse(manager, d, nil, nil, batch.CodeInvalid, "an item needs a target and an operation")
			return
		}
		s.refuse(manager, d, nil, nil, batch.CodeNotHere, "this gateway knows links, not users or rooms")
		return
	}
	place, uniq, l := s.find(d.Link)
	if l == nil {
		s.refuse(manager, d, &d.Link, nil, batch.CodeStaleLink, "no such link")
		return
	}
	switch d.Op {
	case batch.OpData:
		s.data(manager, place, uniq, l, d)
	case batch.OpPush:
		s.push(manager, place, uniq, l, d)
	case batch.OpSession:
		s.patch(manager, place, uniq, l, d)
	case batch.OpBind:
		s.bind(manager, place, uniq, l, d)
	case batch.OpClose:
		s.close(place, uniq, l, d)
	case batch.OpJoin, batch.OpLeave:
		s.refuse(manager, d, &d.Link, l, batch.CodeInvalid, "this gateway has no rooms")
	default:
		s.refuse(manager, d, &d.Link, l, batch.CodeInvalid, "an item needs an operation")
	}
}

func (s *shard) data(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	if 1+len(d.Data) > s.g.cfg.MaxFrame {
		s.refuse(manager, d, &d.Link, l, batch.CodeTooLarge, "longer than max_frame")
		return
	}
	s.scratch = wire.AppendHead(s.scratch[:0], wire.KindData, len(d.Data))
	s.send(place, uniq, l, wire.KindData, s.scratch, d.Data)
}

// push sends a PUSH without acknowledgement. The gateway picks the share of links that a sampled one asks: none yet.
func (s *shard) push(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	s.settle(place, uniq, l)
	p := wire.Push{TID: l.tid, Version: d.Push.Version, MsgID: d.Push.MsgID, Payload: d.Push.Payload}
	if p.Version != 0 || len(p.MsgID) != 0 {
		p.Flags |= wire.FlagStamped
	}
	switch {
	case len(p.MsgID) > 255:
		s.refuse(manager, d, &d.Link, l, batch.CodeInvalid, "msg_id longer than 255 bytes")
	case d.Push.Ack == batch.AckRequired:
		s.undeliver(manager, d, &d.Link, l, batch.LossWindowFull)
	case 1+wire.PushLen(p) > s.g.cfg.MaxFrame:
		s.refuse(manager, d, &d.Link, l, batch.CodeTooLarge, "longer than max_frame")
	default:
		l.tid++
		s.scratch = wire.AppendPush(s.scratch[:0], p)
		s.send(place, uniq, l, wire.KindPush, s.scratch)
	}
}

func (s *shard) patch(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	s.settle(place, uniq, l)
	ref, err := s.sessions.Patch(l.session, d.Patch)
	if err != nil {
		code := batch.CodeInvalid
		switch {
		case errors.Is(err, session.ErrKey):
			code = batch.CodeSessionKey
		case errors.Is(err, session.ErrFull):
			code = batch.CodeSessionFull
		}
		s.refuse(manager, d, &d.Link, l, code, err.Error())
		return
	}
	l.session = ref
}

func (s *shard) bind(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	s.settle(place, uniq, l)
	ref, err := s.sessions.Bind(l.session, d.Bind.User, d.Bind.Device)
	if err != nil {
		code := batch.CodeInvalid
		if errors.Is(err, session.ErrFull) {
			code = batch.CodeSessionFull
		}
		s.refuse(manager, d, &d.Link, l, code, err.Error())
		return
	}
	l.session = ref
	s.count.Binds++
	s.welcome(place, uniq, l)
}

// close ends a link on the Manager's word. A reason that BYE cannot say counts as kicked.
func (s *shard) close(place, uniq uint32, l *link, d *batch.DownItem) {
	r := wire.ByeKicked
	if d.Close.Reason > 0 && d.Close.Reason < uint32(EndClientBye) {
		r = wire.Reason(d.Close.Reason)
	}
	retry := time.Duration(d.Close.RetryAfterMs) * time.Millisecond
	s.end(place, uniq, l, ending{reason: r, side: batch.SideManager, evidence: "closed by the Manager", retry: retry, text: string(d.Close.Text)})
}

// refuse answers an operation that was not carried out. l is nil where there is no such link.
func (s *shard) refuse(manager int, d *batch.DownItem, name *batch.Link, l *link, code batch.Code, why string) {
	s.count.Refusals[code]++
	if d.Op == batch.OpPush && d.Push.Ack == batch.AckRequired {
		s.undeliver(manager, d, name, l, lossOf(code))
		return
	}
	if d.Ref == 0 {
		return
	}
	s.scratch = batch.AppendRefused(s.scratch[:0], name, s.fieldOf(name, l), d.Ref, code, why)
	s.managers.answer(s, manager, s.scratch)
}

func (s *shard) undeliver(manager int, d *batch.DownItem, name *batch.Link, l *link, why batch.LossReason) {
	s.count.Undelivered[why]++
	s.scratch = batch.AppendUndelivered(s.scratch[:0], name, s.fieldOf(name, l), batch.Loss{MsgID: d.Push.MsgID, Reason: why})
	s.managers.answer(s, manager, s.scratch)
}

func (s *shard) fieldOf(name *batch.Link, l *link) []byte {
	if l == nil {
		return nil
	}
	_, place := linkpool.Place(name.Index)
	return s.field(place, name.Uniq, l)
}

func lossOf(c batch.Code) batch.LossReason {
	switch c {
	case batch.CodeStaleLink:
		return batch.LossStaleLink
	case batch.CodeNotHere:
		return batch.LossNotHere
	case batch.CodeTooLarge:
		return batch.LossTooLarge
	}
	return batch.LossUnspecified
}
