package room_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"testing"

	"edged/room"
)

// crowd returns a table with one room of so many members, at every stride-th place.
func crowd(t testing.TB, members, stride uint32) *room.Table {
	t.Helper()
	r := room.New(room.Default())
	for _, i := range rand.Perm(int(members)) {
		mustJoin(t, r, "live", uint32(i)*stride)
	}
	return r
}

func TestNothingAllocates(t *testing.T) {
	r := crowd(t, 10_000, 2)
	live, small, name := []byte("live"), []byte("small"), make([]byte, 8)
	mustJoin(t, r, "small", 2, 4)
	met := 0
	count := func(uint32) { met++ }
	lone := room.New(room.Default())
	c := r.Walk(live, 0)
	state := make([]byte, 0, 100_000)
	place := uint32(0)

	tests := []struct {
		name string
		call func()
	}{
		{"Join and Leave", func() {
			place = (place + 7919) % 20_000
			_, _ = r.Join(live, place|1)
			r.Leave(live, place|1)
		}},
		{"Join and Leave of a new room by a new link", func() {
			_, _ = r.Join(name, 1_000_001)
			r.Leave(name, 1_000_001)
			binary.LittleEndian.PutUint64(name, binary.LittleEndian.Uint64(name)+1)
		}},
		{"the only room comes and goes", func() {
			_, _ = lone.Join(live, 1)
			lone.Leave(live, 1)
		}},
		{"Join of three rooms and Drop", func() {
			_, _ = r.Join(live, 9)
			_, _ = r.Join(small, 9)
			_, _ = r.Join(name, 9)
			r.Drop(9)
		}},
		{"Members", func() { met += r.Members(live) }},
		{"Walk and Each", func() {
			if !r.Each(&c, 500, count) {
				c = r.Walk(live, 0)
			}
		}},
		{"AppendState", func() { state = r.AppendState(state[:0]) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1000, tt.call); n != 0 {
				t.Errorf("%v allocations a run, want none", n)
			}
		})
	}
}

// scannable returns how much of the heap the garbage collector would look
// through for pointers.
func scannable() uint64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestCollectorScansNextToNothing(t *testing.T) {
	before := scannable()
	r := crowd(t, 300_000, 1)
	name := make([]byte, 8)
	for i := range uint32(300_000) {
		binary.LittleEndian.PutUint32(name, i/3)
		if _, err := r.Join(name, i); err != nil {
			t.Fatal(err)
		}
	}
	if after := scannable(); after > before+512<<10 {
		t.Errorf("600,000 memberships add %d bytes to what is scanned", after-before)
	}
	runtime.KeepAlive(r)
}

// The prices that the package comment names. Random order is the dear one: leaves
// are two thirds full.
func TestBytesOfAMembership(t *testing.T) {
	const members = 100_000
	tests := []struct {
		name string
		held func() int
		most float64
	}{
		{"nobody in a room", func() int { return room.New(room.Default()).Held() }, 0},
		{"one large room, random order", func() int { return crowd(t, members, 1).Held() }, 16},
		{"one large room, rising order", func() int {
			r := room.New(room.Default())
			mustJoin(t, r, "live", upTo(members)...)
			return r.Held()
		}, 13.5},
		{"one link in 16 is a member", func() int { return crowd(t, members, 16).Held() }, 140},
		{"ten large rooms", func() int {
			r := room.New(room.Default())
			for name := range 10 {
				mustJoin(t, r, string(rune('a'+name)), upTo(members/10)...)
			}
			return r.Held()
		}, 12.5},
		{"rooms of four", func() int {
			r := room.New(room.Default())
			name := make([]byte, 36)
			for i := range uint32(members) {
				binary.LittleEndian.PutUint32(name, i/4)
				if _, err := r.Join(name, i); err != nil {
					t.Fatal(err)
				}
			}
			return r.Held()
		}, 36},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := float64(tt.held()) / members
			t.Logf("%.1f bytes a membership", got)
			if got > tt.most {
				t.Errorf("%.1f bytes a membership, want %.1f at most", got, tt.most)
			}
		})
	}
}

// What crowds once needed is not held for ever, and serves the next crowd.
func TestMemoryFollowsDown(t *testing.T) {
	r := room.New(room.Default())
	name := make([]byte, 8)
	most := 0
	for range 2 {
		for _, i := range rand.Perm(100_000) {
			place := 3 * uint32(i)
			binary.LittleEndian.PutUint32(name, place%50_000)
			mustJoin(t, r, "live", place)
			mustJoin(t, r, string(name), place)
		}
		if most = max(most, r.Held()); r.Held() < 100_000*20 {
			t.Errorf("200,000 memberships lie in %d bytes", r.Held())
		}
		for _, i := range rand.Perm(100_000) {
			r.Drop(3 * uint32(i))
		}
		// A spare chunk of each class, two segments, and what finds the pages.
		if got := r.Held(); got > 300<<10 || r.Len() != 0 {
			t.Errorf("%d rooms, %d bytes of %d are held after all have left", r.Len(), got, most)
		}
	}
}
