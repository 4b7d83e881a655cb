package health_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"edged/health"
	"edged/nic"
)

func TestRates(t *testing.T) {
	r := newRig(t, bare()).warm()
	s := r.rate(100, 200, 10_000, 30_000)
	if s.RxPPS != 100 || s.TxPPS != 200 || s.RxBytes != 10_000 || s.TxBytes != 30_000 {
		t.Errorf("rates %+v", s)
	}
	if s.PPS != 300 || s.Bytes != 30_000 || s.PPSLimit != 0 || s.BytesLimit != 0 {
		t.Errorf("by the default modes %v packets, %v bytes, limits %v %v", s.PPS, s.Bytes, s.PPSLimit, s.BytesLimit)
	}
	// Time is measured, not assumed.
	r.add(8*time.Second, 100, 0, 0, 0)
	if s := r.tick(8 * time.Second); s.RxPPS != 100 || s.TxPPS != 0 {
		t.Errorf("after 8 s: %v, %v packets/s", s.RxPPS, s.TxPPS)
	}
}

// TestWirePackets: the kernel counts a packet of TSO or GRO once, the wire carries it in pieces.
func TestWirePackets(t *testing.T) {
	for _, c := range []struct {
		name           string
		mtu            int
		packets, bytes uint64
		want           float64 // in 5 s
	}{
		{"small ones are what they are", 1500, 1000, 100_000, 1000},
		{"full ones too", 1500, 1000, 1_514_000, 1000},
		{"one byte more", 1500, 1000, 1_514_001, 1001},
		{"super-packets", 1500, 851, 52_428_800, 34_630},
		{"jumbo", 9000, 10, 901_400, 100},
		{"unknown size", 0, 10, 1_000_000, 10},
		{"nothing", 1500, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, bare())
			leaf := eth0
			leaf.MTU = c.mtu
			r.leaves(leaf)
			r.warm()
			r.in.NICs[0].Counters = nic.Counters{RxPackets: c.packets, RxBytes: c.bytes}
			if s := r.tick(interval); !near(s.RxPPS*5, c.want) || s.TxPPS != 0 {
				t.Errorf("%v packets received and %v sent, want %v", s.RxPPS*5, s.TxPPS*5, c.want)
			}
		})
	}
}

// TestIntervals: an interval that is too short or too long says nothing about now, and what came in it is left out.
func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		dt   time.Duration
		want float64 // rate that is believed afterwards
	}{
		{-time.Second, 100}, {0, 100}, {999 * time.Millisecond, 100}, {time.Second, 5000}, {15 * time.Second, 1000 / 3.0}, {15001 * time.Millisecond, 100}, {time.Hour, 100},
	} {
		r := newRig(t, bare()).warm()
		r.rate(100, 0, 0, 0)
		r.in.NICs[0].Counters.RxPackets += 5000
		if s := r.tick(c.dt); !near(s.RxPPS, c.want) {
			t.Errorf("after %v: %v packets/s, want %v", c.dt, s.RxPPS, c.want)
		}
		if s := r.rate(300, 0, 0, 0); s.RxPPS != 300 {
			t.Errorf("the interval after one of %v: %v packets/s, want 300", c.dt, s.RxPPS)
		}
	}
}

func TestCounterWrapsAndResets(t *testing.T) {
	const max32 = 1<<32 - 1
	for _, c := range []struct {
		name        string
		before, now uint64
		want        float64 // bytes per second that are believed; 7: the last ones
	}{
		{"grows", 1000, 6000, 1000},
		{"grows over 32 bits", max32, max32 + 5000, 1000},
		{"wraps", max32 - 999, 4000, 1000},
		{"wraps from the last quarter", 0xC0000001, 0, float64(0x3FFFFFFF) / 5},
		{"stood below it", 0xC0000000, 0, 7},
		{"reset from below", 1_000_000, 0, 7},
		{"reset to the middle", 0xD0000000, 0x40000000, 7},
		{"reset of a 64-bit counter", 1 << 40, 5000, 7},
		{"impossible", 1000, 1 << 60, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, bare())
			r.in.NICs[0].Counters.TxBytes = c.before - 35
			r.warm()
			r.in.NICs[0].Counters.TxBytes = c.before
			if s := r.tick(interval); s.TxBytes != 7 {
				t.Fatalf("before: %v", s.TxBytes)
			}
			r.in.NICs[0].Counters.TxBytes = c.now
			if s := r.tick(interval); !near(s.TxBytes, c.want) {
				t.Errorf("%v bytes/s, want %v", s.TxBytes, c.want)
			}
			if s := r.rate(0, 0, 0, 50); s.TxBytes != 50 {
				t.Errorf("an interval later: %v bytes/s, want 50", s.TxBytes)
			}
		})
	}
}

// TestNarrowCounters checks with random loads that a device whose counters have 32 bits is either measured right or not
// at all, and that an operator learns of it once.
func TestNarrowCounters(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, bare()).warm()
	var total uint64
	last, wraps := 0.0, 0
	for range 2000 {
		load := rnd.Uint64N(200_000_000)
		if (total+5*load)>>32 != total>>32 {
			wraps++
		}
		total += 5 * load
		r.in.NICs[0].Counters.RxBytes = total & (1<<32 - 1)
		s := r.tick(interval)
		if !near(s.RxBytes, float64(load)) && s.RxBytes != last {
			t.Fatalf("measured %v, of %v; before %v", s.RxBytes, load, last)
		}
		last = s.RxBytes
	}
	if wraps < 10 {
		t.Fatalf("only %d wraps", wraps)
	}
	said := 0
	for _, n := range r.notes {
		if n == "interface counts bytes in 32 bits: its load cannot be told above this rate" {
			said++
		}
	}
	if said != 1 {
		t.Errorf("said %d times: %q", said, slices.Compact(r.notes))
	}
}

func TestAnotherInterface(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*nic.Leaf)
		first  float64 // rate that is believed at the tick of the change, 100 before it and 300 after
	}{
		{"renamed", func(l *nic.Leaf) { l.Name = "wan0" }, 300},
		{"another MTU", func(l *nic.Leaf) { l.MTU = 9000 }, 300},
		{"another index", func(l *nic.Leaf) { l.Index = 9 }, 100},
		{"another device of that index", func(l *nic.Leaf) { l.Perm = "02:00:00:00:00:99" }, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, bare()).warm()
			r.rate(100, 0, 0, 0)
			leaf, counters := eth0, r.in.NICs[0].Counters
			c.change(&leaf)
			r.leaves(leaf)
			r.in.NICs[0].Counters = counters
			if s := r.rate(300, 0, 0, 0); s.RxPPS != c.first || s.State != health.Up {
				t.Errorf("at once: %v packets/s and %s, want %v", s.RxPPS, s.State, c.first)
			}
			if s := r.rate(300, 0, 0, 0); s.RxPPS != 300 {
				t.Errorf("then: %v packets/s, want 300", s.RxPPS)
			}
		})
	}
}

// TestNamesSwapped: what is remembered goes with the index, whatever the names do.
func TestNamesSwapped(t *testing.T) {
	r := newRig(t, bare())
	a, b := eth0, eth0
	b.Index, b.Name, b.Perm = 3, "eth1", "02:00:00:00:00:02"
	r.leaves(a, b)
	r.in.NICs[1].Counters.RxPackets = 1 << 40
	r.warm()
	r.rate(100, 0, 0, 0)
	a.Name, b.Name = b.Name, a.Name
	r.leaves(b, a)
	r.in.NICs[1].Counters.RxPackets += 500
	if s := r.tick(interval); s.RxPPS != 100 {
		t.Errorf("%v packets/s, want 100", s.RxPPS)
	}
}

// TestNameTaken: an interface that was renamed is not taken for the new one that has its name now.
func TestNameTaken(t *testing.T) {
	r := newRig(t, bare()).warm()
	r.rate(100, 0, 0, 0)
	renamed, taker := eth0, eth0
	renamed.Name = "old0"
	taker.Index, taker.Perm = 9, "02:00:00:00:00:09"
	r.leaves(taker, renamed)
	r.in.NICs[0].Counters.RxPackets = 1 << 40
	r.in.NICs[1].Counters.RxPackets += 1000
	if s := r.tick(interval); s.RxPPS != 200 {
		t.Errorf("%v packets/s, want the old one's 200", s.RxPPS)
	}
	if s := r.rate(300, 0, 0, 0); s.RxPPS != 300 {
		t.Errorf("%v packets/s, want the new one's 300", s.RxPPS)
	}
}

func TestSeveralInterfaces(t *testing.T) {
	r := newRig(t, bare())
	other := eth0
	other.Index, other.Name, other.Perm = 3, "eth1", "02:00:00:00:00:02"
	r.leaves(eth0, other)
	r.warm()
	r.in.NICs[0].Counters.RxPackets += 500
	r.in.NICs[1].Counters.RxPackets += 1000
	r.in.NICs[1].Counters.TxPackets += 50
	if s := r.tick(interval); s.RxPPS != 300 || s.TxPPS != 10 {
		t.Errorf("rates add up to %v, %v", s.RxPPS, s.TxPPS)
	}
	r.leaves(other)
	if s := r.tick(interval); s.RxPPS != 0 || s.State != health.Up {
		t.Errorf("of the one that is left: %v packets/s", s.RxPPS)
	}
	// A new one has no rate yet; that of the other is known all the same.
	r.leaves(other, eth0)
	r.in.NICs[0].Counters.RxPackets += 500
	r.in.NICs[1].Counters.RxPackets += 1 << 30
	if s := r.tick(interval); s.RxPPS != 100 || s.State != health.Up {
		t.Errorf("beside a new one: %v packets/s", s.RxPPS)
	}
}

// TestUnreadable: what cannot be measured is taken to be what it was for three ticks; then a box whose traffic is limited has
// no room that it could vouch for.
func TestUnreadable(t *testing.T) {
	c := bare()
	c.PPSLimit = 1000
	r := newRig(t, c).warm()
	r.want(r.rate(400, 0, 0, 0), 0.6, "pps")
	r.err = errors.New("no answer")
	for range 3 {
		r.want(r.tick(interval), 0.6, "pps")
	}
	for range 3 {
		s := r.tick(interval)
		r.want(s, 0, health.NICUnknown)
		if s.State != health.Up {
			t.Errorf("state %s", s.State)
		}
	}
	r.err = nil
	r.tick(interval) // reaches too far back
	if s := r.rate(100, 0, 0, 0); s.RxPPS != 100 || s.Reason != "pps" {
		t.Errorf("after it: %v packets/s (%s)", s.RxPPS, s.Reason)
	}
}

func TestUnreadableFromTheStart(t *testing.T) {
	for limit, want := range map[int64]string{0: health.NoLimit, 1000: health.NICUnknown} {
		c := bare()
		c.PPSLimit = limit
		r := newRig(t, c)
		r.err = errors.New("no answer")
		for range 3 {
			if s := r.tick(interval); s.State != health.Warming {
				t.Errorf("tick %d: %s", s.Tick, s.State)
			}
		}
		for range 3 {
			r.tick(interval)
		}
		if r.out.State != health.Up || r.out.Reason != want || (r.out.Availability == 1) != (limit == 0) {
			t.Errorf("limit %d: %s, %v (%s), want %s", limit, r.out.State, r.out.Availability, r.out.Reason, want)
		}
	}
}

func TestNICDrops(t *testing.T) {
	c := bare()
	c.Terms.NICDrops = true
	r := newRig(t, c).warm()
	r.in.NICs[0].Counters.RxMissed += 5
	r.want(r.rate(1000, 0, 0, 0), 1, health.NoLimit) // 5 of 5005 are 1 in 1000
	r.in.NICs[0].Counters.RxFifo += 6
	r.want(r.rate(1000, 0, 0, 0), 0.3, "nic_drops")
	for range 3 {
		r.want(r.rate(1000, 0, 0, 0), 0.3, "nic_drops")
	}
	r.want(r.rate(1000, 0, 0, 0), 1, health.NoLimit)
	r.in.NICs[0].Counters.RxMissed++ // all that came was missed
	r.want(r.rate(0, 0, 0, 0), 0.3, "nic_drops")
}
