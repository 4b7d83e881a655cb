package linkpool_test

import (
	"math/rand/v2"
	"testing"

	"edged/linkpool"
)

// poolTwin is what a pool promises, kept in the most naive way, beside the pool.
type poolTwin struct {
	*testing.T
	pool  *linkpool.Pool[link]
	free  []uint32          // the next one last
	live  map[uint32]uint64 // place to owner
	uniq  []uint32          // uniq of the next link of a place
	owner uint64
}

func newPoolTwin(t *testing.T, capacity int, start uint32) *poolTwin {
	w := &poolTwin{T: t, pool: linkpool.New[link](capacity, start), live: map[uint32]uint64{}}
	for i := range capacity {
		w.free = append(w.free, uint32(capacity-1-i))
		w.uniq = append(w.uniq, start)
	}
	return w
}

func (w *poolTwin) add() {
	place, uniq, l, ok := w.pool.Add()
	if ok != (len(w.free) > 0) {
		w.Fatalf("Add: ok %v with %d free places", ok, len(w.free))
	}
	if !ok {
		return
	}
	want := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	if place != want || uniq != w.uniq[want] || *l != (link{}) {
		w.Fatalf("Add: place %d uniq %d %+v, want %d, %d and zero", place, uniq, *l, want, w.uniq[want])
	}
	w.uniq[want]++
	w.owner++
	*l = link{owner: w.owner, flags: [3]bool{true, true, true}}
	w.live[place] = w.owner
}

// del asks for the link `back` owners before the current one of the place.
func (w *poolTwin) del(place, back uint32) {
	var uniq uint32
	if int(place) < len(w.uniq) {
		uniq = w.uniq[place] - 1 - back
	}
	_, live := w.live[place]
	want := live && back == 0
	if got := w.pool.Del(place, uniq); got != want {
		w.Fatalf("Del(%d, %d) = %v, want %v", place, uniq, got, want)
	}
	if want {
		delete(w.live, place)
		w.free = append(w.free, place)
	}
}

func (w *poolTwin) get(place, back uint32) {
	var uniq uint32
	if int(place) < len(w.uniq) {
		uniq = w.uniq[place] - 1 - back
	}
	owner, live := w.live[place]
	if got := w.pool.Get(place, uniq); (got != nil) != (live && back == 0) || got != nil && got.owner != owner {
		w.Fatalf("Get(%d, %d) = %+v, want owner %d live %v", place, uniq, got, owner, live)
	}
	got, current := w.pool.At(place)
	if (got != nil) != live || live && (got.owner != owner || current != uniq+back) {
		w.Fatalf("At(%d) = %+v, %d, want owner %d live %v", place, got, current, owner, live)
	}
}

func (w *poolTwin) each(from, n int) {
	last, met := from-1, 0
	next := w.pool.Each(from, n, func(place, uniq uint32, l *link) {
		met++
		if int(place) <= last || w.live[place] != l.owner || uniq != w.uniq[place]-1 {
			w.Fatalf("Each hands out %d:%d of owner %d after place %d, want owner %d", place, uniq, l.owner, last, w.live[place])
		}
		for p := last + 1; p < int(place); p++ {
			if _, live := w.live[uint32(p)]; live {
				w.Fatalf("Each passes over place %d", p)
			}
		}
		last = int(place)
	})
	if next == 0 {
		next = w.pool.Cap()
	} else if met != max(n, 1) {
		w.Fatalf("Each(%d, %d) stops at %d after %d links", from, n, next, met)
	}
	for p := last + 1; p < next; p++ {
		if _, live := w.live[uint32(p)]; live {
			w.Fatalf("Each passes over place %d and goes on at %d", p, next)
		}
	}
}

// step does what op says; places go a little beyond the pool on purpose.
func (w *poolTwin) step(op byte, arg uint32) {
	place := arg % uint32(w.pool.Cap()+3)
	switch op % 8 {
	case 0, 1, 2:
		w.add()
	case 3, 4:
		w.del(place, 0)
	case 5:
		w.del(place, 1+arg>>16%3)
	case 6:
		w.get(place, arg>>16%3)
	case 7:
		w.each(int(place), int(arg>>16%5))
	}
	if w.pool.Len() != len(w.live) {
		w.Fatalf("%d links, want %d", w.pool.Len(), len(w.live))
	}
}

func TestPoolAgainstTwin(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, capacity := range []int{1, 2, 64, 65, 1000} {
		w := newPoolTwin(t, capacity, 1<<32-3)
		for i := range 600_000 {
			op := byte(r.Uint32())
			// Lean to filling for a while, then to emptying.
			if i/(4*capacity)%2 == 0 && op%8 == 3 {
				op = 0
			}
			w.step(op, r.Uint32())
		}
	}
}

func FuzzPool(f *testing.F) {
	f.Add(uint16(3), uint32(1<<32-1), []byte{0, 0, 0, 1, 0, 0, 3, 0, 0, 3, 0, 0, 0, 0, 0, 6, 0, 1})
	f.Add(uint16(70), uint32(0), []byte{0, 0, 0, 1, 0, 0, 7, 0, 2, 5, 0, 0, 4, 1, 0})
	f.Fuzz(func(t *testing.T, capacity uint16, start uint32, ops []byte) {
		w := newPoolTwin(t, int(capacity%200), start)
		for ; len(ops) >= 3; ops = ops[3:] {
			w.step(ops[0], uint32(ops[1])|uint32(ops[2])<<16)
		}
	})
}
