package gateway_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/delivery"
	"edged/wire"
)

// brisk is a delivery that does not have a test wait.
func brisk() delivery.Config {
	c := delivery.Default()
	c.Retry, c.Tries, c.PackageGap = 100*time.Millisecond, 3, 150*time.Millisecond
	return c
}

// TestAcks is the example 5, 3, 3, 99: out of order, doubled, unknown.
func TestAcks(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c := r.loginAs("ann/1")
	for i := range 6 {
		m.send(push(c.ref(), required(fmt.Sprint("m", i), "x")))
	}
	for i := range uint32(6) {
		if p := c.push(); p.TID != i || p.Flags != wire.FlagAck|wire.FlagStamped || string(p.MsgID) != fmt.Sprint("m", i) {
			t.Errorf("push %d: %+v", i, p)
		}
	}
	c.ack(5, 3, 3, 99)
	reps := m.reports(2)
	if reps[0].id != "m5" || reps[0].tid != 5 || reps[1].id != "m3" || reps[1].tid != 3 || !reps[0].acked || !reps[1].acked || reps[0].tries != 1 {
		t.Errorf("reports %+v", reps)
	}
	c.ack(5)
	c.ack(6) // not sent yet
	eventually(t, "all acknowledgements are counted", func() bool { st := r.sum(); return st.DuplicateAcks == 2 && st.UnknownAcks == 2 })
	if st := r.sum(); st.Outstanding != 4 || st.Windows != 1 || st.Acked != 2 || st.Pushes != [3]uint64{0, 6, 0} {
		t.Errorf("outstanding %d in %d windows, %d acknowledged, pushes %v", st.Outstanding, st.Windows, st.Acked, st.Pushes)
	}
	c.ack(0, 1, 2, 4)
	m.reports(4)
	if st := r.sum(); st.Outstanding != 0 || st.Windows != 0 {
		t.Errorf("outstanding %d in %d windows", st.Outstanding, st.Windows)
	}
	c.ack(0) // of a link without a window
	eventually(t, "it is counted", func() bool { return r.sum().DuplicateAcks == 3 })
	m.noReports(20 * time.Millisecond)
}

// TestManyAcksAtOnce: more than an item holds, with the longest msg_ids.
func TestManyAcksAtOnce(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c := r.loginAs("ann/1")
	const n = 200
	var tids []uint32
	want := map[string]bool{}
	for i := range n {
		id := fmt.Sprintf("%0255d", i)
		want[id] = true
		m.send(push(c.ref(), required(id, "x")))
		tids = append(tids, uint32(n-1-i))
	}
	for range n {
		c.push()
	}
	c.ack(tids...)
	for _, rep := range m.reports(n) {
		if !rep.acked || !want[rep.id] {
			t.Fatalf("report %+v", rep)
		}
		delete(want, rep.id)
	}
}

// TestRepeats: a client that never acknowledges sees a push as often as the settings say, with waits that double; then the
// Manager is told, once.
func TestRepeats(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = brisk()
	r := start(t, o)
	c := r.loginAs("ann/1")
	m.send(push(c.ref(), required("never", "x")), push(c.ref(), required("late", "y")), push(c.ref(), &edgedpb.Push{Payload: []byte("plain")}))
	var came []time.Time
	for range 3 {
		for i, want := range []string{"x", "y"} {
			p := c.expectPush(want)
			if p.TID != uint32(i) || (p.Flags&wire.FlagAgain != 0) != (len(came) > 0) {
				t.Errorf("push %+v", p)
			}
		}
		if came = append(came, time.Now()); len(came) == 1 {
			c.expectPush("plain")
		}
	}
	for i, least := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		if d := came[i+1].Sub(came[i]); d < least-20*time.Millisecond { // the first one took some time to get here
			t.Errorf("repeat %d came after %v", i+1, d)
		}
	}
	c.ack(1)
	if rep := m.reports(1)[0]; !rep.acked || rep.id != "late" || rep.tries != 3 {
		t.Errorf("report %+v", rep)
	}
	if rep := m.reports(1)[0]; rep.acked || rep.id != "never" || rep.loss != edgedpb.Loss_NO_ACK {
		t.Errorf("report %+v", rep)
	}
	c.ack(0)
	eventually(t, "too late an ACK is counted", func() bool { return r.sum().DuplicateAcks == 1 })
	m.noReports(50 * time.Millisecond)
	if st := r.sum(); st.Repeats != 4 || st.Windows != 0 || st.Undelivered[1] != 1 {
		t.Errorf("%d repeats, %d windows, undelivered %v", st.Repeats, st.Windows, st.Undelivered)
	}
}

// TestTimeToLive: what is not acknowledged within it is given up.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c := r.loginAs("ann/1")
	p := required("short", "x")
	p.TtlMs = 50
	m.send(push(c.ref(), p), push(c.ref(), required("long", "y")))
	c.expectPush("x")
	c.expectPush("y")
	if rep := m.reports(1)[0]; rep.id != "short" || rep.loss != edgedpb.Loss_NO_ACK {
		t.Errorf("report %+v", rep)
	}
	c.ack(0, 1)
	if rep := m.reports(1)[0]; rep.id != "long" || !rep.acked {
		t.Errorf("report %+v", rep)
	}
	m.noReports(20 * time.Millisecond)
}

// TestUnacknowledgedAtTheEnd: each push that waited is told once, before the link's end, whoever ends it.
func TestUnacknowledgedAtTheEnd(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	ends := map[string]func(c *client){
		"client":  func(c *client) { _ = c.conn.Close() },
		"BYE":     func(c *client) { c.write(wire.AppendBye(nil, wire.ByeNormal, 0, "")) },
		"Manager": func(c *client) { m.send(ending(to(c.ref()), 7)) },
		"garbage": func(c *client) { c.write([]byte{0, 1, 99}) },
		"newer":   func(*client) { r.loginAs("ann/1") },
	}
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		c := r.loginAs("ann/1")
		const n = 40
		for i := range n {
			m.send(push(c.ref(), required(fmt.Sprint(name, i), "x")))
		}
		for range n {
			c.push()
		}
		c.ack(7)
		m.reports(1)
		ends[name](c)
		got := map[string]bool{}
		m.until("the end", func(i *edgedpb.UpItem) bool {
			for _, l := range i.GetUndelivered().GetLosses() {
				if l.Reason != edgedpb.Loss_LINK_CLOSED || got[l.MsgId] || i.Session == nil || i.Link.Uniq != c.ref().Uniq {
					t.Errorf("%s: %v", name, i)
				}
				got[l.MsgId] = true
			}
			return i.GetClosed() != nil
		})
		if len(got) != n-1 || got[name+"7"] {
			t.Errorf("%s: %d of %d are told", name, len(got), n-1)
		}
	}
	m.noReports(20 * time.Millisecond)
}

// TestWindow: beyond it a push comes back, and one that asks for nothing goes out.
func TestWindow(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = delivery.Default()
	o.Delivery.Window = 3
	r := start(t, o)
	c := r.loginAs("ann/1")
	for i := range 5 {
		m.send(push(c.ref(), required(fmt.Sprint("m", i), fmt.Sprint(i))))
	}
	m.send(push(c.ref(), &edgedpb.Push{Payload: []byte("plain")}))
	for _, want := range []string{"0", "1", "2", "plain"} {
		c.expectPush(want)
	}
	for i, rep := range m.reports(2) {
		if rep.loss != edgedpb.Loss_WINDOW_FULL || rep.id != fmt.Sprint("m", i+3) || rep.link[0] != c.ref().Index {
			t.Errorf("report %+v", rep)
		}
	}
	c.ack(1)
	m.reports(1)
	m.send(push(c.ref(), required("m5", "5")))
	if p := c.expectPush("5"); p.TID != 4 { // refused pushes take no tid
		t.Errorf("push %+v", p)
	}
}

// TestReach: of a sampled push each link that is asked may acknowledge, and nobody repeats it.
func TestReach(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 2
	o.Delivery = brisk()
	o.Delivery.Sample = 0.25
	r := start(t, o)
	const links, pushes = 10, 200
	var all []*client
	for i := range links {
		all = append(all, r.loginAs(fmt.Sprint("u/", i)))
	}
	for i := range pushes {
		m.send(pushing(toAll(), &edgedpb.Push{Payload: []byte("x"), MsgId: fmt.Sprint("m", i), Ack: edgedpb.Push_SAMPLED}))
	}
	asked, acked := 0, 0
	for i, c := range all {
		for n := range uint32(pushes) {
			p := c.push()
			if p.TID != n || p.Flags&^(wire.FlagAck|wire.FlagSampled) != wire.FlagStamped {
				t.Fatalf("push %+v", p)
			}
			if p.Flags&wire.FlagSampled == 0 {
				continue
			}
			if asked++; i%2 == 0 {
				acked++
				c.ack(n)
			}
		}
	}
	if asked < 300 || asked > 700 { // 500 are expected, give or take 20
		t.Errorf("%d of %d were asked", asked, links*pushes)
	}
	for _, rep := range m.reports(acked) {
		if !rep.acked || !rep.sample {
			t.Fatalf("report %+v", rep)
		}
	}
	eventually(t, "nobody waits for the others any more", func() bool { return r.sum().Windows == 0 })
	st := r.sum()
	if st.Sampled != uint64(asked) || st.SampledAcked != uint64(acked) || st.Repeats != 0 || st.Pushes[2] != links*pushes {
		t.Errorf("%d asked, %d acknowledged, %d repeats, pushes %v", st.Sampled, st.SampledAcked, st.Repeats, st.Pushes)
	}
	m.noReports(20 * time.Millisecond)
}

// TestTIDs: they are contiguous over pushes of all kinds, and begin again with a new link.
func TestTIDs(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	for range 2 {
		c := r.loginAs("ann/1")
		for i := range 1000 {
			p := &edgedpb.Push{MsgId: "m", Ack: edgedpb.Push_Ack(i % 3)}
			if i%7 == 0 {
				m.send(pushing(toAll(), p))
			} else {
				m.send(push(c.ref(), p))
			}
			if i%100 == 99 {
				for n := range 100 {
					if p := c.push(); p.TID != uint32(i-99+n) {
						t.Fatalf("tid %d, not %d", p.TID, i-99+n)
					} else if p.Flags&wire.FlagAck != 0 {
						c.ack(p.TID)
					}
				}
			}
		}
	}
}
