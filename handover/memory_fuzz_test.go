package handover

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"
)

var fuzzGeometry = Geometry{Shards: 1, Records: 4, Blocks: 8, Rings: 1, RingBytes: memoryPage}

// writtenMemory has something of everything.
func writtenMemory(t testing.TB) *Memory {
	t.Helper()
	m, err := NewMemory(fuzzGeometry)
	if err != nil {
		t.Fatal(err)
	}
	r, ring := m.Records(0), m.Ring(0, 0)
	for i, n := range []int{0, 100, 3 * BlockBytes} {
		r.PutAll(i, bytes.Repeat([]byte{1}, 40*i), bytes.Repeat([]byte{2}, n))
	}
	ring.Append(make([]byte, 1800))
	_, end, _ := ring.Append(make([]byte, 1000))
	ring.SetMark(0, 7)
	r.Commit()
	ring.PutNote([]byte("a note"))
	r.Put(0, []byte("b"))
	ring.Release(end)
	ring.Append(make([]byte, 1200)) // goes round
	r.Commit()
	ring.PutNote([]byte("the next one"))
	r.PutAll(0, []byte("c"), []byte("d"))
	ring.Append([]byte("not committed"))
	return m
}

// believe gives everything the checksum that it should have, so that what checksums keep from the readers gets to them.
func believe(m *Memory) {
	r, ring := m.Records(0), m.Ring(0, 0)
	for i := range r.Len() {
		a, z := r.both(i)
		for _, h := range []half{a, z} {
			binary.NativeEndian.PutUint32(h[8:], h.sum(h.turn()))
		}
	}
	size := uint64(len(ring.data))
	for at, n := ring.tail.Load(), 0; at < ring.head.Load() && n < 100; n++ {
		b := ring.data[at%size&^7:]
		length := uint64(binary.NativeEndian.Uint32(b))
		if length == skipEntry || entryHead+length > uint64(len(b)) {
			at += uint64(len(b))
			continue
		}
		turn := binary.NativeEndian.Uint64(b[16:])
		binary.NativeEndian.PutUint32(b[4:], crc32.Update(fold(turn), castagnoli, b[entryHead:entryHead+length]))
		at += uint64(roundUp(entryHead+int(length), 8))
	}
	for _, b := range [][]byte{ring.notes[:noteBytes], ring.notes[noteBytes:]} {
		n := min(binary.NativeEndian.Uint32(b[12:]), NoteBytes)
		sum := crc32.Update(fold(binary.NativeEndian.Uint64(b)), castagnoli, b[12:noteHead+n])
		binary.NativeEndian.PutUint32(b[8:], sum)
	}
}

// Whatever stands in a memory, who reads it comes to an end, and gets what can have been there.
func FuzzMemory(f *testing.F) {
	image := bytes.Clone(writtenMemory(f).mem)
	patch := func(at int, b ...byte) []byte {
		return append(append(binary.LittleEndian.AppendUint16(nil, uint16(at-memoryPage)), byte(len(b))), b...)
	}
	const ring = 4 * memoryPage
	f.Add([]byte{}, true)
	f.Add(patch(memoryPage+markCommitted, 1), false)
	f.Add(patch(memoryPage+markBlocks, 0xff, 0xff, 0xff, 0xff), true)
	f.Add(patch(2*memoryPage+2*recordBytes+12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 99), true)
	f.Add(patch(3*memoryPage, 1), true) // a chain that ends nowhere
	f.Add(slices.Concat(                // positions that would wrap around, and then nothing but going on
		patch(ring, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), patch(ring+ringTail, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		patch(ring+ringHead, 0xff, 0xff, 0xff, 0xff), patch(ring+ringHead+4080, 0xff, 0xff, 0xff, 0xff)), true)
	f.Add(append(patch(ring+ringHead, 0xff, 0xff, 0xff, 0xff), patch(ring+ringTail, 0)...), true)
	f.Add(patch(ring+ringNotes+12, 0xff, 0xff), true)
	f.Fuzz(func(t *testing.T, patches []byte, sums bool) {
		m, err := NewMemory(fuzzGeometry)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.Close() }()
		copy(m.mem, image)
		for len(patches) >= 3 {
			at := memoryPage + int(binary.LittleEndian.Uint16(patches))%(len(m.mem)-memoryPage)
			n := min(int(patches[2]), len(patches)-3)
			copy(m.mem[at:], patches[3:3+n])
			patches = patches[3+n:]
		}
		if sums {
			believe(m)
		}
		m.ours = false
		readAll(t, m)
	})
}

// readAll is what a successor does with a memory.
func readAll(t *testing.T, m *Memory) {
	r, ring := m.Records(0), m.Ring(0, 0)
	if r.Used() > r.Len() {
		t.Errorf("%d of %d records", r.Used(), r.Len())
	}
	for i := range r.Len() {
		hot, cold, err := r.Get(i, []byte("h"), []byte("c"))
		if err != nil && (!errors.Is(err, ErrNoRecord) && !errors.Is(err, ErrBadRecord) || string(hot)+string(cold) != "hc") {
			t.Errorf("%q %q %v", hot, cold, err)
		}
		if len(hot) > 1+HotBytes || len(cold) > 1+fuzzGeometry.Blocks*BlockBytes {
			t.Errorf("%d hot bytes and %d cold ones", len(hot), len(cold))
		}
	}
	size, last := 0, uint64(0)
	if err := ring.Each(func(at, end, _ uint64, body []byte) {
		if at < last || end < at+uint64(len(body)) {
			t.Errorf("an entry of %d bytes from %d to %d", len(body), at, end)
		}
		last = end
		size += entryHead + len(body)
	}); err != nil && !errors.Is(err, ErrBadRing) {
		t.Error(err)
	}
	if size > fuzzGeometry.RingBytes || len(ring.Note()) > NoteBytes {
		t.Errorf("%d bytes of entries, %d of a note", size, len(ring.Note()))
	}
	m.Retired()
}
