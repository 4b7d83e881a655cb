package linkpool_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"edged/linkpool"
)

// A pool that was saved and loaded goes on as if nothing had happened: the same links under the same names, the same places in
// the same order for the next ones, each with its uniq.
func TestStateGoesOn(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, start := range []uint32{0, 7, 1<<32 - 3} {
		p := linkpool.New[link](200, start)
		for range 20 {
			churn(p, random)
			b := p.AppendState([]byte("before"))[6:]
			q := linkpool.New[link](p.Cap()+random.IntN(10), 99)
			n, err := q.LoadState(append(b[:len(b):len(b)], "behind"...))
			if err != nil || n != len(b) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
			same(t, p, q)
			if again := q.AppendState(nil); !bytes.Equal(again, b) {
				t.Fatal("the same pool is saved differently")
			}
			p = q
		}
	}
}

func churn(p *linkpool.Pool[link], random *rand.Rand) {
	for range random.IntN(300) {
		if random.IntN(2) == 0 {
			p.Add()
		} else if place := uint32(random.IntN(200)); p.Len() > 0 {
			if _, uniq := p.At(place); uniq != 0 {
				p.Del(place, uniq)
			}
		}
	}
}

func same(t *testing.T, p, q *linkpool.Pool[link]) {
	t.Helper()
	if p.Len() != q.Len() {
		t.Fatalf("%d links, not %d", q.Len(), p.Len())
	}
	p.Each(0, p.Cap(), func(place, uniq uint32, _ *link) {
		if l := q.Get(place, uniq); l == nil || *l != (link{}) {
			t.Fatalf("place %d, uniq %d: %v", place, uniq, l)
		}
	})
	// What comes next: on copies, so that both can go on.
	a, b := linkpool.New[link](q.Cap(), 0), linkpool.New[link](q.Cap(), 0)
	if _, err := a.LoadState(p.AppendState(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.LoadState(q.AppendState(nil)); err != nil {
		t.Fatal(err)
	}
	for {
		place, uniq, _, ok := a.Add()
		if !ok {
			return
		}
		if place2, uniq2, _, ok2 := b.Add(); !ok2 || place2 != place || uniq2 != uniq {
			t.Fatalf("next link: %d %d, not %d %d", place2, uniq2, place, uniq)
		}
	}
}

func TestStateIsNotBelieved(t *testing.T) {
	p := linkpool.New[link](10, 5)
	for range 3 {
		mustAdd(t, p)
	}
	p.Del(1, 5)
	good := p.AppendState(nil)
	for name, b := range map[string][]byte{
		"nothing":             {},
		"cut":                 good[:len(good)-1],
		"version":             append([]byte{2}, good[1:]...),
		"more free than used": {1, 0, 0, 0, 5, 1, 2, 0, 0, 0},
		"free twice":          {1, 0, 0, 0, 5, 2, 2, 0, 0, 1, 1},
		"free beyond":         {1, 0, 0, 0, 5, 2, 1, 0, 0, 2},
		"too many places":     {1, 0, 0, 0, 5, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"long number":         {1, 0, 0, 0, 5, 0x81, 0, 0, 0},
		"number too large":    {1, 0, 0, 0, 5, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		q := linkpool.New[link](10, 77)
		if _, err := q.LoadState(b); !errors.Is(err, linkpool.ErrState) {
			t.Errorf("%s: %v", name, err)
		}
		if place, uniq, _ := mustAdd(t, q); place != 0 || uniq != 77 || q.Len() != 1 {
			t.Errorf("%s: the pool is not as it was: place %d, uniq %d", name, place, uniq)
		}
	}
}

func TestStateIntoAUsedPoolPanics(t *testing.T) {
	p := linkpool.New[link](10, 5)
	b := p.AppendState(nil)
	mustAdd(t, p)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_, _ = p.LoadState(b)
}

func FuzzLoadState(f *testing.F) {
	p := linkpool.New[link](100, 5)
	random := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		churn(p, random)
		f.Add(p.AppendState(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := linkpool.New[link](200, 0)
		n, err := q.LoadState(b)
		if err != nil {
			return
		}
		if again := q.AppendState(nil); !bytes.Equal(again, b[:n]) {
			t.Fatalf("% x is saved as % x", b[:n], again)
		}
		for q.Len() < q.Cap() {
			mustAdd(t, q)
		}
	})
}
