package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/relay"
)

// world is a site with its Managers, to which a schedule happens.
type world struct {
	t        *testing.T
	random   *rand.Rand
	site     *site
	managers []*manager
	servers  []*server
	pushed   []int // by shard
	broken   []*atomic.Bool
	slow     []*atomic.Bool
}

func newWorld(t *testing.T, random *rand.Rand, shards, managers int) *world {
	w := &world{t: t, random: random, pushed: make([]int, shards)}
	var addresses []string
	for i := range managers {
		m := newManager(t, fmt.Sprint("m", i))
		m.lag = 1 + random.Uint64N(3)
		broken, slow := new(atomic.Bool), new(atomic.Bool)
		m.during = func(*manager, uint32, *edgedpb.Upstream) error {
			if slow.Load() {
				time.Sleep(2 * time.Millisecond)
			}
			if broken.Swap(false) {
				return errors.New("broken on purpose")
			}
			return nil
		}
		w.broken, w.slow = append(w.broken, broken), append(w.slow, slow)
		w.managers = append(w.managers, m)
		w.servers = append(w.servers, start(t, m))
		addresses = append(addresses, w.servers[i].address)
	}
	w.site = newSite(t, random, shards, addresses, func(o *relay.Options) { o.Config.Buffer = 64 << 10 << random.IntN(4) })
	w.site.untilMet()
	return w
}

// push sends some items down, all by the first Manager, so that there is one order for each shard.
func (w *world) push() {
	for range w.random.IntN(6) {
		shard := w.random.IntN(len(w.pushed))
		if via := w.random.IntN(len(w.pushed)); via == shard {
			w.managers[0].push(uint32(shard), item(shard, strconv.Itoa(w.pushed[shard])))
			w.pushed[shard]++
		}
	}
}

// step lets one thing happen.
func (w *world) step() {
	m := w.random.IntN(len(w.managers))
	switch w.random.IntN(10) {
	case 0:
		w.servers[m].kill()
		w.servers[m] = serve(w.t, listen(w.t, "tcp", w.servers[m].address), w.managers[m])
	case 1:
		w.broken[m].Store(true)
	case 2, 3:
		w.slow[m].Store(w.random.IntN(2) == 0)
	case 4, 5, 6:
		w.site.upgrade(w.random, w.random.IntN(4) == 0)
	default:
		w.push()
		time.Sleep(time.Duration(w.random.IntN(3000)) * time.Microsecond)
	}
}

// settle waits until all is through, and compares.
func (w *world) settle() {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.t.Logf("%+v", w.site.relay.Stats())
		}
	}()
	w.site.setLoad(false)
	for i := range w.slow {
		w.slow[i].Store(false)
	}
	for shard := range w.pushed {
		same(w.t, w.site.untilGot(shard, w.pushed[shard]), series(0, w.pushed[shard]))
		for i, m := range w.managers {
			n := w.site.sent(shard, i)
			same(w.t, trimmed(m.untilPayloads(uint32(shard), n)), series(0, n))
		}
	}
	for _, worker := range w.site.workers {
		if len(worker.odd) > 0 {
			w.t.Errorf("shard %d was told %q", worker.shard, worker.odd)
		}
	}
}

// Whatever happens while a relay is handed over and over again: a Manager that gives receipts gets all, once and in order,
// and so do the shards.
func TestHandOverModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for run := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, run))
		shards, managers := 1+random.IntN(3), 1+random.IntN(2)
		t.Run(fmt.Sprintf("%d shards, %d managers, %d", shards, managers, run), func(t *testing.T) {
			w := newWorld(t, random, shards, managers)
			w.site.setLoad(true)
			for range 40 {
				w.step()
			}
			w.settle()
		})
	}
}

// A Manager without receipts gets nothing twice: what SendMsg took is not repeated, what it did not take is. Between two
// streams it has no order.
func TestHandOverWithoutReceipts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := newMute(t)
	s := newSite(t, random, 2, []string{start(t, m).address}, nil)
	for r := range uint32(2) {
		m.until(r, "the stream", func(b *book) bool { return b.stream != nil })
		m.push(r, item(int(r), "0")) // the first word without a hello says that there are no receipts
		s.untilGot(int(r), 1)
	}
	s.setLoad(true)
	for range 15 {
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		s.upgrade(random, random.IntN(4) == 0)
	}
	s.setLoad(false)
	s.on(func(w *worker) { w.sendOne(0) }) // by the last one: no hand-over comes in between
	for r := range 2 {
		m.untilNoDoubles(uint32(r), strconv.Itoa(s.sent(r, 0)-1))
	}
}

// untilNoDoubles waits for a payload, and finds none twice.
func (m *manager) untilNoDoubles(r uint32, last string) {
	m.t.Helper()
	m.until(r, "the last payload", func(b *book) bool {
		for _, up := range b.batches {
			for _, it := range up.Items {
				if strings.TrimRight(string(it.GetMessage().GetPayload()), ".") == last {
					return true
				}
			}
		}
		return false
	})
	seen := make(map[string]bool)
	for i, p := range trimmed(m.payloads(r)) {
		if seen[p] {
			m.t.Fatalf("reactor %d: %q is a repeat at %d", r, p, i)
		}
		seen[p] = true
	}
}

// The same on the gRPC library's road.
func TestHandOverTLS(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t, dir)
	server, own := a.issue(t, dir, "server", "manager.example"), a.issue(t, dir, "gw", "gw")
	random := rand.New(rand.NewPCG(9, 10))
	m := newManager(t, "m")
	s := newSite(t, random, 1, []string{serveTLS(t, m, a, server).address}, func(o *relay.Options) {
		o.Config.CA, o.Config.Cert, o.Config.Key, o.Config.ServerName = own.ca, own.cert, own.key, "manager.example"
	})
	s.untilMet()
	s.setLoad(true)
	for range 10 {
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		s.upgrade(random, random.IntN(4) == 0)
	}
	s.setLoad(false)
	n := s.sent(0, 0)
	same(t, trimmed(m.untilPayloads(0, n)), series(0, n))
}

// A Manager that is taken out of the configuration leaves its batches to the shard. When it comes back, it finds its
// numbers going on.
func TestManagerIsTakenOutAndComesBack(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	a, b := newManager(t, "a"), newManager(t, "b")
	both := []string{start(t, a).address, start(t, b).address}
	s := newSite(t, random, 1, both, nil)
	s.untilMet()
	s.on(func(w *worker) { w.sendOne(0) })
	first := s.sent(0, 0)
	a.untilPayloads(0, first)
	for end := time.Now().Add(patience); s.relay.Stats().Streams[0].KeptBatches > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // until its receipt has come
	}
	a.set(func() { a.receipts = false }) // what it takes in now, it does not admit
	s.on(func(w *worker) { w.sendOne(0); w.sendOne(0) })
	n := s.sent(0, 0)
	a.untilPayloads(0, n)
	s.addresses = both[1:]
	s.upgrade(random, false)
	s.on(func(w *worker) {
		for _, o := range s.relay.Orphans(0) {
			w.port.Send(0, o)
		}
	})
	same(t, trimmed(b.untilPayloads(0, n-first)), series(first, n-first))
	a.set(func() { a.receipts = true })
	s.addresses = []string{both[1], both[0]}
	s.upgrade(random, false)
	s.on(func(w *worker) { w.sent[1] = n; w.sendOne(1) })
	all := s.sent(0, 1)
	same(t, trimmed(a.untilPayloads(0, all)), series(0, all))
}

// The successor says what it is, and knows a Manager that became another one meanwhile.
func TestAnotherManagerAfterHandOver(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	a := newManager(t, "a")
	a.receipts = true
	server := start(t, a)
	s := newSite(t, random, 1, []string{server.address}, nil)
	s.untilMet()
	a.set(func() {
		if a.books[0].hello.Resumed {
			t.Error("a cold start says that it is resumed")
		}
	})
	s.upgrade(random, false)
	a.until(0, "the successor", func(b *book) bool { return b.streams == 2 })
	a.set(func() {
		if h := a.books[0].hello; !h.Resumed || h.Epoch != 7 {
			t.Errorf("the successor says %v", h)
		}
	})
	server.kill()
	s.on(func(w *worker) { w.sendOne(0) })
	s.upgrade(random, false)
	b := newManager(t, "b")
	serve(t, listen(t, "tcp", server.address), b)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var odd []string
		s.on(func(w *worker) { odd = w.odd })
		if len(odd) == 1 && odd[0] == "new of 0" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the shard was told %q; %+v", odd, s.relay.Stats())
		}
	}
	if len(b.payloads(0)) > 0 {
		t.Error("the other Manager got what was for the first one")
	}
}

// A Manager that takes nothing holds up no hand-over: its stream is broken off, and what SendMsg did not take goes out
// later.
func TestHandOverWhileManagerTakesNothing(t *testing.T) {
	for _, receipts := range []bool{true, false} {
		for _, fail := range []bool{true, false} {
			t.Run(fmt.Sprintf("receipts %v, fails %v", receipts, fail), func(t *testing.T) {
				random := rand.New(rand.NewPCG(3, 4))
				m := newManager(t, "m")
				m.receipts, m.unkept = receipts, !receipts
				goOn := make(chan struct{})
				m.during = func(*manager, uint32, *edgedpb.Upstream) error { <-goOn; return nil }
				s := newSite(t, random, 1, []string{start(t, m).address}, nil)
				var once sync.Once
				release := func() { once.Do(func() { close(goOn) }) }
				t.Cleanup(release)
				m.until(0, "the stream", func(b *book) bool { return b.stream != nil })
				s.setLoad(true)
				m.until(0, "the first batch", func(b *book) bool { return len(b.batches) > 0 })
				full := func() (full bool) {
					s.on(func(w *worker) { full = w.wait[0] })
					return full
				}
				for end := time.Now().Add(patience); !full(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the outlet does not fill up")
					}
				}
				begin := time.Now()
				s.upgrade(random, fail)
				if d := time.Since(begin); d > patience/2 {
					t.Errorf("it took %v", d)
				}
				s.setLoad(false)
				release()
				if n := s.sent(0, 0); receipts {
					same(t, trimmed(m.untilPayloads(0, n)), series(0, n))
				} else {
					m.untilNoDoubles(0, strconv.Itoa(n-1))
				}
			})
		}
	}
}

// A delivery under way when the relay is held ends whole; one that comes then waits, and is told in time.
func TestInletsAreHeld(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	s := newSite(t, random, 1, nil, func(o *relay.Options) { o.Config.Buffer = 64 << 10 })
	in := s.relay.NewInlet(true)
	ctx, cancel := limit()
	defer cancel()
	halt, halted := make(chan struct{}), make(chan struct{})
	go s.on(func(*worker) { close(halted); <-halt })
	<-halted
	results := make(chan error, 1)
	const n = 10
	go func() {
		var err error
		for i := range n {
			err = errors.Join(err, in.Deliver(append(down(fmt.Sprint(i), 0), down(string(make([]byte, 20000)), 0)...), patience))
		}
		results <- err
	}()
	for s.relay.Stats().Lanes[0] < 3 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	held := make(chan error, 1)
	go func() { held <- s.relay.Hold(ctx) }()
	close(halt)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if err := s.relay.NewInlet(true).Deliver(down("late", 0), time.Millisecond); !errors.Is(err, relay.ErrHeld) {
		t.Errorf("a delivery while held: %v", err)
	}
	s.relay.Thaw()
	if err := <-results; err != nil {
		t.Error(err)
	}
	got := s.untilGot(0, 2*n)
	for i := range n {
		if got[2*i] != fmt.Sprint(i) {
			t.Errorf("item %d is %.10q", 2*i, got[2*i])
		}
	}
}

// Hold gives up with its context, and Thaw undoes it.
func TestHoldInVain(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	m := newManager(t, "m")
	s := newSite(t, random, 1, []string{start(t, m).address}, func(o *relay.Options) { o.Config.Buffer = 64 << 10 })
	m.until(0, "the stream", func(b *book) bool { return b.stream != nil })
	halt, halted := make(chan struct{}), make(chan struct{})
	go s.on(func(*worker) { close(halted); <-halt })
	<-halted
	const n = 30
	for i := range n {
		m.push(0, item(0, fmt.Sprint(i, string(make([]byte, 9000)))))
	}
	var err error
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); { // until it comes while a receiver waits
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		err = s.relay.Hold(ctx)
		cancel()
		s.relay.Thaw()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hold: %v", err)
	}
	close(halt)
	if got := s.untilGot(0, n); len(got) != n {
		t.Errorf("%d items", len(got))
	}
}
