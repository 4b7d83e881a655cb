package gateway

import (
	"edged/batch"
	"edged/netpoll"
	"edged/wire"
)

// Read takes the frames of one link: from the client towards the Manager.
func (s *shard) Read(c netpoll.Conn, in []byte) int {
	place := s.loop.Tag(c)
	l, uniq := s.links.At(place)
	if l == nil || l.conn != c { // refused or ended, and still talking
		return len(in)
	}
	l.heard = s.now()
	s.spoken = 0
	used, said := 0, 0
	for {
		if said >= paceCheck {
			if s.overspent(l, said) {
				s.throttle(place, l)
				return used
			}
			said = 0
		}
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
		said += units(len(body))
	}
	if s.overspent(l, said) {
		s.throttle(place, l)
		return used
	}
	s.trackHalf(l, used, len(in))
	return used
}

var heartbeat = [wire.HeadLen]byte{}

// trackHalf notes when the unfinished frame at the end of the input began.
func (s *shard) trackHalf(l *link, used, have int) {
	switch {
	case used == have:
		l.flags &^= half | gathered
	case used > 0 || l.flags&half == 0:
		l.flags |= half
		l.since = l.heard
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
		if o := s.acked(place, uniq, l, rest); o != frameTaken {
			return o
		}
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
	if l.flags&announced == 0 || s.managers.of(l).gone {
		s.managers.home(s, place, uniq, l)
	}
	if s.spoken > muchTalk && s.crowded(l) {
		s.waitInCrowd(place, uniq, l)
		return frameWaits
	}
	s.spoken += len(payload)
	if l.flags&latent != 0 && kind == batch.KindData {
		s.settle(place, uniq, l) // it talks, and will go on
	}
	name, attached := s.name(place, uniq), s.field(place, uniq, l)
	to := s.managers.roomFor(s, int(l.manager), batch.MessageLen(name, len(attached), len(payload)))
	if to == nil {
		s.wait(place, uniq, l)
		return frameWaits
	}
	*to = batch.AppendMessage(*to, name, attached, kind, payload)
	s.managers.of(l).items++
	return frameTaken
}

// announce tells the link's Manager of it, before anything else of the link.
func (s *shard) announce(place, uniq uint32, l *link) {
	l.flags |= announced
	s.scratch = batch.AppendOpened(s.scratch[:0], s.name(place, uniq), s.field(place, uniq, l))
	s.managers.must(s, int(l.manager), s.scratch)
}

// violation ends a link whose client broke the protocol.
func (s *shard) violation(place, uniq uint32, l *link, evidence string) {
	s.end(place, uniq, l, ending{reason: wire.ByeProtocol, side: batch.SideClient, evidence: evidence})
}
