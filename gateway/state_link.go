package gateway

import (
	"math/bits"

	"edged/delivery"
	"edged/linkpool"
	"edged/netpoll"
)

// The record of one link. Times are ms of the machine's monotonic clock, which all processes share. Version 1:
//
//	 0 4  place
//	 4 4  uniq
//	 8 8  connection, as netpoll names it
//	16 2  flags
//	18 1  listener, by the order of the listeners' records
//	19 1  Manager, by the order of the Managers' records
//	20 4  opened
//	24 4  heard
//	28 4  since
//	32 4  pinged
//	36 4  tid; latent: the client's IPv4 address
//	40 4  latent: the client's port
//	44 4  deadline
//	48 2  spent
//	50 1  window of pace.go
//	51 1  which of these follow:
//	      session, window, orders, as their packages write them
//	      8  the first version that came to nothing
//	      4  how much DATA was dropped
//	      4  messages behind output that the kernel does not take
const linkHead = 52

// What follows the head of a link's record.
const (
	hasSession  = 1 << iota // where the link is not latent
	hasWindow               // unacknowledged pushes, or the patience for the next ones
	hasOrders               //
	hasStuck                //
	hasStarving             //
	hasBacklog              //
	outlived                // its user's device has a newer link: it is about to be closed
	hasUnknown
)

// knownFlags are those that a link can have, all but replaying, which begins anew.
const knownFlags = welcomed | half | waiting | announced | asked | latent | throttled | bound | blocked | replaying | unsynced |
	starved | loose | stuck

// appendLink appends the record of one link.
func (s *shard) appendLink(b []byte, place, uniq uint32, l *link, stale bool) []byte {
	at, _ := s.deadlines.At(place)
	r := linkState{link: *l, place: place, uniq: uniq, deadline: at, has: s.parts(place, uniq, l, stale)}
	return s.appendParts(r.appendHead(b), place, l, r.has, delivery.Millis(s.now()))
}

// appendHead appends the first part of a link's record.
func (r *linkState) appendHead(b []byte) []byte {
	port := uint32(0)
	if r.flags&latent != 0 {
		port = uint32(r.unacked)
	}
	b = u64(u32(u32(b, r.place), r.uniq), uint64(r.conn))
	b = append(u16(b, uint16(r.flags&^gathered)), r.listener, r.manager)
	for _, v := range [...]uint32{uint32(r.opened), uint32(r.heard), uint32(r.since), uint32(r.pinged), r.tid, port, uint32(r.deadline)} {
		b = u32(b, v)
	}
	return append(u16(b, r.spent), r.window, r.has)
}

// appendParts appends what follows.
func (s *shard) appendParts(b []byte, place uint32, l *link, has byte, now delivery.Millis) []byte {
	if has&hasSession != 0 {
		b = s.sessions.AppendState(b, l.session)
	}
	if has&hasWindow != 0 {
		b = s.windows.AppendState(b, l.unacked, now)
	}
	if has&hasOrders != 0 {
		b = s.orders.AppendState(b, l.order, now)
	}
	if has&hasStuck != 0 {
		b = u64(b, s.syncing.stuck[place])
	}
	if has&hasStarving != 0 {
		b = u32(b, s.slow.starving[place])
	}
	if has&hasBacklog != 0 {
		b = u32(b, uint32(s.slow.backlog[l.conn]))
	}
	return b
}

// parts says what follows the head of a link's record.
func (s *shard) parts(place, uniq uint32, l *link, stale bool) (has byte) {
	set := func(bit byte, on bool) {
		if on {
			has |= bit
		}
	}
	set(hasSession, l.flags&latent == 0)
	set(hasWindow, l.flags&latent == 0 && l.unacked != 0)
	set(hasOrders, l.order != 0)
	set(hasStuck, l.flags&stuck != 0)
	set(hasStarving, l.flags&starved != 0)
	set(hasBacklog, l.flags&blocked != 0)
	set(outlived, stale && l.flags&bound != 0 && !s.listedNow(s.listed(place, uniq), l))
	return has
}

// linkState is a link's record, read and proved but for what is in the stores.
type linkState struct {
	link
	place, uniq uint32
	deadline    linkpool.Millis
	has         byte
	stuck       uint64
	starving    uint32
	backlog     uint32
}

func (r *linkState) readHead(in *input) {
	r.place, r.uniq = in.u32(), in.u32()
	r.conn = netpoll.Conn(in.u64())
	r.flags = linkFlags(in.u16())
	r.listener, r.manager = in.u8(), in.u8()
	r.opened, r.heard = linkpool.Millis(in.u32()), linkpool.Millis(in.u32())
	r.since, r.pinged = linkpool.Millis(in.u32()), linkpool.Millis(in.u32())
	r.tid = in.u32()
	port := in.u32()
	r.deadline = linkpool.Millis(in.u32())
	r.spent, r.link.window, r.has = in.u16(), in.u8(), in.u8()
	if r.flags&latent != 0 {
		r.unacked = delivery.Ref(port)
	}
	agree := func(bit byte, f linkFlags) { in.bad = in.bad || (r.has&bit != 0) != (r.flags&f != 0) }
	agree(hasStuck, stuck)
	agree(hasStarving, starved)
	agree(hasBacklog, blocked)
	if r.flags&latent != 0 {
		in.bad = in.bad || r.has&(hasSession|hasWindow|hasOrders) != 0 || r.flags&bound != 0 || port > 1<<16-1
	} else {
		in.bad = in.bad || r.has&hasSession == 0 || port != 0
	}
	if r.has&hasUnknown != 0 || r.flags&^knownFlags != 0 || bits.OnesCount16(uint16(r.flags&(half|waiting|throttled))) > 1 {
		in.bad = true
	}
}

// loadLink takes one link over. One that cannot be stays where mournLinks finds it.
func (s *shard) loadLink(in *input, x *legacy) {
	var r linkState
	if r.readHead(in); in.bad || !s.fits(&r, x) {
		return
	}
	s.readParts(in, &r, x)
	if in.bad || len(in.rest) > 0 || !s.agrees(&r) {
		s.dropParts(&r)
		return
	}
	x.loaded[r.place/64] |= 1 << (r.place % 64)
	s.settleIn(&r)
}

// agrees says whether what the stores have taken goes with the head of its record.
func (s *shard) agrees(r *linkState) bool {
	ok := r.flags&bound == 0 || len(s.sessions.Value(r.session, "user")) > 0
	if r.flags&latent == 0 {
		s.windows.Each(r.unacked, func(tid uint32, _ []byte) bool {
			ok = ok && int32(r.tid-tid) > 0 // the next push has a later one
			return ok
		})
	}
	return ok
}

// fits says whether a record is about a link that can be: its place is its own, and its connection is there and says so too.
func (s *shard) fits(r *linkState, x *legacy) bool {
	return s.loop.Open(r.conn) && s.loop.Tag(r.conn) == r.place && s.belongs(r, x)
}

// belongs finds the listener and the Manager of a link, and says whether its place is its own.
func (s *shard) belongs(r *linkState, x *legacy) bool {
	if s.links.Get(r.place, r.uniq) == nil || x.loaded[r.place/64]>>(r.place%64)&1 != 0 {
		return false
	}
	listener := x.listener(int(r.listener))
	if listener < 0 {
		return false
	}
	r.listener = uint8(listener)
	manager := -1
	if int(r.manager) < len(x.managers) {
		manager = x.managers[r.manager]
	} else if len(x.managers) > 0 {
		return false
	}
	if r.manager = uint8(max(manager, 0)); manager < 0 { // it is a stranger to whoever gets it
		r.flags &^= announced
		if len(s.managers.list) > 0 {
			s.managers.assign(&r.link)
			s.takeover.strangers = true
		}
	}
	return true
}

func (s *shard) readParts(in *input, r *linkState, x *legacy) {
	now, n, err := delivery.Millis(x.now), 0, error(nil)
	if r.has&hasSession != 0 {
		r.session, n, err = s.sessions.LoadState(in.rest)
		in.took(n, err)
		in.bad = in.bad || r.session == 0
	}
	if r.has&hasWindow != 0 && !in.bad {
		r.unacked, n, err = s.windows.LoadState(in.rest, now)
		in.took(n, err)
	}
	if r.has&hasOrders != 0 && !in.bad {
		r.order, n, err = s.orders.LoadState(in.rest, now)
		in.took(n, err)
	}
	if r.has&hasStuck != 0 {
		r.stuck = in.u64()
	}
	if r.has&hasStarving != 0 {
		r.starving = in.u32()
	}
	if r.has&hasBacklog != 0 {
		r.backlog = in.u32()
	}
}

// dropParts gives back what readParts made of a record that turned out to be damaged.
func (s *shard) dropParts(r *linkState) {
	var ev delivery.Event
	var out delivery.Released
	for ok := r.flags&latent == 0; ok; {
		r.unacked, ok = s.windows.End(r.unacked, &ev)
	}
	for ok := true; ok; {
		r.order, ok = s.orders.End(r.order, &out)
	}
	s.sessions.Free(r.session)
}

// settleIn gives a link that was read its place. What it waits for begins anew: room towards its Manager and the log.
func (s *shard) settleIn(r *linkState) {
	l := s.links.Get(r.place, r.uniq)
	*l = r.link
	l.flags &^= replaying | unsynced
	name := linkName{r.place, r.uniq}
	if r.flags&replaying != 0 {
		s.takeover.replays = append(s.takeover.replays, name)
	}
	if r.flags&waiting != 0 {
		s.waiting.n++
		s.waiting.list = append(s.waiting.list, name)
	}
	if r.flags&stuck != 0 {
		s.syncing.stuck[r.place] = r.stuck
	}
	if r.flags&starved != 0 {
		s.slow.starving[r.place] = r.starving
	}
	if r.flags&blocked != 0 {
		s.slow.backlog[l.conn] = int(r.backlog)
	}
	if r.flags&unsynced != 0 {
		s.unsync(r.place, l)
	}
	s.deadlines.Set(r.place, s.soon(r.deadline))
	s.seat(name, l, r.has&outlived != 0)
}

// soon keeps a deadline between now and the longest time between two looks, which another configuration may have shortened.
func (s *shard) soon(at linkpool.Millis) linkpool.Millis {
	now := s.now()
	if at.Before(now) {
		return now
	}
	if last := now.Deadline(s.g.checkEvery); last.Before(at) {
		return last
	}
	return at
}

// seat enters a bound link into the directory, unless its user's device has a newer one.
func (s *shard) seat(n linkName, l *link, outlived bool) {
	if l.flags&bound == 0 {
		return
	}
	me := s.listed(n.place, n.uniq)
	if outlived {
		s.takeover.outlived = append(s.takeover.outlived, me)
		return
	}
	if s.takeover.binds == nil {
		s.keep.bound(n.place)
	}
	old, replaced := s.g.directory.Put(s.sessions.Value(l.session, "user"), s.sessions.Value(l.session, "device"), me)
	switch {
	case replaced && s.takeover.binds != nil:
		s.takeover.rivals = append(s.takeover.rivals, old, me)
	case replaced:
		s.takeover.outlived = append(s.takeover.outlived, old)
	}
}
