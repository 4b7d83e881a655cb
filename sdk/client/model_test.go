package client_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// naive is what a client should know, version by version.
type naive struct {
	base, top uint64
	had       map[uint64]bool
	link      int            // present
	found     map[uint64]int // missing version → link that went on without it
	lost      map[uint64]bool
	ids       map[string]bool
	idOf      map[uint64]string
	events    []string
}

func newNaive() *naive {
	return &naive{had: map[uint64]bool{}, found: map[uint64]int{}, lost: map[uint64]bool{}, ids: map[string]bool{}, idOf: map[uint64]string{}}
}

func (s *naive) push(flags wire.Flags, v uint64, id string) {
	late := flags&wire.FlagLate != 0
	if v != 0 {
		if other, ok := s.idOf[v]; s.had[v] && ok && id != "" && other != id {
			s.rewind(v)
		}
		if s.had[v] {
			s.passed(flags, v)
			return
		}
		s.open(v)
		late = late || v < s.top
	}
	if id == "" || !s.ids[id] {
		e := id
		if late {
			e += " L"
		}
		s.events = append(s.events, e)
		if id != "" {
			s.ids[id], s.idOf[v] = true, id
		}
	}
	if v != 0 {
		s.had[v] = true
		delete(s.found, v)
		delete(s.lost, v)
		s.passed(flags, v)
	}
}

func (s *naive) rewind(v uint64) {
	for w := v; w <= s.top; w++ {
		delete(s.had, w)
		delete(s.found, w)
		delete(s.lost, w)
		delete(s.idOf, w)
	}
	s.base, s.top = min(s.base, v), v-1
}

// open makes room for a version.
func (s *naive) open(v uint64) {
	if s.base == 0 {
		s.base, s.top = v, v
	}
	if v <= s.top {
		return
	}
	if s.top+1 < v {
		s.events = append(s.events, fmt.Sprintf("hole %d-%d", s.top+1, v-1))
	}
	for w := s.top + 1; w < v; w++ {
		s.found[w] = s.link
	}
	s.top = v
}

func (s *naive) passed(flags wire.Flags, v uint64) {
	if flags&(wire.FlagLate|wire.FlagAgain) != 0 {
		return
	}
	for w, link := range s.found {
		if w < v && link < s.link {
			s.lost[w] = true
		}
	}
}

func (s *naive) synced() uint64 {
	for w := uint64(1); w <= s.top; w++ {
		if _, missing := s.found[w]; missing && !s.lost[w] {
			return w - 1
		}
	}
	return s.top
}

func (s *naive) check(t *testing.T, c *client.Client) bool {
	t.Helper()
	var missing []uint64
	for _, r := range c.Missing() {
		for w := r.From; w <= r.To; w++ {
			missing = append(missing, w)
		}
	}
	var want []uint64
	for w := range s.found {
		want = append(want, w)
	}
	slices.Sort(want)
	good := c.Synced() == s.synced() && slices.Equal(missing, want)
	for v := uint64(1); v <= s.top+1; v++ {
		whole := v >= s.base && v <= s.top && (len(want) == 0 || want[0] > v)
		good = good && c.Complete(v) == whole
	}
	return good
}

// Whatever comes, in whatever order and over however many links, a client knows as much as a naive one that counts each
// version.
func TestVersionsAgainstNaive(t *testing.T) {
	for range 30 {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		synctest.Test(t, func(t *testing.T) { versionsModel(t, rand.New(rand.NewPCG(seed, 0))) })
		if t.Failed() {
			return
		}
	}
}

func versionsModel(t *testing.T, rnd *rand.Rand) {
	f, s := newFake(t), newNaive()
	var got []string
	o := options(f, newLog())
	o.OnPush = func(p client.Push) { got = append(got, mark(p)) }
	o.Hole = func(from, to uint64) { got = append(got, fmt.Sprintf("hole %d-%d", from, to)) }
	o.Backoff.Max = 10 * time.Second
	c := newClient(t, o)
	s.link++
	p, _ := feed(f)
	generation, center := 0, uint64(rnd.IntN(50))
	for step := range 400 {
		switch rnd.IntN(60) {
		case 0:
			_ = p.conn.Close()
			s.link++
			var synced uint64
			if p, synced = feed(f); synced != s.synced() {
				t.Fatalf("step %d: asked for what lies behind %d, want %d", step, synced, s.synced())
			}
		case 1:
			if rnd.IntN(4) == 0 {
				generation++ // the versions are given out again
				center = uint64(rnd.IntN(50))
			}
		}
		var flags wire.Flags
		if rnd.IntN(5) == 0 {
			flags |= wire.FlagLate
		}
		if rnd.IntN(10) == 0 {
			flags |= wire.FlagAgain
		}
		v := center + uint64(rnd.IntN(12))
		center += uint64(rnd.IntN(2))
		id := fmt.Sprintf("%d.%d", generation, v)
		switch rnd.IntN(10) {
		case 0:
			id = ""
		case 1:
			id = fmt.Sprintf("%d.%d", generation, v-v%4)
		case 2:
			id, v = fmt.Sprintf("live %d", rnd.IntN(100)), 0
		}
		s.push(flags, v, id)
		p.stamped(flags, v, id)
		if !slices.Equal(got, s.events) || !s.check(t, c) {
			t.Fatalf("step %d, version %d %q %x: got %q, want %q; synced %d, want %d; missing %v, want %v",
				step, v, id, flags, got, s.events, c.Synced(), s.synced(), c.Missing(), s.found)
		}
		if again := reload(t, c.Progress()); again.Synced() != c.Synced() || !reflect.DeepEqual(again.Progress(), c.Progress()) {
			t.Fatalf("step %d: progress %+v, loaded and told %+v", step, c.Progress(), again.Progress())
		}
	}
}

// reload makes a Client that begins with a Progress and goes nowhere.
func reload(t *testing.T, p client.Progress) *client.Client {
	t.Helper()
	nowhere := newFake(t)
	nowhere.leave()
	o := options(nowhere, newLog())
	o.Memory = client.Memory{Load: func() client.Progress { return p }}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return c
}
