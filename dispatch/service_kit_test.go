package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edged/dispatch"
)

// fleets is a fleet that a test writes. Its zero value is an empty one.
type fleets struct {
	mu       sync.Mutex
	gateways map[string]dispatch.Gateway // guarded by mu, like the rest
	broken   []string
	err      error         // of every call, if any
	deaf     bool          // it can be read, but not told anything
	hangs    bool          // Read waits for its context's end
	slow     time.Duration // Read answers so late what it found at first
	live     int           // dispatch services
	reads    int
	left     string
	sum      map[string]float64
	tell     func(gateway, state string)
}

func (f *fleets) Read(ctx context.Context) (dispatch.Fleet, error) {
	f.mu.Lock()
	f.reads++
	fleet := dispatch.Fleet{Gateways: slices.Collect(maps.Values(f.gateways)), Broken: slices.Clone(f.broken), At: time.Now()}
	err, hangs, slow := f.err, f.hangs, f.slow
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return dispatch.Fleet{}, ctx.Err()
	}
	time.Sleep(slow)
	return fleet, err
}

func (f *fleets) WatchState(ctx context.Context, tell func(gateway, state string)) {
	f.set(func() { f.tell = tell })
	<-ctx.Done()
}

func (f *fleets) WriteSum(_ context.Context, sum map[string]float64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sum = sum
	return f.answer()
}

func (f *fleets) Dispatchers(context.Context, string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live, f.answer()
}

func (f *fleets) Leave(_ context.Context, self string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = self
	return f.answer()
}

func (f *fleets) answer() error {
	if f.deaf {
		return errAway
	}
	return f.err
}

func (f *fleets) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// put adds gateways, or reports of theirs.
func (f *fleets) put(gateways ...dispatch.Gateway) {
	f.set(func() {
		if f.gateways == nil {
			f.gateways = map[string]dispatch.Gateway{}
		}
		for _, g := range gateways {
			g.Seq = f.gateways[g.ID].Seq + 1
			f.gateways[g.ID] = g
		}
	})
}

func (f *fleets) remove(ids ...string) {
	f.set(func() {
		for _, id := range ids {
			delete(f.gateways, id)
		}
	})
}

// says is a message of a gateway. Before anybody listens it is lost.
func (f *fleets) says(gateway, state string) {
	f.mu.Lock()
	tell := f.tell
	f.mu.Unlock()
	if tell != nil {
		tell(gateway, state)
	}
}

// gate is a gateway that is up.
func gate(id, slb string, availability float64) dispatch.Gateway {
	return dispatch.Gateway{
		ID: id, Address: "192.0.2.1:7000", SLB: slb, State: dispatch.StateUp,
		Availability: availability, Links: 10, Capacity: 1000, Boot: "b",
	}
}

// alone is a gateway that is its own load balancer.
func alone(address string, availability float64) dispatch.Gateway {
	g := gate(address, address, availability)
	g.Address = address
	return g
}

// row are gateways behind one load balancer each, sh-0 and so on.
func row(n int, availability float64) (all []dispatch.Gateway, slbs []dispatch.SLB) {
	for i := range n {
		name := fmt.Sprintf("sh-%d", i)
		all = append(all, gate(fmt.Sprintf("g%d", i), name, availability))
		slbs = append(slbs, slb(name, fmt.Sprintf("203.0.113.%d:7000", i+1)))
	}
	return all, slbs
}

func slb(name string, addresses ...string) dispatch.SLB {
	return dispatch.SLB{Name: name, Addresses: addresses}
}

// service is a Service under test.
type service struct {
	*dispatch.Service
	t   testing.TB
	log *book
	end func() // of Run, and waits for it
}

// run starts a Service until the end of the test. change may alter its options.
func run(t testing.TB, f dispatch.Fleets, slbs []dispatch.SLB, change ...func(*dispatch.Options)) *service {
	t.Helper()
	s := &service{t: t, log: &book{}}
	o := dispatch.Options{Config: dispatch.Default(), SLBs: slbs, Fleets: f, Log: s.log.log()}
	for _, c := range change {
		c(&o)
	}
	var err error
	if s.Service, err = dispatch.NewService(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	s.end = func() { cancel(); running.Wait() }
	t.Cleanup(s.end)
	return s
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// pass lets virtual time pass, and everything that is due be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// reply is an answer of the handler.
type reply struct {
	Addresses []struct{ Address, SLB string }
	Stale     bool
	Degraded  bool
	Error     string

	code   int
	header http.Header
	body   string
}

// ask makes a request; head holds further header lines.
func (s *service) ask(method, target string, head ...string) reply {
	s.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for _, h := range head {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return s.request(r)
}

func (s *service) request(r *http.Request) reply {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	a := reply{code: w.Code, header: w.Header(), body: w.Body.String()}
	if a.header.Get("Content-Type") == "application/json" && a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &a); err != nil {
			s.t.Fatalf("%v in %s", err, a.body)
		}
	}
	return a
}

// list asks for all addresses and checks that there is an answer.
func (s *service) list() reply {
	s.t.Helper()
	a := s.ask("GET", "/v1/addresses")
	if a.code != http.StatusOK || len(a.Addresses) == 0 {
		s.t.Fatalf("answer %d: %s", a.code, a.body)
	}
	return a
}

// slbs are the names of the load balancers in an answer, in its order.
func (a reply) slbs() (names []string) {
	for _, e := range a.Addresses {
		names = append(names, e.SLB)
	}
	return names
}

// sorted are the same names, by name.
func (a reply) sorted() []string { return slices.Sorted(slices.Values(a.slbs())) }

// want checks who is named, by name, and the flags.
func (a reply) want(t testing.TB, stale, degraded bool, names ...string) {
	t.Helper()
	slices.Sort(names)
	if got := a.sorted(); !slices.Equal(got, names) || a.Stale != stale || a.Degraded != degraded {
		t.Errorf("answer names %q, stale %v, degraded %v; want %q, %v, %v", got, a.Stale, a.Degraded, names, stale, degraded)
	}
}

var errAway = errors.New("redis is away")

// debugLog is a log of everything.
func (b *book) debugLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
