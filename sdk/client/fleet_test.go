package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// service is a dispatch service without a network, so that time in a synctest bubble can pass.
type service struct {
	answer func(w http.ResponseWriter, r *http.Request) // static

	mu       sync.Mutex
	asked    []time.Time
	inFlight int
	most     int // in flight at a time
}

// http returns a client that asks the service and nobody else.
func (s *service) http() *http.Client { return &http.Client{Transport: s} }

// RoundTrip makes service an http.RoundTripper.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inFlight--
		s.mu.Unlock()
	}()
	rec := httptest.NewRecorder()
	s.answer(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

func (s *service) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// listOf makes an answer: addresses, and members such as `"ttl_s":5`.
func listOf(addresses string, members ...string) http.HandlerFunc {
	var b strings.Builder
	for i, a := range strings.Fields(addresses) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"address":%q}`, a)
	}
	body := `{"addresses":[` + b.String() + `]` + strings.Join(append([]string{""}, members...), ",") + "}"
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

// act is what a gateway of a fleet does with a link.
type act int

const (
	refuse    act = iota // the connect fails at once
	hang                 // the connect does not come to an end
	mute                 // it connects and says nothing
	let                  // it is welcomed, and stays
	drop                 // it is welcomed, and the stream ends
	drain                // BYE 8 after the welcome
	turnAway             // BYE 9 instead of a welcome
	noManager            // BYE 12 instead of a welcome
	drainSoon            // BYE 8 instead of a welcome, without a time
	acts
)

// try is one attempt to open a link.
type try struct {
	address string
	at      time.Duration // since the fleet began
}

// fleet is a number of gateways, told apart by their addresses. It is made for a synctest bubble.
type fleet struct {
	t      testing.TB
	began  time.Time
	act    func(address string, n int) act // of the n-th try, from 0; static
	after  time.Duration                   // retry-after of its BYEs; static
	during func()                          // called when a try begins; static

	mu     sync.Mutex
	tries  []try
	open   int // links and attempts
	most   int // of them at a time
	byes   []time.Time
	closed chan struct{}
	peers  sync.WaitGroup
}

func newFleet(t testing.TB, f func(address string, n int) act) *fleet {
	return &fleet{t: t, began: time.Now(), act: f, closed: make(chan struct{})}
}

// shut ends all links from the gateways' side and waits for their goroutines.
func (f *fleet) shut() { f.breakAll(); f.peers.Wait() }

func (f *fleet) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if f.during != nil {
		f.during()
	}
	f.mu.Lock()
	n := len(f.tries)
	f.tries = append(f.tries, try{address, time.Since(f.began)})
	f.open++
	f.most = max(f.most, f.open)
	f.mu.Unlock()
	what := f.act(address, n)
	switch what {
	case refuse:
		f.leave()
		return nil, errors.New("refused")
	case hang:
		<-ctx.Done()
		f.leave()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	f.peers.Go(func() { f.serve(far, what) })
	return &counted{Conn: near, gone: f.leave}, nil
}

func (f *fleet) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// counted is a connection whose end is told once.
type counted struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *counted) Close() error { c.once.Do(c.gone); return c.Conn.Close() }

func (f *fleet) serve(conn net.Conn, what act) {
	defer func() { _ = conn.Close() }()
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	ended := make(chan struct{})
	go func() { // reads all that the client says, and answers heartbeats
		defer close(ended)
		b := make([]byte, 512)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if n == wire.HeadLen {
				_, _ = conn.Write(b[:n])
			}
		}
	}()
	switch what {
	case let, drop, drain:
		_, _ = conn.Write(wire.AppendWelcome(nil, usual))
	case turnAway:
		f.bye(conn, wire.ByeOverloaded, f.after)
	case noManager:
		f.bye(conn, wire.ByeNoManager, f.after)
	case drainSoon:
		f.bye(conn, wire.ByeDraining, 0)
	}
	if what == drain {
		f.bye(conn, wire.ByeDraining, f.after)
	}
	if what == let || what == mute {
		select {
		case <-ended:
		case <-closed:
		}
	}
	_ = conn.Close()
	<-ended
}

func (f *fleet) bye(conn net.Conn, r wire.Reason, after time.Duration) {
	f.mu.Lock()
	f.byes = append(f.byes, time.Now().Add(after))
	f.mu.Unlock()
	_, _ = conn.Write(wire.AppendBye(nil, r, after, ""))
}

func (f *fleet) seen() []try {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]try(nil), f.tries...)
}

// want compares the tries so far, written as "address@seconds".
func (f *fleet) want(tries ...string) {
	f.t.Helper()
	var got []string
	for _, t := range f.seen() {
		got = append(got, fmt.Sprintf("%s@%v", t.address, t.at.Seconds()))
	}
	if strings.Join(got, " ") != strings.Join(tries, " ") {
		f.t.Errorf("tries %v, want %v", got, tries)
	}
}

// dispatched are the options of a client that dials f's gateways as s says.
func dispatched(s *service, f *fleet) client.Options {
	return client.Options{
		Dispatch: "http://dispatch.example", HTTP: s.http(), User: "42", Device: "phone", Dial: f.dial,
		Backoff: client.Backoff{Base: 10 * time.Second, Max: time.Minute, Factor: 2, Jitter: -1},
	}
}

// breakAll ends the links that are up, without a word.
func (f *fleet) breakAll() {
	f.mu.Lock()
	old := f.closed
	f.closed = make(chan struct{})
	f.mu.Unlock()
	close(old)
}

func (f *fleet) busy() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// lastBye is the time before which nobody is to be called.
func (f *fleet) lastBye() (at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.byes); n > 0 {
		at = f.byes[n-1]
	}
	return at
}

func (s *service) flying() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}
