package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/relay"
)

// site is a gateway that lives on through hand-overs: shards on goroutines of their own, and the relay of the
// process that is serving now.
type site struct {
	t         *testing.T
	addresses []string
	options   func(o *relay.Options)
	relay     *relay.Relay
	workers   []*worker
	wg        sync.WaitGroup
	stop      chan struct{}
}

// worker is a shard. It sends numbered payloads to the Managers in turn while load is on, and notes what it gets.
type worker struct {
	s      *site
	shard  int
	random *rand.Rand
	wake   chan struct{}
	calls  chan func() // run on the shard's thread

	// Owned by its goroutine.
	port *relay.Port
	sent []int // by Manager
	wait []bool
	load bool

	mu  sync.Mutex // guards what follows
	got []string
	odd []string // events that nobody expected
}

func newSite(t *testing.T, random *rand.Rand, shards int, addresses []string, options func(o *relay.Options)) *site {
	t.Helper()
	noLeaks(t)
	s := &site{t: t, addresses: addresses, options: options, stop: make(chan struct{})}
	for i := range shards {
		s.workers = append(s.workers, &worker{
			s: s, shard: i, random: rand.New(rand.NewPCG(random.Uint64(), 0)),
			wake: make(chan struct{}, 1), calls: make(chan func()),
			sent: make([]int, len(addresses)), wait: make([]bool, len(addresses)),
		})
	}
	s.relay = s.build(nil)
	s.relay.Start()
	for _, w := range s.workers {
		w.port = s.relay.Port(w.shard)
		s.wg.Go(w.run)
	}
	t.Cleanup(func() {
		close(s.stop)
		s.wg.Wait()
		kill(s.relay)
	})
	return s
}

// kill ends a relay as its process's end does.
func kill(r *relay.Relay) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.Stop(ctx)
}

func (s *site) build(from *relay.Inheritance) *relay.Relay {
	s.t.Helper()
	o := relay.Options{
		Config: relay.Default(),
		Hello:  batch.GatewayHello{ID: "gw", Address: "192.0.2.7:8000", Protocol: 1, Epoch: 7},
		Shards: len(s.workers), ShardOf: shardOf, Inherit: from, Log: slog.New(slog.NewTextHandler(testLog{s.t}, nil)),
		Wake: func(shard int) {
			select {
			case s.workers[shard].wake <- struct{}{}:
			default:
			}
		},
	}
	o.Config.Addresses, o.Config.Grace = s.addresses, time.Minute
	if s.options != nil {
		s.options(&o)
	}
	start := lend(s.t, &o)
	r, err := relay.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	start(r)
	return r
}

func (w *worker) run() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		w.takeAll()
		if w.load {
			w.sendSome()
		}
		select {
		case f := <-w.calls:
			f()
		case <-w.wake:
		case <-tick.C:
		case <-w.s.stop:
			return
		}
	}
}

func (w *worker) takeAll() {
	for {
		e, ok := w.port.Next()
		if !ok {
			return
		}
		w.mu.Lock()
		switch e.Kind {
		case relay.EventItems:
			w.got = append(w.got, dataOf(w.s.t, e.Items)...)
		case relay.EventRoom:
			w.wait[e.Manager] = false
		case relay.EventUp:
		default:
			w.odd = append(w.odd, fmt.Sprint(e.Kind, " of ", e.Manager))
		}
		w.mu.Unlock()
	}
}

func (w *worker) sendSome() {
	for m := range w.sent {
		for range w.random.IntN(4) {
			if w.wait[m] || !w.sendOne(m) {
				break
			}
		}
	}
}

// sendOne sends a batch of some payloads, "number" and at times a long tail, or finds no room.
func (w *worker) sendOne(m int) bool {
	b := w.port.Take(m)
	if b == nil {
		w.wait[m] = true
		return false
	}
	for range 1 + w.random.IntN(5) {
		pad := 0
		if w.random.IntN(20) == 0 {
			pad = w.random.IntN(40000)
		}
		p := fmt.Sprint(w.sent[m], strings.Repeat(".", pad))
		b.Items = batch.AppendMessage(b.Items, batch.Link{Index: uint32(w.shard)<<24 | 5, Uniq: 9}, nil, 3, []byte(p))
		w.sent[m]++
	}
	w.port.Send(m, b)
	return true
}

// on runs f on every shard's thread, and waits.
func (s *site) on(f func(w *worker)) {
	var wg sync.WaitGroup
	for _, w := range s.workers {
		wg.Go(func() {
			done := make(chan struct{})
			w.calls <- func() { f(w); close(done) }
			<-done
		})
	}
	wg.Wait()
}

func (s *site) setLoad(on bool) { s.on(func(w *worker) { w.load = on }) }

func limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// upgrade is a hand-over as the gateway does it: to a new relay, or, with fail, back to the old one.
func (s *site) upgrade(random *rand.Rand, fail bool) {
	s.t.Helper()
	ctx, cancel := limit()
	defer cancel()
	if err := s.relay.Hold(ctx); err != nil {
		s.t.Fatal(err)
	}
	// The shards take what there is, and stand until they have a port again.
	var standing sync.WaitGroup
	standing.Add(len(s.workers))
	next := make(chan *relay.Relay)
	var thawed sync.WaitGroup
	thawed.Go(func() {
		s.on(func(w *worker) {
			w.takeAll()
			if random := w.random; w.load && random.IntN(2) == 0 {
				w.sendSome()
			}
			w.takeAll()
			standing.Done()
			r := <-next
			if r != s.relay {
				w.port = r.Port(w.shard)
			}
		})
	})
	standing.Wait()
	if err := s.relay.Freeze(ctx); err != nil {
		s.t.Fatal(err)
	}
	heir := s.relay
	state := s.state()
	if fail {
		s.relay.Thaw()
	} else {
		heir = s.build(&relay.Inheritance{Version: relay.StateVersion, State: state, Resumed: true})
		s.replace(heir, random)
	}
	for range s.workers {
		next <- heir
	}
	thawed.Wait()
	s.relay = heir
}

func (s *site) state() []byte {
	s.t.Helper()
	state, err := s.relay.AppendState(nil, relay.StateVersion)
	again, err2 := s.relay.AppendState(nil, relay.StateVersion)
	if err := errors.Join(err, err2); err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Equal(state, again) {
		s.t.Fatal("the state changes while the relay is frozen")
	}
	return state
}

// replace ends the old process and lets the new one begin, in either order.
func (s *site) replace(heir *relay.Relay, random *rand.Rand) {
	before := random.IntN(2) == 0
	if before {
		kill(s.relay)
	}
	heir.Start()
	if !before {
		kill(s.relay)
	}
}

// untilGot waits until a shard has got so many items, and returns them.
func (s *site) untilGot(shard, n int) []string {
	s.t.Helper()
	w := s.workers[shard]
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		got := append([]string(nil), w.got...)
		w.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(end) {
			s.t.Fatalf("shard %d: %d items, want %d; %+v", shard, len(got), n, s.relay.Stats())
		}
	}
}

// untilMet waits until every Manager has said its name.
func (s *site) untilMet() {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		strangers := 0
		for _, st := range s.relay.Stats().Streams {
			if st.ManagerID == "" {
				strangers++
			}
		}
		if strangers == 0 {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%d streams know nobody", strangers)
		}
	}
}

// sent returns how many payloads a shard has sent to a Manager.
func (s *site) sent(shard, m int) (n int) {
	s.on(func(w *worker) {
		if w.shard == shard {
			n = w.sent[m]
		}
	})
	return n
}

func trimmed(payloads []string) []string {
	for i, p := range payloads {
		payloads[i] = strings.TrimRight(p, ".")
	}
	return payloads
}
