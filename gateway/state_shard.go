package gateway

import (
	"slices"
	"time"

	"edged/handover"
	"edged/linkpool"
	"edged/room"
)

// The records of a section "shard", in this order but that there may be many of a kind.
const (
	recordShard   = 1 // now (u32, ms), wall (u64), the Manager after whom the next link's comes (u8), drain
	recordManager = 2 // in the order of the links' numbers: address, is it gone, items (u64), what is held for it
	recordPlaces  = 3 // of linkpool
	recordLink    = 4 // state_link.go
	recordRooms   = 5 // of room
	recordLeaving = 6 // share of the links that is sent away: shed.go
	recordCount   = 7 // Counters
	recordLoop    = 8 // counters of netpoll.Stats

	// Those are only made of what was written down before a crash.
	recordKept  = 9  // a link and its rooms: revive.go
	recordBare  = 10 // a link that did not outlive it: state_link.go
	recordWalk  = 11 // keep_casts.go, before the links
	recordKnown = 12 // as which process each Manager knows links (u16 each), in a shard's head
)

// appendState appends the section of a shard that stands still: no cast is on its way, nothing is filled for a Manager, and
// every event of the relay was taken. stale says that some of the links are not their users' any more, and not ended yet.
func (s *shard) appendState(b []byte, stale bool) []byte {
	b = s.appendHead(b)
	for i, address := range s.g.managerAddresses {
		m := &s.managers.list[i]
		b = record(b, recordManager, func(b []byte) []byte { return append(u64(m.appendState(b, address), m.items), m.held...) })
	}
	b = record(b, recordPlaces, s.links.AppendState)
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, l *link) {
		var start int
		b, start = handover.Begin(b, stateVersion)
		b = s.appendLink(append(b, recordLink), place, uniq, l, stale)
		handover.End(b, start)
	})
	b = record(b, recordRooms, s.rooms.AppendState)
	if s.shed.active {
		b = record(b, recordLeaving, s.shed.appendState)
	}
	count, loop := s.count, s.loopStats()
	count.Doubles += s.orders.Doubles()
	b = record(b, recordCount, func(b []byte) []byte { return appendCounters(b, &count) })
	return record(b, recordLoop, func(b []byte) []byte { return appendCounters(b, &loop) })
}

func (s *shard) appendHead(b []byte) []byte {
	return record(b, recordShard, func(b []byte) []byte {
		b = append(u64(u32(b, uint32(s.now())), uint64(s.wall)), byte(s.managers.next))
		return s.drain.appendState(b)
	})
}

// appendState appends a Manager but for how many items it got and what is held for it.
func (m *manager) appendState(b []byte, address string) []byte {
	return yesNo(text(b, address), m.gone)
}

// stateSize is about how long the section would be.
func (s *shard) stateSize() int {
	const link, push, held, member, rest = handoverHead + linkHead + 8, 40, 1 << 10, 3, 16 << 10
	n := rest + link*s.links.Len() + s.sessions.Bytes() + s.windows.Bytes() + push*s.windows.Pushes() + 64*s.orders.Len() +
		held*s.orders.Held() + member*s.rooms.Memberships() + 32*s.rooms.Len()
	for i := range s.managers.list {
		n += len(s.managers.list[i].held)
	}
	return n + 8*len(s.shed.names)
}

const handoverHead = 6 // of a record

// legacy is a shard's part of what a predecessor was, while it is loaded.
type legacy struct {
	now      linkpool.Millis // when it was written
	managers []int           // by the links' numbers: the Manager's here, -1: it has none
	orphans  [][]byte        // what was held for those that are none any more
	loaded   []uint64        // by place, a bit each: its link is loaded
	listener func(int) int   // by the links' numbers: the listener's here, -1: there is none
}

// load takes a predecessor's shard over. With an error, the hand-over is refused; a link that cannot be loaded is ended
// by takeOver.
func (s *shard) load(b []byte, listener func(int) int) error {
	x := legacy{listener: listener, now: s.now()}
	s.takeover = &takeover{}
	head, places := false, false
	err := eachRecord(b, func(kind byte, in *input) error {
		switch kind {
		case recordShard:
			in.bad = head
			head = true
			s.loadHead(in, &x)
		case recordManager:
			s.loadManager(in, &x)
		case recordPlaces:
			if in.bad = places; in.bad {
				break
			}
			places = true
			n, err := s.links.LoadState(in.rest)
			in.took(n, err)
			x.loaded = make([]uint64, (s.links.Cap()+63)/64)
		case recordLink:
			if !head || !places {
				in.bad = true
				break
			}
			s.loadLink(in, &x)
			return nil
		case recordKept, recordBare:
			if !head || !places {
				in.bad = true
				break
			}
			s.loadRevived(kind, in, &x)
			return nil
		case recordWalk:
			s.loadWalk(in, &x)
		default:
			s.loadRest(kind, in)
		}
		if in.bad {
			return errPastRecord
		}
		return nil
	})
	if err != nil || !head || !places {
		return errPastRecord
	}
	s.takeover.orphans = x.orphans
	s.mournLinks(&x)
	s.goOnWalking()
	return nil
}

func (s *shard) loadHead(in *input, x *legacy) {
	x.now = linkpool.Millis(in.u32())
	s.wall = int64(in.u64())
	next := int(in.u8())
	if n := len(s.managers.list); n > 0 {
		s.managers.next = next % n
	}
	s.drain.load(in)
}

// loadManager finds the Manager of an address again. What was held for it goes first.
func (s *shard) loadManager(in *input, x *legacy) {
	address, gone, items := string(in.text()), in.flag(), in.u64()
	if in.bad {
		return
	}
	i := slices.Index(s.g.managerAddresses, address)
	x.managers = append(x.managers, i)
	if i < 0 {
		x.orphans = append(x.orphans, in.rest)
		s.count.ItemsOut += items
		return
	}
	m := &s.managers.list[i]
	m.gone, m.items = gone, items
	if len(in.rest) > 0 {
		m.held = slices.Clone(in.rest)
		m.full = true // nothing goes before it: takeOver
	}
}

func (s *shard) loadRest(kind byte, in *input) {
	switch kind {
	case recordRooms:
		table, n, err := room.Load(s.g.roomLimits, in.rest)
		if in.took(n, err); err == nil {
			s.rooms = table
		}
	case recordLeaving:
		s.shed.load(in)
	case recordCount:
		out := s.count.ItemsOut
		loadCounters(in, &s.count)
		s.count.ItemsOut += out
		in.bad = false // what is not there begins anew
	case recordLoop:
		loadCounters(in, &s.loopBefore)
		in.bad = false
	}
}

// mournLinks finds the links that were not loaded: their places are free again, and takeOver tells their end.
func (s *shard) mournLinks(x *legacy) {
	var lost []linkName
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, _ *link) {
		if x.loaded[place/64]>>(place%64)&1 == 0 {
			lost = append(lost, linkName{place, uniq})
		}
	})
	for _, n := range lost {
		s.links.Del(n.place, n.uniq)
		s.keep.letGo(n.place, n.uniq)
		s.count.Ended[EndDamaged]++
	}
	s.takeover.lost = lost
	s.rooms.Keep(func(place uint32) bool { l, _ := s.links.At(place); return l != nil })
}

// appendState appends a drain: active, begun (u32), within (u64, ns), links (u32), gone (u32), where it goes on (u32).
func (d *drain) appendState(b []byte) []byte {
	b = u64(u32(yesNo(b, d.active), uint32(d.started)), uint64(d.within))
	return u32(u32(u32(b, uint32(d.links)), uint32(d.gone)), uint32(d.at))
}

func (d *drain) load(in *input) {
	*d = drain{active: in.flag(), started: linkpool.Millis(in.u32()), within: time.Duration(in.u64())}
	d.links, d.gone, d.at = int(in.u32()), int(in.u32()), int(in.u32())
	if d.within < 0 || d.within > maxTimeout {
		d.within = 0
	}
}
