package health_test

import (
	"testing"
	"time"

	"edged/health"
	"edged/nic"
)

func TestFormula(t *testing.T) {
	for _, c := range []struct {
		name                           string
		set                            func(*health.Config)
		rxPPS, txPPS, rxBytes, txBytes uint64
		want                           float64
		reason                         string
	}{
		{"no limit", func(c *health.Config) {}, 1e6, 1e6, 1e8, 1e8, 1, health.NoLimit},
		{"half by packets", func(c *health.Config) { c.PPSLimit = 1000 }, 250, 250, 0, 0, 0.5, "pps"},
		{"half by bytes", func(c *health.Config) { c.BytesLimit = 1000 }, 0, 0, 500, 400, 0.5, "bytes"},
		{"the smaller one", func(c *health.Config) { c.PPSLimit, c.BytesLimit = 1000, 1000 }, 100, 100, 300, 300, 0.7, "bytes"},
		{"the other one", func(c *health.Config) { c.PPSLimit, c.BytesLimit = 1000, 1000 }, 400, 400, 300, 300, 0.2, "pps"},
		{"full", func(c *health.Config) { c.PPSLimit = 1000 }, 1000, 0, 0, 0, 0, "pps"},
		{"above the limit", func(c *health.Config) { c.PPSLimit = 1000 }, 9000, 0, 0, 0, 0, "pps"},
		{"idle", func(c *health.Config) { c.PPSLimit, c.BytesLimit = 1000, 1000 }, 0, 0, 0, 0, 1, "pps"},
		{"packets max", func(c *health.Config) { c.PPSLimit, c.LimitMode.PPS = 1000, "max" }, 300, 200, 0, 0, 0.7, "pps"},
		{"packets rx", func(c *health.Config) { c.PPSLimit, c.LimitMode.PPS = 1000, "rx" }, 100, 900, 0, 0, 0.9, "pps"},
		{"packets tx", func(c *health.Config) { c.PPSLimit, c.LimitMode.PPS = 1000, "tx" }, 900, 100, 0, 0, 0.9, "pps"},
		{"bytes sum", func(c *health.Config) { c.BytesLimit, c.LimitMode.Bytes = 1000, "sum" }, 0, 0, 300, 300, 0.4, "bytes"},
		{"bytes rx", func(c *health.Config) { c.BytesLimit, c.LimitMode.Bytes = 1000, "rx" }, 0, 0, 100, 900, 0.9, "bytes"},
		{"bytes tx", func(c *health.Config) { c.BytesLimit, c.LimitMode.Bytes = 1000, "tx" }, 0, 0, 900, 100, 0.9, "bytes"},
		{"packets one way", func(c *health.Config) { c.PPSLimitRx, c.PPSLimitTx = 1000, 500 }, 100, 100, 0, 0, 0.8, "pps_tx"},
		{"bytes one way", func(c *health.Config) { c.BytesLimitRx, c.BytesLimitTx = 1000, 5000 }, 0, 0, 400, 400, 0.6, "bytes_rx"},
		{"all of them", func(c *health.Config) {
			c.PPSLimit, c.PPSLimitRx, c.PPSLimitTx, c.BytesLimit, c.BytesLimitRx, c.BytesLimitTx = 1000, 1000, 100, 1000, 1000, 1000
		}, 50, 50, 500, 500, 0.5, "pps_tx"},
		{"rounded down", func(c *health.Config) { c.PPSLimit = 1000 }, 1, 0, 0, 0, 0.99, "pps"},
		{"never rounded up", func(c *health.Config) { c.PPSLimit = 1000 }, 991, 0, 0, 0, 0, "pps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := bare()
			c.set(&config)
			r := newRig(t, config).warm()
			r.want(r.rate(c.rxPPS, c.txPPS, c.rxBytes, c.txBytes), c.want, c.reason)
		})
	}
}

// TestPairs: what is shown explains the score.
func TestPairs(t *testing.T) {
	c := bare()
	c.PPSLimit, c.PPSLimitRx, c.BytesLimitTx = 1000, 100, 5000
	s := newRig(t, c).warm().rate(50, 0, 70, 1000)
	if s.PPS != 50 || s.PPSLimit != 100 || s.Bytes != 1000 || s.BytesLimit != 5000 {
		t.Errorf("packets %v of %v, bytes %v of %v", s.PPS, s.PPSLimit, s.Bytes, s.BytesLimit)
	}
	if s := newRig(t, bare()).warm().rate(50, 20, 70, 1000); s.PPS != 70 || s.PPSLimit != 0 || s.Bytes != 1000 || s.BytesLimit != 0 {
		t.Errorf("without limits: packets %v of %v, bytes %v of %v", s.PPS, s.PPSLimit, s.Bytes, s.BytesLimit)
	}
}

// TestLinkSpeed: the speed of a real link is a limit on bytes, each way, where none is configured.
func TestLinkSpeed(t *testing.T) {
	fast, standby, virtual := eth0, eth0, eth0
	fast.SpeedMbit = 8 // a megabyte a second
	standby.Index, standby.Name, standby.SpeedMbit, standby.Up = 3, "eth1", 8, false
	virtual.SpeedMbit, virtual.Physical = 8, false
	second := standby
	second.Up = true
	unknown := second
	unknown.SpeedMbit = 0
	for _, c := range []struct {
		name   string
		leaves []nic.Leaf
		limit  int64
		mode   string
		want   float64 // of 600 packets and 485,600 bytes received a second, half of that sent
		reason string
	}{
		{"speed", []nic.Leaf{fast}, 0, "max", 0.5, "bytes"}, // 24 bytes around each packet
		{"speed is one way", []nic.Leaf{fast}, 0, "sum", 0.5, "bytes"},
		{"speed of tx", []nic.Leaf{fast}, 0, "tx", 0.75, "bytes"},
		{"configured", []nic.Leaf{fast}, 485_600 * 4, "max", 0.75, "bytes"},
		{"one that was never up", []nic.Leaf{fast, standby}, 0, "max", 0.5, "bytes"},
		{"two", []nic.Leaf{fast, second}, 0, "max", 0.75, "bytes"},
		{"one of unknown speed", []nic.Leaf{fast, unknown}, 0, "max", 1, health.NoLimit},
		{"virtual", []nic.Leaf{virtual}, 0, "max", 1, health.NoLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := bare()
			config.BytesLimit, config.LimitMode.Bytes = c.limit, c.mode
			r := newRig(t, config)
			r.leaves(c.leaves...)
			r.warm()
			r.want(r.rate(600, 300, 485_600, 242_800), c.want, c.reason)
		})
	}
}

// TestLostLink: with one of two links gone, what is left must carry all.
func TestLostLink(t *testing.T) {
	for limit, want := range map[int64][2]float64{0: {0.74, 0.49}, 2_000_000: {0.75, 0.5}} { // by speed, framing counts too
		a, b := eth0, eth0
		a.SpeedMbit, b.SpeedMbit = 8, 8
		b.Index, b.Name = 3, "eth1"
		c := bare()
		c.BytesLimit = limit
		r := newRig(t, c)
		r.leaves(a, b)
		r.warm()
		r.want(r.rate(0, 0, 0, 500_000), want[0], "bytes")
		b.Up = false
		r.leaves(a, b)
		r.want(r.rate(0, 0, 0, 500_000), want[1], "bytes")
	}
}

// TestSmoothing compares with the definition: the larger of the last rate and the average of weight 0.3.
func TestSmoothing(t *testing.T) {
	c := bare()
	c.PPSLimit = 1000
	r := newRig(t, c).warm()
	average := 0.0
	loads := []uint64{0, 800, 0, 0, 0, 0, 0, 300, 310, 290, 0, 1000, 20, 20, 20, 20, 20, 20}
	for _, load := range loads {
		s := r.rate(load, 0, 0, 0)
		average += 0.3 * (float64(load) - average)
		want := float64(int((1-max(float64(load), average)/1000)*100+1e-9)) / 100
		r.want(s, want, "pps")
		if !near(s.Raw, 1-float64(load)/1000) {
			t.Errorf("raw %v at %d", s.Raw, load)
		}
	}
}

func TestSuddenLoadCountsAtOnce(t *testing.T) {
	c := bare()
	c.PPSLimit = 1000
	r := newRig(t, c).warm()
	r.want(r.rate(900, 0, 0, 0), 0.1, "pps")
	// It goes away slowly: an average of 270 the tick after, but never above what the load gave.
	for last := 0.1; last < 0.99; last = r.out.Availability {
		if s := r.rate(0, 0, 0, 0); s.Availability < last || s.Tick > 30 {
			t.Fatalf("tick %d: availability %v after %v", s.Tick, s.Availability, last)
		}
	}
}

func TestLinks(t *testing.T) {
	r := newRig(t, health.Default()).warm()
	for _, c := range []struct {
		links, capacity int
		want            float64
		reason          string
	}{
		{0, 0, 1, health.NoLimit},
		{0, 100, 1, health.NoLimit},
		{25, 100, 0.75, "links"},
		{1, 1_000_000, 0.99, "links"},
		{100, 100, 0, "links"},
		{150, 100, 0, "links"},
	} {
		r.in.Inputs.Links, r.in.Inputs.Capacity = c.links, c.capacity
		s := r.tick(interval)
		r.want(s, c.want, c.reason)
		if s.Links != c.links || s.Capacity != c.capacity {
			t.Errorf("shown: %d of %d", s.Links, s.Capacity)
		}
	}
}

func TestManager(t *testing.T) {
	r := newRig(t, health.Default()).warm()
	r.in.Inputs.ManagerGrace = 12 * time.Second
	r.want(r.tick(interval), 1, health.NoLimit) // none is configured
	r.in.Inputs.ManagersConfigured = true
	for range 3 { // 0, 5, 10 s
		r.want(r.tick(interval), 1, health.NoLimit)
	}
	for range 3 {
		r.want(r.tick(interval), 0, "manager")
	}
	r.in.Inputs.ManagerUp = true
	r.want(r.tick(interval), 1, health.NoLimit)
	r.in.Inputs.ManagerUp = false
	r.want(r.tick(interval), 1, health.NoLimit)
	r.in.Inputs.ManagerGrace = 0
	r.want(r.tick(interval), 0, "manager")
}

func TestSwitchesOff(t *testing.T) {
	r := newRig(t, bare()).warm()
	r.in.Inputs = health.Inputs{Links: 100, Capacity: 100, Files: 9, FilesLimit: 9, ManagersConfigured: true}
	full := health.Gauge{Used: 1, Limit: 1}
	for i := range uint64(3) {
		e := health.Events{Total: i, Known: true}
		r.in.Signals = health.Signals{full, full, full, full, full, full, full, full, e, e, e}
		r.in.NICs[0].Counters.RxMissed += i * 1000
		s := r.tick(interval)
		r.want(s, 1, health.NoLimit)
		if len(s.Terms) > 0 {
			t.Errorf("terms %v", s.Terms)
		}
	}
}

// TestStates: draining wins over a dead interface, that over warming, that over every term.
func TestStates(t *testing.T) {
	c := bare()
	c.PPSLimit = 1000
	r := newRig(t, c)
	dead := eth0
	dead.Up = false
	expect := func(s health.Snapshot, state, reason string) {
		t.Helper()
		if s.State != state || s.Reason != reason {
			t.Errorf("%s (%s), want %s (%s)", s.State, s.Reason, state, reason)
		}
	}
	restate := func(leaf nic.Leaf, draining bool) health.Snapshot {
		s := health.Snapshot{NICs: []string{leaf.Name}}
		r.scorer.Restate(r.in.At, nic.Set{Leaves: []nic.Leaf{leaf}, Source: nic.Configured}, true, draining, &s)
		checkSane(t, s)
		if len(s.NICs) != 1 || s.NICSource != nic.Configured {
			t.Errorf("interfaces %q of %q", s.NICs, s.NICSource)
		}
		return s
	}
	expect(restate(eth0, false), health.Warming, "warming")
	expect(restate(dead, false), health.Down, health.NICDown)
	expect(restate(dead, true), health.Draining, "draining")
	r.warm()
	r.rate(250, 0, 0, 0)
	expect(restate(eth0, true), health.Draining, "draining")
	expect(restate(dead, false), health.Down, health.NICDown)
	if s := restate(eth0, false); s.State != health.Up || s.Availability != 0.75 || s.Tick != 3 || s.PPS != 250 {
		t.Errorf("undone: %+v", s)
	}
	r.in.Draining = true
	expect(r.tick(interval), health.Draining, "draining")
	r.in.Draining = false
	expect(r.tick(interval), health.Up, "pps")
	r.leaves(dead)
	expect(r.tick(interval), health.Down, health.NICDown)
	r.leaves(eth0)
	expect(r.tick(interval), health.Up, "pps")
}

func TestNoInterfaces(t *testing.T) {
	for _, c := range []struct {
		name  string
		nics  []string
		seen  bool // there was one once
		state string
	}{
		{"auto, a box without any", []string{"auto"}, false, health.Up},
		{"auto, unplugged", []string{"auto"}, true, health.Down},
		{"configured, not there yet", []string{"eth7"}, false, health.Down},
		{"configured, removed", []string{"eth7"}, true, health.Down},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := bare()
			config.NICs, config.PPSLimit = c.nics, 1000
			r := newRig(t, config)
			if c.seen {
				r.warm()
			}
			r.leaves()
			r.tick(interval)
			if s := r.tick(interval); s.State != c.state || c.state == health.Up && s.Availability != 1 {
				t.Errorf("%s %v (%s), want %s", s.State, s.Availability, s.Reason, c.state)
			}
		})
	}
}

// TestNotResolved: a kernel that cannot be asked is like counters that cannot be read.
func TestNotResolved(t *testing.T) {
	c := bare()
	c.PPSLimit = 1000
	r := newRig(t, c)
	r.leaves()
	r.in.Resolved = false
	for range 3 {
		if s := r.tick(interval); s.State != health.Warming {
			t.Errorf("tick %d: %s", s.Tick, s.State)
		}
	}
	if s := r.tick(interval); s.State != health.Up || s.Reason != health.NICUnknown {
		t.Errorf("%s (%s)", s.State, s.Reason)
	}
	r.in.Resolved = true
	r.leaves(eth0)
	r.tick(interval)
	r.want(r.rate(100, 0, 0, 0), 0.9, "pps")
}
