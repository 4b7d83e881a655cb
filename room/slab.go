package room

import (
	"fmt"
	"math/bits"
)

// A ref names a block of one slab; 0 is no block. Class 0 does not exist, which
// keeps 0 free.
//
//	31    27 26                       0
//	+-------+-------------------------+
//	| class | chunk | block in chunk  |
//	+-------+-------------------------+
//
// Where chunk ends and block begins depends on the class, see shift.
type ref uint32

const (
	numberBits = 27
	numberMask = 1<<numberBits - 1

	// chunkBits makes a chunk 8 KiB: small enough that a shard with few rooms
	// holds little, large enough that a million members are less than two thousand pointers.
	chunkBits = 11
	// maxClass is for the directory of a room of all places: leaves hold 32
	// places at least on average (see shed), a directory two words for each.
	maxClass = 20
)

// slab hands out blocks of 2^class words. Its memory follows what is used down
// as well as up.
type slab struct {
	classes [maxClass + 1]class
	held    int // words of all chunks
}

// class is the chunks of one block size. Chunks that have a free block form a list,
// chunk numbers that have no memory at present form another.
type class struct {
	chunks []chunk
	open   uint32 // first chunk with a free block, +1
	bare   uint32 // first chunk number without memory, +1
	empty  uint32 // chunks with memory and no used block
}

// chunk is memory for some blocks; it never moves while one of them is used. The first
// word of a freed block is the number of the next one, +1.
type chunk struct {
	words      []uint32
	next, prev uint32 // in the list it is in, +1
	free       uint16 // first freed block, +1
	fresh      uint16 // blocks from here on were never used
	used       uint16
}

// shift is how many bits of a block's number count blocks within a chunk.
func shift(c uint32) uint32 { return max(c, chunkBits) - c }

// classOf returns the smallest class whose blocks have n words.
func classOf(n int) uint32 { return max(1, uint32(bits.Len(uint(n-1)))) }

func (r ref) class() uint32 { return uint32(r) >> numberBits }

// words returns the block, or nil when the chunk that it was in is gone. Only
// who may hold a ref to what was given back needs to look.
func (s *slab) words(r ref) []uint32 {
	c := r.class()
	number, sh := uint32(r)&numberMask, shift(c)
	mem := s.classes[c].chunks[number>>sh].words
	at := number & (1<<sh - 1) << c
	if mem == nil {
		return nil
	}
	return mem[at : at+1<<c : at+1<<c]
}

// take returns a block of class n. What is in it is left over from earlier.
func (s *slab) take(n uint32) ref {
	c := &s.classes[n]
	if c.open == 0 {
		s.grow(n)
	}
	number := c.open - 1
	k := &c.chunks[number]
	var block uint32
	if k.free != 0 {
		block = uint32(k.free) - 1
		k.free = uint16(k.words[block<<n])
	} else {
		block = uint32(k.fresh)
		k.fresh++
	}
	if k.used == 0 {
		c.empty--
	}
	k.used++
	if uint32(k.used) == 1<<shift(n) {
		c.unlink(number)
	}
	return ref(n<<numberBits | number<<shift(n) | block)
}

// give takes a block back. One chunk per class stays without use, so that
// what comes and goes at the edge of a chunk does not cost a chunk each time.
func (s *slab) give(r ref) {
	n := r.class()
	c := &s.classes[n]
	sh := shift(n)
	number, block := uint32(r)&numberMask>>sh, uint32(r)&(1<<sh-1)
	k := &c.chunks[number]
	k.words[block<<n] = uint32(k.free)
	k.free = uint16(block) + 1
	if uint32(k.used) == 1<<sh {
		c.link(number)
	}
	k.used--
	if k.used > 0 {
		return
	}
	if c.empty++; c.empty > 1 {
		c.unlink(number)
		s.held -= len(k.words)
		*k = chunk{next: c.bare}
		c.bare = number + 1
		c.empty--
	}
}

// resize moves the first keep words of a block into one of class n and gives
// the old one back.
func (s *slab) resize(r ref, n uint32, keep int) ref {
	to := s.take(n)
	copy(s.words(to), s.words(r)[:keep])
	s.give(r)
	return to
}

// grow adds one chunk to a class.
func (s *slab) grow(n uint32) {
	c := &s.classes[n]
	number := c.bare - 1
	if c.bare != 0 {
		c.bare = c.chunks[number].next
	} else {
		number = uint32(len(c.chunks))
		if number > numberMask>>shift(n) {
			panic(fmt.Sprintf("room: no number for another chunk of class %d", n))
		}
		c.chunks = append(c.chunks, chunk{})
	}
	c.chunks[number] = chunk{words: make([]uint32, 1<<max(n, chunkBits))}
	s.held += len(c.chunks[number].words)
	c.empty++
	c.link(number)
}

// link puts a chunk at the head of the list of those with a free block.
func (c *class) link(number uint32) {
	k := &c.chunks[number]
	k.prev, k.next = 0, c.open
	if c.open != 0 {
		c.chunks[c.open-1].prev = number + 1
	}
	c.open = number + 1
}

func (c *class) unlink(number uint32) {
	k := &c.chunks[number]
	if k.prev != 0 {
		c.chunks[k.prev-1].next = k.next
	} else {
		c.open = k.next
	}
	if k.next != 0 {
		c.chunks[k.next-1].prev = k.prev
	}
	k.next, k.prev = 0, 0
}
