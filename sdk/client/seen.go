package client

import "hash/maphash"

// mostSeen is how many msg_ids are remembered: sixteen times what a gateway keeps unacknowledged by default.
const mostSeen = 4096

// seen remembers the last msg_ids that came, each with its version. It keeps a hash of 64 bits of each, made with a seed of
// its own, so that nobody can choose two that are taken for one.
type seen struct {
	seed   maphash.Seed
	places map[uint64]int // hash → place in the ring; nil: nothing came yet
	ring   []stamp
	next   int // place that is taken next
}

type stamp struct {
	id      uint64 // hash of a msg_id
	version uint64 // 0: none
}

func (s *seen) hash(id []byte) uint64 { return maphash.Bytes(s.seed, id) }

// has says whether a msg_id came; an empty one is none.
func (s *seen) has(id []byte) bool {
	if len(id) == 0 || s.places == nil {
		return false
	}
	_, ok := s.places[s.hash(id)]
	return ok
}

// add remembers a msg_id that is not there yet.
func (s *seen) add(id []byte, version uint64) {
	if len(id) == 0 {
		return
	}
	if s.places == nil {
		s.seed, s.places = maphash.MakeSeed(), make(map[uint64]int)
	}
	st := stamp{s.hash(id), version}
	if len(s.ring) < mostSeen {
		s.places[st.id] = len(s.ring)
		s.ring = append(s.ring, st)
		return
	}
	delete(s.places, s.ring[s.next].id)
	s.places[st.id], s.ring[s.next] = s.next, st
	s.next = (s.next + 1) % mostSeen
}

// another says whether the version came with a msg_id that is not this one.
func (s *seen) another(version uint64, id []byte) bool {
	if len(id) == 0 || s.places == nil {
		return false
	}
	h := s.hash(id)
	for _, st := range s.ring {
		if st.version == version {
			return st.id != h
		}
	}
	return false
}

// rewind takes the versions from n on from the msg_ids, which stay.
func (s *seen) rewind(n uint64) {
	for i := range s.ring {
		if st := &s.ring[i]; st.version >= n {
			st.version = 0
		}
	}
}
