package health_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edged/health"
	"edged/nic"
)

// fakeBox is a Source whose interfaces carry a steady load.
type fakeBox struct {
	mu      sync.Mutex
	start   time.Time
	leaves  []nic.Leaf
	missing []string
	pps     uint64 // of each leaf, received
	resolve error
	read    error
	watch   error
	changed func()
	asked   int // calls of Resolve
	closed  int
}

func newFakeBox(pps uint64) *fakeBox {
	return &fakeBox{start: time.Now(), leaves: []nic.Leaf{eth0}, pps: pps}
}

func (b *fakeBox) Resolve(names []string) (nic.Set, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return nic.Set{Leaves: slices.Clone(b.leaves), Source: nic.Physical, Missing: b.missing}, b.resolve
}

func (b *fakeBox) Read(index int, name string) (nic.Counters, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.leaves {
		if l.Index == index {
			return nic.Counters{RxPackets: b.pps * uint64(time.Since(b.start)) / uint64(time.Second)}, b.read
		}
	}
	return nic.Counters{}, nic.ErrGone
}

func (b *fakeBox) Watch(ctx context.Context, changed func()) error {
	b.mu.Lock()
	b.changed = changed
	err := b.watch
	b.mu.Unlock()
	if err != nil {
		return err
	}
	changed()
	<-ctx.Done()
	return nil
}

func (b *fakeBox) Close() error {
	b.closed++
	return nil
}

func (b *fakeBox) resolved() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// set changes the box; quietly says that nobody is told.
func (b *fakeBox) set(quietly bool, change func()) {
	b.mu.Lock()
	change()
	b.mu.Unlock()
	if !quietly {
		b.changed()
	}
	synctest.Wait()
}

// run is a Monitor over a fakeBox in a bubble of synthetic time.
type run struct {
	t         *testing.T
	box       *fakeBox
	monitor   *health.Monitor
	log       bytes.Buffer // read once the Monitor has nothing to do
	mu        sync.Mutex
	inputs    health.Inputs
	published []health.Snapshot
}

func startRun(t *testing.T, c health.Config, box *fakeBox, o health.Options) *run {
	t.Helper()
	r := &run{t: t, box: box}
	o.Source, o.Root = box, t.TempDir()
	o.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	o.Inputs = func() health.Inputs {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.inputs
	}
	o.Publish = func(s health.Snapshot) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.published = append(r.published, s)
	}
	var err error
	if r.monitor, err = health.New(c, o); err != nil {
		t.Fatal(err)
	}
	if s := r.monitor.Latest(); o.Resume == nil && (s.State != health.Warming || s.Availability != 0) {
		t.Errorf("before the start: %+v", s)
	}
	r.monitor.Start()
	t.Cleanup(r.monitor.Stop)
	synctest.Wait()
	return r
}

// pass lets time pass and returns what was published since its last call.
func (r *run) pass(d time.Duration) []health.Snapshot {
	r.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	got := r.published
	r.published = nil
	r.mu.Unlock()
	for _, s := range got {
		checkSane(r.t, s)
	}
	return got
}

// one lets time pass in which exactly one Snapshot is published.
func (r *run) one(d time.Duration) health.Snapshot {
	r.t.Helper()
	got := r.pass(d)
	if len(got) != 1 {
		r.t.Fatalf("%d snapshots in %v: %+v", len(got), d, got)
	}
	if latest := r.monitor.Latest(); latest.Tick != got[0].Tick || latest.State != got[0].State {
		r.t.Fatalf("latest is %+v, published was %+v", latest, got[0])
	}
	return got[0]
}

func (r *run) none(d time.Duration) {
	r.t.Helper()
	if got := r.pass(d); len(got) > 0 {
		r.t.Fatalf("in %v was published %+v", d, got)
	}
}

func (r *run) want(s health.Snapshot, state, reason string, availability float64) {
	r.t.Helper()
	if s.State != state || s.Reason != reason || s.Availability != availability {
		r.t.Errorf("%s (%s) %v, want %s (%s) %v", s.State, s.Reason, s.Availability, state, reason, availability)
	}
}

func limited() health.Config {
	c := health.Default()
	c.PPSLimit = 1000
	return c
}

func TestMonitorWarmsAndTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, limited(), newFakeBox(400), health.Options{})
		begin := r.pass(0)
		if len(begin) != 2 { // that it runs, and its first tick
			t.Fatalf("at the start %+v", begin)
		}
		for _, s := range begin {
			r.want(s, health.Warming, "warming", 0)
		}
		r.mu.Lock()
		r.inputs = health.Inputs{Links: 3, Capacity: 10}
		r.mu.Unlock()
		for tick := uint64(2); tick < 20; tick++ {
			s := r.one(interval)
			r.want(s, health.Up, "pps", 0.6)
			if s.Tick != tick || s.Links != 3 || s.Capacity != 10 || !slices.Equal(s.NICs, []string{"eth0"}) || s.NICSource != nic.Physical || !s.At.Equal(time.Now()) {
				t.Errorf("tick %d: %+v", tick, s)
			}
		}
	})
}

// TestMonitorResumes goes on with what the process before found, until it has measured an interval itself.
func TestMonitorResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := health.Snapshot{State: health.Up, Reason: "bytes", Availability: 0.25, Raw: 0.3, Links: 7, RxPPS: 12}
		r := startRun(t, limited(), newFakeBox(400), health.Options{Resume: &last})
		r.inputs.Links = 3
		begin := r.pass(0)
		if len(begin) != 2 {
			t.Fatalf("at the start %+v", begin)
		}
		for _, s := range begin {
			r.want(s, health.Up, "bytes", 0.25)
			if s.RxPPS != 12 || !slices.Equal(s.NICs, []string{"eth0"}) {
				t.Errorf("%+v", s)
			}
		}
		r.monitor.SetDraining(true)
		r.want(r.one(time.Second), health.Draining, "draining", 0)
		r.monitor.SetDraining(false)
		r.want(r.one(time.Second), health.Up, "bytes", 0.25)
		r.want(r.one(interval-2*time.Second), health.Up, "pps", 0.6)
	})
}

// TestMonitorResumesInVain begins with warming where there is nothing to go on with, and believes an old figure no longer than
// a value that cannot be measured.
func TestMonitorResumesInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, limited(), newFakeBox(400), health.Options{Resume: &health.Snapshot{State: health.Warming, Reason: "warming"}})
		r.want(r.pass(0)[1], health.Warming, "warming", 0)
		r.want(r.one(interval), health.Up, "pps", 0.6)
	})
	synctest.Test(t, func(t *testing.T) {
		box := newFakeBox(400)
		box.read = errors.New("no counters")
		r := startRun(t, limited(), box, health.Options{Resume: &health.Snapshot{State: health.Up, Reason: "bytes", Availability: 0.25, Raw: 0.25}})
		r.pass(0)
		for range 3 {
			r.want(r.one(interval), health.Up, "bytes", 0.25)
		}
		r.want(r.one(interval), health.Up, health.NICUnknown, 0)
	})
}

func TestMonitorPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := map[time.Duration]bool{}
		for _, gateway := range []string{"192.0.2.1:7000", "192.0.2.2:7000", "192.0.2.3:7000"} {
			start := time.Now()
			r := startRun(t, limited(), newFakeBox(400), health.Options{Gateway: gateway})
			r.pass(interval)
			s := r.monitor.Latest()
			if s.State != health.Warming || s.Tick != 1 {
				t.Errorf("%s: %+v", gateway, s)
			}
			first[s.At.Sub(start)] = true
			r.want(r.one(interval), health.Up, "pps", 0.6)
			r.monitor.Stop()
		}
		if len(first) != 3 {
			t.Errorf("first ticks after %v", first)
		}
	})
}

func TestMonitorDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, limited(), newFakeBox(400), health.Options{})
		r.pass(interval)
		r.pass(time.Second)
		r.monitor.SetDraining(true)
		s := r.one(0)
		r.want(s, health.Draining, "draining", 0)
		if s.Tick != 2 || s.PPS != 400 {
			t.Errorf("between two ticks: %+v", s)
		}
		r.monitor.SetDraining(true)
		r.none(0)
		r.want(r.one(interval), health.Draining, "draining", 0)
		r.monitor.SetDraining(false)
		r.want(r.one(0), health.Up, "pps", 0.6)
		for on := range 100 { // whoever cannot decide is told what holds in the end
			r.monitor.SetDraining(on%2 == 0)
		}
		r.pass(time.Second)
		r.want(r.monitor.Latest(), health.Up, "pps", 0.6)
	})
}

func TestMonitorDrainingBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := health.New(limited(), health.Options{Source: newFakeBox(1), Root: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Stop()
		m.SetDraining(true)
		m.Start()
		synctest.Wait()
		if s := m.Latest(); s.State != health.Draining {
			t.Errorf("%+v", s)
		}
	})
}

func TestMonitorLinkDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, limited(), newFakeBox(400), health.Options{})
		r.pass(interval)
		r.pass(time.Second)
		r.box.set(false, func() { r.box.leaves[0].Up = false })
		r.want(r.one(0), health.Down, health.NICDown, 0)
		// Up and down and up: only a tick lets it be up again.
		r.box.set(false, func() { r.box.leaves[0].Up = true })
		r.none(0)
		r.box.set(false, func() { r.box.leaves[0].Up = false })
		r.none(time.Second)
		r.box.set(false, func() { r.box.leaves[0].Up = true })
		r.want(r.one(3*time.Second), health.Up, "pps", 0.6)
	})
}

// TestMonitorRecreated: an interface that is removed is down at once; another one of that name is measured again.
func TestMonitorRecreated(t *testing.T) {
	for _, quietly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := startRun(t, limited(), newFakeBox(400), health.Options{})
			r.pass(interval)
			r.pass(time.Second)
			r.box.set(quietly, func() { r.box.leaves = nil })
			if quietly { // the next tick finds it gone
				r.want(r.one(interval), health.Down, health.NICDown, 0)
			} else {
				r.want(r.one(0), health.Down, health.NICDown, 0)
			}
			again := eth0
			again.Index = 9
			r.box.set(quietly, func() { r.box.leaves, r.box.pps = []nic.Leaf{again}, 100 })
			r.pass(10 * time.Minute) // a subscription may be silent: it is looked for all the same; the average needs its time
			r.want(r.monitor.Latest(), health.Up, "pps", 0.9)
		})
	}
}

func TestMonitorPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newFakeBox(400)
		box.watch = errors.New("denied")
		r := startRun(t, limited(), box, health.Options{})
		r.pass(interval)
		r.box.set(true, func() { r.box.leaves[0].Up = false })
		r.want(r.one(interval), health.Down, health.NICDown, 0)
		r.box.set(true, func() { r.box.leaves[0].Up = true })
		r.want(r.one(interval), health.Up, "pps", 0.6)
		if !strings.Contains(r.log.String(), "interface changes are not told") {
			t.Errorf("log: %s", r.log.String())
		}
	})
}

func TestMonitorResolvesRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, limited(), newFakeBox(400), health.Options{})
		before := r.box.resolved()
		r.pass(60 * interval)
		if n := r.box.resolved() - before; n != 10 {
			t.Errorf("asked %d times in 60 ticks", n)
		}
	})
}

// TestMonitorKernelFails: troubles are told once, and once more when they are over.
func TestMonitorKernelFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newFakeBox(400)
		box.resolve, box.missing = errors.New("no netlink"), []string{"eth7"}
		r := startRun(t, limited(), box, health.Options{})
		r.pass(5 * interval)
		r.want(r.monitor.Latest(), health.Up, health.NICUnknown, 0)
		r.box.set(true, func() { r.box.resolve = nil })
		r.pass(2 * interval)
		r.want(r.monitor.Latest(), health.Up, "pps", 0.6)
		r.box.set(true, func() { r.box.read = errors.New("no answer") })
		r.pass(3 * interval)
		r.want(r.monitor.Latest(), health.Up, "pps", 0.6)
		r.pass(interval)
		r.want(r.monitor.Latest(), health.Up, health.NICUnknown, 0)
		r.box.set(true, func() { r.box.read = nil })
		r.pass(2 * interval)
		r.want(r.monitor.Latest(), health.Up, "pps", 0.6)
		for _, line := range []string{"interfaces cannot be listed", "configured interfaces are not there", "interface counters cannot be read", "interface counters can be read again", "traffic is measured"} {
			if n := strings.Count(r.log.String(), line); n != 1 {
				t.Errorf("%d times %q in the log:\n%s", n, line, r.log.String())
			}
		}
	})
}

// TestMonitorStops: nothing is published after Stop, the Source is closed once, and order does not matter.
func TestMonitorStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRun(t, limited(), newFakeBox(400), health.Options{})
		r.monitor.Start()
		r.pass(interval)
		r.monitor.Stop()
		r.monitor.Stop()
		r.monitor.Start()
		r.monitor.SetDraining(true)
		r.none(time.Hour)
		if r.box.closed != 1 {
			t.Errorf("closed %d times", r.box.closed)
		}
		idle, err := health.New(limited(), health.Options{Source: newFakeBox(1)})
		if err != nil {
			t.Fatal(err)
		}
		idle.Stop()
		idle.Start()
		if s := idle.Latest(); s.State != health.Warming {
			t.Errorf("never started: %+v", s)
		}
	})
}

// TestMonitorThisBox measures the box it runs on, whatever it has.
func TestMonitorThisBox(t *testing.T) {
	told := make(chan health.Snapshot, 16)
	c := health.Default()
	c.Interval, c.Terms = time.Second, everything
	m, err := health.New(c, health.Options{Publish: func(s health.Snapshot) { told <- s }})
	if err != nil {
		t.Fatal(err)
	}
	m.Start()
	defer m.Stop()
	for end := time.After(10 * time.Second); ; {
		select {
		case s := <-told:
			checkSane(t, s)
			if s.State != health.Warming {
				return
			}
		case <-end:
			t.Fatalf("never warm: %+v", m.Latest())
		}
	}
}

// TestTickAllocates: the Snapshot and its terms, which readers keep, and nothing else.
func TestTickAllocates(t *testing.T) {
	f := newFiles(t)
	f.full()
	c := all()
	s, err := health.NewSampler(c, newFakeBox(400), f.root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { now = now.Add(interval); s.Tick(now) }); n > 2 {
		t.Errorf("a tick allocates %v times", n)
	}
}

// BenchmarkTick is a whole sample of this box, by default and with every signal.
func BenchmarkTick(b *testing.B) {
	for name, c := range map[string]health.Config{"default": limited(), "everything": all()} {
		b.Run(name, func(b *testing.B) {
			s, err := health.NewSampler(c, nil, "/")
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				s.Tick(time.Now())
			}
		})
	}
}
