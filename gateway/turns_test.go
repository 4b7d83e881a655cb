package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/bus"
	"edged/wire"
)

// packed is a message of a package.
func packed(id, seq, count uint32) *edgedpb.Push {
	return &edgedpb.Push{Payload: fmt.Append(nil, seq), PackageId: id, SeqId: seq, Count: count}
}

// versioned is a message with a version.
func versioned(v uint64) *edgedpb.Push {
	return &edgedpb.Push{Payload: fmt.Append(nil, v), Version: v}
}

// expectPushes expects payloads, each with " late" behind it that is late.
func (c *client) expectPushes(want ...string) {
	c.t.Helper()
	for _, w := range want {
		payload, late := strings.CutSuffix(w, "!")
		if p := c.expectPush(payload); (p.Flags&wire.FlagLate != 0) != late {
			c.t.Errorf("%s has flags %b", payload, p.Flags)
		}
	}
}

// nothingHeld waits until the gateway remembers no message, no package and no version.
func (r *rig) nothingHeld() {
	r.t.Helper()
	eventually(r.t, "nothing is held any more", func() bool { st := r.sum(); return st.Held == 0 && st.Orders == 0 })
}

// TestPackage is the example 1, 3, 2, 6, 5, 4, 7, 8, 9, 10: sorted, each as soon as those before it are there.
func TestPackage(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address)) // a gap of 2 s, which nothing here waits for
	c := r.loginAs("ann/1")
	m.send(push(c.ref(), packed(7, 0, 11)))
	for _, seq := range []uint32{1, 3, 2, 6, 5, 4, 7, 8, 9, 10} {
		m.send(push(c.ref(), packed(7, seq, 11)))
	}
	c.expectPushes("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
	r.nothingHeld()
	m.send(push(c.ref(), packed(8, 1, 0)), push(c.ref(), packed(9, 0, 1)), push(c.ref(), packed(8, 0, 0)), push(c.ref(), packed(8, 0, 0)))
	c.expectPushes("0", "0", "1")
	if st := r.sum(); st.HeldBack != 4 || st.Doubles != 1 || st.LateSent != 0 {
		t.Errorf("%d held back, %d doubles, %d late", st.HeldBack, st.Doubles, st.LateSent)
	}
}

// TestPackageWithAGap: what is missing is waited for as long as the settings say, goes out late when it comes then, and
// nothing is remembered of the package behind it.
func TestPackageWithAGap(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = brisk()
	r := start(t, o)
	c := r.loginAs("ann/1")
	begin := time.Now()
	for _, seq := range []uint32{0, 1, 2, 3, 5, 6, 7} {
		m.send(push(c.ref(), packed(7, seq, 8)))
	}
	c.expectPushes("0", "1", "2", "3", "5")
	if d := time.Since(begin); d < o.Delivery.PackageGap {
		t.Errorf("the gap was given up after %v", d)
	}
	c.expectPushes("6", "7")
	m.send(push(c.ref(), packed(7, 4, 8)))
	c.expectPushes("4!")
	r.nothingHeld()
	// One that never comes whole is forgotten after a while too.
	m.send(push(c.ref(), packed(9, 2, 4)), push(c.ref(), packed(9, 3, 4)))
	c.expectPushes("2", "3")
	r.nothingHeld()
}

// TestPackagesTogether: two of them, and other messages, do not wait for each other; four publishers at once are sorted.
func TestPackagesTogether(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c := r.loginAs("ann/1")
	m.send(push(c.ref(), packed(7, 1, 2)), push(c.ref(), packed(8, 1, 2)), push(c.ref(), &edgedpb.Push{Payload: []byte("x")}), push(c.ref(), packed(8, 0, 2)))
	c.expectPushes("x", "0", "1")
	m.send(push(c.ref(), packed(7, 0, 2)))
	c.expectPushes("0", "1")
	const n = 400
	var wg sync.WaitGroup
	for k := range uint32(4) {
		wg.Go(func() {
			for seq := k; seq < n; seq += 4 {
				m.send(push(c.ref(), packed(9, seq, n)))
			}
		})
	}
	wg.Wait()
	for seq := range n {
		c.expectPushes(fmt.Sprint(seq))
	}
	r.nothingHeld()
}

// TestVersions: live messages of a user go out in the order of their versions; what is missing is waited for, then they go
// as late, and what comes after them too. There is no log to ask.
func TestVersions(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Delivery = brisk()
	r := start(t, o)
	a, b := r.loginAs("ann/1"), r.loginAs("ann/2")
	var items []*edgedpb.DownItem
	for _, v := range []uint64{5, 7, 6, 6, 10, 9, 8, 8, 12, 13} {
		items = append(items, pushing(toUser("ann"), versioned(v)))
	}
	r.publish(bus.FromOwn, items...)
	for _, c := range []*client{a, b} {
		c.expectPushes("5", "6", "7", "8", "9", "10", "12!", "13")
	}
	r.publish(bus.FromOwn, pushing(toUser("ann"), versioned(11)), pushing(toUser("ann"), versioned(11)), pushing(toUser("ann"), versioned(14)))
	for _, c := range []*client{a, b} {
		c.expectPushes("11!", "14")
	}
	if st := r.sum(); st.Doubles != 6 || st.LateSent != 4 || st.Held != 0 || st.Orders != 2 {
		t.Errorf("%d doubles, %d late, %d held, %d orders", st.Doubles, st.LateSent, st.Held, st.Orders)
	}
	_ = a.conn.Close()
	_ = b.conn.Close()
	r.nothingHeld()
}

// TestHeldAtTheEnd: what waited for its turn comes back, once, when its link ends or becomes another user's.
func TestHeldAtTheEnd(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	for n, end := range []func(c *client){
		func(c *client) { _ = c.conn.Close() },
		func(c *client) { m.send(bind(c.ref(), "bob", "1")) },
	} {
		c := r.loginAs("ann/1")
		for _, v := range []uint64{1, 3, 4} {
			p := versioned(v)
			p.MsgId, p.Ack = fmt.Sprint("v", v), edgedpb.Push_REQUIRED
			m.send(push(c.ref(), p))
		}
		p := packed(7, 1, 3)
		p.MsgId, p.Ack = "p1", edgedpb.Push_REQUIRED
		m.send(push(c.ref(), p), push(c.ref(), packed(7, 2, 3)))
		c.expectPushes("1")
		c.ack(0)
		m.reports(1)
		eventually(t, "four are held", func() bool { return r.sum().Held == 4 })
		end(c)
		got := map[string]edgedpb.Loss_Reason{}
		for _, rep := range m.reports(3) {
			got[rep.id] = rep.loss
		}
		for _, id := range []string{"v3", "v4", "p1"} {
			if got[id] != edgedpb.Loss_LINK_CLOSED {
				t.Errorf("end %d: %v", n, got)
			}
		}
		r.nothingHeld()
	}
	m.noReports(20 * time.Millisecond)
}

// TestHeldTooLarge: a held message is judged when its turn comes, and its sender alone hears of its ref.
func TestHeldTooLarge(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.MaxFrame = 500
	r := start(t, o)
	c := r.loginAs("ann/1")
	big := packed(7, 1, 3)
	big.Payload = make([]byte, 1000)
	m.send(withRef(4, push(c.ref(), big)), push(c.ref(), packed(7, 2, 3)), push(c.ref(), packed(7, 0, 3)))
	c.expectPushes("0", "2")
	m.until("the refusal", func(i *edgedpb.UpItem) bool {
		return i.GetRefused().GetRef() == 4 && i.GetRefused().Code == edgedpb.Refused_TOO_LARGE
	})
	r.publish(bus.FromOwn, withRef(5, push(c.ref(), &edgedpb.Push{Payload: big.Payload, PackageId: 8, SeqId: 1, Count: 2})), push(c.ref(), packed(8, 0, 2)))
	c.expectPushes("0")
	m.none(20 * time.Millisecond)
}
