package session

import "testing"

func TestClassesWasteLittle(t *testing.T) {
	for n := 1; n <= maxField; n++ {
		c := classOf(n)
		if c < 1 || c > lastClass {
			t.Fatalf("%d bytes: class %d", n, c)
		}
		size := classSize(c)
		if size < n || c > 1 && classSize(c-1) >= n {
			t.Fatalf("%d bytes: class %d of %d bytes is not the smallest that fits", n, c, size)
		}
		if waste := size - n; waste >= fineStep && waste > n/8 {
			t.Fatalf("%d bytes: class of %d bytes wastes %d", n, size, waste)
		}
	}
	if got := classSize(lastClass); got != maxField || lastClass >= classCount {
		t.Errorf("last class %d of %d has %d bytes, want %d", lastClass, classCount, got, maxField)
	}
	if got := classOf(maxField + 1); got <= lastClass {
		t.Errorf("one byte too many is class %d", got)
	}
}

// The worst encoding of a session is seven bytes per byte: keys of one byte
// and no value. It must have a place at the highest limit.
func TestLargestLimitFits(t *testing.T) {
	if 7*MaxBytes+6 > maxField {
		t.Errorf("slots end at %d bytes", maxField)
	}
}

func TestEveryClassNumbersSixteenMillion(t *testing.T) {
	var s slab
	s.init()
	for n := 1; n <= lastClass; n++ {
		c := &s.classes[n]
		chunks := uint64(placeMask>>c.shift) + 1
		if got := chunks * uint64(c.perChunk); got < 16<<20 {
			t.Errorf("class of %d bytes has room for %d sessions", c.size, got)
		}
		if waste := chunkBytes - int(c.perChunk*c.size); c.size <= fineTop && waste >= fineTop {
			t.Errorf("class of %d bytes wastes %d of a chunk", c.size, waste)
		}
	}
}

// Chunks that are given back are made again under their old numbers.
func TestChunksComeAndGo(t *testing.T) {
	var s slab
	s.init()
	n := classOf(500)
	c := &s.classes[n]
	for round := range 3 {
		var refs []Ref
		seen := map[Ref]bool{}
		for range 10 * c.perChunk {
			r := s.take(n)
			if r == 0 || seen[r] || s.slot(r)[0] != 0 {
				t.Fatalf("round %d: %#x given out, seen %v, first byte %d", round, r, seen[r], s.slot(r)[0])
			}
			seen[r] = true
			s.slot(r)[0] = fieldTag
			refs = append(refs, r)
		}
		if got, want := s.held, 10*int(c.perChunk*c.size); got != want || len(c.chunks) != 10 {
			t.Fatalf("round %d: %d bytes in %d chunks, want %d in 10", round, got, len(c.chunks), want)
		}
		// Back in an order that leaves holes everywhere.
		for step := range 3 {
			for i := step; i < len(refs); i += 3 {
				clear(s.slot(refs[i]))
				s.give(refs[i])
			}
		}
		if got, want := s.held, int(c.perChunk*c.size); got != want || c.empty != 1 {
			t.Fatalf("round %d: %d bytes, %d empty chunks, want %d, 1", round, got, c.empty, want)
		}
	}
}
