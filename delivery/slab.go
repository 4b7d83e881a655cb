package delivery

import (
	"math/bits"
	"reflect"
)

// slab hands out arrays of T, cut from chunks, so that a million of them are some thousand pointers
// to the garbage collector; T holds none. Its memory follows the use down as well as up: what a
// crowd needed while it did not acknowledge must not be paid for until the next restart.
//
// An array is known by its class, which is its size, and its slot. Memory is handed out as it was
// left: whoever takes an array writes it before he reads it.
type slab[T any] struct {
	step    int // static: arrays are multiples of it long
	classes [classCount]class[T]
	held    int // elements of all chunks
}

const (
	classCount = 64
	chunkBytes = 32 << 10
)

// class is the chunks of one size. Chunks that have a free slot form a list, chunk numbers that
// have no memory at present form another.
type class[T any] struct {
	// Static after the first use.
	size  int   // elements of a slot; 0: not used yet
	shift uint8 // bits of a slot's number that number it within its chunk

	chunks []chunk[T]
	open   uint32 // first chunk with a free slot, +1
	bare   uint32 // first chunk number without memory, +1
	empty  uint32 // chunks with memory and no used slot
}

// chunk is memory for 1<<shift slots. It never moves while a slot is used.
type chunk[T any] struct {
	mem        []T
	free       []uint16 // freed slots; its capacity is that of the chunk
	next, prev uint32   // in the list it is in, +1
	fresh      uint16   // slots from here on were never used: their pages are not touched
	used       uint16
}

// classOf returns the smallest class for n elements, which are 1 at least: four sizes of one step
// each, then four to a doubling.
func (s *slab[T]) classOf(n int) uint8 {
	u := (n + s.step - 1) / s.step
	if u <= 4 {
		return uint8(u)
	}
	top := bits.Len(uint(u - 1)) // 2^(top-1) < u <= 2^top
	low := 1 << (top - 1)
	return uint8(5 + (top-3)*4 + (u-1-low)/(low/4))
}

func (s *slab[T]) sizeOf(c uint8) int {
	if c <= 4 {
		return int(c) * s.step
	}
	c -= 5
	low := 4 << (c / 4)
	return (low + (int(c%4)+1)*(low/4)) * s.step
}

// at returns the whole array.
func (s *slab[T]) at(class uint8, slot uint32) []T {
	c := &s.classes[class]
	at := int(slot&(1<<c.shift-1)) * c.size
	return c.chunks[slot>>c.shift].mem[at : at+c.size : at+c.size]
}

// take returns the slot of an array that nobody uses.
func (s *slab[T]) take(class uint8) uint32 {
	c := &s.classes[class]
	if c.open == 0 {
		s.grow(class)
	}
	number := c.open - 1
	k := &c.chunks[number]
	slot := uint32(k.fresh)
	if last := len(k.free) - 1; last >= 0 {
		slot = uint32(k.free[last])
		k.free = k.free[:last]
	} else {
		k.fresh++
	}
	if k.used == 0 {
		c.empty--
	}
	k.used++
	if k.used == 1<<c.shift {
		c.unlink(number)
	}
	return number<<c.shift | slot
}

// give takes an array back. One chunk of each class stays without use, so that an array that comes
// and goes at the edge of a chunk does not cost a chunk each time. What lay in the array can be
// read until the next take.
func (s *slab[T]) give(class uint8, slot uint32) {
	c := &s.classes[class]
	number := slot >> c.shift
	k := &c.chunks[number]
	k.free = append(k.free, uint16(slot&(1<<c.shift-1)))
	if k.used == 1<<c.shift {
		c.link(number)
	}
	k.used--
	if k.used > 0 {
		return
	}
	if c.empty++; c.empty > 1 {
		c.unlink(number)
		s.held -= len(k.mem)
		*k = chunk[T]{next: c.bare}
		c.bare = number + 1
		c.empty--
	}
}

// grow adds one chunk to a class.
func (s *slab[T]) grow(class uint8) {
	c := &s.classes[class]
	if c.size == 0 {
		c.size = s.sizeOf(class)
		fits := chunkBytes / (c.size * int(reflect.TypeFor[T]().Size()))
		c.shift = uint8(bits.Len(uint(max(fits, 1))) - 1)
	}
	number := c.bare - 1
	if c.bare != 0 {
		c.bare = c.chunks[number].next
	} else {
		number = uint32(len(c.chunks))
		c.chunks = append(c.chunks, chunk[T]{})
	}
	c.chunks[number] = chunk[T]{mem: make([]T, c.size<<c.shift), free: make([]uint16, 0, 1<<c.shift)}
	s.held += c.size << c.shift
	c.empty++
	c.link(number)
}

// link puts a chunk at the head of the list of those with a free slot.
func (c *class[T]) link(number uint32) {
	k := &c.chunks[number]
	k.prev, k.next = 0, c.open
	if c.open != 0 {
		c.chunks[c.open-1].prev = number + 1
	}
	c.open = number + 1
}

func (c *class[T]) unlink(number uint32) {
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

// list is a growing array in a slab: the elements [head, tail) of it.
type list struct {
	slot, head, tail uint32
	class            uint8 // 0: it has no memory
}

func (l *list) len() int { return int(l.tail - l.head) }

// items returns the elements, to be used before the list's next change.
func (s *slab[T]) items(l *list) []T {
	if l.class == 0 {
		return nil
	}
	return s.at(l.class, l.slot)[l.head:l.tail]
}

// full says that there is no place behind the last element.
func (s *slab[T]) full(l *list) bool {
	return l.class == 0 || int(l.tail) == s.classes[l.class].size
}

// extend makes place behind the last element: a quarter of the array at least, gained from its
// front or from a larger array, so that an element is moved a few times at most while it is in the
// list.
func (s *slab[T]) extend(l *list) {
	n := l.len()
	if l.class != 0 {
		if all := s.at(l.class, l.slot); n <= len(all)-max(1, len(all)/4) {
			copy(all, all[l.head:l.tail])
			l.head, l.tail = 0, uint32(n)
			return
		}
	}
	next := list{class: s.classOf(n + 1), tail: uint32(n)}
	next.slot = s.take(next.class)
	if l.class != 0 {
		copy(s.at(next.class, next.slot), s.items(l))
		s.give(l.class, l.slot)
	}
	*l = next
}

// drop gives the list's memory back.
func (s *slab[T]) drop(l *list) {
	if l.class != 0 {
		s.give(l.class, l.slot)
	}
	*l = list{}
}

// takeBytes returns an array for n bytes, which are 1 at least, by its slot and itself.
func takeBytes(s *slab[byte], n int) (slot uint32, b []byte) {
	class := s.classOf(n)
	slot = s.take(class)
	return slot, s.at(class, slot)
}

// bytesAt returns the n bytes that lie in a slot; nil if n is 0.
func bytesAt(s *slab[byte], slot uint32, n int) []byte {
	if n == 0 {
		return nil
	}
	return s.at(s.classOf(n), slot)[:n:n]
}

func giveBytes(s *slab[byte], slot uint32, n int) {
	if n > 0 {
		s.give(s.classOf(n), slot)
	}
}
