package relay

import (
	"sync"

	"edged/batch"
)

// splitter brings the items of a Downstream to the shards that own their links. It belongs to one
// receiver.
type splitter struct {
	// Static.
	ports   []*Port
	self    int // the stream's shard: it also gets the items that name no link
	manager int
	shardOf func(index uint32) int
	buffers *sync.Pool

	parts []*inbound // one for each shard while a mixed batch is taken apart
}

// deliver hands in over and returns the number of its items; false: the relay is being killed.
// Usually all items are for one shard, which then gets the buffer as it is.
func (s *splitter) deliver(in *inbound, items batch.Items) (n int, ok bool) {
	to, n, mixed := s.look(items)
	switch {
	case n == 0:
		recycle(s.buffers, in)
		return 0, true
	case !mixed:
		return n, s.ports[to].deliver(s.manager, in)
	}
	s.take(items)
	recycle(s.buffers, in)
	return n, s.flush()
}

// look finds the first item's shard, the number of items, and whether they belong to several shards.
func (s *splitter) look(items batch.Items) (to, n int, mixed bool) {
	for {
		item, _, ok := items.Next()
		if !ok {
			return to, n, mixed
		}
		if n++; len(s.ports) == 1 {
			continue
		}
		shard := s.shard(item)
		if n == 1 {
			to = shard
		}
		mixed = mixed || shard != to
	}
}

// shard names the owner of an item. An index of no shard stays here, where it is found to be stale.
func (s *splitter) shard(item []byte) int {
	if l, ok := batch.DownLink(item); ok {
		if to := s.shardOf(l.Index); to >= 0 && to < len(s.ports) {
			return to
		}
	}
	return s.self
}

// take copies each item to its shard's part.
func (s *splitter) take(items batch.Items) {
	for {
		item, raw, ok := items.Next()
		if !ok {
			return
		}
		to := s.shard(item)
		if s.parts[to] == nil {
			s.parts[to] = s.buffers.Get().(*inbound)
			s.parts[to].b = s.parts[to].b[:0]
		}
		s.parts[to].b = append(s.parts[to].b, raw...)
	}
}

func (s *splitter) flush() bool {
	all := true
	for to, in := range s.parts {
		if in != nil {
			s.parts[to] = nil
			all = s.ports[to].deliver(s.manager, in) && all
		}
	}
	return all
}
