package gateway

import (
	"encoding/binary"
	"net/netip"
	"time"

	"edged/delivery"
	"edged/linkpool"
	"edged/wire"
)

// A link whose session nobody has written to is latent: the gateway's own keys follow from its record, and are put together
// when they are wanted. Most of a silent link's memory would be its session otherwise. The first DATA, patch or bind settles
// it: from then on its session is stored, encoded. IPv6 and unix links are settled at once, as the record has no room
// for such an address.

// latentAge is far from where a link's 32-bit opening time becomes ambiguous.
const latentAge = 20 * 24 * time.Hour

// wallTolerance is by how much the clock on the wall may jump before latent links are settled with the time that they opened at.
const wallTolerance = 500

// beginSession notes what a new link's session holds.
func (s *shard) beginSession(place, uniq uint32, l *link) {
	s.followWall()
	remote := s.loop.Remote(l.conn)
	l.flags |= latent
	if a := remote.Addr(); a.Is4() {
		four := a.As4()
		l.tid, l.unacked = binary.BigEndian.Uint32(four[:]), delivery.Ref(remote.Port())
		return
	}
	s.settleAs(place, uniq, l, remote)
}

// followWall keeps the time of the wall. Somebody may set it: links that opened before keep the time they were told.
func (s *shard) followWall() {
	wall := time.Now().UnixMilli() - s.loop.Now().Milliseconds()
	if jump := wall - s.wall; jump >= -wallTolerance && jump <= wallTolerance {
		return
	}
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, l *link) {
		if l.flags&latent != 0 {
			s.settle(place, uniq, l)
		}
	})
	s.wall = wall
}

// field returns the link's session, encoded, to be copied at once.
func (s *shard) field(place, uniq uint32, l *link) []byte {
	if l.flags&latent == 0 {
		return s.sessions.Field(l.session)
	}
	id, remote := s.describe(place, uniq, latentRemote(l))
	return s.sessions.Preview(id, remote, s.g.listenerNames[l.listener], s.openedAt(l))
}

// settle stores a latent link's session.
func (s *shard) settle(place, uniq uint32, l *link) {
	if l.flags&latent != 0 {
		s.settleAs(place, uniq, l, latentRemote(l))
	}
}

func (s *shard) settleAs(place, uniq uint32, l *link, from netip.AddrPort) {
	id, remote := s.describe(place, uniq, from)
	l.session = s.sessions.Open(id, remote, s.g.listenerNames[l.listener], s.openedAt(l))
	l.flags &^= latent
	l.tid, l.unacked = 0, 0
	s.keep.change(place)
}

func latentRemote(l *link) netip.AddrPort {
	var four [4]byte
	binary.BigEndian.PutUint32(four[:], l.tid)
	return netip.AddrPortFrom(netip.AddrFrom4(four), uint16(l.unacked))
}

// openedAt is when the link opened, in ms since the epoch.
func (s *shard) openedAt(l *link) int64 {
	now := s.loop.Now()
	return s.wall + now.Milliseconds() - linkpool.MillisAt(now).Sub(l.opened).Milliseconds()
}

// describe writes a link's ID and its client's address into the scratch buffer.
func (s *shard) describe(place, uniq uint32, from netip.AddrPort) (id, remote []byte) {
	b := wire.AppendLinkID(s.scratch[:0], s.g.advertise, linkpool.Index(s.number, place), uniq)
	n := len(b)
	if from.IsValid() {
		b = from.AppendTo(b)
	} else {
		b = append(b, "unix"...)
	}
	s.scratch = b
	return b[:n:n], b[n:]
}
