package linkpool_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"edged/linkpool"
)

// What is known of each place alone makes the same pool again, but for the order in which the free places are taken.
func TestPlacesMakeThePoolAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, start := range []uint32{0, 7, 1<<32 - 3} {
		p := linkpool.New[link](200, start)
		for range 20 {
			churn(p, random)
			x := linkpool.NewPlaces(start)
			for place := range uint32(p.Used()) {
				l, _ := p.At(place)
				x.Add(p.Uniq(place), l == nil)
			}
			q := linkpool.New[link](p.Cap(), 99)
			b := x.AppendState(nil)
			if n, err := q.LoadState(b); err != nil || n != len(b) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
			for place := range uint32(p.Used()) {
				l, uniq := p.At(place)
				if m, uniq2 := q.At(place); (m == nil) != (l == nil) || uniq2 != uniq || q.Uniq(place) != p.Uniq(place) {
					t.Fatalf("place %d: uniq %d, not %d", place, q.Uniq(place), p.Uniq(place))
				}
			}
			if q.Len() != p.Len() || q.Used() != p.Used() {
				t.Fatalf("%d links in %d places, not %d in %d", q.Len(), q.Used(), p.Len(), p.Used())
			}
			p = q
		}
	}
}

func TestFreePlacesAreTakenFromTheFirst(t *testing.T) {
	x := linkpool.NewPlaces(5)
	for i := range uint32(6) {
		x.Add(5+i, i%2 == 1)
	}
	p := linkpool.New[link](10, 0)
	if _, err := p.LoadState(x.AppendState(nil)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ place, uniq uint32 }{{1, 7}, {3, 9}, {5, 11}, {6, 5}} {
		if place, uniq, _ := mustAdd(t, p); place != want.place || uniq != want.uniq {
			t.Errorf("place %d, uniq %d, not %+v", place, uniq, want)
		}
	}
	if b := linkpool.NewPlaces(9).AppendState(nil); !bytes.Equal(b, linkpool.New[link](1, 9).AppendState(nil)) {
		t.Errorf("no places: % x", b)
	}
}

// A pool that has aged gives no free place a uniq that it could have given out before.
func TestAge(t *testing.T) {
	p := linkpool.New[link](4, 1<<32-2)
	mustAdd(t, p)
	mustAdd(t, p)
	p.Del(0, 1<<32-2)
	p.Age(100)
	if _, uniq := p.At(1); uniq != 1<<32-2 {
		t.Errorf("the link is %d now", uniq)
	}
	for _, want := range []struct{ place, uniq uint32 }{{0, 99}, {2, 98}, {3, 98}} {
		if place, uniq, _ := mustAdd(t, p); place != want.place || uniq != want.uniq {
			t.Errorf("place %d, uniq %d, not %+v", place, uniq, want)
		}
	}
}
