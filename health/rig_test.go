package health_test

import (
	"math"
	"testing"
	"time"

	"edged/health"
	"edged/nic"
)

const interval = 5 * time.Second

// rig drives a Scorer with one interface whose counters the test moves on.
type rig struct {
	t      *testing.T
	scorer *health.Scorer
	in     health.Sample
	out    health.Snapshot
	notes  []string
	err    error // of the next reading
}

var eth0 = nic.Leaf{Index: 2, Name: "eth0", Perm: "02:00:00:00:00:01", MTU: 1500, Physical: true, Up: true}

func newRig(t *testing.T, c health.Config) *rig {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t}
	r.scorer = health.NewScorer(c, func(msg string, attrs ...any) { r.notes = append(r.notes, msg) })
	r.in.At = time.Unix(1_000_000_000, 0)
	r.in.Resolved = true
	r.leaves(eth0)
	return r
}

// leaves replaces the interfaces; counters of those that stay by index are kept.
func (r *rig) leaves(leaves ...nic.Leaf) {
	old := r.in.NICs
	r.in.Set = nic.Set{Leaves: leaves, Source: nic.Physical}
	r.in.NICs = nil
	for _, l := range leaves {
		reading := health.Reading{Leaf: l}
		for _, o := range old {
			if o.Leaf.Index == l.Index {
				reading.Counters = o.Counters
			}
		}
		r.in.NICs = append(r.in.NICs, reading)
	}
}

// tick lets dt pass and scores.
func (r *rig) tick(dt time.Duration) health.Snapshot {
	r.t.Helper()
	r.in.At = r.in.At.Add(dt)
	for i := range r.in.NICs {
		r.in.NICs[i].At, r.in.NICs[i].Err = r.in.At, r.err
	}
	r.scorer.Score(&r.in, &r.out)
	checkSane(r.t, r.out)
	return r.out
}

// rate lets one interval pass in which the first interface carries so much per second.
func (r *rig) rate(rxPPS, txPPS, rxBytes, txBytes uint64) health.Snapshot {
	r.t.Helper()
	r.add(interval, rxPPS, txPPS, rxBytes, txBytes)
	return r.tick(interval)
}

func (r *rig) add(dt time.Duration, rxPPS, txPPS, rxBytes, txBytes uint64) {
	c, seconds := &r.in.NICs[0].Counters, uint64(dt/time.Second)
	c.RxPackets += rxPPS * seconds
	c.TxPackets += txPPS * seconds
	c.RxBytes += rxBytes * seconds
	c.TxBytes += txBytes * seconds
}

// warm brings the Scorer out of warming with an idle interface.
func (r *rig) warm() *rig {
	r.t.Helper()
	if s := r.tick(interval); s.State != health.Warming || s.Availability != 0 {
		r.t.Fatalf("the first tick gives %s %v", s.State, s.Availability)
	}
	if s := r.tick(interval); s.State != health.Up {
		r.t.Fatalf("the second tick gives %s (%s)", s.State, s.Reason)
	}
	return r
}

func (r *rig) want(s health.Snapshot, availability float64, reason string) {
	r.t.Helper()
	if !near(s.Availability, availability) || s.Reason != reason {
		r.t.Errorf("tick %d: availability %v (%s), want %v (%s); terms %v", s.Tick, s.Availability, s.Reason, availability, reason, s.Terms)
	}
}

// checkSane holds what must hold of every Snapshot.
func checkSane(t *testing.T, s health.Snapshot) {
	t.Helper()
	in01 := func(v float64) bool { return v >= 0 && v <= 1 }
	steps := s.Availability * 100
	switch {
	case !in01(s.Availability) || !in01(s.Raw):
		t.Fatalf("availability %v, raw %v", s.Availability, s.Raw)
	case math.Abs(steps-math.Round(steps)) > 1e-6:
		t.Fatalf("availability %v is not a step", s.Availability)
	case s.State != health.Up && (s.Availability != 0 || s.Raw != 0):
		t.Fatalf("%s with availability %v, raw %v", s.State, s.Availability, s.Raw)
	case s.Availability > s.Raw+1e-9:
		t.Fatalf("availability %v is above raw %v", s.Availability, s.Raw)
	case s.Reason == "" || s.At.IsZero():
		t.Fatalf("incomplete: %+v", s)
	}
	for _, v := range []float64{s.PPS, s.Bytes, s.RxPPS, s.TxPPS, s.RxBytes, s.TxBytes} {
		if !(v >= 0) || math.IsInf(v, 0) {
			t.Fatalf("a rate is %v: %+v", v, s)
		}
	}
	for _, term := range s.Terms {
		if !in01(term.Value) {
			t.Fatalf("term %s is %v", term.Name, term.Value)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// bare returns settings without any term.
func bare() health.Config {
	c := health.Default()
	c.Terms = health.Terms{}
	return c
}

func term(s health.Snapshot, name string) (float64, bool) {
	for _, t := range s.Terms {
		if t.Name == name {
			return t.Value, true
		}
	}
	return 0, false
}
