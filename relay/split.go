package relay

import (
	"hash/maphash"
	"sync"

	"edged/batch"
)

// Where an item goes that is not for one shard alone.
const (
	several    = -1 - iota // to the shards in splitter.set
	everywhere             // to every shard, as what Options.Cast made of it
	nowhere                // it is left out
)

// splitter brings the items of a Downstream to the shards that they concern, in their order for each shard.
// It belongs to one receiver, or to one Inlet.
type splitter struct {
	// Static after construction.
	ports   []*Port
	self    int // the stream's shard: it also gets the items that nobody else wants
	manager int
	links   bool // items for links are let through
	options *Options
	buffers *sync.Pool
	waiting func() <-chan struct{} // its channel is closed when a delivery is to wait for room no longer
	seed    maphash.Seed           // of users

	// Owned by the receiver.
	bindings []binding // one for each shard; nil where nobody is asked for the shards of a user
	bound    Shards    // the shards with a binding that may not be idle

	// Of the batch under way.
	ticket  *ticket    // nil: nobody asks what becomes of it
	before  *before    // what is left out of it; nil: nothing
	item    uint32     // number of the item that is being taken apart
	parts   []*inbound // one for each shard while the batch is taken apart
	head    batch.DownHead
	nobody  bool // the item is for a user whom no shard has
	set     Shards
	left    int    // items left out
	again   int    // items left out because a predecessor had carried them out, once for each shard
	dropped int    // items that found no room, once for each shard
	late    Shards // the shards without room: what stands behind is dropped too

	// A shard's thread must not wait for room: what finds none is spilt, and all behind it, until it is poured.
	spilling bool
	spilt    []spill
}

// spill is an event that found no room.
type spill struct {
	shard int
	event Event
	bytes int
}

func newSplitter(r *Relay, self, manager int) splitter {
	s := splitter{
		ports: r.ports, self: self, manager: manager, links: true, options: &r.options, buffers: r.buffers,
		seed: maphash.MakeSeed(), parts: make([]*inbound, len(r.ports)),
	}
	if len(r.ports) > 1 && r.options.UserShards != nil {
		s.bindings = make([]binding, len(r.ports))
	}
	return s
}

// deliver hands in over and returns the number of its items; false: some found no room while they could
// wait. Usually all items are for one shard, which then gets the buffer as it is.
func (s *splitter) deliver(in *inbound, items batch.Items) (n int, ok bool) {
	s.left, s.again, s.dropped, s.late = 0, 0, 0, Shards{}
	s.item = 0
	if s.before != nil {
		n = s.takeApart(in.b)
		recycle(s.buffers, in)
		return n, s.dropped == 0
	}
	to, n, bytes := s.look(in, items)
	s.item = uint32(n)
	rest := in.b[bytes:]
	switch {
	case n == 0:
		n = s.takeApart(rest)
		recycle(s.buffers, in)
	case len(rest) == 0:
		in.index = s.item - 1
		s.send(to, in)
	default:
		p := s.part(to)
		p.b = append(p.b, in.b[:bytes]...)
		p.binds, in.binds = in.binds, nil
		p.index = s.item - 1
		n += s.takeApart(rest)
		recycle(s.buffers, in)
	}
	return n, s.dropped == 0
}

// look walks over the items that, from the first one on, are all for one shard. There are n of them within
// the first bytes of the batch; if they are all that it has, that is its length.
func (s *splitter) look(in *inbound, items batch.Items) (to, n, bytes int) {
	if len(s.ports) == 1 && s.links && s.options.Cast == nil {
		return 0, items.Count(), len(in.b) // whatever they are
	}
	for {
		bytes = len(in.b) - items.Left()
		item, _, ok := items.Next()
		if !ok {
			return to, n, len(in.b)
		}
		shard := s.judge(item)
		if n == 0 {
			to = shard
		}
		if shard < 0 || shard != to {
			return to, n, bytes
		}
		n++
		s.noteBind(in, shard, item)
	}
}

// takeApart copies items, which begin at a field, to the shards' parts, sends them and returns their number.
func (s *splitter) takeApart(b []byte) (n int) {
	items := batch.DownItems(b)
	for {
		item, raw, ok := items.Next()
		if !ok {
			s.flush()
			return n
		}
		n++
		switch to := s.judge(item); to {
		case nowhere:
			s.left++
		case everywhere:
			s.castAll(item)
		case several:
			for i := s.set.Next(0); i >= 0; i = s.set.Next(i + 1) {
				s.add(i, raw)
			}
		default:
			s.noteBind(s.add(to, raw), to, item)
		}
		s.item++
	}
}

// judge says where an item goes.
func (s *splitter) judge(item []byte) int {
	h := &s.head
	s.nobody = false
	if batch.ParseDownHead(item, h) != nil {
		return s.self // where it is found to be malformed
	}
	switch h.Target {
	case batch.TargetLink:
		if !s.links {
			return nowhere
		}
		return s.owner(h.Link.Index)
	case batch.TargetUser, batch.TargetDevice:
		if s.bindings != nil {
			return s.usersShards(h.User, h.Device)
		}
	case batch.TargetRoom, batch.TargetEveryone:
		if s.options.Cast != nil {
			return everywhere
		}
	}
	return s.self
}

// owner names the shard of a link. An index of no shard stays here, where it is found to be stale.
func (s *splitter) owner(index uint32) int {
	if len(s.ports) > 1 {
		if to := s.options.ShardOf(index); to >= 0 && to < len(s.ports) {
			return to
		}
	}
	return s.self
}

// usersShards names the shards of a user or device. The order matters: a shard makes a bind known before it
// gives the buffer back, so what is found not to be under way any more is known to UserShards.
func (s *splitter) usersShards(user, device []byte) int {
	s.set = s.underWay(user)
	s.set.Union(s.options.UserShards(user, device))
	first := s.set.Next(0)
	if first < 0 {
		s.nobody = true
		return s.self
	}
	if s.set.Next(first+1) < 0 {
		return first
	}
	return several
}

// underWay returns the shards that may not have carried out a bind of the user yet.
func (s *splitter) underWay(user []byte) (set Shards) {
	if s.bound.Empty() {
		return set
	}
	hash := maphash.Bytes(s.seed, user)
	for i := s.bound.Next(0); i >= 0; i = s.bound.Next(i + 1) {
		switch b := &s.bindings[i]; {
		case b.idle():
			s.bound.Remove(i)
		case b.has(hash):
			set.Add(i)
		}
	}
	return set
}

// noteBind remembers the user if the item just judged is a bind. It lies in the buffer in; nil: nowhere.
func (s *splitter) noteBind(in *inbound, to int, item []byte) {
	if s.head.Op != batch.OpBind || s.bindings == nil || in == nil {
		return
	}
	var it batch.DownItem
	if batch.ParseDownItem(item, &it) == nil && it.Target == batch.TargetLink {
		s.bindings[to].note(in, maphash.Bytes(s.seed, it.Bind.User))
		s.bound.Add(to)
	}
}

// part returns a shard's part of a batch that is taken apart.
func (s *splitter) part(shard int) *inbound {
	if s.parts[shard] == nil {
		s.parts[shard] = s.buffers.Get().(*inbound)
		s.parts[shard].b = s.parts[shard].b[:0]
	}
	return s.parts[shard]
}

// add copies an item to a shard's part, and returns that. Where there was no room it drops the item.
func (s *splitter) add(shard int, raw []byte) *inbound {
	if s.late.Has(shard) {
		s.dropped++
		return nil
	}
	if s.done(shard) {
		return nil
	}
	p := s.part(shard)
	p.b = append(p.b, raw...)
	p.index = s.item
	return p
}

// castAll tells every shard of an item, behind what stands before it.
func (s *splitter) castAll(item []byte) {
	v := s.options.Cast(s.manager, item)
	if v == nil {
		return
	}
	s.flush()
	for i, p := range s.ports {
		if s.done(i) {
			continue
		}
		if s.late.Has(i) || !s.push(i, castEvent(s.manager, v, s.slip(p), len(item)), len(item)) {
			s.late.Add(i)
			s.dropped++
		}
	}
}

// slip returns what a shard needs to say that it has carried a cast out.
func (s *splitter) slip(p *Port) *inbound {
	if s.ticket == nil {
		return nil
	}
	in := p.turn.slips.Get().(*inbound)
	in.index = s.item
	s.follow(in)
	return in
}

// follow says of which batch in is a part.
func (s *splitter) follow(in *inbound) {
	if s.ticket != nil {
		in.ticket = s.ticket
		s.ticket.left.Add(1)
	}
}

// done says that a predecessor had carried out the item for a shard. One for a user whom nobody has now was another shard's
// perhaps, and torn off with the user's link: rather than nobody, the Manager is told twice.
func (s *splitter) done(shard int) bool {
	if s.before == nil || s.nobody || !s.before.shards[shard].covers(s.ticket.position, s.item) {
		return false
	}
	s.again++
	return true
}

func (s *splitter) flush() {
	for to, in := range s.parts {
		if in != nil {
			s.parts[to] = nil
			s.send(to, in)
		}
	}
}

// send gives a buffer to a shard.
func (s *splitter) send(to int, in *inbound) {
	s.follow(in)
	if !s.push(to, itemsEvent(s.manager, in), cap(in.b)) {
		s.refused(to, in)
	}
}

// refused drops what found no room.
func (s *splitter) refused(to int, in *inbound) {
	s.late.Add(to)
	s.dropped += batch.DownItems(in.b).Count()
	if in.binds != nil {
		in.binds.withdraw()
		in.binds = nil
	}
	recycle(s.buffers, in)
}

// push brings an event to a shard, or spills it.
func (s *splitter) push(to int, e Event, bytes int) bool {
	p := s.ports[to]
	if !s.spilling {
		return p.push(e, bytes, s.waiting)
	}
	if len(s.spilt) > 0 || !p.tryPush(e, bytes) {
		s.spilt = append(s.spilt, spill{to, e, bytes})
	}
	return true
}

// pour brings what was spilt to the shards. It returns false as deliver does.
func (s *splitter) pour() bool {
	s.spilling = false
	for i, o := range s.spilt {
		s.spilt[i] = spill{}
		switch {
		case s.ports[o.shard].push(o.event, o.bytes, s.waiting):
		case o.event.Kind == EventCast:
			s.dropped++
		default:
			s.refused(o.shard, o.event.from)
		}
	}
	s.spilt = s.spilt[:0]
	return s.dropped == 0
}
