package gateway

import (
	"errors"
	"io"
	"time"

	"edged/batch"
	"edged/handover"
	"edged/netpoll"
	"edged/wire"
)

// ending says how and why a link ends.
type ending struct {
	reason   wire.Reason // of BYE; 0: the connection was lost without one
	side     batch.Side
	evidence string // for people, to the Manager
	retry    time.Duration
	text     string // for people, to the client
	silent   bool   // no BYE: the client said one, or is gone
	label    EndLabel
}

// end ends a live link: the client is told by BYE, the Manager by `closed`, and its place is free again.
func (s *shard) end(place, uniq uint32, l *link, e ending) {
	conn := l.conn
	if e.label == 0 {
		e.label = EndLabel(e.reason)
		if e.side == batch.SideClient && e.silent {
			e.label = EndClientBye
		}
	}
	s.forget(place, uniq, l, e)
	s.loop.SetTag(conn, noLink)
	if e.silent {
		s.loop.Close(conn)
		return
	}
	s.count.FramesOut[wire.KindBye]++
	s.loop.Close(conn, s.bye(e.reason, e.retry, e.text))
}

// Closed is told by the loop of every connection's end; those of links that the gateway ended itself are forgotten already.
func (s *shard) Closed(c netpoll.Conn, why error) {
	place := s.loop.Tag(c)
	l, uniq := s.links.At(place)
	if l == nil || l.conn != c {
		return
	}
	e := ending{side: batch.SideNetwork, label: EndLost}
	switch {
	case errors.Is(why, io.EOF):
		e = ending{side: batch.SideClient, label: EndPeerClosed}
	case errors.Is(why, handover.ErrTorn):
		e = ending{side: batch.SideGateway, label: EndTorn}
	}
	if why != nil {
		e.evidence = why.Error()
	}
	s.forget(place, uniq, l, e)
}

// leavePeople takes a link that ends out of what it was to others, and gives back what it had not acknowledged.
func (s *shard) leavePeople(place, uniq uint32, l *link, e ending) {
	if e.label != EndLost && e.label != EndTorn || l.flags&loose == 0 { // of a lost connection nobody knows what arrived
		s.syncNow(place, l)
	}
	s.endReplay(place, l)
	s.endDelivery(place, uniq, l)
	s.unstick(place, l)
	if l.flags&bound != 0 {
		s.delist(place, uniq, l, s.sessions.Value(l.session, "user"), s.sessions.Value(l.session, "device"))
	}
	s.rooms.Drop(place)
	s.unblock(l)
	s.endStarving(place, l)
}

// forget takes a link out of everything that the shard holds and tells its Manager: exactly once, after its last item.
func (s *shard) forget(place, uniq uint32, l *link, e ending) {
	s.keep.ended(place, uniq)
	s.count.Ended[e.label]++
	if l.flags&waiting != 0 {
		s.waiting.left(s, l)
	}
	if len(s.managers.list) > 0 {
		s.managers.home(s, place, uniq, l) // whoever learns of the end knows of the beginning
	}
	s.leavePeople(place, uniq, l, e)
	if len(s.managers.list) > 0 {
		s.scratch = batch.AppendClosed(s.scratch[:0], s.name(place, uniq), s.field(place, uniq, l), uint32(e.reason), e.side, e.evidence)
		s.managers.must(s, int(l.manager), s.scratch)
	}
	s.sessions.Free(l.session)
	s.deadlines.Remove(place)
	s.links.Del(place, uniq)
	s.g.links.Add(-1)
}
