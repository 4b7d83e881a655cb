package swarm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/swarm"
	"edged/wire"
)

// dispatcher is a fake of the dispatch service.
type dispatcher struct {
	answer func(n int) (status int, body string) // of the n-th question, from 0; static
	hold   time.Duration                         // of each answer; static

	mu       sync.Mutex
	asked    int
	inFlight int
	most     int
	queries  map[string]int
}

func (d *dispatcher) start(t testing.TB) (url string) {
	t.Helper()
	d.queries = map[string]int{}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	return s.URL
}

// ServeHTTP makes dispatcher an http.Handler.
func (d *dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	n := d.asked
	d.asked++
	d.inFlight++
	d.most = max(d.most, d.inFlight)
	d.queries[r.URL.String()]++
	d.mu.Unlock()
	time.Sleep(d.hold) // what a slow service does, which is the subject
	status, body := d.answer(n)
	d.mu.Lock()
	d.inFlight--
	d.mu.Unlock()
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (d *dispatcher) look() (asked, most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked, d.most
}

// listOf makes an answer of addresses and members such as `"ttl_s":5`.
func listOf(addresses []string, members ...string) string {
	var parts []string
	for i, a := range addresses {
		parts = append(parts, fmt.Sprintf(`{"address":%q,"slb":"slb-%d"}`, a, i))
	}
	return `{"addresses":[` + strings.Join(parts, ",") + `]` + strings.Join(append([]string{""}, members...), ",") + "}"
}

// always answers every question alike.
func always(addresses []string, members ...string) *dispatcher {
	body := listOf(addresses, members...)
	return &dispatcher{answer: func(int) (int, string) { return http.StatusOK, body }}
}

func dispatched(url string) swarm.Config {
	cfg := config("")
	cfg.Target, cfg.Dispatch = nil, url
	return cfg
}

// place returns what the report says of an address.
func place(t testing.TB, rep *swarm.Report, address string) swarm.Place {
	t.Helper()
	for _, p := range rep.Addresses {
		if p.Address == address {
			return p
		}
	}
	t.Errorf("%s is not in %+v", address, rep.Addresses)
	return swarm.Place{}
}

// Each link asks its own question, and goes where its own answer says.
func TestEachLinkAsks(t *testing.T) {
	t.Parallel()
	gates := []*gateway{{}, {}, {}}
	var at []string
	for _, g := range gates {
		at = append(at, g.start(t))
	}
	d := &dispatcher{answer: func(n int) (int, string) { return http.StatusOK, listOf([]string{at[n%3], at[(n+1)%3], at[(n+2)%3]}) }}
	cfg := dispatched(d.start(t))
	cfg.Links, cfg.Loops, cfg.Checker = 300, 3, true
	rep := run(t, cfg)
	wantOK(t, rep)
	asked, most := d.look()
	if asked != 300 || most > 64 || d.queries["/v1/addresses?n=3"] != 300 {
		t.Errorf("%d questions, %d at a time, %v", asked, most, d.queries)
	}
	if s := rep.Dispatch; s.Asked != 300 || s.Failed != 0 || s.Took.Count() != 300 || len(rep.Addresses) != 3 {
		t.Errorf("%+v, %+v", s, rep.Addresses)
	}
	for i, g := range gates {
		p := place(t, &rep, at[i])
		if p.Up != 100 || p.Opened != 100 || p.Failed != 0 || p.Ended != 0 || g.look().opened != 100 {
			t.Errorf("%+v, the gateway saw %d", p, g.look().opened)
		}
	}
	if c := rep.Connections; c.Retries != 0 || len(c.Errors) != 0 || rep.Check.Reports != 300 {
		t.Errorf("%+v", c)
	}
}

// The service is asked no more than so many questions at a time, however many links begin.
func TestQuestionsAtATime(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	d := always([]string{g.start(t)})
	d.hold = 20 * time.Millisecond
	cfg := dispatched(d.start(t))
	cfg.Links, cfg.Silent = 600, true
	wantOK(t, run(t, cfg))
	if asked, most := d.look(); asked != 600 || most != 64 {
		t.Errorf("%d questions, %d at a time", asked, most)
	}
}

// A dead address is passed over without a wait and without --reconnect: the link comes up in its first round.
func TestListIsWalked(t *testing.T) {
	t.Parallel()
	a, b := deadAddress(t), deadAddress(t)
	g := &gateway{}
	c := g.start(t)
	cfg := dispatched(always([]string{a, b, c}).start(t))
	cfg.Checker = true
	rep := run(t, cfg)
	wantOK(t, rep)
	if p, q, r := place(t, &rep, a), place(t, &rep, b), place(t, &rep, c); p.Failed != 20 || q.Failed != 20 || r.Up != 20 || r.Failed != 0 || r.SLB != "slb-2" {
		t.Errorf("%+v", rep.Addresses)
	}
	if c := rep.Connections; c.Retries != 40 || c.Errors["connection refused"] != 40 || rep.Dispatch.Asked != 20 {
		t.Errorf("%+v, %d questions", c, rep.Dispatch.Asked)
	}
}

// One that says nothing is passed over in its time.
func TestSilentAddressIsPassedOver(t *testing.T) {
	t.Parallel()
	full := fullListener(t)
	g := &gateway{}
	cfg := dispatched(always([]string{full, g.start(t)}).start(t))
	cfg.Patience = 200 * time.Millisecond
	rep := run(t, cfg)
	if p := place(t, &rep, full); p.Failed != 20 || rep.Connections.Up != 20 || rep.Connections.Errors["no answer in time"] != 20 {
		t.Errorf("%+v, %+v", rep.Addresses, rep.Connections)
	}
}

// All of a list is dead: without --reconnect that is the end, and it is told once more.
func TestDeadList(t *testing.T) {
	t.Parallel()
	a, b := deadAddress(t), deadAddress(t)
	url := always([]string{a, b}).start(t)
	rep, err := swarm.Run(limited(t), dispatched(url), nil)
	if err == nil || !strings.Contains(err.Error(), "no link came up at the addresses of "+url+"/v1/addresses?n=3: connection refused") {
		t.Errorf("%v", err)
	}
	if c := rep.Connections; c.Errors["connection refused"] != 40 || rep.OK() {
		t.Errorf("%+v", c)
	}
}

// A link that is sent away goes elsewhere: to the next of a list that is fresh, and to no address that sent it away of a new
// one.
func TestDrainedLinksMove(t *testing.T) {
	t.Parallel()
	for ttl, asked := range map[int]int{3600: 20, 1: 40} {
		t.Run(fmt.Sprint("ttl ", ttl), func(t *testing.T) {
			t.Parallel()
			sentAway := func(_ string, _ way, p swarm.Payload) action {
				if p.Op == swarm.OpEcho && p.Seq == 2 {
					return dismiss
				}
				return pass
			}
			a, b := &gateway{harm: sentAway}, &gateway{}
			at := []string{a.start(t), b.start(t)}
			d := always(at, fmt.Sprintf(`"ttl_s":%d`, ttl), `"backoff":{"base_ms":50,"max_ms":100,"factor":1}`)
			cfg := dispatched(d.start(t))
			cfg.Reconnect, cfg.Think, cfg.Duration = true, 1200*time.Millisecond, time.Hour
			ctx, cancel := context.WithCancel(limited(t))
			defer cancel()
			rep, err := swarm.Run(ctx, cfg, func(p swarm.Progress) {
				if b.look().opened == 20 && p.Links == 20 {
					cancel() // all have moved
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			wantOK(t, rep)
			p, q := place(t, &rep, at[0]), place(t, &rep, at[1])
			if p.Opened != 20 || p.Ended != 20 || p.Up != 0 || q.Opened != 20 || q.Up != 20 {
				t.Errorf("%+v", rep.Addresses)
			}
			if rep.Away.Count() != 20 || rep.Connect.Count() != 40 {
				t.Errorf("%d were away, %d connected", rep.Away.Count(), rep.Connect.Count())
			}
			if n, _ := d.look(); n != asked {
				t.Errorf("%d questions, want %d", n, asked)
			}
		})
	}
}

// The list's back-off holds, and BYE's retry-after: nobody is called before.
func TestOverloadedGatewayIsGivenTime(t *testing.T) {
	t.Parallel()
	const after = 400 * time.Millisecond
	g := &gateway{judge: func(_ string, times int) (wire.Reason, time.Duration) {
		if times == 1 {
			return wire.ByeOverloaded, after
		}
		return 0, 0
	}}
	cfg := dispatched(always([]string{g.start(t), deadAddress(t)}, `"backoff":{"base_ms":1,"max_ms":1}`).start(t))
	cfg.Reconnect, cfg.Duration = true, time.Hour
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	rep, err := swarm.Run(ctx, cfg, func(p swarm.Progress) {
		if p.Links == cfg.Links {
			cancel() // all are there
		}
	})
	if err != nil || rep.Connections.Up != 20 {
		t.Fatalf("%v, %+v", err, rep.Connections)
	}
	if rep.Away.Count() != 0 {
		t.Errorf("%d were away that had never been there", rep.Away.Count())
	}
	for user, times := range g.look().times {
		if len(times) != 2 || times[1]-times[0] < after {
			t.Errorf("%s came at %v", user, times)
		}
	}
}

// While the service is away links come back by their last list; those that never had one wait for it.
func TestServiceGoesAndComes(t *testing.T) {
	t.Parallel()
	hungUp := map[string]bool{} // owned by the gateway's thread
	g := &gateway{harm: func(user string, _ way, p swarm.Payload) action {
		if p.Op == swarm.OpEcho && p.Seq == 3 && !hungUp[user] {
			hungUp[user] = true
			return hangUp
		}
		return pass
	}}
	at := []string{g.start(t)}
	d := &dispatcher{answer: func(n int) (int, string) {
		if n == 0 || n > 20 {
			return http.StatusServiceUnavailable, ""
		}
		return http.StatusOK, listOf(at, `"ttl_s":1`, `"backoff":{"base_ms":20,"max_ms":20}`)
	}}
	cfg := dispatched(d.start(t))
	cfg.Reconnect, cfg.Think, cfg.Duration = true, 600*time.Millisecond, time.Hour
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	rep, err := swarm.Run(ctx, cfg, func(p swarm.Progress) {
		if g.look().opened == 40 && p.Links == 20 {
			cancel() // all have come back
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Connections.Up != 20 || rep.Connections.Lost["ended by the peer without bye"] != 20 || rep.Connections.Opened != 40 {
		t.Errorf("%+v", rep.Connections)
	}
	if s := rep.Dispatch; s.Failed < 21 || s.Errors["dispatch: 503 Service Unavailable"] != s.Failed || s.Asked-s.Failed != 20 {
		t.Errorf("%+v", s)
	}
	if n := rep.Connections.Errors["dispatch: 503 Service Unavailable"]; n != 1 { // only who had no list is the worse for it
		t.Errorf("%+v", rep.Connections.Errors)
	}
}

// What is wrong with a service is told in few words.
func TestServiceErrors(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) func(*testing.T) string {
		return func(t *testing.T) string {
			return (&dispatcher{answer: func(int) (int, string) { return status, body }}).start(t)
		}
	}
	for name, tc := range map[string]struct {
		url  func(*testing.T) string
		want string
	}{
		"nobody there": {func(t *testing.T) string { return "http://" + deadAddress(t) }, "connection refused"},
		"broken":       {answer(http.StatusBadGateway, "x"), "502 Bad Gateway"},
		"empty":        {answer(http.StatusOK, listOf(nil)), "no address in the answer"},
		"a page":       {answer(http.StatusOK, "<html>"), "answer is not a list"},
		"unknown name": {answer(http.StatusOK, listOf([]string{"nobody.invalid:7000"})), "unknown host"},
		"unknown host": {func(*testing.T) string { return "http://nobody.invalid" }, "unknown host"},
		"hangs up": {func(t *testing.T) string {
			s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
			t.Cleanup(s.Close)
			return s.URL
		}, "connection ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := dispatched(tc.url(t))
			cfg.Links = 3
			rep, err := swarm.Run(limited(t), cfg, nil)
			if err == nil || !strings.HasSuffix(err.Error(), ": dispatch: "+tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if s := rep.Dispatch; s == nil || s.Asked != 3 || s.Failed != 3 || s.Errors["dispatch: "+tc.want] != 3 || rep.Connections.Errors["dispatch: "+tc.want] != 3 {
				t.Errorf("%+v, %+v", s, rep.Connections)
			}
		})
	}
}

// A service that hangs does not keep a swarm from ending.
func TestEndWhileAsking(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	cfg := dispatched(s.URL)
	cfg.Links = 1000
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	rep, err := swarm.Run(ctx, cfg, nil)
	if err != nil || !rep.Interrupted || rep.Connections.Up != 0 {
		t.Errorf("%v, %+v", err, rep)
	}
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestListWithNames(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	at := g.start(t)
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.LookupHost("localhost")
	if err != nil || !slices.Contains(addrs, "127.0.0.1") {
		t.Skipf("localhost is %v, %v", addrs, err)
	}
	rep := run(t, dispatched(always([]string{"nobody.invalid:7000", "localhost:" + port}).start(t)))
	wantOK(t, rep)
	if p := place(t, &rep, "localhost:"+port); p.Up != 20 || len(rep.Addresses) != 1 {
		t.Errorf("%+v", rep.Addresses)
	}
}

// The report names the addresses, also those of a swarm that was given several targets.
func TestReportOfAddresses(t *testing.T) {
	r := faultless()
	r.Target = nil
	r.Dispatch = &swarm.Lookups{URL: "http://dispatch:7080/v1/addresses?n=3", Asked: 12, Errors: map[string]uint64{}, Took: &swarm.Histogram{}}
	r.Addresses = []swarm.Place{{Address: "203.0.113.7:7000", SLB: "sh-1", Opened: 9, Up: 6, Failed: 1, Ended: 3}, {Address: "203.0.113.8:7000", Opened: 3, Up: 4}}
	text := func() string {
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := `dispatch    http://dispatch:7080/v1/addresses?n=3, asked 12 times, none
links       10 of 10 up, 10 opened, 20/s in a ramp of 0.5 s
address     203.0.113.7:7000 of sh-1: 6 up, 9 opened (75.0 %), 1 failed, 3 ended
address     203.0.113.8:7000: 4 up, 3 opened (25.0 %), 0 failed, 0 ended
`
	if got := text(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b, err := json.Marshal(&r)
	if err != nil || !strings.Contains(string(b), `"addresses":[{"address":"203.0.113.7:7000","slb":"sh-1","opened":9,"up":6,"failed":1,"ended":3}`) ||
		!strings.Contains(string(b), `"dispatch":{"url":"http://dispatch:7080/v1/addresses?n=3","asked":12`) {
		t.Errorf("%v: %s", err, b)
	}
	r.Dispatch, r.Target = nil, []string{"a:1", "b:1"}
	if got := text(); !strings.Contains(got, "target      a:1 b:1\n") || !strings.Contains(got, "address     203.0.113.7:7000 of sh-1") {
		t.Errorf("several targets:\n%s", got)
	}
	r.Addresses = r.Addresses[:1]
	if got := text(); strings.Contains(got, "address ") {
		t.Errorf("one target:\n%s", got)
	}
	for range 100 {
		r.Addresses = append(r.Addresses, swarm.Place{Address: "x:1"})
	}
	if got := text(); strings.Count(got, "\naddress ") != 65 || !strings.Contains(got, "and 37 more") {
		t.Errorf("many:\n%s", got)
	}
}
