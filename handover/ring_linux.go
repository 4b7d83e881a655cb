package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// A ring is two positions, head and tail, that count bytes and never go back, two notes, and its data. An entry is 8-aligned and
// in one piece: length (4), CRC-32C of the body, begun with the turn (4), mark (8), turn in which it was appended (8), body. Where
// one does not fit before the end of the data, a length of 0xffffffff says that it stands at the beginning. Head is moved last, so
// that a writer which dies leaves no half entry.
//
// A note is number (8), CRC-32C of the rest, begun with the number (4), length (4), body. The next one is written in the place of
// the older one, and its number last.
const (
	ringHead  = 4096 // a page of their own: head, and in another line of the cache tail, both notes
	ringTail  = 64
	ringNotes = 128
	noteBytes = (ringHead - ringNotes) / 2
	noteHead  = 16
	entryHead = 24
	skipEntry = 0xffffffff
	mostHead  = 1 << 62

	// NoteBytes is the most that a ring's note has.
	NoteBytes = noteBytes - noteHead
)

// ErrBadRing is what Each's error wraps, which no crash of the writers brings about.
var ErrBadRing = errors.New("handover: the ring is damaged")

// Ring is a queue of bytes in a Memory, for what has to be sent again when nobody says that it arrived. The shard's thread
// appends, as part of its turn (Records.Commit); another one may mark, release and note, which no turn keeps back.
type Ring struct {
	head, tail *atomic.Uint64
	committed  *atomic.Uint64 // turn of the shard
	notes      []byte
	data       []byte
}

// Free returns how many bytes could be appended, as one entry or several, at most.
func (r *Ring) Free() int {
	return max(len(r.data)-int(r.head.Load()-r.tail.Load())-entryHead, 0)
}

// Append adds an entry of the parts, one behind the other, with the mark 0, to the open turn. It returns where the entry begins, for SetMark, and
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
	turn := r.committed.Load() + 1
	sum := fold(turn)
	for at, p := entryHead, parts; len(p) > 0; p = p[1:] {
		at += copy(b[at:], p[0])
		sum = crc32.Update(sum, castagnoli, p[0])
	}
	binary.NativeEndian.PutUint32(b, uint32(n))
	binary.NativeEndian.PutUint32(b[4:], sum)
	word64(b, 8).Store(0)
	binary.NativeEndian.PutUint64(b[16:], turn)
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

// Each calls f with every entry of the committed turns, the oldest first; the body is the ring's own. It is for who takes the
// ring over.
func (r *Ring) Each(f func(at, end, mark uint64, body []byte)) error {
	head, tail, committed := r.head.Load(), r.tail.Load(), r.committed.Load()
	size := uint64(len(r.data))
	if head < tail || head > mostHead || head-tail > size || head%8 != 0 || tail%8 != 0 {
		return fmt.Errorf("%w: from %d to %d", ErrBadRing, tail, head)
	}
	for at := tail; at < head; {
		b := r.data[at%size:]
		if binary.NativeEndian.Uint32(b) == skipEntry {
			at += uint64(len(b))
			continue
		}
		turn, body, err := parseRingEntry(b[:min(uint64(len(b)), head-at)])
		if err != nil {
			return fmt.Errorf("%w: %w at %d", ErrBadRing, err, at)
		}
		if turn > committed {
			return nil
		}
		end := at + uint64(roundUp(entryHead+len(body), 8))
		f(at, end, word64(b, 8).Load(), body)
		at = end
	}
	return nil
}

// parseRingEntry returns the entry with which b begins.
func parseRingEntry(b []byte) (turn uint64, body []byte, err error) {
	if len(b) < entryHead {
		return 0, nil, fmt.Errorf("%d bytes", len(b))
	}
	n := int64(binary.NativeEndian.Uint32(b))
	if n > int64(len(b)-entryHead) {
		return 0, nil, fmt.Errorf("an entry of %d bytes", n)
	}
	body = b[entryHead : entryHead+n : entryHead+n]
	turn = binary.NativeEndian.Uint64(b[16:])
	if crc32.Update(fold(turn), castagnoli, body) != binary.NativeEndian.Uint32(b[4:]) {
		return 0, nil, errors.New("another checksum")
	}
	return turn, body, nil
}

// fold is what a checksum begins with that is to differ for each number.
func fold(number uint64) uint32 { return uint32(number) ^ uint32(number>>32) }

// PutNote replaces the ring's note, at most NoteBytes. One thread does it, any one; the note is valid at once.
func (r *Ring) PutNote(b []byte) {
	if len(b) > NoteBytes {
		panic(fmt.Sprintf("handover: a note of %d bytes", len(b)))
	}
	last, next := r.twoNotes()
	number := binary.NativeEndian.Uint64(last) + 1
	binary.NativeEndian.PutUint32(next[12:], uint32(len(b)))
	copy(next[noteHead:], b)
	binary.NativeEndian.PutUint32(next[8:], crc32.Update(fold(number), castagnoli, next[12:noteHead+len(b)]))
	word64(next, 0).Store(number)
}

// Note returns a copy of the last note; nil: none was put, or it cannot be believed, which no crash of the writer brings about.
func (r *Ring) Note() []byte {
	last, _ := r.twoNotes()
	number, n := binary.NativeEndian.Uint64(last), binary.NativeEndian.Uint32(last[12:])
	if number == 0 || n > NoteBytes || crc32.Update(fold(number), castagnoli, last[12:noteHead+n]) != binary.NativeEndian.Uint32(last[8:]) {
		return nil
	}
	return append([]byte{}, last[noteHead:noteHead+n]...)
}

// twoNotes returns the last note and the place of the next one.
func (r *Ring) twoNotes() (last, next []byte) {
	a, z := r.notes[:noteBytes], r.notes[noteBytes:]
	if binary.NativeEndian.Uint64(a) > binary.NativeEndian.Uint64(z) {
		return a, z
	}
	return z, a
}
