package linkpool_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"edged/linkpool"
)

// walk goes through the pool in slices of n links and calls between after each.
func walk(p *linkpool.Pool[link], n int, f func(place, uniq uint32, l *link), between func()) {
	for at := 0; ; {
		if at = p.Each(at, n, f); at == 0 {
			return
		}
		between()
	}
}

func TestEachMeetsAllLinksInOrder(t *testing.T) {
	p := linkpool.New[link](1000, 3)
	for range 700 {
		mustAdd(t, p)
	}
	var want []uint32
	for place := range uint32(700) {
		if place%3 == 0 || place >= 128 && place < 400 {
			p.Del(place, 3)
		} else {
			want = append(want, place)
		}
	}
	for _, n := range []int{1, 2, 63, 64, 65, 1000} {
		var got []uint32
		walk(p, n, func(place, uniq uint32, l *link) {
			if p.Get(place, uniq) != l {
				t.Errorf("place %d is handed out with uniq %d and another link", place, uniq)
			}
			got = append(got, place)
		}, func() {})
		if !slices.Equal(got, want) {
			t.Errorf("slices of %d: %d links, want %d in order", n, len(got), len(want))
		}
	}
}

func TestEachHoldsItsBudget(t *testing.T) {
	p := linkpool.New[link](300, 0)
	for range 300 {
		mustAdd(t, p)
	}
	met := 0
	count := func(uint32, uint32, *link) { met++ }
	if next := p.Each(0, 0, count); met != 1 || next != 1 {
		t.Errorf("a budget of 0 met %d links and goes on at %d, want one link, lest the walk end or stand still", met, next)
	}
	met = 0
	if next := p.Each(10, 100, count); met != 100 || next != 110 {
		t.Errorf("a budget of 100 at 10 met %d links and goes on at %d, want 100 and 110", met, next)
	}
	met = 0
	if next := p.Each(200, 100, count); met != 100 || next != 0 {
		t.Errorf("the last 100 links: met %d, goes on at %d, want 100 and the end", met, next)
	}
	if next := p.Each(5000, 100, count); next != 0 {
		t.Errorf("a walk from behind the end goes on at %d", next)
	}
}

func TestEachLetsTheCallDeleteEverything(t *testing.T) {
	p := linkpool.New[link](500, 0)
	for range 500 {
		mustAdd(t, p)
	}
	walk(p, 7, func(place, uniq uint32, _ *link) {
		if !p.Del(place, uniq) {
			t.Errorf("Del(%d, %d) refused", place, uniq)
		}
	}, func() {})
	if p.Len() != 0 {
		t.Errorf("%d links are left", p.Len())
	}
}

func TestEachMeetsWhoStaysOnceWhileOthersComeAndGo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	p := linkpool.New[link](2000, 0)
	for range 1500 {
		_, _, l := mustAdd(t, p)
		l.owner = r.Uint64N(2) // 1: stays
	}
	stay := map[uint32]int{}
	p.Each(0, p.Cap(), func(place, _ uint32, l *link) {
		if l.owner == 1 {
			stay[place] = 0
		}
	})
	churn := func() {
		for range 20 {
			place := r.Uint32N(2000)
			if l, uniq := p.At(place); l != nil && l.owner == 0 {
				p.Del(place, uniq)
			}
			if r.IntN(2) == 0 {
				p.Add()
			}
		}
	}
	met := map[[2]uint32]bool{}
	walk(p, 16, func(place, uniq uint32, l *link) {
		if met[[2]uint32{place, uniq}] {
			t.Errorf("link %d:%d was met twice", place, uniq)
		}
		met[[2]uint32{place, uniq}] = true
		if l.owner == 1 {
			stay[place]++
		}
		churn()
	}, churn)
	for place, n := range stay {
		if n != 1 {
			t.Errorf("place %d, which stayed, was met %d times", place, n)
		}
	}
}
