package session

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Ref names a session of one Store; 0 is no session.
//
//	31      25 24                     0
//	+---------+-----------------------+
//	| class   | chunk | slot in chunk |
//	+---------+-----------------------+
//
// Where chunk ends and slot begins depends on the class (class.shift), so that
// a look-up needs no division. A chunk that does not fill its power of two wastes
// at most half of the numbers, hence 25 bits for 16 million sessions of one
// size. Class 0 does not exist, which keeps Ref 0 free.
type Ref uint32

const (
	placeBits  = 25
	placeMask  = 1<<placeBits - 1
	classCount = 1 << (32 - placeBits)
	lastClass  = fineTop/fineStep + 11*8

	fineStep   = 16
	fineTop    = 512
	chunkBytes = 64 << 10

	// maxField is the slot size of the last class.
	maxField = fineTop << 11
)

// classOf returns the smallest class whose slots hold n bytes: steps of 16
// bytes up to 512, then eight steps per doubling. A slot beyond 512 bytes is
// never more than an eighth larger than what lies in it.
func classOf(n int) int {
	if n <= fineTop {
		return (n + fineStep - 1) / fineStep
	}
	top := bits.Len(uint(n - 1)) // 2^(top-1) < n <= 2^top
	low := 1 << (top - 1)
	return fineTop/fineStep + 1 + (top-10)*8 + (n-1-low)/(low/8)
}

func classSize(c int) int {
	if c <= fineTop/fineStep {
		return c * fineStep
	}
	c -= fineTop/fineStep + 1
	low := fineTop << (c / 8)
	return low + (c%8+1)*(low/8)
}

// slab hands out slots. Its memory follows the number of sessions down as well
// as up: a crowd whose sessions all moved on to a larger class, or left, must
// not be paid for until the next restart.
type slab struct {
	classes [classCount]class
	held    int // bytes of all chunks
}

// class is the chunks of one slot size. Chunks that have a free slot form a
// list, chunk numbers that have no memory at present form another.
type class struct {
	// Static after construction.
	size     uint32 // bytes of a slot
	perChunk uint32 // slots
	shift    uint8  // bits of a place that number the slot
	mask     uint32 // 1<<shift - 1

	chunks []chunk
	open   uint32 // first chunk with a free slot, +1
	bare   uint32 // first chunk number without memory, +1
	empty  uint32 // chunks with memory and no used slot
}

// chunk is memory for perChunk slots. It never moves while a slot is used.
// A free slot begins with a zero byte, where a used one has fieldTag, and the
// number of the next free slot.
type chunk struct {
	mem        []byte
	next, prev uint32 // in the list it is in, +1
	free       uint16 // first freed slot, +1
	fresh      uint16 // slots from here on were never used: their pages are not touched
	used       uint16
}

func (s *slab) init() {
	for n := 1; n <= lastClass; n++ {
		c := &s.classes[n]
		c.size = uint32(classSize(n))
		c.perChunk = max(1, chunkBytes/c.size)
		c.shift = uint8(bits.Len32(c.perChunk - 1))
		c.mask = 1<<c.shift - 1
	}
}

// slot returns all bytes of a slot.
func (s *slab) slot(r Ref) []byte {
	c := &s.classes[r>>placeBits]
	place := uint32(r) & placeMask
	at := (place & c.mask) * c.size
	return c.chunks[place>>c.shift].mem[at : at+c.size : at+c.size]
}

// take returns a slot of class n, all bytes zero but for the free list's.
func (s *slab) take(n int) Ref {
	c := &s.classes[n]
	if c.open == 0 {
		s.grow(c)
	}
	number := c.open - 1
	k := &c.chunks[number]
	var slot uint32
	if k.free != 0 {
		slot = uint32(k.free) - 1
		k.free = binary.LittleEndian.Uint16(k.mem[slot*c.size+1:])
	} else {
		slot = uint32(k.fresh)
		k.fresh++
	}
	if k.used == 0 {
		c.empty--
	}
	k.used++
	if uint32(k.used) == c.perChunk {
		c.unlink(number)
	}
	return Ref(uint32(n)<<placeBits | number<<c.shift | slot)
}

// give takes a slot back, whose bytes the caller has cleared. One chunk
// per class stays without use, so that a session that comes and goes at the edge of
// a chunk does not cost a chunk each time.
func (s *slab) give(r Ref) {
	c := &s.classes[r>>placeBits]
	place := uint32(r) & placeMask
	number, slot := place>>c.shift, place&c.mask
	k := &c.chunks[number]
	binary.LittleEndian.PutUint16(k.mem[slot*c.size+1:], k.free)
	k.free = uint16(slot) + 1
	if uint32(k.used) == c.perChunk {
		c.link(number)
	}
	k.used--
	if k.used > 0 {
		return
	}
	if c.empty++; c.empty > 1 {
		c.unlink(number)
		s.held -= len(k.mem)
		*k = chunk{next: c.bare}
		c.bare = number + 1
		c.empty--
	}
}

// grow adds one chunk to c.
func (s *slab) grow(c *class) {
	number := c.bare - 1
	if c.bare != 0 {
		c.bare = c.chunks[number].next
	} else {
		number = uint32(len(c.chunks))
		if number > placeMask>>c.shift {
			panic(fmt.Sprintf("session: no place for more than %d sessions of %d bytes", number*c.perChunk, c.size))
		}
		c.chunks = append(c.chunks, chunk{})
	}
	c.chunks[number] = chunk{mem: make([]byte, c.perChunk*c.size)}
	s.held += int(c.perChunk * c.size)
	c.empty++
	c.link(number)
}

// link puts a chunk at the head of the list of those with a free slot.
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
