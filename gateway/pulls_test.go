package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"edged/batch"
	"edged/offline"
	"edged/relay"
	"edged/wire"
)

// newHeld is a bench with a link of ann whose log does not answer by itself.
func newHeld(t *testing.T, change func(*Options)) (*bench, linkName, *FakeLog) {
	log := &FakeLog{}
	release := log.Hold()
	b := newBenchOf(t, 1, func(o *Options) {
		o.Offline = log
		change(o)
	})
	t.Cleanup(release) // before the gateway stops, which stores what it knows
	_, name := b.dial()
	b.turn(func() {
		b.s.carryOut(0, batch.AppendBind(nil, b.s.name(name.place, name.uniq), 0, batch.Bind{User: []byte("ann"), Device: []byte("1")}))
	})
	return b, name, log
}

// versioned is a live message of ann.
func versioned(v uint64, size int) []byte {
	return batch.AppendPush(nil, batch.ToUser("ann"), 0, batch.Push{Payload: make([]byte, size), MsgID: fmt.Append(nil, v), Ack: batch.AckRequired, Version: v})
}

// entries are stored messages.
func entries(from, to uint64, size int) (all []offline.Entry) {
	for v := from; v <= to; v++ {
		all = append(all, offline.Entry{Version: v, Payload: make([]byte, size), MsgID: fmt.Append(nil, v), Ack: batch.AckRequired})
	}
	return all
}

// TestPagesOfSlowLinks: what a link does not take is not kept where it is much; it stays before all that comes live, also while
// the log is asked for it again.
func TestPagesOfSlowLinks(t *testing.T) {
	b, name, _ := newHeld(t, func(o *Options) {
		o.Delivery.Retry = time.Minute
		o.Delivery.Tries = 1
		o.Delivery.Window = 1
		o.Delivery.PackageGap = time.Minute
	})
	b.on(func() {
		r := b.s.replays.by[name.place]
		b.s.pulled(r, offline.Pulled{Entries: entries(1, 5, 30000), Last: 5}, nil)
		if b.s.count.Pulled != 1 || len(r.entries) != 0 || r.put == nil || !r.busy() {
			t.Fatalf("%d pulled, %d kept, %+v", b.s.count.Pulled, len(r.entries), r.put)
		}
		b.s.carryOut(relay.NoManager, versioned(6, 10))
		b.read(name, wire.AppendAck(nil, 0))
		if !r.asked || r.after != 1 || !r.busy() {
			t.Fatalf("asked %v behind %d, busy %v", r.asked, r.after, r.busy())
		}
		b.s.carryOut(relay.NoManager, versioned(7, 10))
		if b.s.orders.Held() != 0 || b.s.count.Behind != 2 {
			t.Errorf("%d held, %d left to the log", b.s.orders.Held(), b.s.count.Behind)
		}
		// Little is kept.
		b.s.pulled(r, offline.Pulled{After: 1, Entries: entries(2, 7, 100), Last: 7}, nil)
		if b.s.count.Pulled != 2 || len(r.entries) != 6 || r.at != 1 || !r.busy() {
			t.Errorf("%d pulled, at %d of %d", b.s.count.Pulled, r.at, len(r.entries))
		}
		for tid := range uint32(6) {
			b.read(name, wire.AppendAck(nil, tid+1))
		}
		if b.s.count.Pulled != 7 || !r.asked || r.busy() { // something came meanwhile: it looks once more
			t.Errorf("%d pulled, asked %v", b.s.count.Pulled, r.asked)
		}
		b.s.pulled(r, offline.Pulled{After: 7, Last: 7}, nil)
		if len(b.s.replays.by) != 0 || b.s.orders.Whole(b.s.links.Get(name.place, name.uniq).order) != 7 {
			t.Error("it has not ended")
		}
	})
}

// TestMuchIsNotHeld: while the log is asked, live messages are held for it up to a bound, and left to it beyond.
func TestMuchIsNotHeld(t *testing.T) {
	b, name, _ := newHeld(t, func(o *Options) {
		o.Delivery.Retry = time.Minute
		o.Delivery.Tries = 1
		o.Delivery.Window = 1000
		o.Delivery.PackageGap = time.Minute
	})
	const n = 300
	b.on(func() {
		for v := range uint64(n) {
			b.s.carryOut(relay.NoManager, versioned(v+2, 2000))
		}
		if st := b.s.stats(); st.Pushes[batch.AckRequired] != 0 || st.Held < 20 || st.Held > 40 || int(st.Behind) != n-st.Held {
			t.Errorf("%d sent, %d held, %d left to the log", st.Pushes[batch.AckRequired], st.Held, st.Behind)
		}
		r := b.s.replays.by[name.place]
		b.s.pulled(r, offline.Pulled{Entries: entries(1, 1, 2000), Last: 1}, nil) // the answer to when it was asked
		held := b.s.count.Pushes[batch.AckRequired]
		if held < 20 || !r.asked || b.s.orders.Held() != 0 {
			t.Errorf("%d sent, %d held", held, b.s.orders.Held())
		}
		b.s.pulled(r, offline.Pulled{After: 1, Entries: entries(2, n+1, 10), Last: n + 1}, nil)
		if st := b.s.stats(); st.Pushes[batch.AckRequired] != n+1 || st.LateSent != 0 || st.Replays != 0 {
			t.Errorf("%d sent, %d late", st.Pushes[batch.AckRequired], st.LateSent)
		}
	})
}

// TestNoRepeatBehindOutputThatWaits: the first copy may be in it still.
func TestNoRepeatBehindOutputThatWaits(t *testing.T) {
	b := newBenchOf(t, 1, func(o *Options) {
		o.Delivery.Retry, o.Delivery.Tries, o.Delivery.Window = 100*time.Millisecond, 3, 8
		o.Delivery.PackageGap = time.Second
	})
	_, name := b.dial()
	b.turn(func() {
		b.s.carryOut(0, batch.AppendPush(nil, batch.ToLink(b.s.name(name.place, name.uniq)), 0, batch.Push{MsgID: []byte("m"), Ack: batch.AckRequired}))
		b.s.links.Get(name.place, name.uniq).flags |= blocked // as the loop would say it
	})
	eventually(t, "it is given up", func() bool {
		n := uint64(0)
		b.on(func() { n = b.s.count.Undelivered[batch.LossNoAck] })
		return n == 1
	})
	b.on(func() {
		if n := b.s.count.Repeats; n != 0 {
			t.Errorf("repeated %d times", n)
		}
	})
}

// TestPullsOfTheDead: while the log hangs, questions of links that have ended are not asked.
func TestPullsOfTheDead(t *testing.T) {
	log := &FakeLog{}
	p := newPulls(log)
	var all []*replay
	for i := range 1000 {
		r := &replay{}
		all = append(all, r)
		p.ask(pull{r: r, user: fmt.Sprint(i)})
	}
	for i, r := range all {
		r.over.Store(i%100 != 7)
	}
	var asked []string
	for range 10 {
		q, _ := p.next()
		asked = append(asked, q.user)
	}
	if want := []string{"7", "107", "207", "307", "407", "507", "607", "707", "807", "907"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v", asked)
	}
	go func() {
		for p.waiting() > 0 { // those behind the last one are thrown away by next
			time.Sleep(time.Millisecond)
		}
		p.close()
	}()
	if _, ok := p.next(); ok || p.waiting() != 0 {
		t.Errorf("another question, %d wait", p.waiting())
	}
}
