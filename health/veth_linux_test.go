package health_test

import (
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"edged/health"
	"edged/nic"
)

const (
	packetRate = 4000 // per second
	payload    = 100
	frame      = 14 + 20 + 8 + payload // Ethernet, IP, UDP
)

// sight is a Snapshot and what the generator had done when it was published.
type sight struct {
	health.Snapshot
	sent uint64
}

// watcher is a Monitor of one interface in a space.
type watcher struct {
	t     *testing.T
	m     *health.Monitor
	seen  chan sight
	state sight // the last one that was awaited
}

func watchNIC(t *testing.T, s *space, sent *atomic.Uint64, set func(*health.Config)) *watcher {
	t.Helper()
	w := &watcher{t: t, seen: make(chan sight, 1000)}
	c := bare()
	c.Interval, c.NICs = time.Second, []string{"va"}
	set(&c)
	var err error
	w.m, err = health.New(c, health.Options{
		Source: newSpaceSource(s), Publish: func(s health.Snapshot) { w.seen <- sight{s, sent.Load()} },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.m.Start()
	t.Cleanup(w.m.Stop)
	return w
}

// await returns the first Snapshot that is as wanted, and the one before it.
func (w *watcher) await(what string, is func(sight) bool) (before, got sight) {
	w.t.Helper()
	for end := time.After(patience); ; {
		select {
		case got = <-w.seen:
			checkSane(w.t, got.Snapshot)
			before, w.state = w.state, got
			if is(got) {
				return before, got
			}
		case <-end:
			w.t.Fatalf("%s: not within %v; last %+v", what, patience, w.state)
		}
	}
}

// generate sends count-known datagrams at a steady rate until stop.
func generate(t *testing.T, from, to *space, sent *atomic.Uint64) (stop func()) {
	t.Helper()
	var in, out *net.UDPConn
	to.must("listen", func() (err error) { // nobody reads: what does not fit is dropped behind the interface
		in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 99, 0, 2), Port: 9})
		return err
	})
	from.must("dial", func() (err error) { out, err = net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr)); return err })
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		packet := make([]byte, payload)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for start := time.Now(); ; {
			for due := uint64(time.Since(start).Seconds() * packetRate); sent.Load() < due; sent.Add(1) {
				if _, err := out.Write(packet); err != nil {
					t.Error("send:", err)
					return
				}
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
		_, _ = in.Close(), out.Close()
	}
}

// TestVethLoad: a known load is reported as it is, and against limits as the formula says.
func TestVethLoad(t *testing.T) {
	needSeconds(t)
	a, b := newSpace(t), newSpace(t)
	a.pair("va", b, "vb")
	var sent atomic.Uint64
	defer generate(t, a, b, &sent)()
	plain := watchNIC(t, a, &sent, func(*health.Config) {})
	twice := watchNIC(t, a, &sent, func(c *health.Config) { c.PPSLimit = 2 * packetRate })
	bytes := watchNIC(t, a, &sent, func(c *health.Config) { c.BytesLimit = 2 * packetRate * frame })
	below := watchNIC(t, a, &sent, func(c *health.Config) { c.PPSLimit = packetRate * 4 / 5 })

	_, first := plain.await("warm", func(s sight) bool { return s.State == health.Up })
	if first.NICSource != nic.Configured || len(first.NICs) != 1 || first.NICs[0] != "va" || first.Reason != health.NoLimit {
		t.Errorf("%+v", first)
	}
	measured := struct{ packets, bytes float64 }{}
	last := first
	for last.Tick < first.Tick+4 {
		before, now := plain.await("the next tick", func(s sight) bool { return s.Tick > last.Tick })
		dt := now.At.Sub(before.At).Seconds()
		measured.packets += now.PPS * dt
		measured.bytes += now.Bytes * dt
		last = now
	}
	truth := float64(last.sent - first.sent)
	t.Logf("sent %v packets; measured %.0f packets, %.0f bytes (%.4f, %.4f of it)",
		truth, measured.packets, measured.bytes, measured.packets/truth, measured.bytes/truth/frame)
	if e := math.Abs(measured.packets/truth - 1); e > 0.05 {
		t.Errorf("packets are off by %.2f %%", 100*e)
	}
	if e := math.Abs(measured.bytes/truth/frame - 1); e > 0.01 {
		t.Errorf("bytes are off by %.2f %%", 100*e)
	}
	for _, half := range []*watcher{twice, bytes} {
		_, s := half.await("half of the limit", func(s sight) bool { return math.Abs(s.Availability-0.5) <= 0.02 })
		t.Logf("against twice the load: %v (%s), raw %v", s.Availability, s.Reason, s.Raw)
	}
	_, s := below.await("above the limit", func(s sight) bool { return s.State == health.Up && s.Reason == "pps" })
	if s.Availability != 0 || s.Raw != 0 {
		t.Errorf("load above the limit: %v, raw %v", s.Availability, s.Raw)
	}
}

// TestVethSegments: bulk over TCP leaves the kernel in super-packets that no wire carries; what is reported is the same as
// where the kernel cuts them before the interface.
func TestVethSegments(t *testing.T) {
	t.Run("super-packets", func(t *testing.T) { testSegments(t, func(netlink.Link) error { return nil }) })
	t.Run("segments", func(t *testing.T) {
		testSegments(t, func(l netlink.Link) error { return netlink.LinkSetGSOMaxSegs(l, 1) })
	})
}

func testSegments(t *testing.T, prepare func(netlink.Link) error) {
	needSeconds(t)
	const rate, segment = 6_000_000, 1448 // MSS less the time stamp option
	a, b := newSpace(t), newSpace(t)
	a.pair("va", b, "vb")
	a.change("va", prepare)
	var sent atomic.Uint64
	defer bulk(t, a, b, rate, &sent)()
	w := watchNIC(t, a, &sent, func(*health.Config) {})
	reader := newSpaceSource(a)
	defer reader.Close()
	counted := func() uint64 {
		set, err := reader.Resolve([]string{"va"})
		if err != nil || len(set.Leaves) != 1 {
			t.Fatalf("%+v, %v", set, err)
		}
		c, err := reader.Read(set.Leaves[0].Index, "va")
		if err != nil {
			t.Fatal(err)
		}
		return c.TxPackets
	}
	_, first := w.await("warm", func(s sight) bool { return s.State == health.Up })
	packets, last, kernel := 0.0, first, counted()
	for last.Tick < first.Tick+3 {
		before, now := w.await("the next tick", func(s sight) bool { return s.Tick > last.Tick })
		packets += now.TxPPS * now.At.Sub(before.At).Seconds()
		last = now
	}
	kernel = counted() - kernel
	truth := float64(last.sent-first.sent) / segment
	t.Logf("%.0f segments, %.0f reported (%.3f), %d counted by the kernel", truth, packets, packets/truth, kernel)
	if e := math.Abs(packets/truth - 1); e > 0.1 { // an estimate, of a stream that is buffered
		t.Errorf("off by %.1f %%", 100*e)
	}
}

// needSeconds says that a test measures traffic in real time. Those that do, do so at the same time.
func needSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	t.Parallel()
}

// bulk sends a steady stream over TCP until stop.
func bulk(t *testing.T, from, to *space, rate float64, sent *atomic.Uint64) (stop func()) {
	t.Helper()
	var l net.Listener
	to.must("listen", func() (err error) { l, err = net.Listen("tcp4", "10.99.0.2:0"); return err })
	var out net.Conn
	from.must("dial", func() (err error) { out, err = net.Dial("tcp4", l.Addr().String()); return err })
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { _, _ = io.Copy(io.Discard, in) }) // until stop closes it
	running.Go(func() {
		chunk := make([]byte, 60_000)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for start := time.Now(); ; {
			for float64(sent.Load()) < time.Since(start).Seconds()*rate {
				n, err := out.Write(chunk)
				if err != nil {
					t.Error("send:", err)
					return
				}
				sent.Add(uint64(n))
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		_ = out.SetDeadline(time.Now().Add(time.Second))
		_ = in.SetDeadline(time.Now().Add(time.Second))
		running.Wait()
		_, _, _ = out.Close(), in.Close(), l.Close()
	}
}

// TestVethDown: an interface that loses its carrier, is set down or vanishes takes the availability to 0 between two ticks.
func TestVethDown(t *testing.T) {
	needSeconds(t)
	a, b := newSpace(t), newSpace(t)
	a.pair("va", b, "vb")
	var sent atomic.Uint64
	w := watchNIC(t, a, &sent, func(c *health.Config) { c.PPSLimit = 2 * packetRate })
	up := func() {
		t.Helper()
		w.await("up", func(s sight) bool { return s.State == health.Up && s.Availability == 1 })
	}
	down := func(how string) {
		t.Helper()
		before, s := w.await(how, func(s sight) bool { return s.State == health.Down })
		if s.Availability != 0 || s.Reason != health.NICDown || s.Tick != before.Tick {
			t.Errorf("%s: %v (%s) at tick %d after %d", how, s.Availability, s.Reason, s.Tick, before.Tick)
		}
		t.Logf("%s: told %v after the tick before it", how, s.At.Sub(before.At))
	}
	up()
	b.change("vb", netlink.LinkSetDown)
	down("the carrier is lost")
	b.change("vb", netlink.LinkSetUp)
	up()
	a.change("va", netlink.LinkSetDown)
	down("it is set down")
	a.change("va", netlink.LinkSetUp)
	up()
	a.change("va", netlink.LinkDel)
	down("it is deleted")
	a.pair("va", b, "vb")
	up()
	stop := generate(t, a, b, &sent)
	defer stop()
	w.await("the new one is measured", func(s sight) bool { return math.Abs(s.Raw-0.5) <= 0.02 })
}
