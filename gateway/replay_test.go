package gateway_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/bus"
	"edged/gateway"
	"edged/offline"
	"edged/wire"
)

// logRig is a gateway with a log of stored messages.
type logRig struct {
	*rig
	m   *plain
	log *gateway.FakeLog
}

func newLogRigOf(t *testing.T, w way, change func(*gateway.Options)) *logRig {
	t.Helper()
	x := &logRig{m: serve(t, "", "", bindNames), log: &gateway.FakeLog{}}
	o := options(x.m.address)
	o.Delivery = brisk()
	o.Delivery.Retry = 5 * time.Second
	o.Offline = x.log
	if change != nil {
		change(&o)
	}
	x.rig = w.start(t, o)
	return x
}

// store adds messages to the log of ann, numbered by their versions.
func (x *logRig) store(n int, ack batch.Ack) (all []offline.Entry) {
	for range n {
		id := fmt.Sprint("s", len(x.log.Entries("ann"))+1)
		all = append(all, x.log.Store("ann", offline.Entry{MsgID: []byte(id), Payload: []byte(id), Ack: ack}))
	}
	return all
}

// live is a stored message as the queue layer publishes it.
func live(e offline.Entry) *edgedpb.DownItem {
	return pushing(toUser("ann"), &edgedpb.Push{Payload: e.Payload, MsgId: string(e.MsgID), Ack: edgedpb.Push_Ack(e.Ack), Version: e.Version})
}

// expectVersions expects the messages from..to, and acknowledges those that want it up to acked.
func (c *client) expectVersions(from, to, acked uint64) {
	c.t.Helper()
	for v := from; v <= to; v++ {
		p := c.push()
		if p.Version != v || string(p.Payload) != fmt.Sprint("s", v) || p.Flags&wire.FlagLate != 0 {
			c.t.Fatalf("version %d with %q and flags %b, not %d", p.Version, head(p.Payload), p.Flags, v)
		}
		if p.Flags&wire.FlagAck != 0 && v <= acked {
			c.ack(p.TID)
		}
	}
}

// synced waits until so much is stored for a device.
func (x *logRig) synced(device string, v uint64) {
	x.t.Helper()
	eventually(x.t, fmt.Sprint("version ", v, " is stored for ", device), func() bool { return x.log.Synced("ann", device) == v })
}

// hangUp ends a link and waits for the gateway to notice.
func (x *logRig) hangUp(c *client) {
	x.t.Helper()
	n := x.Links()
	_ = c.conn.Close()
	eventually(x.t, "the link has ended", func() bool { return x.Links() < n })
}

func TestLoginPullsWhatIsStored(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(300, batch.AckRequired)
	a := x.loginAs("ann/1")
	a.expectVersions(1, 300, 300)
	x.synced("1", 300)
	b := x.loginAs("ann/2")
	b.expectVersions(1, 300, 300)
	x.synced("2", 300)
	x.hangUp(a)
	x.store(5, batch.AckRequired)
	a = x.loginAs("ann/1")
	a.expectVersions(301, 305, 305)
	a.quiet(50 * time.Millisecond)
	eventually(t, "nothing is under way", func() bool { return x.sum().Replays == 0 })
	if st := x.sum(); st.Pulled != 605 || st.Doubles != 0 || st.LateSent != 0 {
		t.Errorf("%d pulled, %d doubles, %d late", st.Pulled, st.Doubles, st.LateSent)
	}
}

// TestPullGoesOnBehindTheAcknowledged: at the next login, also of another gateway, the first version without ACK comes first.
func TestPullGoesOnBehindTheAcknowledged(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(100, batch.AckRequired)
	a := x.loginAs("ann/1")
	a.expectVersions(1, 100, 50)
	a.ack(70, 80) // behind a hole
	x.synced("1", 50)
	x.hangUp(a)
	if v := x.log.Synced("ann", "1"); v != 50 {
		t.Errorf("stored up to %d", v)
	}
	y := &logRig{rig: start(t, func() gateway.Options {
		o := options(x.m.address)
		o.Offline = x.log
		return o
	}()), m: x.m, log: x.log}
	a = y.loginAs("ann/1")
	a.expectVersions(51, 100, 100)
	y.synced("1", 100)
}

// TestLiveDuringThePull: 500 stored and 50 that come meanwhile are 550 in order, each once.
func TestLiveDuringThePull(t *testing.T) {
	t.Parallel()
	for _, window := range []int{1000, 20} {
		x := newLogRig(t, func(o *gateway.Options) { o.Delivery.Window = window })
		x.store(500, batch.AckRequired)
		release := x.log.Hold()
		c := x.loginAs("ann/1")
		var late sync.WaitGroup
		late.Go(func() {
			for n := range 50 {
				e := x.store(1, batch.AckRequired)[0]
				x.publish(bus.FromOwn, live(e))
				if n%10 == 0 {
					x.publish(bus.FromOwn, live(e)) // twice
				}
				if n == 15 {
					release()
				}
				if n > 15 {
					time.Sleep(time.Millisecond)
				}
			}
		})
		c.expectVersions(1, 550, 550)
		late.Wait()
		c.quiet(50 * time.Millisecond)
		x.synced("1", 550)
		x.m.reports(550)
		x.m.noReports(20 * time.Millisecond)
		if st := x.sum(); st.Held != 0 || st.LateSent != 0 {
			t.Errorf("window %d: %d held, %d late", window, st.Held, st.LateSent)
		}
	}
}

// TestRedisHangs: nothing else waits for it. Versions wait as long as for any gap; what was missing comes late.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(5, batch.AckRequired)
	release := x.log.Hold()
	defer release()
	c := x.loginAs("ann/1")
	x.m.send(data(c.ref(), "data"), push(c.ref(), &edgedpb.Push{Payload: []byte("push")}))
	c.expectData("data")
	c.expectPush("push")
	for _, e := range x.store(3, batch.AckRequired) {
		x.publish(bus.FromOwn, live(e))
	}
	for _, want := range []string{"s6!", "s7", "s8"} {
		c.expectPushes(want)
	}
	release()
	c.expectPushes("s1!", "s2!", "s3!", "s4!", "s5!")
	if v := x.log.Synced("ann", "1"); v != 0 {
		t.Errorf("stored up to %d", v)
	}
	c.ack(1, 2, 3, 4, 5, 6, 7, 8)
	x.synced("1", 8)
}

// TestRedisFails: it is asked again, and an error that will come again is not.
func TestRedisFails(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(3, batch.AckNone)
	x.log.Fail(gateway.ErrFake)
	c := x.loginAs("ann/1")
	eventually(t, "the first try has failed", func() bool { return x.sum().PullErrors == 1 })
	c.beat()
	x.log.Fail(nil)
	c.expectVersions(1, 3, 0)
	x.synced("1", 3)
	x.log.Fail(&offline.ClashError{})
	for _, e := range x.store(2, batch.AckNone)[1:] {
		x.publish(bus.FromOwn, live(e))
	}
	c.expectVersions(5, 5, 0) // the log, where 4 is, cannot be read
	if st := x.sum(); st.PullErrors != 2 || st.Replays != 0 {
		t.Errorf("%d errors, %d replays", st.PullErrors, st.Replays)
	}
}

// TestAnswerForAnEarlierBind: what was stored for one user never reaches the link as another's.
func TestAnswerForAnEarlierBind(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(10, batch.AckNone)
	x.log.Store("bob", offline.Entry{Payload: []byte("for bob")})
	release := x.log.Hold()
	c := x.loginAs("ann/1")
	x.m.send(bind(c.ref(), "bob", "1"), data(c.ref(), "bound"))
	c.expectData("bound")
	release()
	c.expectPush("for bob")
	c.quiet(50 * time.Millisecond)
	eventually(t, "it is stored", func() bool { return x.log.Synced("bob", "1") == 1 })
	if v := x.log.Synced("ann", "1"); v != 0 {
		t.Errorf("stored for ann up to %d", v)
	}
}

// TestLinkEndsDuringThePull: the answer is for nobody, also where the place has a new owner.
func TestLinkEndsDuringThePull(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(10, batch.AckNone)
	release := x.log.Hold()
	for range 20 {
		x.hangUp(x.loginAs("ann/1"))
	}
	c := x.loginAs("bob/1")
	release()
	c.quiet(50 * time.Millisecond)
	c = x.loginAs("ann/1")
	c.expectVersions(1, 10, 0)
	eventually(t, "nothing is under way", func() bool { return x.sum().Replays == 0 })
}

// TestMissed: after a break of the subscription the links look into the log; a missing version makes them, too.
func TestMissed(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, func(o *gateway.Options) { o.Config.Reactors = 2 })
	c, other := x.loginAs("ann/1"), x.loginAs("ann/2")
	x.publish(bus.FromOwn, live(x.store(1, batch.AckNone)[0]))
	c.expectVersions(1, 1, 0)
	other.expectVersions(1, 1, 0)
	x.store(1, batch.AckNone)
	x.publish(bus.FromOwn, live(x.store(1, batch.AckNone)[0]))
	c.expectVersions(2, 3, 0)
	other.expectVersions(2, 3, 0)
	eventually(t, "nothing is under way", func() bool { return x.sum().Replays == 0 })
	x.store(2, batch.AckNone)
	x.Receiver().Missed(bus.FromAll) // where nothing stored comes
	c.quiet(30 * time.Millisecond)
	x.Receiver().Missed(bus.FromOwn)
	c.expectVersions(4, 5, 0)
	other.expectVersions(4, 5, 0)
	x.synced("1", 5)
	x.synced("2", 5)
}

// TestRouted: what was stored before others could find the device is pulled when they can.
func TestRouted(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, func(o *gateway.Options) { o.AwaitRoute = true })
	c := x.loginAs("ann/1")
	x.store(2, batch.AckNone)
	c.quiet(30 * time.Millisecond)
	x.Routed("ann", "2")
	x.Routed("bob", "1")
	x.Routed("ann", "1")
	c.expectVersions(1, 2, 0)
}

// TestWhatTheLogHasNot: expired messages and those that caps took are not waited for, and are had.
func TestWhatTheLogHasNot(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(10, batch.AckRequired)
	x.log.Forget("ann", func(e offline.Entry) bool { return e.Version <= 3 || e.Version == 6 || e.Version == 10 })
	x.log.Change("ann", func(e *offline.Entry) { e.Expired = e.Version == 8 })
	c := x.loginAs("ann/1")
	for _, v := range []uint64{4, 5, 7, 9} {
		c.expectVersions(v, v, 0)
	}
	c.ack(0, 1)
	x.synced("1", 6)
	c.ack(2, 3)
	x.synced("1", 10)
	x.publish(bus.FromOwn, live(x.store(1, batch.AckNone)[0]))
	if p := c.push(); p.Version != 11 || p.Flags&wire.FlagLate != 0 {
		t.Errorf("push %+v", p)
	}
	x.hangUp(c)
	x.log.Forget("ann", func(offline.Entry) bool { return true })
	x.loginAs("ann/2").quiet(50 * time.Millisecond)
	x.synced("2", 11)
}

// TestRedisLosesItsCounters: versions begin again, and nothing of what is stored then is taken for a double.
func TestRedisLosesItsCounters(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(20, batch.AckNone)
	c := x.loginAs("ann/1")
	c.expectVersions(1, 20, 0)
	x.synced("1", 20)
	x.log.Flush()
	x.publish(bus.FromOwn, live(x.store(1, batch.AckNone)[0]))
	c.expectVersions(1, 1, 0)
	x.synced("1", 1)
	x.publish(bus.FromOwn, live(x.store(1, batch.AckNone)[0]))
	c.expectVersions(2, 2, 0)
	// A client that comes back with what it had.
	d := x.dial()
	x.m.until("the link", func(i *edgedpb.UpItem) bool {
		if i.GetOpened() == nil {
			return false
		}
		d.link = fmt.Sprintf("%s:%d:%d", x.Advertise(), i.Link.Index, i.Link.Uniq)
		return value(t, i, "remote") == d.conn.LocalAddr().String()
	})
	b := bind(d.ref(), "ann", "2")
	b.GetBind().SyncedVersion = 20
	x.m.send(b)
	d.welcome()
	d.expectVersions(1, 2, 0)
}

// TestSyncedByTheClient: the Manager's word goes before what is stored.
func TestSyncedByTheClient(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(20, batch.AckNone)
	x.log.SetSynced("ann", "1", 5)
	for i, synced := range []uint64{0, 12, 3} {
		c := x.dial()
		l := x.m.until("the link", func(i *edgedpb.UpItem) bool { return i.GetOpened() != nil }).Link
		b := bind(l, "ann", "1")
		b.GetBind().SyncedVersion = synced
		x.m.send(b)
		c.welcome()
		c.expectVersions([]uint64{6, 13, 4}[i], 20, 0)
		_ = c.conn.Close()
	}
}

// TestNeverAcknowledged: pushes are given up and told, once each; what is stored for the device stays before them, and the
// next link gets them again.
func TestNeverAcknowledged(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, func(o *gateway.Options) {
		o.Delivery = brisk()
		o.Delivery.Tries, o.Delivery.Window = 1, 4
	})
	const n = 12
	x.store(n, batch.AckRequired)
	c := x.loginAs("ann/1")
	c.expectVersions(1, n, 0)
	told := map[string]int{}
	for _, rep := range x.m.reports(n) {
		if told[rep.id]++; rep.loss != edgedpb.Loss_NO_ACK || told[rep.id] > 1 {
			t.Errorf("report %+v", rep)
		}
	}
	x.m.noReports(100 * time.Millisecond)
	eventually(t, "nothing is under way", func() bool { return x.sum().Replays == 0 })
	x.publish(bus.FromOwn, live(x.store(1, batch.AckRequired)[0]))
	c.expectVersions(n+1, n+1, n+1)
	x.m.reports(1)
	x.hangUp(c)
	if v := x.log.Synced("ann", "1"); v != 0 {
		t.Errorf("stored up to %d", v)
	}
	c = x.loginAs("ann/1")
	c.expectVersions(1, n+1, n+1)
	x.synced("1", n+1)
}

// TestStoredTooLarge: no frame will ever hold it. Its Manager is told, and the next ones come.
func TestStoredTooLarge(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, func(o *gateway.Options) { o.Config.MaxFrame = 500 })
	x.store(1, batch.AckRequired)
	x.log.Store("ann", offline.Entry{MsgID: []byte("big"), Payload: make([]byte, 1000), Ack: batch.AckRequired})
	x.log.Store("ann", offline.Entry{Payload: []byte("s3"), Ack: batch.AckRequired}) // without a name nobody can acknowledge it
	c := x.loginAs("ann/1")
	c.expectVersions(1, 1, 1)
	if p := c.expectPush("s3"); p.Flags != wire.FlagStamped {
		t.Errorf("push %+v", p)
	}
	if reps := x.m.reports(2); reps[0].id != "big" || reps[0].loss != edgedpb.Loss_TOO_LARGE || reps[1].id != "s1" {
		t.Errorf("reports %+v", reps)
	}
	x.synced("1", 3)
}

// TestSlowLinkIsLeftToTheLog: a client that does not read is sent nothing more of what is stored, holds up nobody, and gets
// all of it in order when it reads again.
func TestSlowLinkIsLeftToTheLog(t *testing.T) {
	t.Parallel()
	for _, ack := range []batch.Ack{batch.AckNone, batch.AckRequired} {
		x := newLogRig(t, func(o *gateway.Options) {
			o.Slow = gateway.DefaultSlow()
			o.Slow.Bytes = 8 << 10
			o.Delivery.Window = 100
		})
		c, quick := x.loginAs("ann/1"), x.loginAs("ann/2")
		const n = 1000
		fill := make([]byte, 2000)
		go func() {
			for v := range uint64(n) {
				p := quick.push()
				if p.Version != v+1 || p.Flags&wire.FlagLate != 0 {
					t.Errorf("version %d with flags %b, not %d", p.Version, p.Flags, v+1)
				}
				if ack == batch.AckRequired {
					quick.ack(p.TID)
				}
			}
		}()
		for range n {
			e := x.log.Store("ann", offline.Entry{MsgID: []byte("m"), Payload: fill, Ack: ack})
			x.publish(bus.FromOwn, live(e))
		}
		x.synced("2", n)
		if st := x.sum(); st.Behind == 0 || st.Outstanding > 200 {
			t.Errorf("%d left to the log, %d outstanding", st.Behind, st.Outstanding)
		}
		for v := range uint64(n) {
			p := c.push()
			if p.Version != v+1 || p.Flags&wire.FlagLate != 0 || string(p.Payload) != string(fill) {
				t.Fatalf("version %d with flags %b, not %d", p.Version, p.Flags, v+1)
			}
			if p.Flags&wire.FlagAck != 0 {
				c.ack(p.TID)
			}
		}
		x.synced("1", n)
		x.hangUp(quick)
		eventually(t, "nothing is held", func() bool { st := x.sum(); return st.Held == 0 && st.Replays == 0 && st.Windows == 0 })
	}
}

// TestStoredRefused: by this setting what the link does not take comes back, and is pulled at the next login.
func TestStoredRefused(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, func(o *gateway.Options) {
		o.Slow = gateway.DefaultSlow()
		o.Slow.Stored = "refuse"
		o.Delivery.Window = 3
	})
	c := x.loginAs("ann/1")
	for _, e := range x.store(5, batch.AckRequired) {
		x.publish(bus.FromOwn, live(e))
	}
	c.expectVersions(1, 3, 0)
	for i, rep := range x.m.reports(2) {
		if rep.loss != edgedpb.Loss_WINDOW_FULL || rep.id != fmt.Sprint("s", i+4) {
			t.Errorf("report %+v", rep)
		}
	}
	c.ack(0, 1, 2)
	x.synced("1", 3)
	x.publish(bus.FromOwn, live(x.store(1, batch.AckRequired)[0]))
	c.expectVersions(6, 6, 6)
	x.m.reports(4)
	x.hangUp(c)
	c = x.loginAs("ann/1")
	c.expectVersions(4, 6, 6)
	x.synced("1", 6)
}

// TestStopStores: what was acknowledged a moment ago is stored when the gateway stops.
func TestStopStores(t *testing.T) {
	t.Parallel()
	x := newLogRig(t, nil)
	x.store(3, batch.AckRequired)
	c := x.loginAs("ann/1")
	x.log.FailSync(gateway.ErrFake)
	c.expectVersions(1, 3, 2)
	x.m.reports(2)
	eventually(t, "a try has failed", func() bool { return x.log.Syncs() > 0 })
	x.log.FailSync(nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := x.Stop(ctx); err != nil {
		t.Error(err)
	}
	if v := x.log.Synced("ann", "1"); v != 2 {
		t.Errorf("stored up to %d", v)
	}
}
