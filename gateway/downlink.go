package gateway

import (
	"errors"
	"time"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/relay"
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
		s.writtenOf = nil
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
	if manager == relay.NoManager {
		s.count.BusItems++
	}
	switch {
	case d.Op == batch.OpNone || d.Target == batch.TargetNone:
		s.refuse(manager, d, nil, nil, batch.CodeInvalid, "an item needs a target and an operation")
	case d.Target == batch.TargetLink:
		place, uniq, l := s.find(d.Link)
		if l == nil {
			s.refuse(manager, d, &d.Link, nil, batch.CodeStaleLink, "no such link")
			return
		}
		s.apply(manager, place, uniq, l, d)
	case d.Op == batch.OpBind:
		s.refuse(manager, d, nil, nil, batch.CodeInvalid, "bind is for one link")
	default:
		s.toUser(manager, d)
	}
}

// apply carries an operation out on one link. Casts that are on their way to it come first.
func (s *shard) apply(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	if len(s.casting.walks) > 0 {
		if s.catchUp(place, uniq, l); s.links.Get(place, uniq) == nil {
			name := s.name(place, uniq)
			s.refuse(manager, d, &name, nil, batch.CodeStaleLink, "no such link")
			return
		}
	}
	s.perform(manager, place, uniq, l, d)
}

func (s *shard) perform(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
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
	case batch.OpJoin:
		s.join(manager, place, uniq, l, d)
	case batch.OpLeave:
		s.leaveRoom(place, d)
	}
}

func (s *shard) data(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	if 1+len(d.Data) > s.g.cfg.MaxFrame {
		name := s.name(place, uniq)
		s.refuse(manager, d, &name, l, batch.CodeTooLarge, tooLarge)
		return
	}
	s.scratch = wire.AppendHead(s.scratch[:0], wire.KindData, len(d.Data))
	s.sendData(manager, place, uniq, l, d, s.scratch, d.Data)
}

// sendData writes a DATA frame, or does what the settings say where the link does not take it.
func (s *shard) sendData(manager int, place, uniq uint32, l *link, d *batch.DownItem, head, payload []byte) {
	if !s.write(place, l, head, payload) {
		s.overfullData(manager, place, uniq, l, d)
		return
	}
	s.count.FramesOut[wire.KindData]++
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
		name := s.name(place, uniq)
		s.refuse(manager, d, &name, l, code, err.Error())
		return
	}
	l.session = ref
	s.keep.change(place)
}

// bind makes a link that of a user's device: its login is accepted. What is stored for it is pulled.
func (s *shard) bind(manager int, place, uniq uint32, l *link, d *batch.DownItem) {
	s.settle(place, uniq, l)
	moves := l.flags&bound != 0 && !s.same(l, d)
	var user, device []byte
	if moves {
		s.syncNow(place, l)
		user, device = s.owner(l)
	}
	ref, err := s.sessions.Bind(l.session, d.Bind.User, d.Bind.Device)
	if err != nil {
		code := batch.CodeInvalid
		if errors.Is(err, session.ErrFull) {
			code = batch.CodeSessionFull
		}
		name := s.name(place, uniq)
		s.refuse(manager, d, &name, l, code, err.Error())
		return
	}
	l.session = ref
	s.keep.change(place)
	if moves {
		s.part(place, uniq, l, user, device)
	}
	s.count.Binds++
	s.enlist(place, uniq, l, d.Bind.User, d.Bind.Device)
	s.welcome(place, uniq, l)
	if l = s.links.Get(place, uniq); l == nil {
		return
	}
	if d.Bind.Synced > 0 {
		l.order = s.orders.Start(l.order, delivery.Millis(s.now()), d.Bind.Synced)
	}
	if !s.g.awaitRoute {
		s.replay(place, uniq, l)
	}
}

// same says whether a bind names whom the link is bound to.
func (s *shard) same(l *link, d *batch.DownItem) bool {
	return string(s.sessions.Value(l.session, "user")) == string(d.Bind.User) &&
		string(s.sessions.Value(l.session, "device")) == string(d.Bind.Device)
}

// owner returns a copy of the names of whose a link is, good until the next push is held.
func (s *shard) owner(l *link) (user, device []byte) {
	s.aside = append(s.aside[:0], s.sessions.Value(l.session, "user")...)
	n := len(s.aside)
	s.aside = append(s.aside, s.sessions.Value(l.session, "device")...)
	return s.aside[:n], s.aside[n:]
}

// part takes a link from the user's device whose it was.
func (s *shard) part(place, uniq uint32, l *link, user, device []byte) {
	s.keep.change(place)
	s.endReplay(place, l)
	s.unstick(place, l)
	lost := s.newLosses(place, uniq, l)
	s.endOrder(l, &lost)
	lost.tell()
	s.delist(place, uniq, l, user, device)
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
	if d.Ref == 0 || manager == relay.NoManager || len(s.managers.list) == 0 {
		return
	}
	s.scratch = batch.AppendRefused(s.scratch[:0], name, s.fieldOf(name, l), d.Ref, code, why)
	s.managers.answer(s, manager, s.scratch)
}

// undeliver gives a push back to its Manager; one that came by Redis to the link's.
func (s *shard) undeliver(manager int, d *batch.DownItem, name *batch.Link, l *link, why batch.LossReason) {
	s.count.Undelivered[why]++
	if manager == relay.NoManager {
		if l == nil {
			return
		}
		manager = int(l.manager)
	}
	if len(s.managers.list) == 0 {
		return
	}
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
