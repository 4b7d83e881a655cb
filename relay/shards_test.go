package relay_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"edged/relay"
)

func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// all walks over a set.
func all(s relay.Shards) (out []int) {
	for i := s.Next(0); i >= 0; i = s.Next(i + 1) {
		out = append(out, i)
	}
	return out
}

// A set does what a map does.
func TestShards(t *testing.T) {
	random := newRand(t)
	var s, other relay.Shards
	twin := map[int]bool{}
	for range 2000 {
		n := random.IntN(256)
		switch random.IntN(4) {
		case 0:
			s.Remove(n)
			delete(twin, n)
		case 1:
			other.Add(n)
			s.Union(other)
			for _, i := range all(other) {
				twin[i] = true
			}
			other = relay.Shards{}
		default:
			s.Add(n)
			twin[n] = true
		}
		want := make([]int, 0, len(twin))
		for i := range twin {
			want = append(want, i)
		}
		slices.Sort(want)
		if got := all(s); !slices.Equal(got, want) || s.Empty() != (len(twin) == 0) || s.Has(n) != twin[n] {
			t.Fatalf("have %v, want %v", got, want)
		}
	}
}

func TestShardsAtTheirEdges(t *testing.T) {
	var s relay.Shards
	if !s.Empty() || s.Next(0) != -1 || s.Next(256) != -1 {
		t.Errorf("an empty set: %v", all(s))
	}
	for _, n := range []int{0, 63, 64, 255} {
		s.Add(n)
	}
	if got := all(s); !slices.Equal(got, []int{0, 63, 64, 255}) || s.Next(256) != -1 {
		t.Errorf("got %v", got)
	}
}
