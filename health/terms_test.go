package health_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"edged/health"
)

// all returns settings with every term.
func all() health.Config {
	c := health.Default()
	c.PPSLimit, c.PPSLimitRx, c.PPSLimitTx, c.BytesLimit, c.BytesLimitRx, c.BytesLimitTx = 1000, 1000, 1000, 1_000_000, 1_000_000, 1_000_000
	c.Terms = health.Terms{true, true, true, true, true, true, true, true, true, true, true}
	return c
}

func TestGauges(t *testing.T) {
	g := func(used, limit float64) health.Gauge { return health.Gauge{Used: used, Limit: limit} }
	for _, c := range []struct {
		name   string
		on     health.Terms
		in     health.Inputs
		kernel health.Signals
		want   float64
		reason string
	}{
		{"own files", health.Terms{Fds: true}, health.Inputs{Files: 25, FilesLimit: 100}, health.Signals{}, 0.75, "fds"},
		{"files of the system", health.Terms{Fds: true}, health.Inputs{Files: 25, FilesLimit: 100}, health.Signals{SystemFiles: g(90, 100)}, 0.1, "fds"},
		{"own files first", health.Terms{Fds: true}, health.Inputs{Files: 95, FilesLimit: 100}, health.Signals{SystemFiles: g(90, 100)}, 0.05, "fds"},
		{"no limit on files", health.Terms{Fds: true}, health.Inputs{Files: 25}, health.Signals{}, 1, health.NoLimit},
		{"tcp memory", health.Terms{TCPMem: true}, health.Inputs{}, health.Signals{TCPMem: g(300, 400)}, 0.25, "tcp_mem"},
		{"tcp memory above pressure", health.Terms{TCPMem: true}, health.Inputs{}, health.Signals{TCPMem: g(500, 400)}, 0, "tcp_mem"},
		{"tcp memory unknown", health.Terms{TCPMem: true}, health.Inputs{}, health.Signals{}, 1, health.NoLimit},
		{"memory that is there to be used", health.Terms{Memory: true}, health.Inputs{}, health.Signals{Memory: g(80, 100)}, 1, health.NoLimit},
		{"the last fifth", health.Terms{Memory: true}, health.Inputs{}, health.Signals{Memory: g(90, 100)}, 0.5, "memory"},
		{"the cgroup's", health.Terms{Memory: true}, health.Inputs{}, health.Signals{Memory: g(10, 100), CgroupMemory: g(95, 100)}, 0.25, "memory"},
		{"all memory", health.Terms{Memory: true}, health.Inputs{}, health.Signals{Memory: g(101, 100)}, 0, "memory"},
		{"conntrack", health.Terms{Conntrack: true}, health.Inputs{}, health.Signals{Conntrack: g(65_536, 262_144)}, 0.75, "conntrack"},
		{"no conntrack", health.Terms{Conntrack: true}, health.Inputs{}, health.Signals{Conntrack: g(5, 0)}, 1, health.NoLimit},
		{"reactor", health.Terms{ReactorCPU: true}, health.Inputs{}, health.Signals{ReactorCPU: g(0.4, 1)}, 0.6, "reactor_cpu"},
		{"softirqs", health.Terms{ReactorCPU: true}, health.Inputs{}, health.Signals{ReactorCPU: g(0.4, 1), Softirq: g(0.81, 1)}, 0.2, "softirq"},
		{"some softirqs", health.Terms{ReactorCPU: true}, health.Inputs{}, health.Signals{Softirq: g(0.8, 1)}, 1, health.NoLimit},
		{"stall", health.Terms{PSI: true}, health.Inputs{}, health.Signals{MemoryStall: g(501, 10_000)}, 0.2, "psi"},
		{"little stall", health.Terms{PSI: true}, health.Inputs{}, health.Signals{MemoryStall: g(500, 10_000)}, 1, health.NoLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := bare()
			config.Terms = c.on
			r := newRig(t, config).warm()
			r.in.Inputs, r.in.Signals = c.in, c.kernel
			r.want(r.tick(interval), c.want, c.reason)
		})
	}
}

// TestCaps: an event caps the score at its tick and for three more.
func TestCaps(t *testing.T) {
	for _, c := range []struct {
		on    health.Terms
		event func(*health.Signals) *health.Events
		name  string
		level float64
	}{
		{health.Terms{Accept: true}, func(s *health.Signals) *health.Events { return &s.Accept }, "accept", 0.3},
		{health.Terms{Softnet: true}, func(s *health.Signals) *health.Events { return &s.Softnet }, "softnet", 0.3},
		{health.Terms{TCPMem: true}, func(s *health.Signals) *health.Events { return &s.TCPPressure }, "tcp_pressure", 0.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := bare()
			config.Terms = c.on
			r := newRig(t, config).warm()
			e := c.event(&r.in.Signals)
			*e = health.Events{Total: 1 << 40, Known: true}
			r.want(r.tick(interval), 1, health.NoLimit) // what was before is no event
			e.Total++
			for range 4 {
				r.want(r.tick(interval), c.level, c.name)
			}
			r.want(r.tick(interval), 1, health.NoLimit)
			e.Total++
			r.want(r.tick(interval), c.level, c.name)
			r.want(r.tick(interval), c.level, c.name)
			e.Total++ // again, before it has run out
			for range 4 {
				r.want(r.tick(interval), c.level, c.name)
			}
			e.Total = 3 // reset
			r.want(r.tick(interval), 1, health.NoLimit)
			e.Known = false
			r.want(r.tick(interval), 1, health.NoLimit)
			*e = health.Events{Total: 4, Known: true} // one more than when it was last known
			r.want(r.tick(interval), c.level, c.name)
			if len(r.notes) != 5 {
				t.Errorf("said %q, want three beginnings and two ends", r.notes)
			}
		})
	}
}

func TestReactorIsSmoothed(t *testing.T) {
	c := bare()
	c.Terms.ReactorCPU = true
	r := newRig(t, c).warm()
	cpu := func(share float64) health.Snapshot {
		r.in.Signals.ReactorCPU = health.Gauge{Used: share, Limit: 1}
		return r.tick(interval)
	}
	r.want(cpu(0), 1, health.NoLimit)
	r.want(cpu(0.9), 0.1, "reactor_cpu")
	r.want(cpu(0), 0.81, "reactor_cpu") // average 0.27, then 0.189
	if r.out.Raw != 1 {
		t.Errorf("raw %v", r.out.Raw)
	}
}

// TestNotANumber: what is no number leaves its term as it was, for three ticks.
func TestNotANumber(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		c := bare()
		c.Terms.Conntrack, c.Terms.ReactorCPU = true, true
		r := newRig(t, c).warm()
		r.in.Signals.Conntrack = health.Gauge{Used: 40, Limit: 100}
		r.in.Signals.ReactorCPU = health.Gauge{Used: 0.2, Limit: 1}
		r.want(r.tick(interval), 0.6, "conntrack")
		r.in.Signals.Conntrack.Used = bad
		r.in.Signals.ReactorCPU.Used = bad
		for range 3 {
			r.want(r.tick(interval), 0.6, "conntrack")
		}
		r.want(r.tick(interval), 1, health.NoLimit)
		if len(r.notes) != 2 {
			t.Errorf("said %q", r.notes)
		}
		r.in.Signals.Conntrack.Used = 50
		r.in.Signals.ReactorCPU.Used = 0.3
		r.want(r.tick(interval), 0.5, "conntrack")
	}
}

func TestTermsAreTold(t *testing.T) {
	r := newRig(t, all()).warm()
	r.in.Inputs = health.Inputs{Links: 1, Capacity: 10, Files: 1, FilesLimit: 20, ManagersConfigured: true, ManagerUp: true}
	g := health.Gauge{Used: 3, Limit: 10}
	r.in.Signals = health.Signals{TCPMem: g, Memory: g, Conntrack: g, ReactorCPU: g}
	s := r.rate(100, 100, 1000, 1000)
	want := []health.Term{
		{"pps", 0.8}, {"pps_rx", 0.9}, {"pps_tx", 0.9}, {"bytes", 0.999}, {"bytes_rx", 0.999}, {"bytes_tx", 0.999}, {"links", 0.9}, {"manager", 1},
		{"fds", 0.95}, {"tcp_mem", 0.7}, {"tcp_pressure", 1}, {"memory", 1}, {"accept", 1}, {"softnet", 1}, {"nic_drops", 1}, {"conntrack", 0.7},
		{"reactor_cpu", 0.7}, {"softirq", 1}, {"psi", 1},
	}
	if len(s.Terms) != len(want) {
		t.Fatalf("terms %v", s.Terms)
	}
	for i, w := range want {
		if got := s.Terms[i]; got.Name != w.Name || !near(got.Value, w.Value) {
			t.Errorf("term %v, want %v", got, w)
		}
	}
	r.want(s, 0.7, "tcp_mem")
}

// TestAnything throws random samples at a Scorer with every term on: whatever comes, what leaves is sane, and the score is
// the smallest of the terms.
func TestAnything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	odd := []float64{0, 0, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300, 5e-324}
	number := func() float64 {
		if rnd.IntN(3) > 0 {
			return rnd.Float64()
		}
		return odd[rnd.IntN(len(odd))]
	}
	gauge := func() health.Gauge { return health.Gauge{Used: number(), Limit: number()} }
	events := func() health.Events { return health.Events{Total: rnd.Uint64N(4), Known: rnd.IntN(4) > 0} }
	r := newRig(t, all())
	for range 20_000 {
		leaf := eth0
		leaf.Up, leaf.Index, leaf.MTU = rnd.IntN(20) > 0, 2+rnd.IntN(30)/29, rnd.IntN(3000)-10
		r.leaves(leaf)
		r.in.Inputs = health.Inputs{
			Links: rnd.IntN(20) - 5, Capacity: rnd.IntN(20) - 5, Files: rnd.IntN(9), FilesLimit: rnd.IntN(9),
			ManagersConfigured: rnd.IntN(2) > 0, ManagerUp: rnd.IntN(9) > 0, ManagerGrace: time.Duration(rnd.IntN(20)) * time.Second,
		}
		r.in.Signals = health.Signals{
			gauge(), gauge(), gauge(), gauge(), gauge(), gauge(), gauge(), gauge(), events(), events(), events(),
		}
		counters := &r.in.NICs[0].Counters
		for _, c := range []*uint64{&counters.RxPackets, &counters.TxPackets, &counters.RxBytes, &counters.TxBytes, &counters.RxMissed} {
			if *c += rnd.Uint64N(1000); rnd.IntN(200) == 0 {
				*c = rnd.Uint64() >> rnd.IntN(64)
			}
		}
		r.in.Draining, r.in.Resolved = rnd.IntN(30) == 0, rnd.IntN(30) > 0
		s := r.tick(time.Duration(rnd.IntN(20_000)-100) * time.Millisecond)
		if s.State != health.Up || s.Reason == health.NICUnknown {
			continue
		}
		least := 1.0
		for _, term := range s.Terms {
			least = min(least, term.Value)
		}
		if math.Abs(s.Availability-(least-0.005)) > 0.0051 {
			t.Fatalf("availability %v, smallest of %v", s.Availability, s.Terms)
		}
		if v, ok := term(s, s.Reason); s.Reason != health.NoLimit && (!ok || v != least) {
			t.Fatalf("reason %s of %v", s.Reason, s.Terms)
		}
	}
}

func TestScoreDoesNotAllocate(t *testing.T) {
	r := newRig(t, all()).warm()
	r.in.Inputs = health.Inputs{Links: 1, Capacity: 10, Files: 1, FilesLimit: 20, ManagersConfigured: true, ManagerUp: true}
	g := health.Gauge{Used: 3, Limit: 10}
	r.in.Signals = health.Signals{TCPMem: g, Memory: g, Conntrack: g, ReactorCPU: g}
	r.rate(1, 1, 1, 1)
	if n := testing.AllocsPerRun(100, func() { r.rate(1, 1, 1, 1) }); n != 0 {
		t.Errorf("a tick allocates %v times", n)
	}
	restate := func() { r.scorer.Restate(r.in.At, r.in.Set, true, true, &r.out) }
	if n := testing.AllocsPerRun(100, restate); n != 0 {
		t.Errorf("a change of state allocates %v times", n)
	}
}

func BenchmarkScore(b *testing.B) {
	r := newRig(&testing.T{}, all())
	b.ReportAllocs()
	for b.Loop() {
		r.rate(1, 1, 1, 1)
	}
}
