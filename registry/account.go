package registry

import (
	"bytes"
	"hash/maphash"
	"math"
	"math/bits"
)

// A part keeps its users and devices without a pointer for each: a million links that are logged in are no work for the garbage
// collector, and cost some 60 bytes each.
//
//	byName: hash of user and device > slot in seats       byUser: hash of user > slot of the user's first seat
//	seats:  link, where the names lie in text, the user's next and previous seat
//
// Both tables are open addressing with linear probing; a name that goes lets those behind it move up, so that there are no graves.

// none is no slot.
const none = math.MaxUint32

// seat is one device of a user and its link.
type seat struct {
	place, uniq  uint32
	text         uint32 // where user and device lie
	next, prev   uint32 // slots of the same user; next of a free one: the next free one
	user, device uint16 // lengths
	shard        uint16
	free         bool
}

// Seat is one device of a user and its link.
type Seat struct {
	Device string
	Link
}

// book is the users of one hash; see the top of this file. Its owner is the part of the Directory that holds it.
type book struct {
	seats          []seat
	text           []byte
	byName, byUser []uint32 // slot + 1; 0: free
	firstFree      uint32
	live, users    int
	dead           int // bytes of text that are nobody's
}

// longest is the longest user or device; a session has room for none that is longer.
const longest = math.MaxUint16

func (b *book) init() { b.firstFree = none }

func (b *book) userOf(s *seat) []byte { return b.text[s.text:][:s.user] }

func (b *book) deviceOf(s *seat) []byte { return b.text[s.text+uint32(s.user):][:s.device] }

func (s *seat) link() Link { return Link{Shard: int(s.shard), Place: s.place, Uniq: s.uniq} }

func (s *seat) set(l Link) { s.place, s.uniq, s.shard = l.Place, l.Uniq, uint16(l.Shard) }

// nameHash mixes a device into the hash of its user.
func nameHash(seed maphash.Seed, user uint64, device []byte) uint64 {
	return bits.RotateLeft64(user, 23)*0x9e3779b97f4a7c15 ^ maphash.Bytes(seed, device)
}

// find returns the slot of a user's device, or none.
func (b *book) find(seed maphash.Seed, h uint64, user, device []byte) uint32 {
	if len(b.byName) == 0 {
		return none
	}
	mask := len(b.byName) - 1
	for i := int(nameHash(seed, h, device)>>8) & mask; b.byName[i] != 0; i = (i + 1) & mask {
		s := &b.seats[b.byName[i]-1]
		if bytes.Equal(b.deviceOf(s), device) && bytes.Equal(b.userOf(s), user) {
			return b.byName[i] - 1
		}
	}
	return none
}

// first returns the slot of a user's first seat, or none.
func (b *book) first(h uint64, user []byte) uint32 {
	if len(b.byUser) == 0 {
		return none
	}
	mask := len(b.byUser) - 1
	for i := int(h>>8) & mask; b.byUser[i] != 0; i = (i + 1) & mask {
		if bytes.Equal(b.userOf(&b.seats[b.byUser[i]-1]), user) {
			return b.byUser[i] - 1
		}
	}
	return none
}

// add takes in a device that is not there.
func (b *book) add(seed maphash.Seed, h uint64, user, device []byte, l Link) {
	if len(user) > longest || len(device) > longest {
		panic("registry: a name of more than 65,535 bytes")
	}
	if (b.live+1)*4 > len(b.byName)*3 || b.dead > 1024 && b.dead > len(b.text)/2 {
		b.rebuild(seed, b.live+1)
	}
	slot := b.take()
	s := &b.seats[slot]
	*s = seat{text: uint32(len(b.text)), next: none, prev: none, user: uint16(len(user)), device: uint16(len(device))}
	s.set(l)
	b.text = append(append(roomFor(b.text, len(user)+len(device)), user...), device...)
	b.live++
	b.index(seed, h, slot)
}

// roomFor grows by a quarter at least: append would double.
func roomFor(text []byte, n int) []byte {
	if len(text)+n <= cap(text) {
		return text
	}
	grown := make([]byte, len(text), len(text)+len(text)/4+n+64)
	copy(grown, text)
	return grown
}

func (b *book) take() uint32 {
	if slot := b.firstFree; slot != none {
		b.firstFree = b.seats[slot].next
		return slot
	}
	if len(b.seats) == cap(b.seats) {
		grown := make([]seat, len(b.seats), len(b.seats)+len(b.seats)/4+4)
		copy(grown, b.seats)
		b.seats = grown
	}
	b.seats = append(b.seats, seat{})
	return uint32(len(b.seats) - 1)
}

// index enters a seat into both tables, and as the first of its user.
func (b *book) index(seed maphash.Seed, h uint64, slot uint32) {
	s := &b.seats[slot]
	mask := len(b.byName) - 1
	i := int(nameHash(seed, h, b.deviceOf(s))>>8) & mask
	for b.byName[i] != 0 {
		i = (i + 1) & mask
	}
	b.byName[i] = slot + 1
	for i = int(h>>8) & mask; b.byUser[i] != 0; i = (i + 1) & mask {
		if head := b.byUser[i] - 1; bytes.Equal(b.userOf(&b.seats[head]), b.userOf(s)) {
			s.next, b.seats[head].prev = head, slot
			b.byUser[i] = slot + 1
			return
		}
	}
	b.users++
	b.byUser[i] = slot + 1
}

// remove takes a seat out.
func (b *book) remove(seed maphash.Seed, h uint64, slot uint32) {
	s := &b.seats[slot]
	unlist(b.byName, slot, slot, int(nameHash(seed, h, b.deviceOf(s))>>8), func(other uint32) int {
		o := &b.seats[other]
		return int(nameHash(seed, maphash.Bytes(seed, b.userOf(o)), b.deviceOf(o)) >> 8)
	})
	if s.prev != none {
		b.seats[s.prev].next = s.next
	} else {
		unlist(b.byUser, slot, s.next, int(h>>8), func(other uint32) int { return int(maphash.Bytes(seed, b.userOf(&b.seats[other])) >> 8) })
	}
	if s.next != none {
		b.seats[s.next].prev = s.prev
	} else if s.prev == none {
		b.users--
	}
	b.dead += int(s.user) + int(s.device)
	*s = seat{next: b.firstFree, free: true}
	b.firstFree = slot
	b.live--
	if len(b.seats) > 64 && b.live < len(b.seats)/4 {
		b.rebuild(seed, b.live)
	}
}

// unlist puts another slot in the place of one in a table; the same or none: takes it out. Entries behind it move up where their
// hash lets them.
func unlist(table []uint32, slot, by uint32, hash int, hashOf func(slot uint32) int) {
	mask := len(table) - 1
	i := hash & mask
	for table[i] != slot+1 {
		i = (i + 1) & mask
	}
	if by != slot && by != none {
		table[i] = by + 1
		return
	}
	for j := (i + 1) & mask; table[j] != 0; j = (j + 1) & mask {
		if home := hashOf(table[j]-1) & mask; (j-home)&mask >= (j-i)&mask {
			table[i] = table[j]
			i = j
		}
	}
	table[i] = 0
}

// rebuild makes all anew with room for n seats.
func (b *book) rebuild(seed maphash.Seed, n int) {
	slots := 4
	for n*4 > slots*3 {
		slots *= 2
	}
	old := *b
	*b = book{
		seats: make([]seat, 0, n+n/4+2), text: make([]byte, 0, len(old.text)-old.dead),
		byName: make([]uint32, slots), byUser: make([]uint32, slots), firstFree: none,
	}
	for i := range old.seats {
		s := &old.seats[i]
		if s.free {
			continue
		}
		user, device := old.userOf(s), old.deviceOf(s)
		slot := b.take()
		b.seats[slot] = *s
		b.seats[slot].text, b.seats[slot].next, b.seats[slot].prev = uint32(len(b.text)), none, none
		b.text = append(append(b.text, user...), device...)
		b.live++
		b.index(seed, maphash.Bytes(seed, user), slot)
	}
}
