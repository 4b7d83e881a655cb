package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/offline"
	"edged/registry"
)

func newTestSyncs(t *testing.T, log *FakeLog) *syncs {
	y := newSyncs(log, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { y.run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return y
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// TestSyncsNewestWins: while Redis is away the newest version of each device waits, and is stored when it is back.
func TestSyncsNewestWins(t *testing.T) {
	log := &FakeLog{}
	for range 100 {
		log.Store("ann", offline.Entry{})
	}
	log.Fail(ErrFake)
	y := newTestSyncs(t, log)
	for v := range uint64(50) {
		for d := range 3 {
			y.add(registry.Name{User: "ann", Device: fmt.Sprint(d)}, v+1)
		}
	}
	y.add(registry.Name{User: "ann", Device: "0"}, 7) // comes late
	eventually(t, "a try has failed", func() bool { return log.Syncs() > 0 })
	if v := log.Synced("ann", "0"); v != 0 {
		t.Errorf("stored up to %d", v)
	}
	log.Fail(nil)
	for d := range 3 {
		eventually(t, "it is stored", func() bool { return log.Synced("ann", fmt.Sprint(d)) == 50 })
	}
}

// TestSyncsHopeless: what can never be stored is not tried again, and holds nothing up.
func TestSyncsHopeless(t *testing.T) {
	log := &FakeLog{}
	log.Store("ann", offline.Entry{})
	y := newTestSyncs(t, log)
	y.add(registry.Name{User: "eve", Device: "1"}, 9) // ahead of all there is
	y.add(registry.Name{User: "ann", Device: "1"}, 1)
	eventually(t, "it is stored", func() bool { return log.Synced("ann", "1") == 1 })
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(y.pending) != 0 {
		t.Errorf("%d wait", len(y.pending))
	}
}

// TestSyncsBounded: beyond the bound the word of further devices is dropped and counted, that of known ones is not.
func TestSyncsBounded(t *testing.T) {
	y := newSyncs(&FakeLog{}, slog.New(slog.DiscardHandler))
	for i := range maxSyncs {
		y.pending[registry.Name{User: fmt.Sprint(i)}] = 1
	}
	y.add(registry.Name{User: "more"}, 1)
	y.add(registry.Name{User: "5"}, 2)
	if len(y.pending) != maxSyncs || y.pending[registry.Name{User: "5"}] != 2 || y.dropped.Load() != 1 {
		t.Errorf("%d wait, %d of them, %d dropped", len(y.pending), y.pending[registry.Name{User: "5"}], y.dropped.Load())
	}
}

// TestNotStoredBeforeItArrived: of messages without acknowledgement the client's kernel must have all.
func TestNotStoredBeforeItArrived(t *testing.T) {
	log := &FakeLog{}
	b := newBenchOf(t, 1, func(o *Options) { o.Offline = log })
	conn, name := b.dial()
	bind := func() []byte {
		return batch.AppendBind(nil, b.s.name(name.place, name.uniq), 0, batch.Bind{User: []byte("ann"), Device: []byte("1")})
	}
	b.turn(func() { b.s.carryOut(0, bind()) })
	eventually(t, "the pull is through", func() bool { n := 1; b.on(func() { n = len(b.s.replays.by) }); return n == 0 })
	push := func(p batch.Push) {
		e := log.Store("ann", offline.Entry{Payload: p.Payload, Ack: p.Ack})
		p.Version = e.Version
		b.s.carryOut(0, batch.AppendPush(nil, batch.ToUser("ann"), 0, p))
	}
	b.on(func() {
		push(batch.Push{Payload: []byte("x")})
		l := b.s.links.Get(name.place, name.uniq)
		if l.flags&loose == 0 || b.s.arrived(l) {
			t.Error("what is not sent has arrived")
		}
	})
	eventually(t, "the first one is stored", func() bool { return log.Synced("ann", "1") == 1 })
	// More than the kernels hold, which the client never reads.
	b.on(func() {
		for range 200 {
			push(batch.Push{Payload: make([]byte, 60000)})
		}
	})
	eventually(t, "the link is blocked", func() bool {
		full := false
		b.on(func() { full = b.s.links.Get(name.place, name.uniq).flags&blocked != 0 })
		return full
	})
	time.Sleep(2 * syncEvery) // nothing must happen in it
	if v := log.Synced("ann", "1"); v != 1 {
		t.Errorf("stored up to %d", v)
	}
	_ = conn.Close() // a reset, as there is unread input
	eventually(t, "the link has ended", func() bool { return b.g.Links() == 0 })
	time.Sleep(10 * time.Millisecond)
	if v := log.Synced("ann", "1"); v != 1 {
		t.Errorf("stored up to %d", v)
	}
	b.on(func() {
		if n := len(b.s.syncing.stuck) + len(b.s.replays.by) + len(b.s.slow.backlog) + b.s.orders.Len(); n != 0 {
			t.Errorf("%d things are left", n)
		}
	})
}

// TestSyncSlices: many links at once are not stored in one turn, and all of them are.
func TestSyncSlices(t *testing.T) {
	log := &FakeLog{}
	b := newBenchOf(t, 1, func(o *Options) { o.Offline, o.Config.Capacity, o.Keep = log, 5000, nil })
	const n = 3000
	b.on(func() {
		for i := range n {
			user := fmt.Sprint("u", i)
			log.Store(user, offline.Entry{})
			place, uniq, l, _ := b.s.links.Add()
			l.flags = welcomed | announced | bound
			l.session = b.s.sessions.Open(nil, nil, nil, 0)
			l.session, _ = b.s.sessions.Bind(l.session, []byte(user), []byte("1"))
			l.order = b.s.orders.Start(0, 0, 1)
			b.s.unsync(place, l)
			_ = uniq
		}
		b.s.syncDue(b.s.syncing.at)
		if left := len(b.s.syncing.due); left != n-syncSlice {
			t.Errorf("%d are left", left)
		}
	})
	for i := range n {
		eventually(t, "all are stored", func() bool { return log.Synced(fmt.Sprint("u", i), "1") == 1 })
	}
}
