package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/delivery"
	"edged/gateway"
	"edged/wire"
)

// TestUnacknowledgedPushesGoOn: what waits for an ACK is repeated when it would have been, and its ACK is told.
func TestUnacknowledgedPushesGoOn(t *testing.T) { eachWay(t, testUnacknowledgedPushesGoOn) }

func testUnacknowledgedPushesGoOn(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = delivery.Default()
	o.Delivery.Retry = 400 * time.Millisecond
	r := w.start(t, o)
	c := r.loginAs("ann/phone")
	m.send(pushing(toUser("ann"), required("a", "one")), pushing(toUser("ann"), required("b", "two")))
	sent := time.Now()
	c.ack(c.expectPush("one").TID)
	two := c.expectPush("two")
	eventually(t, "the ACK is taken", func() bool { return r.sum().Acked == 1 })
	seen := m.streamsSeen()
	next := r.succeed(o)
	again := c.expectPush("two")
	if d := time.Since(sent); again.TID != two.TID || again.Flags&wire.FlagAgain == 0 || d < o.Delivery.Retry {
		t.Errorf("push %d, flags %b, after %v", again.TID, again.Flags, d)
	}
	m.again(seen)
	m.send(pushing(toUser("ann"), required("c", "three")))
	three := c.expectPush("three")
	if three.TID != two.TID+1 {
		t.Errorf("tid %d behind %d", three.TID, two.TID)
	}
	c.ack(two.TID, three.TID)
	for _, x := range m.reports(3) {
		if want := map[string]uint32{"a": 1, "b": 2, "c": 1}[x.id]; !x.acked || x.tries != want {
			t.Errorf("report %+v", x)
		}
	}
	before := uint64(2) // pushes
	if w.crash {
		before = 0 // counters begin anew
	}
	if st := next.sum(); st.Acked != 2+before/2 || st.Windows != 0 || st.Pushes[batch.AckRequired] != 1+before {
		t.Errorf("%d acked, %d windows, pushes %v", st.Acked, st.Windows, st.Pushes)
	}
}

// TestPackagesGoOn: a message that came before its turn goes out when the missing one has come to the new gateway.
func TestPackagesGoOn(t *testing.T) { eachWay(t, testPackagesGoOn) }

func testPackagesGoOn(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = delivery.Default()
	o.Delivery.PackageGap = time.Minute
	r := w.start(t, o)
	c := r.loginAs("ann/phone")
	part := func(seq uint32) *edgedpb.DownItem {
		p := required(fmt.Sprint(seq), fmt.Sprint("part ", seq))
		p.PackageId, p.SeqId, p.Count = 9, seq, 3
		return pushing(toUser("ann"), p)
	}
	m.send(part(2), part(1))
	eventually(t, "they are held", func() bool { return r.sum().Held == 2 })
	seen := m.streamsSeen()
	next := r.succeed(o)
	m.again(seen)
	m.send(part(0))
	for i := range 3 {
		c.ack(c.expectPush(fmt.Sprint("part ", i)).TID)
	}
	m.reports(3)
	if st := next.sum(); st.Held != 0 {
		t.Errorf("%d held", st.Held)
	}
}

// TestReplayGoesOn: a link is being brought up from the log, has taken a part, and the rest comes from the new gateway.
func TestReplayGoesOn(t *testing.T) { eachWay(t, testReplayGoesOn) }

func testReplayGoesOn(t *testing.T, w way) {
	for _, tt := range []struct {
		name          string
		stored, acked uint64
		hold          bool // the log does not answer before
	}{{"asked", 0, 0, true}, {"window full", 20, 5, false}, {"second page", 256, 200, false}} {
		t.Run(tt.name, func(t *testing.T) {
			x := newLogRigOf(t, w, func(o *gateway.Options) { o.Delivery.Window = 256; o.Delivery.Retry = time.Minute })
			const all = 300
			x.store(all, batch.AckRequired)
			release := func() {}
			if tt.hold {
				release = x.log.Hold()
				defer release()
			}
			o := options(x.m.address)
			o.Delivery, o.Offline = brisk(), x.log
			o.Delivery.Retry = time.Minute
			c := x.loginAs("ann/1")
			c.expectVersions(1, tt.stored, tt.acked)
			if tt.hold {
				eventually(t, "the log is asked", func() bool { return len(x.log.Pulls()) == 1 })
			}
			eventually(t, "ACKs are taken", func() bool { return x.sum().Acked == tt.acked })
			next := x.succeed(o)
			release()
			c.expectRest(tt.stored+1, all)
			c.ackAll(tt.acked, all)
			x.synced("1", all)
			eventually(t, "all is through", func() bool { st := next.sum(); return st.Replays == 0 && st.Windows == 0 })
		})
	}
}

// expectRest expects the versions from..to, each once and in order.
func (c *client) expectRest(from, to uint64) {
	c.t.Helper()
	for v := from; v <= to; v++ {
		if p := c.push(); p.Version != v || p.Flags&(wire.FlagAgain|wire.FlagLate) != 0 {
			c.t.Fatalf("version %d, flags %b, not %d", p.Version, p.Flags, v)
		}
		if v%50 == 0 {
			c.ackAll(v-50, v)
		}
	}
}

// ackAll acknowledges the tids of versions that went out in order, from the first on.
func (c *client) ackAll(after, to uint64) {
	c.t.Helper()
	for v := after; v < to; v++ {
		c.ack(uint32(v))
	}
}

// TestSyncedVersionsGoOn: what Redis did not take from the old gateway is stored by the new one.
func TestSyncedVersionsGoOn(t *testing.T) { eachWay(t, testSyncedVersionsGoOn) }

func testSyncedVersionsGoOn(t *testing.T, w way) {
	if w.crash {
		t.Skip("a device whose link has ended gets some messages again")
	}
	for _, name := range []string{"waiting", "under way"} {
		t.Run(name, func(t *testing.T) {
			x := newLogRigOf(t, w, nil)
			x.store(30, batch.AckRequired)
			release := func() {}
			c := x.loginAs("ann/1")
			if name == "waiting" {
				x.log.FailSync(gateway.ErrFake)
			} else {
				eventually(t, "all is pulled", func() bool { return x.sum().Replays == 0 })
				release = x.log.Hold()
			}
			c.expectVersions(1, 30, 30)
			eventually(t, "it is tried", func() bool { return x.sum().Acked == 30 })
			time.Sleep(300 * time.Millisecond)
			c.beat()
			_ = c.conn.Close()
			eventually(t, "the link has ended", func() bool { return x.Links() == 0 })
			o := options(x.m.address)
			o.Offline = x.log
			x.succeed(o)
			x.log.FailSync(nil)
			release()
			x.synced("1", 30)
		})
	}
}

// TestLatentLinksGoOn: a link of which nothing is stored keeps when it opened and where from.
func TestLatentLinksGoOn(t *testing.T) { eachWay(t, testLatentLinksGoOn) }

func testLatentLinksGoOn(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	r := w.start(t, o)
	c := r.dial()
	c.beat()
	opened := m.until("it is announced", func(i *edgedpb.UpItem) bool { return i.GetOpened() != nil }).Session.GetValues()
	r = r.succeed(o).succeed(o)
	c.send(wire.KindHello, "ann/phone")
	c.welcome()
	said := m.until("its HELLO", func(i *edgedpb.UpItem) bool { return i.GetMessage() != nil }).Session.GetValues()
	for _, key := range []string{"link", "opened_at", "remote", "listener"} {
		if opened[key] == "" || opened[key] != said[key] {
			t.Errorf("%s was %q and is %q", key, opened[key], said[key])
		}
	}
	r.balanced()
}

// TestDeadlinesGoOn: a link that was silent before is closed when it would have been.
func TestDeadlinesGoOn(t *testing.T) { eachWay(t, testDeadlinesGoOn) }

func testDeadlinesGoOn(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.LoginTimeout, o.Config.Heartbeat, o.Config.IdleTimeout = 700*time.Millisecond, 300*time.Millisecond, time.Minute
	r := w.start(t, o)
	began := time.Now()
	c := r.dial()
	c.beat()
	time.Sleep(400 * time.Millisecond)
	next := r.succeed(o)
	c.bye(wire.ByeLoginTimeout)
	if d := time.Since(began); d < 700*time.Millisecond-early {
		t.Errorf("after %v", d)
	}
	next.balanced()
}

// TestStarvedLinksGoOn: what a slow reader was not sent, by the settings, is told once it reads again.
func TestStarvedLinksGoOn(t *testing.T) { eachWay(t, testStarvedLinksGoOn) }

func testStarvedLinksGoOn(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Slow = gateway.DefaultSlow()
	o.Slow.Data = "drop-oldest"
	r := w.start(t, o)
	c := r.loginAs("ann/phone")
	payload := string(make([]byte, 16<<10))
	for r.sum().DataDropped == 0 {
		for range 20 {
			m.send(saying(toUser("ann"), payload))
		}
	}
	seen := m.streamsSeen()
	next := r.succeed(o)
	m.again(seen)
	refused := make(chan struct{})
	go func() {
		defer close(refused)
		m.until("what was dropped is told", func(i *edgedpb.UpItem) bool { return i.GetRefused() != nil })
	}()
	for done := false; !done; {
		select {
		case <-refused:
			done = true
		default:
			if _, err := c.next(10 * time.Millisecond); err != nil && len(c.in) > 1<<20 {
				t.Fatal(err)
			}
		}
	}
	next.balanced()
}

// TestDrainGoesOn: a drain that is under way keeps its pace, and can be taken back.
func TestDrainGoesOn(t *testing.T) { eachWay(t, testDrainGoesOn) }

func testDrainGoesOn(t *testing.T, w way) {
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Config.Reactors = 2
	r := w.start(t, o)
	const links, within = 100, 10 * time.Second
	for range links {
		r.dial().beat()
	}
	began := time.Now()
	r.Drain(within)
	time.Sleep(within / 40)
	next := r.succeed(o)
	if !next.Draining() {
		t.Fatal("it does not drain")
	}
	time.Sleep(time.Until(began.Add(within / 10)))
	p := next.progress()
	if passed := time.Since(began); p.Total != links || p.Left < links-int(links*passed/within)-links/8 || p.Left == links || p.Shedding ||
		p.Until.Sub(began.Add(within)).Abs() > within/2 {
		t.Errorf("after %v: %+v", passed, p)
	}
	if err := next.Undrain(); err != nil {
		t.Fatal(err)
	}
	left := next.Links()
	time.Sleep(100 * time.Millisecond)
	if left == 0 || next.Links() < left {
		t.Errorf("%d links, %d when it was taken back", next.Links(), left)
	}
	next.dial().beat()
	if p := next.progress(); p != (gateway.DrainProgress{}) {
		t.Errorf("progress %+v", p)
	}
	next.balanced()
}

func (r *rig) progress() gateway.DrainProgress {
	r.t.Helper()
	st, err := r.Stats(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return st.Drain
}
