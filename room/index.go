package room

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

const wordBytes = 4

// The words of a room. Its name follows, four bytes a word, the last one filled up with zeros.
const (
	roomHash    = iota
	roomNext    // ref of the next room in the same bucket
	roomUniq    // never 0 while the room is; tells rooms in one block apart
	roomMembers // of all leaves
	roomLeaves
	roomSet     // one leaf: its ref; more: that of the directory
	roomNameLen // bytes
	roomName
)

// index is the buckets of a linear hash table: it grows and shrinks by one
// bucket at a time, so that no single Join pays for a million rooms. Bucket b comes
// out of the bucket whose number is b without its top bit, and goes back into it.
type index struct {
	segments [][]uint32 // of segmentLen buckets: ref of the first room
	buckets  uint32
}

const (
	segmentBits = 10
	segmentLen  = 1 << segmentBits
)

func (x *index) held() int { return len(x.segments) * segmentLen }

func (x *index) at(bucket uint32) *uint32 {
	return &x.segments[bucket>>segmentBits][bucket%segmentLen]
}

// bucket returns the number of the bucket for a hash; there must be one.
func (x *index) bucket(hash uint32) uint32 {
	top := bits.Len32(x.buckets - 1)
	b := hash & (1<<top - 1)
	if b >= x.buckets {
		b &= 1<<(top-1) - 1
	}
	return b
}

func (t *Table) hash(name []byte) uint32 { return uint32(maphash.Bytes(t.seed, name)) }

// find returns the room of that name, or 0.
func (t *Table) find(hash uint32, name []byte) ref {
	if t.count == 0 {
		return 0
	}
	for r := ref(*t.index.at(t.index.bucket(hash))); r != 0; {
		w := t.rooms.words(r)
		if w[roomHash] == hash && named(w, name) {
			return r
		}
		r = ref(w[roomNext])
	}
	return 0
}

// create makes a room without members: the caller must put one in.
func (t *Table) create(hash uint32, name []byte) ref {
	r := t.rooms.take(classOf(roomName + (len(name)+wordBytes-1)/wordBytes))
	w := t.rooms.words(r)
	if t.uniq++; t.uniq == 0 {
		t.uniq++
	}
	leaf := t.blocks.take(1)
	t.blocks.words(leaf)[0] = 0
	w[roomHash], w[roomUniq], w[roomMembers] = hash, t.uniq, 0
	w[roomLeaves], w[roomSet] = 1, uint32(leaf)
	setName(w, name)
	t.count++
	if uint32(t.count) > t.index.buckets {
		t.split()
	}
	head := t.index.at(t.index.bucket(hash))
	w[roomNext] = *head
	*head = uint32(r)
	return r
}

// destroy ends a room without members.
func (t *Table) destroy(r ref) {
	w := t.rooms.words(r)
	at := t.index.at(t.index.bucket(w[roomHash]))
	for *at != uint32(r) {
		at = &t.rooms.words(ref(*at))[roomNext]
	}
	*at = w[roomNext]
	w[roomUniq] = 0
	t.blocks.give(ref(w[roomSet]))
	t.rooms.give(r)
	t.count--
	for range 2 {
		if t.index.buckets > 2*uint32(t.count) {
			t.merge()
		}
	}
}

// split adds one bucket and moves what belongs there from its parent.
func (t *Table) split() {
	x := &t.index
	b := x.buckets
	if int(b>>segmentBits) == len(x.segments) {
		x.segments = append(x.segments, make([]uint32, segmentLen))
	}
	x.buckets++
	*x.at(b) = 0
	if b == 0 {
		return
	}
	at, to := x.at(parent(b)), x.at(b)
	for *at != 0 {
		r := *at
		w := t.rooms.words(ref(r))
		if x.bucket(w[roomHash]) != b {
			at = &w[roomNext]
			continue
		}
		*at = w[roomNext]
		w[roomNext] = *to
		*to = r
	}
}

// merge puts the last bucket back into its parent.
func (t *Table) merge() {
	x := &t.index
	b := x.buckets - 1
	if b > 0 {
		at := x.at(parent(b))
		for *at != 0 {
			at = &t.rooms.words(ref(*at))[roomNext]
		}
		*at = *x.at(b)
	}
	x.buckets--
	// One segment stays without use, for rooms that come and go at its edge.
	if used := int(x.buckets+segmentLen-1) >> segmentBits; len(x.segments) > used+1 {
		x.segments[used+1] = nil
		x.segments = x.segments[:used+1]
	}
}

func parent(bucket uint32) uint32 { return bucket &^ (1 << (bits.Len32(bucket) - 1)) }

func setName(w []uint32, name []byte) {
	w[roomNameLen] = uint32(len(name))
	for i := roomName; len(name) > 0; i++ {
		var b [wordBytes]byte
		name = name[copy(b[:], name):]
		w[i] = binary.LittleEndian.Uint32(b[:])
	}
}

// named reports whether a room has that name.
func named(w []uint32, name []byte) bool {
	if w[roomNameLen] != uint32(len(name)) {
		return false
	}
	i := roomName
	for ; len(name) >= wordBytes; i++ {
		if w[i] != binary.LittleEndian.Uint32(name) {
			return false
		}
		name = name[wordBytes:]
	}
	for j, c := range name {
		if byte(w[i]>>(8*j)) != c {
			return false
		}
	}
	return true
}

func appendName(dst []byte, w []uint32) []byte {
	end := len(dst) + int(w[roomNameLen])
	for i := roomName; len(dst) < end; i++ {
		dst = binary.LittleEndian.AppendUint32(dst, w[i])
	}
	return dst[:end]
}
