package relay

import "math/bits"

// maxShards is how many shards a set can hold: the shard stands in 8 bits of a link's index.
const maxShards = 256

// Shards is a set of shard numbers, from 0 to 255: a bit for each.
type Shards [maxShards / 64]uint64

// Add puts a shard into the set.
func (s *Shards) Add(shard int) { s[shard/64] |= 1 << (shard % 64) }

// Remove takes a shard out of the set.
func (s *Shards) Remove(shard int) { s[shard/64] &^= 1 << (shard % 64) }

// Has says whether a shard is in the set.
func (s *Shards) Has(shard int) bool { return s[shard/64]&(1<<(shard%64)) != 0 }

// Union adds all shards of another set.
func (s *Shards) Union(other Shards) {
	for i, w := range other {
		s[i] |= w
	}
}

// Empty says that no shard is in the set.
func (s *Shards) Empty() bool { return *s == Shards{} }

// Next returns the lowest shard of the set that is not below from, or -1. From 0 on, with one more than
// the shard before, it walks over the whole set.
func (s *Shards) Next(from int) int {
	for i := from / 64; i < len(s); i++ {
		w := s[i]
		if i == from/64 {
			w &= ^uint64(0) << (from % 64)
		}
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}
