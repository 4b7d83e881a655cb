package gateway

import (
	"bytes"
	"math"
	"sync/atomic"

	"edged/batch"
	"edged/relay"
	"edged/room"
	"edged/wire"
)

// cast is one operation for all members of a room, or for everyone. It is read and, if worth it, compressed once, by the
// goroutine that received it; each shard walks over its own links.
type cast struct {
	// Static after newCast.
	number uint64 // of all casts
	origin int    // Manager
	raw    []byte
	item   batch.DownItem // of raw
	letter letter
	head   []byte     // of a DATA frame
	fault  batch.Code // why it cannot be carried out at all
	why    string

	left  atomic.Int32 // shards that are not through
	links atomic.Int64 // that it was for
}

// newCast reads an item for a room or everyone; nil if it is none. Any goroutine may call it.
func (g *Gateway) newCast(origin int, item []byte) any {
	c := &cast{number: g.casts.Add(1), origin: origin, raw: bytes.Clone(item)}
	if batch.ParseDownItem(c.raw, &c.item) != nil {
		g.malformed.Add(1)
		return nil
	}
	c.left.Store(int32(len(g.shards)))
	switch c.item.Op {
	case batch.OpData:
		c.head = wire.AppendHead(nil, wire.KindData, min(len(c.item.Data), wire.MaxRest))
		c.check(1+len(c.item.Data), g.cfg.MaxFrame)
	case batch.OpPush:
		c.write(g)
	case batch.OpBind, batch.OpNone:
		c.fault, c.why = batch.CodeInvalid, "not an operation for a room or everyone"
	}
	return c
}

// check finds out whether the frames, all of one length, are too long.
func (c *cast) check(body, most int) {
	if body > most {
		c.fault, c.why = batch.CodeTooLarge, tooLarge
	}
}

// write makes the letter, which the cast keeps.
func (c *cast) write(g *Gateway) {
	p := &c.item.Push
	if c.why = pushFault(p); c.why == "" && (p.Version != 0 || p.PackageID != 0) {
		c.why = "versions and packages are of one user"
	}
	if c.why != "" {
		c.fault = batch.CodeInvalid
		return
	}
	z := zippers.Get().(*zipper)
	defer zippers.Put(z)
	if c.letter.write(p, true, g.delivery.GzipMin, z); c.letter.saved > 0 {
		c.letter.payload = append([]byte(nil), c.letter.payload...)
	}
	c.check(c.letter.body(), g.cfg.MaxFrame)
}

// casting is a shard's casts that are under way.
type casting struct {
	walks   []*walk           // none but the first has begun
	last    uint64            // number of the last walk
	caught  map[uint32]uint64 // by place: the last walk that a link has had, with all before it, or need not have
	by      *walk             // whose casts are being carried out, nil: none's
	bytes   int               // of their casts
	joins   int               // casts among them that put links into rooms: who is in a room is not known before they are through
	small   walk              // lent to what is carried out at once
	perTurn int               // links that a turn visits; static
	atOnce  int               // members of a room up to which a cast is carried out at once; static
}

// walk is casts for the same links, a slice of them in each turn.
//
// Whoever acts on a link first brings the casts to it that its walk has not come to yet (catchUp): operations on one link keep
// their order, and nobody waits for the end of a walk.
type walk struct {
	number   uint64
	everyone bool
	room     []byte // the casts'
	casts    []*cast
	begun    bool
	shut     bool // some have had its casts: none may be added
	cursor   room.Cursor
	at       int // everyone: where it goes on
	links    int64
	kept     int  // casts that were written down: keep_casts.go
	lasts    bool // there was room for it
}

const (
	walkLinks  = 256     // casting.perTurn
	smallRoom  = 64      // casting.atOnce
	walkCasts  = 64      // of one walk
	maxWalks   = 64      // that wait; beyond, Managers do
	maxWalking = 1 << 20 // the same for bytes of their casts
)

func newCasting() casting { return casting{perTurn: walkLinks, atOnce: smallRoom} }

// full says that no cast should be taken before some are through.
func (a *casting) full() bool { return len(a.walks) >= maxWalks || a.bytes >= maxWalking }

// takeCast begins to carry out a cast.
func (s *shard) takeCast(c *cast) {
	s.count.ItemsIn++
	everyone := c.item.Target == batch.TargetEveryone
	members := s.links.Len()
	if !everyone {
		members = s.rooms.Members(c.item.Room)
	}
	switch {
	case c.fault != 0 || members == 0 && s.casting.joins == 0:
		s.finish(c, 0)
	case s.casting.join(c, everyone):
	case members <= s.casting.atOnce && s.casting.joins == 0:
		w := &s.casting.small
		*w = walk{number: math.MaxUint64, everyone: everyone, room: c.item.Room, casts: append(w.casts[:0], c)}
		s.step(w, members)
		s.finish(c, w.links)
		w.room, w.casts[0] = nil, nil
	default:
		s.casting.begin(c, everyone)
	}
}

// begin adds a walk for a cast.
func (a *casting) begin(c *cast, everyone bool) {
	a.last++
	a.walks = append(a.walks, &walk{number: a.last, everyone: everyone, room: c.item.Room})
	a.add(a.walks[len(a.walks)-1], c)
}

func (a *casting) add(w *walk, c *cast) {
	w.casts = append(w.casts, c)
	a.bytes += c.size()
	if c.item.Op == batch.OpJoin {
		a.joins++
	}
}

// took notes that a cast of a walk is through.
func (a *casting) took(c *cast) {
	a.bytes -= c.size()
	if c.item.Op == batch.OpJoin {
		a.joins--
	}
}

// join adds a cast to the last walk, if that is for the same links still.
func (a *casting) join(c *cast, everyone bool) bool {
	if len(a.walks) == 0 {
		return false
	}
	w := a.walks[len(a.walks)-1]
	if !c.plain() || !w.casts[0].plain() || w.begun || w.shut || w.everyone != everyone || len(w.casts) == walkCasts || !bytes.Equal(w.room, c.item.Room) {
		return false
	}
	a.add(w, c)
	return true
}

// plain says that a cast leaves everybody where he is.
func (c *cast) plain() bool { return c.item.Op == batch.OpData || c.item.Op == batch.OpPush }

func (c *cast) size() int { return len(c.item.Data) + len(c.letter.payload) + 256 }

// runWalks visits some links for the casts that wait.
func (s *shard) runWalks() {
	a := &s.casting
	for budget := int64(a.perTurn); budget > 0 && len(a.walks) > 0; {
		w := a.walks[0]
		before := w.links
		if s.step(w, int(budget)) {
			return
		}
		budget -= w.links - before + 1
		a.walks = a.walks[1:]
		for _, c := range w.casts {
			a.took(c)
			s.finish(c, w.links)
		}
	}
	if len(a.walks) == 0 {
		a.walks, a.caught = nil, nil
	}
}

// step goes on with a walk for n links at most and says whether there are more.
func (s *shard) step(w *walk, n int) bool {
	if w.everyone {
		w.begun = true
		w.at = s.links.Each(w.at, n, func(place, uniq uint32, l *link) { s.visit(w, place, uniq, l) })
		return w.at != 0
	}
	if !w.begun {
		w.begun, w.cursor = true, s.rooms.Walk(w.room, 0)
	}
	return s.rooms.Each(&w.cursor, n, func(place uint32) {
		if l, uniq := s.links.At(place); l != nil {
			s.visit(w, place, uniq, l)
		}
	})
}

// visit brings a walk's casts to one link, and before them those of earlier walks.
func (s *shard) visit(w *walk, place, uniq uint32, l *link) {
	if l.flags&welcomed == 0 {
		return
	}
	if walks := s.casting.walks; len(walks) > 0 && walks[0] != w {
		s.catchUp(place, uniq, l)
		if s.links.Get(place, uniq) == nil || !w.everyone && !s.rooms.Has(w.room, place) {
			return
		}
	}
	if s.casting.caught[place] < w.number {
		s.bring(w, place, uniq, l)
	}
}

// bring carries a walk's casts out on one link.
func (s *shard) bring(w *walk, place, uniq uint32, l *link) {
	w.links++
	s.casting.by = w
	for _, c := range w.casts {
		if s.castTo(c, place, uniq, l); s.links.Get(place, uniq) == nil {
			break
		}
	}
	s.casting.by = nil
}

// catchUp brings the casts to a link that their walks have not come to. It may end the link.
func (s *shard) catchUp(place, uniq uint32, l *link) {
	if l.flags&welcomed == 0 {
		return
	}
	for _, w := range s.casting.walks {
		if s.ahead(w, place) {
			s.skip(w, place)
			if s.bring(w, place, uniq, l); s.links.Get(place, uniq) == nil {
				return
			}
		}
	}
}

// passBy keeps the walks from a link that is about to become one of those they are for: it was none when they began.
func (s *shard) passBy(place uint32) {
	for _, w := range s.casting.walks {
		if s.ahead(w, place) {
			s.skip(w, place)
		}
	}
}

// ahead says whether a walk will come to a link.
func (s *shard) ahead(w *walk, place uint32) bool {
	if s.casting.caught[place] >= w.number {
		return false
	}
	if w.everyone {
		return int(place) >= w.at
	}
	return (!w.begun || place >= w.cursor.Place()) && s.rooms.Has(w.room, place)
}

// skip keeps a walk from a link. Those before it have been brought to the link, or were not for it when it could have been
// one of theirs: none comes to it any more.
func (s *shard) skip(w *walk, place uint32) {
	a := &s.casting
	if a.caught == nil {
		a.caught = map[uint32]uint64{}
	}
	a.caught[place] = max(a.caught[place], w.number)
	w.shut = true
	s.keep.touch(place)
}

// castTo carries a cast out on one link.
func (s *shard) castTo(c *cast, place, uniq uint32, l *link) {
	s.count.CastDeliveries++
	switch c.item.Op {
	case batch.OpData:
		s.sendData(c.origin, place, uniq, l, &c.item, c.head, c.item.Data)
	case batch.OpPush:
		s.settle(place, uniq, l)
		if s.post(place, l, &c.letter, false) == postFull {
			s.overfull(c.origin, place, uniq, l, &c.item)
		}
	default:
		s.perform(c.origin, place, uniq, l, &c.item)
	}
}

// finish notes that this shard is through with a cast. The last one tells the Manager if it was for nobody.
func (s *shard) finish(c *cast, links int64) {
	c.links.Add(links)
	if c.left.Add(-1) != 0 {
		return
	}
	s.count.Casts++
	if c.origin == relay.NoManager {
		s.count.BusItems++
	}
	switch {
	case c.fault != 0:
		s.refuse(c.origin, &c.item, nil, nil, c.fault, c.why)
	case c.links.Load() > 0:
	case c.origin == relay.NoManager:
		s.count.BusNotHere++
	default:
		s.refuse(c.origin, &c.item, nil, nil, batch.CodeNotHere, "nobody whom it is for is here")
	}
}

// join puts a link into a room. Casts that are on their way to the room are from before, but for those behind the cast that
// has it join.
func (s *shard) join(from int, place, uniq uint32, l *link, d *batch.DownItem) {
	joined, err := s.rooms.Join(d.OpRoom, place)
	if err != nil {
		name := s.name(place, uniq)
		s.refuse(from, d, &name, l, batch.CodeInvalid, err.Error())
		return
	}
	if !joined {
		return
	}
	s.count.Joins++
	s.keep.change(place)
	for _, w := range s.casting.walks {
		if w == s.casting.by {
			return
		}
		if !w.everyone && bytes.Equal(w.room, d.OpRoom) && s.ahead(w, place) {
			s.skip(w, place)
		}
	}
}

func (s *shard) leaveRoom(place uint32, d *batch.DownItem) {
	if s.rooms.Leave(d.OpRoom, place) {
		s.keep.change(place)
		s.count.Leaves++
	}
}
