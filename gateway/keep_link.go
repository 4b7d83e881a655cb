package gateway

import (
	"encoding/binary"

	"edged/delivery"
	"edged/handover"
	"edged/linkpool"
	"edged/netpoll"
)

// The record of a place. Version 1, hot bytes:
//
//	 0 4  uniq of its link, or of its last one
//	 4 1  what there is
//	 5 1  which parts are in the cold bytes, as in state_link.go
//	 6 2  flags
//	 8 1  listener, by the order of the listeners' records
//	 9 1  Manager, by the order of the Managers' records
//	10 2  as which process it knows the link: recordKnown
//	12 4  opened
//	16 4  heard
//	20 4  since
//	24 4  pinged
//	28 4  tid; latent: the client's IPv4 address
//	32 4  latent: the client's port
//	36 2  spent
//	38 1  window of pace.go
//	39 1  0
//	40 8  the last walk that it has had: casting.caught
//	48    the connection, as netpoll.Loop.AppendConn writes it, up to netpoll.ConnBytes
//
// Of a free place the first 5 bytes are all there is. Cold bytes, if there is anything:
//
//	 0 4  when they were written, for the times in them
//	 4 8  which of all binds the link's was
//	12 4  length of what stands behind it: the rest of the connection
//	      parts, as in state_link.go
//	      rooms, as room.AppendRooms writes them
const (
	hotConn  = 48
	hotBytes = hotConn + netpoll.ConnBytes
	coldHead = 4 + 8 + 4
)

var _ [handover.HotBytes - hotBytes]struct{}

// What there is in a place.
const (
	keptFree = iota // no link
	keptLink        // one that outlives a crash
	keptBare        // one that does not, and of which the record tells no more than whose it was
)

// mostInput is the length of a half message up to which a link is kept while it comes in. A client that sends a long one byte
// by byte would have all of it written down with each.
const mostInput = 16 << 10

// bound notes that a link is its device's from now on.
func (k *keeping) bound(place uint32) {
	if k != nil {
		k.binds[place] = k.all.binds.Add(1)
		k.mark(place, markCold)
	}
}

// write writes the record of a place.
func (k *keeping) write(place uint32) {
	s := k.s
	m := k.marks[place]
	l, uniq := s.links.At(place)
	if l == nil {
		k.hot = append(u32(k.hot[:0], s.links.Uniq(place)), keptFree)
		k.records.PutAll(k.links+int(place), k.hot, nil)
		k.unkeep(place)
		return
	}
	k.conn = s.loop.AppendConn(k.conn[:0], l.conn)
	if len(k.conn) < netpoll.ConnBytes || k.all.hopeless[l.listener] {
		k.writeBare(place, uniq, l)
		return
	}
	extra := k.conn[netpoll.ConnBytes:]
	k.hot = k.appendHot(k.hot[:0], keptLink, place, uniq, l)
	if m&(markCold|markExtra) == 0 && m&markKept != 0 && len(extra) == 0 {
		k.records.Put(k.links+int(place), k.hot)
		k.marks[place] = m &^ markDirty
		return
	}
	if l.flags&half != 0 && s.loop.Unused(l.conn) > mostInput {
		k.writeBare(place, uniq, l)
		return
	}
	k.cold = k.appendCold(k.cold[:0], s.now(), place, uniq, l, extra)
	if !k.records.PutAll(k.links+int(place), k.hot, k.cold) {
		s.count.Unkept++
		k.writeBare(place, uniq, l)
		return
	}
	m &^= markDirty | markCold | markExtra
	if len(extra) > 0 {
		m |= markExtra
	}
	if m&markKept == 0 {
		k.stats.Links++
	}
	k.marks[place] = m | markKept
	k.add(place, uniq, l)
}

// writeBare writes that a link is not kept. The keeper may have its connection still: the next record may be one again, and a
// connection without one is closed after a crash.
func (k *keeping) writeBare(place, uniq uint32, l *link) {
	k.hot = k.appendHot(k.hot[:0], keptBare, place, uniq, l)
	k.records.PutAll(k.links+int(place), k.hot, nil)
	k.unkeep(place)
}

// unkeep notes that a place has no link which is kept.
func (k *keeping) unkeep(place uint32) {
	if k.marks[place]&markKept != 0 {
		k.stats.Links--
	}
	k.marks[place] &= markDeposit
}

// appendHot appends the hot bytes of a link, whose connection is in conn.
func (k *keeping) appendHot(b []byte, what byte, place, uniq uint32, l *link) []byte {
	s := k.s
	port, known := uint32(0), uint16(0)
	if l.flags&latent != 0 {
		port = uint32(l.unacked)
	}
	if int(l.manager) < len(s.managers.list) {
		known = s.managers.of(l).known
	}
	var fixed [hotConn]byte
	le := binary.LittleEndian
	le.PutUint32(fixed[0:], uniq)
	fixed[4], fixed[5] = what, s.parts(place, uniq, l, false)
	le.PutUint16(fixed[6:], uint16(l.flags&^gathered))
	fixed[8], fixed[9] = l.listener, l.manager
	le.PutUint16(fixed[10:], known)
	le.PutUint32(fixed[12:], uint32(l.opened))
	le.PutUint32(fixed[16:], uint32(l.heard))
	le.PutUint32(fixed[20:], uint32(l.since))
	le.PutUint32(fixed[24:], uint32(l.pinged))
	le.PutUint32(fixed[28:], l.tid)
	le.PutUint32(fixed[32:], port)
	le.PutUint16(fixed[36:], l.spent)
	fixed[38] = l.window
	if len(s.casting.caught) > 0 {
		le.PutUint64(fixed[40:], s.casting.caught[place])
	}
	b = append(b, fixed[:]...)
	return append(b, k.conn[:min(len(k.conn), netpoll.ConnBytes)]...)
}

// appendCold appends the cold bytes of a link; none where there is nothing.
func (k *keeping) appendCold(b []byte, now linkpool.Millis, place, uniq uint32, l *link, extra []byte) []byte {
	s := k.s
	has := s.parts(place, uniq, l, false)
	start := len(b)
	b = u64(u32(b, uint32(now)), k.binds[place])
	b = append(u32(b, uint32(len(extra))), extra...)
	b = s.appendParts(b, place, l, has, delivery.Millis(now))
	b = s.rooms.AppendRooms(b, place)
	if len(b) == start+coldHead && k.binds[place] == 0 {
		return b[:start]
	}
	return b
}

// keptPlace is the record of a place, read.
type keptPlace struct {
	linkState
	what   byte
	known  uint16
	caught uint64
	conn   []byte // as netpoll wants it
	wrote  linkpool.Millis
	bind   uint64
	rest   []byte // parts and rooms
}

// parse reads the record of a place; false: it cannot be one.
func (p *keptPlace) parse(place uint32, hot, cold []byte) bool {
	in := input{rest: hot}
	*p = keptPlace{conn: p.conn[:0]}
	p.place, p.uniq, p.what = place, in.u32(), in.u8()
	if in.bad || p.what > keptBare {
		return false
	}
	if p.what == keptFree {
		return true
	}
	p.has, p.flags = in.u8(), linkFlags(in.u16())
	p.listener, p.manager, p.known = in.u8(), in.u8(), in.u16()
	p.opened, p.heard = linkpool.Millis(in.u32()), linkpool.Millis(in.u32())
	p.since, p.pinged = linkpool.Millis(in.u32()), linkpool.Millis(in.u32())
	p.tid, p.unacked = in.u32(), delivery.Ref(in.u32())
	p.spent, p.window = in.u16(), in.u8()
	in.u8()
	p.caught = in.u64()
	if in.bad || p.what == keptLink && len(in.rest) != netpoll.ConnBytes {
		return false
	}
	if p.what == keptBare {
		return true
	}
	p.link.conn = netpoll.ConnOf(in.rest)
	p.conn = append(p.conn, in.rest...)
	if len(cold) > 0 {
		more := input{rest: cold}
		p.wrote, p.bind = linkpool.Millis(more.u32()), more.u64()
		p.conn = append(p.conn, more.bytes(int(more.u32()))...)
		p.rest = more.rest
		return !more.bad
	}
	return true
}

// appendState appends the link as state_link.go has it, behind when it was written (u32, ms), which of all binds its was
// (u64), and the last walk that it has had (u64); then its rooms.
func (p *keptPlace) appendState(b []byte) []byte {
	b = u64(u64(u32(b, uint32(p.wrote)), p.bind), p.caught)
	b = p.appendHead(b)
	return append(b, p.rest...)
}
