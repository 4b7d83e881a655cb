package gateway

import (
	"sync/atomic"

	"edged/batch"
	"edged/relay"
	"edged/room"
	"edged/wire"
)

// cast is one operation for all members of a room, or for everyone. It is read and, if worth it, compressed once, by the
// goroutine that received it; each shard walks over its own links.
type cast struct {
	origin int // Manager
	item   batch.DownItem
	letter letter
	head   []byte       // of a DATA frame
	left   atomic.Int32 // shards that are not through
	links  atomic.Int64 // that it was for
	fault  batch.Code   // why it cannot be carried out at all
	why    string
}

// newCast reads an item for a room or everyone; nil if it is none. Any goroutine may call it.
func (g *Gateway) newCast(origin int, item []byte) any {
	c := &cast{origin: origin}
	if batch.ParseDownItem(append([]byte(nil), item...), &c.item) != nil {
		g.malformed.Add(1)
		return nil
	}
	c.left.Store(int32(len(g.shards)))
	switch c.item.Op {
	case batch.OpData:
		if 1+len(c.item.Data) > g.cfg.MaxFrame {
			c.fault, c.why = batch.CodeTooLarge, "longer than max_frame"
			break
		}
		c.head = wire.AppendHead(nil, wire.KindData, len(c.item.Data))
	case batch.OpPush:
		if c.why = pushFault(&c.item.Push); c.why != "" {
			c.fault = batch.CodeInvalid
			break
		}
		c.write(g)
	case batch.OpBind, batch.OpNone:
		c.fault, c.why = batch.CodeInvalid, "not an operation for a room or everyone"
	}
	return c
}

// write makes the letter, which the cast keeps.
func (c *cast) write(g *Gateway) {
	z := zippers.Get().(*zipper)
	defer zippers.Put(z)
	c.letter.write(&c.item.Push, true, g.delivery.GzipMin, z)
	if c.letter.saved > 0 {
		c.letter.payload = append([]byte(nil), c.letter.payload...)
	}
}

// walk is casts for the same links, a slice of them in each turn.
//
// Whoever acts on a link first brings the casts to it that its walk has not come to yet (catchUp): operations on one link keep
// their order, and nobody waits for the end of a walk.
type walk struct {
	everyone bool
	room     string
	casts    []*cast
	begun    bool
	cursor   room.Cursor
	at       int                 // everyone: where it goes on
	done     map[uint32]struct{} // places that have had the casts, or need not have them
	links    int64
}

const (
	walkLinks  = 256     // links that a turn visits
	smallRoom  = 64      // members up to which a cast is carried out at once
	walkCasts  = 64      // of one walk
	maxWalking = 1 << 20 // bytes of casts that wait; beyond, Managers do
)

// takeCast begins to carry out a cast.
func (s *shard) takeCast(c *cast) {
	s.count.Casts++
	s.count.ItemsIn++
	everyone := c.item.Target == batch.TargetEveryone
	members := s.rooms.Members(c.item.Room)
	if everyone {
		members = s.links.Len()
	}
	if c.fault != 0 || members == 0 {
		s.finish(c, 0)
		return
	}
	if n := len(s.walks); n > 0 {
		if w := s.walks[n-1]; !w.begun && w.everyone == everyone && w.room == string(c.item.Room) && len(w.casts) < walkCasts {
			w.casts = append(w.casts, c)
			s.walkBytes += c.size()
			return
		}
	}
	w := &walk{everyone: everyone, room: string(c.item.Room), casts: []*cast{c}}
	if members <= smallRoom {
		s.step(w, members)
		s.finish(c, w.links)
		return
	}
	s.walkBytes += c.size()
	s.walks = append(s.walks, w)
}

func (c *cast) size() int { return len(c.item.Data) + len(c.letter.payload) + 256 }

// runWalks visits some links for the casts that wait.
func (s *shard) runWalks() {
	for budget := walkLinks; budget > 0 && len(s.walks) > 0; {
		w := s.walks[0]
		before := w.links
		if s.step(w, budget) {
			return
		}
		budget -= int(w.links-before) + 1
		s.walks = s.walks[1:]
		for _, c := range w.casts {
			s.walkBytes -= c.size()
			s.finish(c, w.links)
		}
	}
	if len(s.walks) == 0 {
		s.walks = nil
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
		w.begun, w.cursor = true, s.rooms.Walk([]byte(w.room), 0)
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
	if len(s.walks) > 0 && s.walks[0] != w {
		s.catchUp(w, place, uniq, l)
	}
	if _, had := w.done[place]; had || s.links.Get(place, uniq) == nil {
		return
	}
	s.bring(w, place, uniq, l)
}

// bring carries a walk's casts out on one link.
func (s *shard) bring(w *walk, place, uniq uint32, l *link) {
	w.links++
	for _, c := range w.casts {
		s.castTo(c, place, uniq, l)
		if s.links.Get(place, uniq) == nil {
			return
		}
	}
}

// catchUp brings the casts to a link that its walks have not come to, up to the walk before.
func (s *shard) catchUp(before *walk, place, uniq uint32, l *link) {
	if l.flags&welcomed == 0 {
		return
	}
	for _, w := range s.walks {
		if w == before || s.links.Get(place, uniq) == nil {
			return
		}
		if _, had := w.done[place]; had || !s.ahead(w, place) {
			continue
		}
		w.skip(place)
		s.bring(w, place, uniq, l)
	}
}

// ahead says whether a walk will come to a link.
func (s *shard) ahead(w *walk, place uint32) bool {
	if w.everyone {
		return int(place) >= w.at
	}
	return (!w.begun || place >= w.cursor.Place()) && s.rooms.Has([]byte(w.room), place)
}

// skip keeps a walk from a link.
func (w *walk) skip(place uint32) {
	if w.done == nil {
		w.done = map[uint32]struct{}{}
	}
	w.done[place] = struct{}{}
}

// castTo carries a cast out on one link.
func (s *shard) castTo(c *cast, place, uniq uint32, l *link) {
	s.count.CastDeliveries++
	switch c.item.Op {
	case batch.OpData:
		s.sendData(c.origin, place, uniq, l, &c.item, c.head, c.item.Data)
	case batch.OpPush:
		s.settle(place, uniq, l)
		switch s.post(place, l, &c.letter) {
		case postFull:
			s.overfull(c.origin, place, uniq, l, &c.item)
		case postLarge:
			name := s.name(place, uniq)
			s.refuse(c.origin, &c.item, &name, l, batch.CodeTooLarge, "longer than max_frame")
		}
	default:
		s.apply(c.origin, place, uniq, l, &c.item)
	}
}

// finish notes that this shard is through with a cast. The last one tells the Manager if it was for nobody.
func (s *shard) finish(c *cast, links int64) {
	c.links.Add(links)
	if c.left.Add(-1) != 0 {
		return
	}
	switch {
	case c.fault != 0:
		s.refuse(c.origin, &c.item, nil, nil, c.fault, c.why)
	case c.links.Load() == 0 && c.origin != relay.NoManager:
		s.refuse(c.origin, &c.item, nil, nil, batch.CodeNotHere, "nobody of that room is here")
	case c.links.Load() == 0:
		s.count.BusNotHere++
	}
}

// join puts a link into a room. Casts that are on their way to the room are from before.
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
	for _, w := range s.walks {
		if !w.everyone && w.room == string(d.OpRoom) && s.ahead(w, place) {
			w.skip(place)
		}
	}
}

func (s *shard) leaveRoom(place uint32, d *batch.DownItem) {
	if s.rooms.Leave(d.OpRoom, place) {
		s.count.Leaves++
	}
}
