package registry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"edged/registry"
)

func crowd(n int) *registry.Directory {
	d := registry.NewDirectory()
	for i := range n {
		d.Put(fmt.Appendf(nil, "u%d", i/2), fmt.Appendf(nil, "d%d", i%2), registry.Link{Place: uint32(i)})
	}
	return d
}

// rounds has everybody visited, and returns how many visits and how much time that took.
func rounds(t *testing.T, w registry.Walk, now *time.Time, step time.Duration, n int) (visits int, took time.Duration) {
	t.Helper()
	seen, began := make(map[registry.Name]bool), *now
	for len(seen) < n {
		if *now = now.Add(step); now.Sub(began) > 24*time.Hour {
			t.Fatalf("%d of %d visited in a day", len(seen), n)
		}
		for _, name := range w.Due(*now) {
			seen[name] = true
			visits++
		}
	}
	return visits, now.Sub(began)
}

func TestWalkRates(t *testing.T) {
	const n, rate, period = 10_000, 1000, 10 * time.Minute
	now := time.Unix(1000, 0)
	w := registry.NewWalk(crowd(n), rate, period, now)
	if _, took := rounds(t, w, &now, 20*time.Millisecond, n); took < 9*time.Second || took > 11*time.Second {
		t.Errorf("the first round took %v, want 10 s", took)
	}
	for w.Hurrying() {
		now = now.Add(time.Second)
		w.Due(now)
	}
	if visits, took := rounds(t, w, &now, 250*time.Millisecond, n); took < 9*time.Minute || took > 20*time.Minute || visits > 2*n {
		t.Errorf("a quiet round took %v and %d visits", took, visits)
	}
	w.Restart(now)
	if _, took := rounds(t, w, &now, 20*time.Millisecond, n); took > 25*time.Second {
		t.Errorf("the round after a loss took %v", took)
	}
}

// TestWalkTwice has a second round after a loss, some seconds later.
func TestWalkTwice(t *testing.T) {
	const n = 100
	now := time.Unix(1000, 0)
	w := registry.NewWalk(crowd(n), 100_000, time.Hour, now)
	advance := func(d time.Duration) (visits int) {
		for range d / (10 * time.Millisecond) {
			now = now.Add(10 * time.Millisecond)
			visits += len(w.Due(now))
		}
		return visits
	}
	if got := advance(time.Second); got != n {
		t.Errorf("%d visits at the start, want %d", got, n)
	}
	w.Restart(now)
	if got := advance(time.Second); got < n || got > n+5 {
		t.Errorf("%d visits at once, want %d", got, n)
	}
	if got := advance(3 * time.Second); got > 1 {
		t.Errorf("%d visits between", got)
	}
	if got := advance(3 * time.Second); got < n {
		t.Errorf("%d visits later, want %d", got, n)
	}
	if got := advance(10 * time.Second); got > 2 {
		t.Errorf("%d visits in peace", got)
	}
}

// TestWalkAfterAPause makes up for half a second, however long nobody came.
func TestWalkAfterAPause(t *testing.T) {
	now := time.Unix(1000, 0)
	w := registry.NewWalk(crowd(5000), 1000, time.Hour, now)
	if got := len(w.Due(now.Add(time.Hour))); got > 500 {
		t.Errorf("%d visits at once", got)
	}
	if got := registry.NewWalk(registry.NewDirectory(), 1000, time.Hour, now).Due(now.Add(time.Second)); len(got) != 0 {
		t.Errorf("%v of nobody", got)
	}
}

// TestWalkWhilePeopleMove visits everybody who is there all the time in each round, whoever comes and goes.
func TestWalkWhilePeopleMove(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	d, now := crowd(1000), time.Unix(1000, 0)
	w := registry.NewWalk(d, 2000, time.Hour, now)
	seen := make(map[registry.Name]bool)
	for w.Hurrying() || len(seen) == 0 {
		now = now.Add(20 * time.Millisecond)
		for _, n := range w.Due(now) {
			seen[n] = true
		}
		for range 20 {
			user, l := fmt.Appendf(nil, "guest%d", r.IntN(500)), registry.Link{Place: 1}
			if r.IntN(2) == 0 {
				d.Put(user, b("x"), l)
			} else {
				d.Remove(user, b("x"), l)
			}
		}
	}
	for range 100 { // what is left of the last part
		now = now.Add(20 * time.Millisecond)
		for _, n := range w.Due(now) {
			seen[n] = true
		}
	}
	for i := range 1000 {
		if n := (registry.Name{User: fmt.Sprint("u", i/2), Device: fmt.Sprint("d", i%2)}); !seen[n] {
			t.Errorf("%v was left out", n)
		}
	}
}

// TestMarksModel gives names in and takes them out at random: each is out once for all the times it was given in before, and
// is a change if one of these was.
func TestMarksModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m, waits := registry.NewMarks(), make(map[registry.Name]bool)
	for step := range 50_000 {
		n := registry.Name{User: fmt.Sprint(r.IntN(300))}
		switch r.IntN(4) {
		case 0:
			m.Add(n)
			waits[n] = true
		case 1:
			m.Visit(n)
			waits[n] = waits[n] || false
		case 2:
			m.GiveBack(n)
			waits[n] = true
		default:
			names, changed := m.Take(r.IntN(20))
			for i, n := range names {
				want, there := waits[n]
				if !there || want != changed[i] {
					t.Fatalf("step %d: %v came out, a change: %v; waiting %v, a change: %v", step, n, changed[i], there, want)
				}
				delete(waits, n)
			}
		}
		if m.Size() != len(waits) {
			t.Fatalf("step %d: %d wait, want %d", step, m.Size(), len(waits))
		}
	}
}

// TestMarksOrder takes what is new before what was tried, but a quarter of the tried ones at least.
func TestMarksOrder(t *testing.T) {
	m := registry.NewMarks()
	name := func(kind string, i int) registry.Name { return registry.Name{User: kind, Device: fmt.Sprint(i)} }
	for i := range 100 {
		m.GiveBack(name("tried", i))
	}
	for i := range 100 {
		m.Add(name("fresh", i))
	}
	names, _ := m.Take(40)
	for i, n := range names {
		want := name("fresh", i)
		if i >= 30 {
			want = name("tried", i-30)
		}
		if n != want {
			t.Fatalf("place %d has %v, want %v", i, n, want)
		}
	}
	if names, _ := m.Take(1000); len(names) != 160 || m.Size() != 0 {
		t.Errorf("%d came, %d are left", len(names), m.Size())
	}
}

func TestMarksBound(t *testing.T) {
	m := registry.NewMarks()
	for i := range registry.MaxMarks + 10 {
		m.Add(registry.Name{User: fmt.Sprint(i)})
	}
	m.Add(registry.Name{User: "0"}) // waits already
	if m.Size() != registry.MaxMarks || m.Dropped() != 10 {
		t.Errorf("%d wait, %d were dropped", m.Size(), m.Dropped())
	}
	if !m.TakeMissed() || m.TakeMissed() {
		t.Error("what was missed is told once")
	}
	names, _ := m.Take(1000)
	m.End()
	m.GiveBack(names...)
	m.Add(registry.Name{User: "late"})
	if m.Size() != registry.MaxMarks {
		t.Errorf("%d wait after the end", m.Size())
	}
	if m.End() {
		t.Error("a second end")
	}
}
