package linkpool_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"edged/linkpool"
)

// drain takes all places that are due, in the order in which they come.
func drain(d *linkpool.Deadlines, now linkpool.Millis) (places []uint32) {
	for {
		place, ok := d.Due(now)
		if !ok {
			return places
		}
		d.Remove(place)
		places = append(places, place)
	}
}

func TestDueComesInTheOrderOfTime(t *testing.T) {
	d := linkpool.NewDeadlines(10)
	for place, at := range []linkpool.Millis{50, 20, 40, 10, 30} {
		d.Set(uint32(place), at)
	}
	if at, ok := d.Next(); !ok || at != 10 {
		t.Errorf("Next: %d, %v, want 10", at, ok)
	}
	if place, ok := d.Due(9); ok {
		t.Errorf("place %d is due before its time", place)
	}
	if got := drain(d, 40); !slices.Equal(got, []uint32{3, 1, 4, 2}) {
		t.Errorf("due at 40: %v, want 3 1 4 2", got)
	}
	if at, ok := d.Next(); !ok || at != 50 || d.Len() != 1 {
		t.Errorf("left: %d, %v, %d deadlines, want 50 alone", at, ok, d.Len())
	}
}

func TestDueLeavesTheDeadline(t *testing.T) {
	d := linkpool.NewDeadlines(2)
	d.Set(0, 5)
	d.Set(1, 9)
	for range 2 {
		if place, ok := d.Due(5); !ok || place != 0 {
			t.Fatalf("Due: %d, %v, want 0 as often as it is asked", place, ok)
		}
	}
	d.Set(0, 10)
	if got := drain(d, 10); !slices.Equal(got, []uint32{1, 0}) {
		t.Errorf("due at 10: %v, want the one that was set again last", got)
	}
}

func TestNoDeadline(t *testing.T) {
	d := linkpool.NewDeadlines(3)
	d.Remove(2)
	if _, ok := d.Next(); ok || d.Len() != 0 {
		t.Error("Next of nothing")
	}
	if _, ok := d.Due(1 << 31); ok {
		t.Error("Due of nothing")
	}
	if _, ok := d.At(2); ok {
		t.Error("At of nothing")
	}
}

func TestSetAndEarlier(t *testing.T) {
	type call func(d *linkpool.Deadlines, place uint32, at linkpool.Millis)
	set, earlier := call((*linkpool.Deadlines).Set), call((*linkpool.Deadlines).Earlier)
	tests := []struct {
		name   string
		first  []linkpool.Millis // none: the place has no deadline
		call   call
		at     linkpool.Millis
		wanted linkpool.Millis
	}{
		{"set", nil, set, 100, 100},
		{"set later", []linkpool.Millis{100}, set, 200, 200},
		{"set sooner", []linkpool.Millis{100}, set, 50, 50},
		{"earlier where none is", nil, earlier, 100, 100},
		{"earlier, but later", []linkpool.Millis{100}, earlier, 101, 100},
		{"earlier, the same", []linkpool.Millis{100}, earlier, 100, 100},
		{"earlier", []linkpool.Millis{100}, earlier, 99, 99},
		{"earlier over the wrap", []linkpool.Millis{3}, earlier, 1<<32 - 3, 1<<32 - 3},
		{"later over the wrap", []linkpool.Millis{1<<32 - 3}, earlier, 3, 1<<32 - 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := linkpool.NewDeadlines(2)
			for _, at := range tt.first {
				d.Set(1, at)
			}
			tt.call(d, 1, tt.at)
			if at, ok := d.At(1); !ok || at != tt.wanted || d.Len() != 1 {
				t.Errorf("%d, %v, %d deadlines, want %d alone", at, ok, d.Len(), tt.wanted)
			}
		})
	}
}

func TestDeadlinesPassTheEndOfTheCount(t *testing.T) {
	d := linkpool.NewDeadlines(4)
	now := linkpool.Millis(1<<32 - 10)
	d.Set(0, now+30)
	d.Set(1, now+5)
	d.Set(2, now+10) // 0
	d.Set(3, now-5)  // overdue
	var got []uint32
	for range 31 {
		got = append(got, drain(d, now)...)
		now++
	}
	if !slices.Equal(got, []uint32{3, 1, 2, 0}) || now != 21 {
		t.Errorf("due: %v up to %d, want 3 1 2 0 up to 21", got, now)
	}
}

// deadlineTwin keeps unwrapped times and looks through all of them each time.
type deadlineTwin struct {
	*testing.T
	heap *linkpool.Deadlines
	at   map[uint32]int64
	now  int64
}

func (w *deadlineTwin) next() (at int64, ok bool) {
	for _, a := range w.at {
		if !ok || a < at {
			at, ok = a, true
		}
	}
	return at, ok
}

func (w *deadlineTwin) step(op byte, place uint32, ms int64) {
	switch op % 8 {
	case 0, 1, 2:
		w.at[place] = w.now + ms
		w.heap.Set(place, linkpool.Millis(w.now+ms))
	case 3:
		if old, ok := w.at[place]; !ok || w.now+ms < old {
			w.at[place] = w.now + ms
		}
		w.heap.Earlier(place, linkpool.Millis(w.now+ms))
	case 4, 5:
		delete(w.at, place)
		w.heap.Remove(place)
	case 6:
		w.now += ms
		w.due(ms%3 == 0)
	case 7:
		at, ok := w.heap.At(place)
		if want, has := w.at[place]; ok != has || at != linkpool.Millis(want) {
			w.Fatalf("At(%d) = %d, %v, want %d, %v", place, at, ok, want, has)
		}
	}
	at, ok := w.heap.Next()
	if want, has := w.next(); ok != has || at != linkpool.Millis(want) || w.heap.Len() != len(w.at) {
		w.Fatalf("at %d: Next is %d, %v of %d, want %d, %v of %d", w.now, at, ok, w.heap.Len(), want, has, len(w.at))
	}
}

// due does as the package comment tells: each place that comes up gets a later
// deadline, or none.
func (w *deadlineTwin) due(again bool) {
	for {
		want, has := w.next()
		place, ok := w.heap.Due(linkpool.Millis(w.now))
		if ok != (has && want <= w.now) || ok && w.at[place] != want {
			w.Fatalf("at %d: Due gives %d, %v with deadline %d, want deadline %d, %v", w.now, place, ok, w.at[place], want, has)
		}
		if !ok {
			return
		}
		if again {
			w.at[place] = w.now + 30
			w.heap.Set(place, linkpool.Millis(w.now+30))
		} else {
			delete(w.at, place)
			w.heap.Remove(place)
		}
	}
}

func newDeadlineTwin(t *testing.T, places int, now int64) *deadlineTwin {
	return &deadlineTwin{T: t, heap: linkpool.NewDeadlines(places), at: map[uint32]int64{}, now: now}
}

func TestDeadlinesAgainstTwin(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, places := range []int{1, 5, 22, 90} {
		// Far steps carry the time over 2^32 again and again.
		for _, far := range []int64{100, 1 << 27} {
			w := newDeadlineTwin(t, places, 1<<32-1000)
			for range 100_000 {
				w.step(byte(r.Uint32()), r.Uint32N(uint32(places)), r.Int64N(far))
			}
		}
	}
}

// TestManyDeadlinesComeSorted is the model test's complement in size: a heap of
// many levels, against sorting.
func TestManyDeadlinesComeSorted(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const n = 200_000
	d := linkpool.NewDeadlines(n)
	at := make([]int64, n)
	const base = 1<<32 - 1<<30
	for range 3 * n {
		place := r.IntN(n)
		at[place] = base + r.Int64N(1<<31)
		d.Set(uint32(place), linkpool.Millis(at[place]))
	}
	last, met := int64(0), 0
	for ; d.Len() > 0; met++ {
		head, _ := d.Next()
		place, ok := d.Due(head)
		if !ok || linkpool.Millis(at[place]) != head || at[place] < last {
			t.Fatalf("deadline %d of place %d comes after %d", at[place], place, last)
		}
		last = at[place]
		at[place] = 0
		d.Remove(place)
	}
	for place, a := range at {
		if a != 0 {
			t.Fatalf("place %d never came", place)
		}
	}
}

func FuzzDeadlines(f *testing.F) {
	f.Add(uint8(5), uint32(1<<32-5), []byte{0, 0, 9, 0, 1, 3, 3, 0, 4, 6, 0, 5, 4, 1, 0})
	f.Fuzz(func(t *testing.T, places uint8, now uint32, ops []byte) {
		w := newDeadlineTwin(t, int(places)+1, int64(now))
		for ; len(ops) >= 3; ops = ops[3:] {
			w.step(ops[0], uint32(ops[1])%uint32(int(places)+1), int64(ops[2])<<(ops[0]>>4))
		}
	})
}
