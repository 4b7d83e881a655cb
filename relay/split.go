package relay

import (
	"sync"
	"sync/atomic"

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
	waiting func() <-chan struct{} // closed when a delivery should wait for room no longer
	// binding counts for each shard the buffers of this splitter that hold a bind and were not given
	// back yet. It is nil where nobody needs to know.
	binding []atomic.Int32

	// Of the batch under way; owned by the receiver.
	parts   []*inbound // one for each shard while a batch is taken apart
	bound   Shards     // shards whose binding may not be 0
	head    batch.DownHead
	set     Shards
	left    int    // items left out
	dropped int    // items that found no room, once for each shard
	late    Shards // shards that dropped some: what stands behind is dropped too
}

func newSplitter(r *Relay, self, manager int) splitter {
	s := splitter{
		ports: r.ports, self: self, manager: manager, links: true, options: &r.options, buffers: r.buffers,
		parts: make([]*inbound, len(r.ports)),
	}
	if len(r.ports) > 1 && r.options.UserShards != nil {
		s.binding = make([]atomic.Int32, len(r.ports))
	}
	return s
}

// deliver hands in over and returns the number of its items; false: some found no room while they could
// wait. As long as all items are for one shard nothing is copied, and usually that one gets the buffer as
// it is.
func (s *splitter) deliver(in *inbound, items batch.Items) (n int, ok bool) {
	s.left, s.dropped, s.late = 0, 0, Shards{}
	first, whole := s.self, true
	if s.blind() {
		n = items.Count()
	} else {
		for ; ; n++ {
			item, raw, ok := items.Next()
			if !ok {
				break
			}
			to, bind := s.judge(item)
			if n == 0 {
				first = to
			}
			if whole && (to < 0 || to != first) {
				whole = false
				s.takeApart(in, first, n, len(in.b)-items.Left()-len(raw))
			}
			if !whole {
				s.put(to, item, raw)
			}
			if bind && to >= 0 {
				s.binds(in, to, whole)
			}
		}
	}
	if whole && n > 0 {
		s.send(first, in)
	} else {
		recycle(s.buffers, in)
		s.flush()
	}
	return n, s.dropped == 0
}

// blind says that it does not matter what the items are: there is one shard, and it gets them all.
func (s *splitter) blind() bool {
	return len(s.ports) == 1 && s.links && s.options.Cast == nil
}

// judge says where an item goes, and whether a bind goes there that is to be remembered.
func (s *splitter) judge(item []byte) (to int, bind bool) {
	h := &s.head
	if batch.ParseDownHead(item, h) != nil {
		return s.self, false // where it is found to be malformed
	}
	switch h.Target {
	case batch.TargetLink:
		if !s.links {
			return nowhere, false
		}
		return s.owner(h.Link.Index), h.Op == batch.OpBind && s.binding != nil
	case batch.TargetUser, batch.TargetDevice:
		if s.binding != nil {
			return s.users(h.User, h.Device), false
		}
	case batch.TargetRoom, batch.TargetEveryone:
		if s.options.Cast != nil {
			return everywhere, false
		}
	}
	return s.self, false
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

// users names the shards of a user or device. The order matters: a shard makes a bind known before it
// gives the buffer back, so one that is not under way any more is known to UserShards by now.
func (s *splitter) users(user, device []byte) int {
	s.set = s.underWay()
	s.set.Union(s.options.UserShards(user, device))
	to := s.set.Next(0)
	if to < 0 || to >= len(s.ports) {
		return s.self
	}
	if next := s.set.Next(to + 1); next >= 0 && next < len(s.ports) {
		return several
	}
	return to
}

// underWay returns the shards that have not carried out a bind of this splitter yet.
func (s *splitter) underWay() Shards {
	for i := s.bound.Next(0); i >= 0; i = s.bound.Next(i + 1) {
		if s.binding[i].Load() == 0 {
			s.bound.Remove(i)
		}
	}
	return s.bound
}

// binds remembers that the buffer in which an item for a shard lies holds a bind.
func (s *splitter) binds(in *inbound, to int, whole bool) {
	if !whole {
		in = s.parts[to]
	}
	if in != nil && in.binds == nil {
		in.binds = &s.binding[to]
		in.binds.Add(1)
		s.bound.Add(to)
	}
}

// takeApart begins the parts of a batch whose first n items, within its first bytes, are all for one shard.
func (s *splitter) takeApart(in *inbound, first, n, bytes int) {
	if n == 0 {
		return
	}
	p := s.part(first)
	p.b = append(p.b, in.b[:bytes]...)
	p.binds, in.binds = in.binds, nil
}

// part returns a shard's part of a batch that is taken apart.
func (s *splitter) part(shard int) *inbound {
	if s.parts[shard] == nil {
		s.parts[shard] = s.buffers.Get().(*inbound)
		s.parts[shard].b = s.parts[shard].b[:0]
	}
	return s.parts[shard]
}

// put copies an item to the parts of the shards that it goes to.
func (s *splitter) put(to int, item, raw []byte) {
	switch to {
	case nowhere:
		s.left++
	case everywhere:
		s.castAll(item)
	case several:
		for i := s.set.Next(0); i >= 0 && i < len(s.ports); i = s.set.Next(i + 1) {
			s.add(i, raw)
		}
	default:
		s.add(to, raw)
	}
}

func (s *splitter) add(shard int, raw []byte) {
	if s.late.Has(shard) {
		s.dropped++
		return
	}
	p := s.part(shard)
	p.b = append(p.b, raw...)
}

// castAll tells every shard of an item, behind what stands before it.
func (s *splitter) castAll(item []byte) {
	v := s.options.Cast(s.manager, item)
	if v == nil {
		return
	}
	s.flush()
	for i, p := range s.ports {
		if s.late.Has(i) || !p.cast(s.manager, v, len(item), s.waiting) {
			s.late.Add(i)
			s.dropped++
		}
	}
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
	if !s.ports[to].deliver(s.manager, in, s.waiting) {
		s.late.Add(to)
		s.dropped += batch.DownItems(in.b).Count()
		recycle(s.buffers, in)
	}
}
