package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// A ring is two positions, head and tail, that count bytes and never go back, and its data. An entry is 8-aligned and in one
// piece: length (4), CRC-32C of the body (4), mark (8), body. Where one does not fit before the end of the data, a length of
// 0xffffffff says that it stands at the beginning. Head is moved last, so that a writer which dies leaves no half entry.
const (
	ringHead  = 4096 // head at 0, tail at 8; a page of their own
	entryHead = 16
	skipEntry = 0xffffffff
)

// ErrBadRing is what Each's error wraps, which no crash of the writers brings about.
var ErrBadRing = errors.New("handover: the ring is damaged")

// Ring is a queue of bytes in a Memory, for what has to be sent again when nobody says that it arrived. One thread appends;
// another one may mark and release.
type Ring struct {
	head, tail *atomic.Uint64
	data       []byte
}

// Free returns how many bytes could be appended, as one entry or several, at most.
func (r *Ring) Free() int {
	return max(len(r.data)-int(r.head.Load()-r.tail.Load())-entryHead, 0)
}

// Append adds an entry of the parts, one behind the other, with the mark 0. It returns where the entry begins, for SetMark, and
// where it ends, for Release. It fails when there is no room, or never will be: half of the ring is the most for one entry.
func (r *Ring) Append(parts ...[]byte) (at, end uint64, ok bool) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	size := roundUp(entryHead+n, 8)
	at = r.head.Load()
	room := len(r.data) - int(at-r.tail.Load())
	left := len(r.data) - int(at%uint64(len(r.data)))
	if size > len(r.data)/2 || size > room || size > left && size > room-left {
		return 0, 0, false
	}
	if size > left {
		binary.NativeEndian.PutUint32(r.data[len(r.data)-left:], skipEntry)
		at += uint64(left)
	}
	b := r.data[at%uint64(len(r.data)):][:size]
	sum := uint32(0)
	for at, p := entryHead, parts; len(p) > 0; p = p[1:] {
		at += copy(b[at:], p[0])
		sum = crc32.Update(sum, castagnoli, p[0])
	}
	binary.NativeEndian.PutUint32(b, uint32(n))
	binary.NativeEndian.PutUint32(b[4:], sum)
	word64(b, 8).Store(0)
	end = at + uint64(size)
	r.head.Store(end)
	return at, end, true
}

// SetMark notes a number with the entry that begins at at, which must not have been released.
func (r *Ring) SetMark(at, mark uint64) {
	word64(r.data, int(at%uint64(len(r.data)))+8).Store(mark)
}

// Release frees every entry that ends at or before end.
func (r *Ring) Release(end uint64) {
	if tail := r.tail.Load(); end > r.head.Load() || end < tail {
		panic(fmt.Sprintf("handover: release to %d of a ring from %d to %d", end, tail, r.head.Load()))
	}
	r.tail.Store(end)
}

// Each calls f with every entry, the oldest first; the body is the ring's own. It is for who takes the ring over.
func (r *Ring) Each(f func(at, end, mark uint64, body []byte)) error {
	head, tail := r.head.Load(), r.tail.Load()
	size := uint64(len(r.data))
	if head < tail || head-tail > size || head%8 != 0 || tail%8 != 0 {
		return fmt.Errorf("%w: from %d to %d", ErrBadRing, tail, head)
	}
	for at := tail; at < head; {
		b := r.data[at%size:]
		n := binary.NativeEndian.Uint32(b)
		if n == skipEntry {
			at += uint64(len(b))
			continue
		}
		length := uint64(n)
		if entryHead+length > uint64(len(b)) || entryHead+length > head-at {
			return fmt.Errorf("%w: an entry of %d bytes at %d", ErrBadRing, n, at)
		}
		body := b[entryHead : entryHead+length : entryHead+length]
		if crc32.Checksum(body, castagnoli) != binary.NativeEndian.Uint32(b[4:]) {
			return fmt.Errorf("%w: the entry at %d", ErrBadRing, at)
		}
		end := at + uint64(roundUp(entryHead+int(length), 8))
		f(at, end, word64(b, 8).Load(), body)
		at = end
	}
	return nil
}

// Reset empties the ring: for who could not believe it.
func (r *Ring) Reset() {
	r.tail.Store(0)
	r.head.Store(0)
}
