package dispatch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
)

// TestSums: a load balancer's availability is the sum over its gateways, and those with more are named more often first.
func TestSums(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{live: 3}
		f.put(gate("a", "sh-1", 0.2), gate("b", "sh-1", 0.3), gate("c", "sh-1", 0.5), gate("d", "sh-2", 0.5))
		f.put(gate("e", "sh-2", math.NaN()), gate("f", "sh-2", -1), gate("g", "sh-3", 7))
		s := run(t, f, []dispatch.SLB{slb("sh-1", "203.0.113.1:7000"), slb("sh-2", "203.0.113.2:7000"), slb("sh-3", "203.0.113.3:7000"), slb("sh-4", "203.0.113.4:7000")})
		pass(time.Second)
		st := s.Stats()
		for i, want := range []float64{1, 0.5, 1, 0} {
			if got := st.Balancers[i]; math.Abs(got.Availability-want) > 1e-9 || f.sum[got.Name] != got.Availability {
				t.Errorf("%s has %v, %v in Redis; want %v", got.Name, got.Availability, f.sum[got.Name], want)
			}
		}
		if b := st.Balancers[0]; b.Gateways != 3 || b.Capacity != 3000 || b.Links != 30 || b.Addresses != 1 {
			t.Errorf("numbers %+v", b)
		}
		if st.Dispatchers != 3 || st.Gateways != 7 || st.Age < 0 || st.Age > 2*time.Second || st.Failures != 0 || st.Stale {
			t.Errorf("numbers %+v", st)
		}
		first := map[string]uint64{}
		for range 1000 {
			first[s.list().slbs()[0]]++
		}
		if first["sh-2"] >= first["sh-1"] || first["sh-2"] == 0 || first["sh-4"] != 0 {
			t.Errorf("first places %v", first)
		}
		for _, b := range s.Stats().Balancers {
			if b.First != first[b.Name] {
				t.Errorf("%s counts %d first places of %d", b.Name, b.First, first[b.Name])
			}
		}
	})
}

// TestOrderOfIdle: those who cannot serve stand behind those who can, full as they may be.
func TestOrderOfIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		leaving := gate("b", "sh-leaving", 0.9)
		leaving.State = dispatch.StateDraining
		warming := gate("c", "sh-warming", 0)
		warming.State = dispatch.StateWarming
		f.put(gate("a", "sh-full", 0), leaving, warming)
		s := run(t, f, []dispatch.SLB{
			slb("sh-empty", "203.0.113.1:7000"), slb("sh-full", "203.0.113.2:7000"),
			slb("sh-leaving", "203.0.113.3:7000"), slb("sh-warming", "203.0.113.4:7000"),
		})
		pass(time.Second)
		seen := map[string]int{}
		for range 200 {
			names := s.list().slbs()
			slices.Sort(names[:2])
			slices.Sort(names[2:])
			if !slices.Equal(names, []string{"sh-full", "sh-warming", "sh-empty", "sh-leaving"}) {
				t.Fatalf("order %q", names)
			}
			seen[s.ask("GET", "/v1/addresses?n=1").slbs()[0]]++
		}
		if len(seen) != 2 || seen["sh-full"] < 60 || seen["sh-warming"] < 60 {
			t.Errorf("those without availability are first unevenly: %v", seen)
		}
	})
}

// TestOwnBalancer: a gateway without a load balancer is one, under its address, unless nobody can dial that.
func TestOwnBalancer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		old := gate("e", "", 0.5) // a reader may leave slb empty
		old.Address = "198.51.100.3:7000"
		f.put(alone("198.51.100.1:7000", 0.5), alone("[2001:db8::1]:7000", 0.5), alone("0.0.0.0:7000", 0.5), alone("box-7.example.com:7000", 0.5), old)
		nat := alone("10.0.0.9:7000", 0.5)
		f.put(nat)
		s := run(t, f, []dispatch.SLB{slb("10.0.0.9:7000", "203.0.113.9:443")})
		pass(time.Second)
		a := s.list()
		a.want(t, false, false, "198.51.100.1:7000", "[2001:db8::1]:7000", "box-7.example.com:7000", "198.51.100.3:7000", "10.0.0.9:7000")
		for _, e := range a.Addresses {
			if want := e.SLB; e.Address != want && (want != "10.0.0.9:7000" || e.Address != "203.0.113.9:443") {
				t.Errorf("%s has the address %s", e.SLB, e.Address)
			}
		}
		if got := s.Stats().Unknown; !slices.Equal(got, []string{"0.0.0.0:7000"}) {
			t.Errorf("without an address: %q", got)
		}
	})
}

// TestUnknownBalancer: one that the configuration does not know is left out, and named in the log when that begins.
func TestUnknownBalancer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		f.put(gate("a", "sh-1", 0.5), gate("b", "sh-2", 0.5))
		s := run(t, f, []dispatch.SLB{slb("sh-1", "203.0.113.1:7000"), slb("sh-3", "203.0.113.3:7000")})
		pass(10 * time.Second)
		s.list().want(t, false, false, "sh-1", "sh-3")
		lines := func(n int, what string) {
			t.Helper()
			if got := s.log.lines(what); len(got) != n {
				t.Errorf("%d lines with %q, want %d: %q", len(got), what, n, got)
			}
		}
		lines(1, "sh-2")
		lines(1, "sh-3")
		f.remove("b")
		pass(2 * time.Second)
		f.put(gate("b", "sh-2", 0.5), gate("c", "sh-3", 0.5))
		pass(2 * time.Second)
		lines(2, "sh-2")
		lines(1, "sh-3")
		if f.sum["sh-2"] != 0.5 {
			t.Errorf("sums %v lack what is there although nobody is sent to it", f.sum)
		}
		for i := range 120 {
			f.put(gate(fmt.Sprintf("x%d", i), fmt.Sprintf("odd-%d", i), 0.5))
		}
		pass(time.Minute)
		lines(3, "odd-") // fifty of them in each
		lines(1, "odd-119")
	})
}

// TestStale: without Redis the last list goes on, marked; with it again it is fresh.
func TestStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(3, 0.5)
		f.put(all...)
		f.put(alone("198.51.100.1:7000", 0.5))
		names := []string{"sh-0", "sh-1", "sh-2", "198.51.100.1:7000"}
		s := run(t, f, slbs)
		pass(time.Second)
		s.list().want(t, false, false, names...)
		f.set(func() { f.err = errAway })
		pass(1100 * time.Millisecond)
		s.list().want(t, true, false, names...)
		if len(s.log.lines("cannot be read")) != 1 {
			t.Error("no line, or several, of the beginning")
		}
		pass(10 * time.Hour)
		s.list().want(t, true, false, names...)
		if st := s.Stats(); !st.Stale || st.Age < 10*time.Hour || st.Failures < 36000 {
			t.Errorf("numbers %+v", st)
		}
		f.set(func() { f.err = nil })
		pass(1100 * time.Millisecond)
		s.list().want(t, false, false, names...)
		if len(s.log.lines("read again")) != 1 || len(s.log.lines("cannot be read")) != 1 {
			t.Error("no line, or several, of the end")
		}
		if err := s.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// TestHung: a Redis that does not answer makes the list stale too, and does not hold answers up.
func TestHung(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(2, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(time.Second)
		f.set(func() { f.hangs = true })
		for range 40 {
			pass(100 * time.Millisecond)
			s.list()
		}
		s.list().want(t, true, false, "sh-0", "sh-1")
		if err := s.Healthy(); err != nil {
			t.Error(err)
		}
		f.set(func() { f.hangs = false })
		pass(4 * time.Second)
		s.list().want(t, false, false, "sh-0", "sh-1")
	})
}

// TestUnhealthy: a reading that does not even heed its context is noticed, and what is served is called stale.
func TestUnhealthy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(2, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(time.Second)
		f.set(func() { f.slow = time.Hour })
		pass(20 * time.Second)
		if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), "no attempt") {
			t.Errorf("healthy: %v", err)
		}
		s.list().want(t, true, false, "sh-0", "sh-1")
		if st := s.Stats(); !st.Stale {
			t.Error("not stale in the numbers")
		}
	})
}

// TestStartWithoutRedis: the configured load balancers in uniform order, stale; the line "ready" waits for two seconds.
func TestStartWithoutRedis(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{err: errAway}
		_, slbs := row(4, 0)
		s := run(t, f, slbs)
		pass(1900 * time.Millisecond)
		select {
		case <-s.Began():
			t.Error("began although Redis may still come")
		default:
		}
		if s.Ready() == nil {
			t.Error("ready")
		}
		if n := len(s.log.lines("cannot be read")); n != 0 {
			t.Errorf("%d lines", n)
		}
		pass(200 * time.Millisecond)
		<-s.Began()
		if err := s.Ready(); err != nil {
			t.Error(err)
		}
		if n := len(s.log.lines("cannot be read")); n != 1 {
			t.Errorf("%d lines", n)
		}
		s.list().want(t, true, false, "sh-0", "sh-1", "sh-2", "sh-3")
		uniformly(t, s, 4)
		f.put(gate("a", "sh-2", 0.5))
		f.set(func() { f.err = nil })
		pass(1100 * time.Millisecond)
		a := s.list()
		a.want(t, false, false, "sh-0", "sh-1", "sh-2", "sh-3")
		if a.slbs()[0] != "sh-2" {
			t.Errorf("order %q", a.slbs())
		}
	})
}

// uniformly checks by χ² that each of n load balancers is first as often as the others.
func uniformly(t testing.TB, s *service, n int) {
	t.Helper()
	const rounds = 4000
	first := map[string]int{}
	for range rounds {
		first[s.ask("GET", "/v1/addresses?n=1").slbs()[0]]++
	}
	want, chi := float64(rounds)/float64(n), 0.0
	for _, k := range first {
		chi += (float64(k) - want) * (float64(k) - want) / want
	}
	if chi += want * float64(n-len(first)); chi > 30 { // of three degrees of freedom: one in a million
		t.Errorf("χ² %.1f of %v", chi, first)
	}
}

// TestNobody: who knows nobody says so, and is not ready; once somebody was known the list is never empty again.
func TestNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		s := run(t, f, nil)
		pass(time.Second)
		for _, method := range []string{"GET", "HEAD"} {
			a := s.ask(method, "/v1/addresses")
			if a.code != 503 || a.header.Get("Retry-After") != "1" || method == "GET" && a.Error == "" {
				t.Errorf("%s: %d, Retry-After %q, %s", method, a.code, a.header.Get("Retry-After"), a.body)
			}
		}
		if s.Ready() == nil {
			t.Error("ready")
		}
		f.put(alone("198.51.100.1:7000", 0.5), alone("198.51.100.2:7000", 0.5))
		pass(1100 * time.Millisecond)
		s.list().want(t, false, false, "198.51.100.1:7000", "198.51.100.2:7000")
		f.remove("198.51.100.2:7000")
		pass(1100 * time.Millisecond)
		s.list().want(t, false, false, "198.51.100.1:7000")
		f.remove("198.51.100.1:7000")
		for range 5 {
			pass(time.Minute)
			s.list().want(t, true, false, "198.51.100.1:7000")
		}
		f.put(alone("198.51.100.2:7000", 0.5))
		pass(1100 * time.Millisecond)
		s.list().want(t, false, false, "198.51.100.2:7000")
	})
}

// TestReadsDoNotGrow: what is read is a matter of time, not of requests.
func TestReadsDoNotGrow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{}
		all, slbs := row(20, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(100 * time.Millisecond)
		before := f.reads
		for range 10 {
			for range 1000 {
				s.list()
			}
			pass(time.Second)
		}
		if got := f.reads - before; got != 10 {
			t.Errorf("%d readings in 10 s with 10,000 requests", got)
		}
		f.set(func() { f.err = errAway })
		before = f.reads
		for range 10 {
			for range 1000 {
				s.list()
			}
			pass(time.Second)
		}
		if got := f.reads - before; got != 10 {
			t.Errorf("%d readings in 10 s with 10,000 requests, without Redis", got)
		}
	})
}

// TestSlowReadIsAlone: a reading that takes longer than the interval is not overtaken by the next one.
func TestSlowReadIsAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{slow: 1500 * time.Millisecond}
		s := run(t, f, []dispatch.SLB{slb("sh-0", "203.0.113.1:7000")})
		pass(10*time.Second + time.Millisecond)
		if f.reads != 5 { // begun at 0, 2.5, 5, 7.5 and 10 s
			t.Errorf("%d readings", f.reads)
		}
		s.list().want(t, false, false, "sh-0")
	})
}

// TestNotTold: that the others cannot be told is said once, and does not make the list stale.
func TestNotTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fleets{live: 4}
		all, slbs := row(2, 0.5)
		f.put(all...)
		s := run(t, f, slbs)
		pass(2 * time.Second)
		f.set(func() { f.deaf = true })
		pass(5 * time.Second)
		s.list().want(t, false, false, "sh-0", "sh-1")
		if n := len(s.log.lines("not told")); n != 1 {
			t.Errorf("%d lines", n)
		}
		if n := s.Stats().Dispatchers; n != 4 {
			t.Errorf("%d dispatch services", n)
		}
		f.set(func() { f.deaf = false })
		pass(2 * time.Second)
		if n := len(s.log.lines("told again")); n != 1 {
			t.Errorf("%d lines", n)
		}
		s.end()
		if f.left == "" {
			t.Error("the service does not say that it leaves")
		}
	})
}

// TestBadOptions: what cannot be meant is refused, by name.
func TestBadOptions(t *testing.T) {
	c := dispatch.Default()
	c.Mode = "fastest"
	for _, tt := range []struct {
		o    dispatch.Options
		want string
	}{
		{dispatch.Options{Config: c}, `mode: "fastest"`},
		{dispatch.Options{Config: dispatch.Default(), SLBs: []dispatch.SLB{slb("a", "203.0.113.1:1"), slb("a", "203.0.113.2:1")}}, `slb "a": the name stands there twice`},
		{dispatch.Options{Config: dispatch.Default(), SLBs: []dispatch.SLB{slb("a", "[2001:db8::1]:1"), slb("b", "[2001:DB8:0::1]:1")}}, `slb "b": addresses: "[2001:DB8:0::1]:1" is an address of slb "a" too`},
		{dispatch.Options{Config: dispatch.Default(), SLBs: []dispatch.SLB{slb("a")}}, `slb "a": addresses: "a" has none`},
	} {
		if _, err := dispatch.NewService(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

// TestModes: each mode serves.
func TestModes(t *testing.T) {
	for _, mode := range []string{"seed", "proportional", "p2c"} {
		bubble(t, func(t *testing.T) {
			f := &fleets{}
			all, slbs := row(3, 0.5)
			f.put(all...)
			s := run(t, f, slbs, func(o *dispatch.Options) {
				o.Config.Mode, o.Config.Correction, o.Config.ShareCap = mode, 0, 0
			})
			pass(time.Second)
			s.list().want(t, false, false, "sh-0", "sh-1", "sh-2")
		})
	}
}

// TestNeverEmpty: whatever happens to Redis and the fleet, an answer names somebody once somebody was known, nobody twice,
// and what serves before what does not.
func TestNeverEmpty(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 10 {
		bubble(t, func(t *testing.T) {
			f, known := &fleets{}, false
			_, slbs := row(r.IntN(3), 0)
			s := run(t, f, slbs)
			pass(time.Second)
			for range 200 {
				f.set(func() { f.err = [...]error{nil, nil, errAway}[r.IntN(3)] })
				for i := range r.IntN(12) {
					g := alone(fmt.Sprintf("198.51.100.%d:7000", i+1), r.Float64())
					if r.IntN(2) == 0 {
						g = gate(fmt.Sprintf("g%d", i), fmt.Sprintf("sh-%d", r.IntN(4)), r.Float64())
					}
					g.State = [...]string{dispatch.StateUp, dispatch.StateUp, dispatch.StateDraining, dispatch.StateWarming}[r.IntN(4)]
					f.put(g)
					if r.IntN(3) == 0 {
						f.says(g.ID, [...]string{dispatch.StateUp, dispatch.StateDown, dispatch.StateDraining}[r.IntN(3)])
					}
				}
				for id := range f.gateways {
					if r.IntN(4) == 0 {
						f.remove(id)
					}
				}
				pass(rand.N(20 * time.Second))
				a := s.ask("GET", "/v1/addresses")
				if known = known || a.code == 200; known && (a.code != 200 || len(a.Addresses) == 0) {
					t.Fatalf("answer %d: %s", a.code, a.body)
				}
				if names := a.sorted(); len(slices.Compact(slices.Clone(names))) != len(names) {
					t.Fatalf("doubles in %q", names)
				}
			}
		})
	}
}
