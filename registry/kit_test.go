package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/redisconn"
	"edged/redisconn/redistest"
	"edged/registry"
)

const (
	life  = 900 * time.Millisecond // of a lease in tests
	limit = 20 * time.Second       // of every wait
)

// eventually polls until ok, and fails the test after the limit.
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

func standalone(s *redistest.Server) redisconn.Config {
	return redisconn.Config{Addresses: []string{s.Addr}}
}

func dial(t testing.TB, c redisconn.Config) *redisconn.Client {
	t.Helper()
	client := redisconn.New(c, slog.New(slog.DiscardHandler))
	t.Cleanup(client.Close)
	return client
}

// config is that of tests: a short lease, and a resync that finds within seconds what was lost without a trace.
func config() registry.Config {
	c := registry.Default()
	c.Lease, c.Resync, c.ResyncRate = life, 3*time.Second, 50_000
	return c
}

// gateway is what a gateway has of this package.
type gateway struct {
	*registry.Directory
	*registry.Routes
	t      testing.TB
	id     string
	epoch  uint64
	client *redisconn.Client
	book   book

	mu      sync.Mutex
	evicted []string // user/device link gateway
	routed  []string // user/device
}

// start runs a gateway that stops with the test.
func start(t testing.TB, r redisconn.Config, id string, epoch uint64, c registry.Config) *gateway {
	t.Helper()
	return resume(t, r, id, epoch, c, registry.NewDirectory())
}

// resume is start with links that are there already.
func resume(t testing.TB, r redisconn.Config, id string, epoch uint64, c registry.Config, d *registry.Directory) *gateway {
	t.Helper()
	g := &gateway{Directory: d, t: t, id: id, epoch: epoch, client: dial(t, r)}
	g.Routes = registry.NewRoutes(registry.Options{
		Config: c, Client: g.client, Directory: d, Gateway: id, Epoch: epoch,
		AppendLinkID: func(dst []byte, l registry.Link) []byte { return append(dst, g.link(l.Place, l.Uniq)...) },
		Evicted: func(user, device string, route registry.Route) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.evicted = append(g.evicted, fmt.Sprintf("%s/%s %s %s", user, device, route.Link, route.Gateway))
		},
		Routed: func(user, device string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.routed = append(g.routed, user+"/"+device)
		},
		Log: slog.New(slog.NewTextHandler(&g.book, nil)),
	})
	t.Cleanup(func() {
		g.client.Close() // what a test has left in Redis goes with its server
		g.Routes.Stop(context.Background())
	})
	return g
}

// die ends the gateway as a crash looks to Redis: not a word more.
func (g *gateway) die() { g.client.Close() }

func (g *gateway) link(place, uniq uint32) string { return fmt.Sprintf("%s:%d:%d", g.id, place, uniq) }

// login binds a device to the link at place.
func (g *gateway) login(user, device string, place, uniq uint32) {
	g.Put(b(user), b(device), registry.Link{Place: place, Uniq: uniq})
}

func (g *gateway) logout(user, device string, place, uniq uint32) bool {
	return g.Remove(b(user), b(device), registry.Link{Place: place, Uniq: uniq})
}

func (g *gateway) evictions() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.evicted...)
}

// findable is every Routed so far.
func (g *gateway) findable() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.routed...)
}

// idle reports whether everything is written.
func (g *gateway) idle() bool {
	s := g.Routes.Stats()
	return s.Held && s.Waiting == 0 && s.LastError == ""
}

// routeOf is the route of a device as the server has it; empty where there is none.
func routeOf(s *redistest.Server, user, device string) string {
	return s.Do("HGET", "edged:route:{"+user+"}", device)
}

// value is what routeOf gives for a link.
func (g *gateway) value(place, uniq uint32) string {
	return fmt.Sprintf("%s %d %s", g.id, g.epoch, g.link(place, uniq))
}

func (g *gateway) hasLease(s *redistest.Server) bool {
	key := "edged:lease:{" + g.id + "}"
	return s.Do("TYPE", key) == "string" && s.Do("GET", key) == fmt.Sprint(g.epoch)
}

// reader returns a Reader with a connection of its own.
func reader(t testing.TB, c redisconn.Config) *registry.Reader {
	t.Helper()
	client := dial(t, c)
	eventually(t, "a connection", client.Connected)
	return registry.NewReader(client, config())
}

// whereIs is the links of a user, by a Reader, as device=link.
func whereIs(t testing.TB, r *registry.Reader, user string) map[string]string {
	t.Helper()
	var routes []registry.Route
	eventually(t, "an answer", func() (ok bool) {
		var err error
		routes, err = r.Lookup(soon(t), user)
		return err == nil
	})
	found := make(map[string]string)
	for _, route := range routes {
		found[route.Device] = route.Link
	}
	return found
}

// told is the events so far: "online user/device gateway uniq".
func told(t testing.TB, r *registry.Reader) (lines []string) {
	t.Helper()
	for after := "0"; ; {
		events, next, err := r.Events(soon(t), after, 1000, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return lines
		}
		after = next
		for _, e := range events {
			word := "offline"
			if e.Online {
				word = "online"
			}
			lines = append(lines, fmt.Sprintf("%s %s/%s %s %d %d", word, e.User, e.Device, e.Gateway, e.Epoch, e.Uniq))
		}
	}
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
