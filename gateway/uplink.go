package gateway

import (
	"edged/batch"
	"edged/netpoll"
	"edged/wire"
)

// stalledBudget is what is read from a link in a turn while there is no room towards a Manager: enough for a heartbeat to be
// answered, and little to be kept for each link that has something to say.
const stalledBudget = 512

// Read takes the frames of one link: from the client towards the Manager.
func (s *shard) Read(c netpoll.Conn, in []byte) int {
	place := s.loop.Tag(c)
	l, uniq := s.links.At(place)
	if l == nil || l.conn != c { // refused or ended, and still talking
		return len(in)
	}
	l.heard = s.now()
	used := 0
	for {
		body, n, err := wire.Split(in[used:], s.g.cfg.MaxFrame)
		if err != nil {
			s.violation(place, uniq, l, err.Error())
			return len(in)
		}
		if n == 0 {
			break
		}
		if len(body) == 0 {
			s.count.Heartbeats++
			if !s.loop.Write(c, heartbeat[:]) {
				s.end(place, uniq, l, ending{reason: wire.ByeSlow, side: batch.SideGateway, evidence: "heartbeat answers not read"})
				return len(in)
			}
		} else if o := s.frame(place, uniq, l, body); o == frameWaits {
			l.flags &^= half
			return used
		} else if o == linkEnded {
			return len(in)
		}
		used += n
	}
	s.trackHalf(l, used, len(in))
	return used
}

var heartbeat = [wire.HeadLen]byte{}

// trackHalf notes when the unfinished frame at the end of the input began.
func (s *shard) trackHalf(l *link, used, have int) {
	switch {
	case used == have:
		l.flags &^= half
	case used > 0 || l.flags&half == 0:
		l.flags |= half
		l.frame = l.heard
	}
}

// outcome of one frame.
type outcome byte

const (
	frameTaken outcome = iota
	frameWaits         // no room towards the Manager: the link is not read until there is
	linkEnded
)

// frame handles one frame of at least one byte.
func (s *shard) frame(place, uniq uint32, l *link, body []byte) outcome {
	if err := wire.CheckClient(body); err != nil {
		s.violation(place, uniq, l, err.Error())
		return linkEnded
	}
	kind, rest := wire.Kind(body[0]), body[1:]
	switch kind {
	case wire.KindData, wire.KindHello:
		if kind == wire.KindData && l.flags&welcomed == 0 {
			s.violation(place, uniq, l, "DATA before WELCOME")
			return linkEnded
		}
		if o := s.relay(place, uniq, l, byte(kind), rest); o != frameTaken {
			return o
		}
	case wire.KindAck:
		if l.flags&welcomed == 0 {
			s.violation(place, uniq, l, "ACK before WELCOME")
			return linkEnded
		}
		s.count.UnknownAcks += uint64(len(rest) / 4)
	case wire.KindPing:
		s.scratch = wire.AppendPong(s.scratch[:0], wire.ParsePing(rest))
		if !s.send(place, uniq, l, wire.KindPong, s.scratch) {
			return linkEnded
		}
	case wire.KindPong:
	case wire.KindBye:
		s.count.FramesIn[kind]++
		b := wire.ParseBye(rest)
		s.end(place, uniq, l, ending{reason: b.Reason, side: batch.SideClient, evidence: "BYE from the client", silent: true})
		return linkEnded
	}
	s.count.FramesIn[kind]++
	return frameTaken
}

// relay adds a client's message to the batch for its Manager.
func (s *shard) relay(place, uniq uint32, l *link, kind byte, payload []byte) outcome {
	if len(s.managers.list) == 0 {
		s.end(place, uniq, l, ending{reason: wire.ByeNoManager, side: batch.SideGateway, evidence: "no Manager is configured", retry: s.retryAfter()})
		return linkEnded
	}
	m := s.managers.of(l)
	if l.flags&announced == 0 || l.era != m.era {
		s.announce(place, uniq, l)
	}
	name, attached := s.name(place, uniq), s.sessions.Field(l.session)
	b := s.managers.batchFor(s, int(l.manager), batch.MessageLen(name, len(attached), len(payload)))
	if b == nil {
		s.wait(place, uniq, l)
		return frameWaits
	}
	b.Items = batch.AppendMessage(b.Items, name, attached, kind, payload)
	m.items++
	return frameTaken
}

// wait stops reading from a link that has something for a Manager to which there is no room.
func (s *shard) wait(place, uniq uint32, l *link) {
	if l.flags&waiting != 0 {
		return
	}
	s.count.Stalls++
	l.flags |= waiting
	l.stalled = s.now()
	s.loop.Pause(l.conn)
	s.waiting = append(s.waiting, linkName{place, uniq})
	s.deadlines.Earlier(place, l.stalled.Deadline(s.g.cfg.StallTimeout))
	s.loop.SetReadBudget(stalledBudget)
}

// room goes on where a Manager has room again.
func (s *shard) room(manager int) {
	s.managers.room(s, manager)
	s.resumeWaiting()
}

// resumeWaiting reads again from the links that waited and need not any more, in the order in which they began to.
func (s *shard) resumeWaiting() {
	list := s.waiting
	s.waiting = nil
	kept := list[:0]
	for _, n := range list {
		l := s.links.Get(n.place, n.uniq)
		if l == nil || l.flags&waiting == 0 {
			continue
		}
		s.managers.home(s, n.place, n.uniq, l)
		if s.managers.of(l).full {
			kept = append(kept, n)
			continue
		}
		l.flags &^= waiting
		l.heard = s.now() // its silence was ours
		s.loop.Resume(l.conn)
	}
	s.waiting = kept
	if len(kept) == 0 {
		s.loop.SetReadBudget(0)
	}
}

// announce tells the link's Manager of it, before anything else of the link.
func (s *shard) announce(place, uniq uint32, l *link) {
	l.flags |= announced
	l.era = s.managers.of(l).era
	s.scratch = batch.AppendOpened(s.scratch[:0], s.name(place, uniq), s.sessions.Field(l.session))
	s.managers.must(s, int(l.manager), s.scratch)
}

// violation ends a link whose client broke the protocol.
func (s *shard) violation(place, uniq uint32, l *link, evidence string) {
	s.end(place, uniq, l, ending{reason: wire.ByeProtocol, side: batch.SideClient, evidence: evidence})
}
