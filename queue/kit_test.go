package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/bus"
	"edged/offline"
	"edged/queue"
	"edged/redisconn"
	"edged/redisconn/redistest"
	"edged/registry"
)

// limit bounds every wait.
const limit = 30 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, addrs ...string) *redisconn.Client {
	t.Helper()
	client := redisconn.New(redisconn.Config{Addresses: addrs}, slog.New(slog.DiscardHandler))
	t.Cleanup(client.Close)
	eventually(t, "a connection", client.Connected)
	return client
}

// layer is one process of the queue layer.
type layer struct {
	client    *redisconn.Client
	stream    *queue.Stream
	service   *queue.Service
	publisher *bus.Publisher
	log       *offline.Log
	book      *book

	stopping sync.Once
	stop     func()
}

// start runs a layer until the test ends.
func start(t testing.TB, addrs []string, change ...func(*queue.Config)) *layer {
	t.Helper()
	c := queue.Default()
	c.ClaimAfter = 2 * time.Second
	for _, f := range change {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return run(t, dial(t, addrs...), c)
}

// newLayer makes a layer over a client, which the caller closes. With a nil source it is that of Redis.
func newLayer(client *redisconn.Client, c queue.Config, source queue.Source) *layer {
	l := &layer{client: client, book: &book{}}
	log := slog.New(slog.NewTextHandler(l.book, nil))
	l.stream = queue.NewStream(client, c, log)
	if source == nil {
		source = l.stream
	}
	l.log = offline.New(client, offline.Default())
	l.publisher = bus.NewPublisher(client, bus.Default())
	l.service = queue.New(queue.Options{
		Config: c, Source: source, Offline: l.log, Reader: registry.NewReader(client, registry.Default()), Publisher: l.publisher, Logger: log,
	})
	return l
}

// run runs a layer until the test ends.
func run(t testing.TB, client *redisconn.Client, c queue.Config) *layer {
	l := newLayer(client, c, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.service.Run(ctx) })
	running.Go(func() { l.stream.Keep(ctx) })
	l.stop = func() {
		l.stopping.Do(func() {
			cancel()
			running.Wait()
			_ = l.stream.Leave(context.Background())
			l.publisher.Stop(context.Background())
		})
	}
	if t != nil {
		t.Cleanup(l.stop)
	}
	return l
}

// idle reports whether the layer has done all that it read.
func (l *layer) idle() bool {
	st := l.service.Stats()
	return st.InFlight == 0 && st.Read > 0
}

// gateway is what a gateway has of the bus, and a lease.
type gateway struct {
	t    testing.TB
	id   string
	subs *bus.Subscriber

	mu    sync.Mutex
	items []batch.DownItem // their bytes are the batch's
}

// listen makes a gateway that hears its channels, and has its lease for as long as the test lasts.
func listen(t testing.TB, s *redistest.Server, id string, addrs ...string) *gateway {
	t.Helper()
	if len(addrs) == 0 {
		addrs = []string{s.Addr}
	}
	g := &gateway{t: t, id: id}
	g.subs = bus.NewSubscriber(dial(t, addrs...), id, g, slog.New(slog.DiscardHandler))
	g.subs.Start()
	t.Cleanup(g.subs.Stop)
	eventually(t, "the channels", func() bool { return g.subs.Heard(bus.FromOwn).Up && g.subs.Heard(bus.FromAll).Up })
	return g
}

// hold writes the gateway's lease, and routes of users, of which each has the devices named behind it: "42/phone".
func (g *gateway) hold(server func(key string) *redistest.Server, names ...string) {
	g.t.Helper()
	lease := "edged:lease:{" + g.id + "}"
	server(lease).Do("SET", lease, "7")
	for i, name := range names {
		user, device, _ := strings.Cut(name, "/")
		key := "edged:route:{" + user + "}"
		server(key).Do("HSET", key, device, fmt.Sprintf("%s 7 127.0.0.1:7000:%d:1", g.id, i))
	}
}

func (g *gateway) Batch(_ bus.Source, b []byte) {
	d, err := batch.ParseDownstream(b)
	if err != nil {
		g.t.Errorf("batch: %v", err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for it := d.Items; ; {
		raw, _, ok := it.Next()
		if !ok {
			return
		}
		item, err := parseItem(raw)
		if err != nil {
			g.t.Errorf("item: %v", err)
		}
		g.items = append(g.items, item)
	}
}

func (g *gateway) Missed(bus.Source) {}

func parseItem(raw []byte) (batch.DownItem, error) {
	var item batch.DownItem
	err := batch.ParseDownItem(raw, &item)
	return item, err
}

// heard is what came, one line each: "user:42 hello v1 id=x ack=1 gzip ttl".
func (g *gateway) heard() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var lines []string
	for i := range g.items {
		lines = append(lines, describe(&g.items[i]))
	}
	return lines
}

// payloads is how often each payload came.
func (g *gateway) payloads() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	got := make(map[string]int)
	for i := range g.items {
		got[string(g.items[i].Push.Payload)]++
	}
	return got
}

func describe(d *batch.DownItem) string {
	to := batch.Target{Kind: d.Target, User: string(d.User), Device: string(d.Device), Room: string(d.Room)}
	parts := []string{queue.FormatTo(to), string(d.Push.Payload)}
	if d.Push.Version != 0 {
		parts = append(parts, "v"+strconv.FormatUint(d.Push.Version, 10))
	}
	if len(d.Push.MsgID) > 0 {
		parts = append(parts, "id="+string(d.Push.MsgID))
	}
	if d.Push.Ack != 0 {
		parts = append(parts, "ack="+strconv.Itoa(int(d.Push.Ack)))
	}
	if !d.Push.AllowGzip {
		parts = append(parts, "plain")
	}
	if d.Push.TTLMs != 0 {
		parts = append(parts, "ttl")
	}
	return strings.Join(parts, " ")
}

// awaits waits until exactly these lines have come, in this order.
func (g *gateway) awaits(want ...string) {
	g.t.Helper()
	var got []string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = g.heard(); len(got) >= len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		g.t.Fatalf("%s heard\n%s\nwant\n%s", g.id, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// only is a server for keys of a standalone Redis.
func only(s *redistest.Server) func(string) *redistest.Server {
	return func(string) *redistest.Server { return s }
}

// put adds an entry and returns its ID.
func put(s *redistest.Server, fields ...string) string {
	return strings.TrimSpace(s.Do(append([]string{"XADD", "edged:in", "*"}, fields...)...))
}

// book is a log that tests read.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) count(part string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), part)
}

// seeded returns a source whose seed is in the test's output.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
