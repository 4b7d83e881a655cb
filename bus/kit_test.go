package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/bus"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// limit bounds every wait of these tests.
const limit = 20 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// ended is the context of a caller that does not wait.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// record is a log whose lines can be counted.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), part)
}

// dial returns a client that is connected.
func dial(t testing.TB, addrs ...string) *redisconn.Client {
	t.Helper()
	cl := redisconn.New(redisconn.Config{Addresses: addrs}, nopLog())
	t.Cleanup(cl.Close)
	eventually(t, "a connection", cl.Connected)
	return cl
}

// gateway is a Receiver with its Subscriber.
type gateway struct {
	*bus.Subscriber
	log record

	mu    sync.Mutex
	heard [2][]string   // payloads, and "missed"
	block chan struct{} // nil: it does not wait
}

func (g *gateway) Batch(from bus.Source, b []byte) {
	g.add(from, payload(b))
}

func (g *gateway) Missed(from bus.Source) { g.add(from, "missed") }

func (g *gateway) add(from bus.Source, what string) {
	if g.block != nil {
		<-g.block
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard[from] = append(g.heard[from], what)
}

func (g *gateway) all(from bus.Source) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.heard[from]...)
}

func (g *gateway) up() bool { return g.Heard(bus.FromOwn).Up && g.Heard(bus.FromAll).Up }

// hold makes the Receiver wait in its next call until release, or the end of the test.
func (g *gateway) hold(t testing.TB) (release func()) {
	t.Helper()
	g.block = make(chan struct{})
	release = sync.OnceFunc(func() { close(g.block) })
	t.Cleanup(release)
	return release
}

func newGateway(t testing.TB, cl *redisconn.Client, id string) *gateway {
	t.Helper()
	g := &gateway{}
	g.Subscriber = bus.NewSubscriber(cl, id, g, slog.New(slog.NewTextHandler(&g.log, nil)))
	t.Cleanup(g.Stop)
	return g
}

// listen returns a gateway that hears both channels.
func listen(t testing.TB, cl *redisconn.Client, id string) *gateway {
	t.Helper()
	g := newGateway(t, cl, id)
	g.Start()
	eventually(t, id+" is subscribed", g.up)
	return g
}

func publisher(t testing.TB, cl *redisconn.Client) *bus.Publisher {
	t.Helper()
	return publisherWith(t, cl, bus.Default())
}

func publisherWith(t testing.TB, cl *redisconn.Client, c bus.Config) *bus.Publisher {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	p := bus.NewPublisher(cl, c)
	t.Cleanup(func() { p.Stop(ended()) })
	return p
}

// push is a batch of one push with a payload.
func push(payload string) []byte {
	return batch.AppendPush(nil, batch.ToUser("42"), 0, batch.Push{Payload: []byte(payload)})
}

func payload(b []byte) string {
	items := batch.DownItems(b)
	item, _, ok := items.Next()
	var d batch.DownItem
	if !ok || batch.ParseDownItem(item, &d) != nil {
		return fmt.Sprintf("no item in %q", b)
	}
	return string(d.Push.Payload)
}

type outcome struct {
	receivers int64
	err       error
}

// to publishes for one gateway and waits for the outcome.
func to(t testing.TB, p *bus.Publisher, id, text string) outcome {
	t.Helper()
	came := make(chan outcome, 1)
	err := p.To(soon(t), id, push(text), func(n int64, err error) { came <- outcome{n, err} })
	if err != nil {
		return outcome{err: err}
	}
	return await(t, came)
}

// toAll publishes for every gateway and waits for the outcome.
func toAll(t testing.TB, p *bus.Publisher, text string) outcome {
	t.Helper()
	came := make(chan outcome, 1)
	err := p.ToAll(soon(t), push(text), func(n int64, err error) { came <- outcome{n, err} })
	if err != nil {
		return outcome{err: err}
	}
	return await(t, came)
}

// forbid takes sharded pub/sub from everybody, allow gives it back; connections stay.
func forbid(s *redistest.Server) { s.Do("ACL", "SETUSER", "default", "-ssubscribe", "-spublish") }
func allow(s *redistest.Server)  { s.Do("ACL", "SETUSER", "default", "+ssubscribe", "+spublish") }

func nopLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
