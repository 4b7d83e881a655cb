//go:build e2e

package tests

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/sdk/manager"
	"edged/wire"
)

// ledger is what Managers got, by link.
type ledger struct {
	mu    sync.Mutex
	links map[string]*account // guarded by mu
	wrong []string            // guarded by mu

	before *ledger // of the Manager that some links had first; it is locked after this one
}

// account is one link's at one Manager.
type account struct {
	opened, closed int
	next           uint64 // number of the next message
	repeats        int
	moved          bool // its first messages went to the Manager before
}

func newLedger(before *ledger) *ledger { return &ledger{links: map[string]*account{}, before: before} }

func (l *ledger) has(id string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[id] != nil
}

func (l *ledger) next(id string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[id].next
}

// note enters one event. A number may be repeated only where that is allowed, and never skipped.
func (l *ledger) note(e *manager.Event, repeats bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := e.Session.Text("link")
	a := l.links[id]
	if a == nil {
		a = &account{moved: l.before.has(id)}
		l.links[id] = a
	}
	bad := func(format string, args ...any) { l.wrong = append(l.wrong, id+": "+fmt.Sprintf(format, args...)) }
	if e.Kind != manager.Opened && a.opened == 0 {
		bad("%v before opened", e.Kind)
	}
	if a.closed > 0 {
		bad("%v after closed", e.Kind)
	}
	switch e.Kind {
	case manager.Opened:
		a.opened++
	case manager.Closed:
		a.closed++
	case manager.Data:
		switch n := binary.BigEndian.Uint64(e.Payload); {
		case n == a.next:
			a.next++
		case a.moved && a.next == 0:
			if n > l.before.next(id) {
				bad("message %d came first, the Manager before had all below %d", n, l.before.next(id))
			}
			a.next = n + 1
		case n < a.next && repeats:
			a.repeats++
		default:
			bad("message %d came, %d was next", n, a.next)
			a.next = n + 1
		}
	}
}

// handler is echoHandler with a ledger.
func (l *ledger) handler(repeats bool) manager.Handler {
	h := echoHandler()
	data := h.Data
	h.Opened = func(e *manager.Event) { l.note(e, repeats) }
	h.Closed = func(e *manager.Event) { l.note(e, repeats) }
	h.Data = func(e *manager.Event) {
		l.note(e, repeats)
		data(e)
	}
	return h
}

// check reports what was wrong, and waits until every account is closed once.
func (l *ledger) check(t *testing.T, links int) {
	t.Helper()
	waitFor(t, "every link is closed at the Manager", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for _, a := range l.links {
			n += a.closed
		}
		return n >= links
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.wrong {
		if i < 10 {
			t.Error(w)
		}
	}
}

// counter sends numbered messages, with at most window of them on their way, until it is told to stop: the last one is a
// byte longer. Each echo must come in its turn and, where repeats is not set, once.
type counter struct {
	c       *client
	repeats bool
	room    chan struct{}
	echoed  atomic.Uint64
	stop    chan struct{}
	result  chan error
}

const window = 32

func count(c *client, repeats bool) *counter {
	k := &counter{c: c, repeats: repeats, room: make(chan struct{}, window), stop: make(chan struct{}), result: make(chan error, 1)}
	go k.write()
	go func() { k.result <- k.read() }()
	return k
}

func (k *counter) write() {
	for n := uint64(0); ; n++ {
		payload := binary.BigEndian.AppendUint64(nil, n)
		select {
		case <-k.stop:
			_ = k.c.send(wire.KindData, append(payload, '.'))
			return
		case k.room <- struct{}{}:
		}
		if k.c.send(wire.KindData, payload) != nil {
			return // the reader finds out why
		}
	}
}

func (k *counter) read() error {
	for next := uint64(0); ; {
		f, err := k.c.next(patience)
		if err != nil || f.kind != wire.KindData {
			return fmt.Errorf("%v while echo %d was next: %w", f.kind, next, err)
		}
		switch n := binary.BigEndian.Uint64(f.rest); {
		case n > next || n < next && !k.repeats:
			return fmt.Errorf("echo %d came, %d was next", n, next)
		case n == next && len(f.rest) > 8:
			return k.c.leave()
		case n == next:
			next++
			k.echoed.Store(next)
			<-k.room
		}
	}
}

// end lets the counters finish, and tells what went wrong.
func end(t *testing.T, all []*counter) {
	t.Helper()
	total := uint64(0)
	for _, k := range all {
		close(k.stop)
	}
	for i, k := range all {
		select {
		case err := <-k.result:
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		case <-time.After(2 * patience):
			t.Errorf("client %d does not get its last echoes", i)
		}
		total += k.echoed.Load()
	}
	t.Logf("%d echoes", total)
}

// waitProgress waits until every counter has had a number of echoes more.
func waitProgress(t *testing.T, all []*counter, more uint64) {
	t.Helper()
	for i, k := range all {
		before := k.echoed.Load()
		waitFor(t, fmt.Sprintf("client %d gets on", i), func() bool { return k.echoed.Load() >= before+more || len(k.result) > 0 })
	}
}

func counters(t *testing.T, g *gateway, n int, repeats bool) (all []*counter) {
	t.Helper()
	for i := range n {
		all = append(all, count(dialIn(t, g.address(), fmt.Sprintf("user-%d/x", i)), repeats))
	}
	return all
}

// TestReceipts breaks the streams to a Manager that lives on, again and again: nothing is lost or doubled either way.
func TestReceipts(t *testing.T) {
	t.Parallel()
	l := newLedger(nil)
	k := newKit(t, l.handler(false))
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}})
	all := counters(t, g, 20, false)
	for range 6 {
		waitProgress(t, all, 50)
		k.cut()
		k.serve()
	}
	waitProgress(t, all, 50)
	end(t, all)
	l.check(t, len(all))
	s := g.scrape()
	if s.sum("edged_manager_streams_total") < 2*7 || s.sum("edged_manager_resent_batches_total") == 0 {
		t.Errorf("%v streams, %v batches sent again: the breaks were not felt", s.sum("edged_manager_streams_total"), s.sum("edged_manager_resent_batches_total"))
	}
	if n := s.sum("edged_manager_renewed_total"); n != 0 {
		t.Errorf("the same Manager was taken for another one %v times", n)
	}
	for id, a := range l.links {
		if a.opened != 1 {
			t.Errorf("%s was opened %d times", id, a.opened)
		}
	}
	g.balanced()
}

// TestManagerMove has one of two Managers die: its links go on at the other one, which hears `opened` first. What the dead
// one had not confirmed comes again, and nothing is left out.
func TestManagerMove(t *testing.T) {
	t.Parallel()
	first := newLedger(nil)
	books := []*ledger{first, newLedger(first)}
	kits := []*kit{newKit(t, books[0].handler(true)), newKit(t, books[1].handler(true))}
	g := start(t, setup{managers: []string{kits[0].address, kits[1].address}, manager: `grace = "300ms"`})
	all := counters(t, g, 20, true)
	waitProgress(t, all, 50)
	for i, b := range books {
		b.mu.Lock()
		if n := len(b.links); n != 10 {
			t.Errorf("Manager %d has %d of 20 links", i, n)
		}
		b.mu.Unlock()
	}
	kits[0].cut()
	waitProgress(t, all, 200)
	g.waitMetric("edged_links_moved_total", 10)
	g.waitMetric("edged_manager_gone_total", 1)
	if n := g.metric("edged_links"); n != 20 {
		t.Errorf("%v links are left of 20", n)
	}
	if status, text := g.probe("/readyz"); status != 200 {
		t.Errorf("/readyz with one Manager of two: %d %s", status, text)
	}
	end(t, all)
	books[1].check(t, 20)
	g.balanced()
}
