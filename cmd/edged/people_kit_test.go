package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/admin"
	"edged/batch"
	"edged/bus"
	"edged/offline"
	"edged/redisconn"
	"edged/redisconn/redistest"
	"edged/registry"
	"edged/wire"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// fakeHub is a gateway that writes down what it is told.
type fakeHub struct {
	id, address string
	epoch       uint64
	directory   *registry.Directory

	mu      sync.Mutex
	evicted []string
	routed  []string // user/device
	ordered []string // items: "target push payload"
	heard   []string // "own: " or "all: " and the same
	busy    error    // of Order
}

func newHub(n int) *fakeHub {
	return &fakeHub{
		id: fmt.Sprint("gw-", n), address: fmt.Sprintf("192.0.2.%d:7000", n), epoch: uint64(n) << 60, directory: registry.NewDirectory(),
	}
}

func (h *fakeHub) ID() string                     { return h.id }
func (h *fakeHub) Advertise() string              { return h.address }
func (h *fakeHub) Epoch() uint64                  { return h.epoch }
func (h *fakeHub) Directory() *registry.Directory { return h.directory }
func (h *fakeHub) Receiver() bus.Receiver         { return h }

func (h *fakeHub) AppendLinkID(dst []byte, l registry.Link) []byte {
	return wire.AppendLinkID(dst, h.address, l.Place, l.Uniq)
}

func (h *fakeHub) Evict(linkID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.evicted = append(h.evicted, linkID)
	return true
}

func (h *fakeHub) Routed(user, device string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.routed = append(h.routed, user+"/"+device)
}

func (h *fakeHub) Order(b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy == nil {
		h.ordered = append(h.ordered, told(b)...)
	}
	return h.busy
}

func (h *fakeHub) Batch(from bus.Source, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, item := range told(b) {
		h.heard = append(h.heard, from.String()+": "+item)
	}
}

func (h *fakeHub) Missed(bus.Source) {}

// told is the items of a batch in words.
func told(b []byte) (items []string) {
	for it := batch.DownItems(b); ; {
		item, _, ok := it.Next()
		if !ok {
			return items
		}
		var d batch.DownItem
		if err := batch.ParseDownItem(item, &d); err != nil {
			return append(items, err.Error())
		}
		to := map[batch.TargetKind]string{
			batch.TargetLink: fmt.Sprintf("%d:%d", d.Link.Index, d.Link.Uniq), batch.TargetUser: string(d.User),
			batch.TargetDevice: string(d.User) + "/" + string(d.Device), batch.TargetRoom: "#" + string(d.Room), batch.TargetEveryone: "*",
		}[d.Target]
		switch d.Op {
		case batch.OpPush:
			p := d.Push
			items = append(items, fmt.Sprintf("%s push %s %q ack=%d gzip=%v ttl=%d", to, p.Payload, p.MsgID, p.Ack, p.AllowGzip, p.TTLMs))
		case batch.OpClose:
			items = append(items, fmt.Sprintf("%s close %d", to, d.Close.Reason))
		default:
			items = append(items, to+" "+d.Op.String())
		}
	}
}

// take returns what was written down since it was called last.
func (h *fakeHub) take(of *[]string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := *of
	*of = nil
	return list
}

// wantItems waits until a list of h holds these, and nothing else.
func (h *fakeHub) wantItems(t *testing.T, of *[]string, want ...string) {
	t.Helper()
	var got []string
	eventually(t, fmt.Sprintf("%s to get %q", h.id, want), func() bool {
		got = append(got, h.take(of)...)
		return len(got) >= len(want)
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s got %q, want %q", h.id, got, want)
	}
}

func (h *fakeHub) login(user, device string, place uint32) {
	h.directory.Put([]byte(user), []byte(device), registry.Link{Place: place, Uniq: 1})
}

func (h *fakeHub) logout(user, device string, place uint32) {
	h.directory.Remove([]byte(user), []byte(device), registry.Link{Place: place, Uniq: 1})
}

// testPeople is people with the gateway that they are of.
type testPeople struct {
	*people
	hub *fakeHub
}

func peopleSettings(addresses ...string) peopleConfig {
	r := registry.Default()
	r.Lease = time.Second
	return peopleConfig{
		Redis: redisconn.Config{Addresses: addresses}, Registry: r, Bus: bus.Default(), Offline: offline.Default(), Reports: time.Second, MaxFrame: 1000,
	}
}

// startPeople runs people until the test ends. With Redis it waits until that is told and heard.
func startPeople(t *testing.T, n int, cfg peopleConfig) *testPeople {
	t.Helper()
	p := &testPeople{newPeople(cfg, slog.New(slog.DiscardHandler)), newHub(n)}
	p.join(p.hub, nil, false)
	t.Cleanup(func() { p.stop(context.Background()) })
	if p.redis != nil {
		eventually(t, "routes and bus", func() bool { s := p.status(); return s.Routes == "ok" && s.Bus == "ok" })
	}
	return p
}

// pair is two gateways' people at one Redis.
func pair(t *testing.T, change func(c *peopleConfig)) (s *redistest.Server, a, b *testPeople) {
	t.Helper()
	s = redistest.Start(t)
	cfg := peopleSettings(s.Addr)
	if change != nil {
		change(&cfg)
	}
	return s, startPeople(t, 1, cfg), startPeople(t, 2, cfg)
}

// written waits until the routes of p's users are in Redis.
func (p *testPeople) written(t *testing.T) {
	t.Helper()
	eventually(t, "the routes", func() bool { s := p.routes().Stats(); return s.Held && s.Waiting == 0 && s.LastError == "" })
}

func (p *testPeople) want(t *testing.T, r admin.PushRequest, want admin.Pushed) {
	t.Helper()
	got, err := p.Push(soon(t), r)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %+v, %v; want %+v", r.To, got, err, want)
	}
}

func message(to string) admin.PushRequest {
	t, err := admin.ParseTarget(to)
	if err != nil {
		panic(err)
	}
	return admin.PushRequest{To: t, Payload: []byte("hello")}
}

// peopleSource is a Source of people alone.
type peopleSource struct{ *people }

func (s peopleSource) Status() admin.Status { return admin.Status{People: s.status()} }
func (s peopleSource) Healthy() error       { return nil }
func (s peopleSource) Ready() error         { return nil }

func (s peopleSource) Metrics() []admin.Metric {
	var m metrics
	s.metrics(&m)
	return m
}

func (s peopleSource) Drain(context.Context, admin.DrainRequest) error { return errors.New("none") }

// open opens p's windows and returns the socket.
func (p *testPeople) open(t *testing.T) (socket string, window *admin.Server) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "admin.sock")
	s, err := admin.New(admin.Config{Listen: []string{"unix:" + socket}}, peopleSource{p.people}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return socket, s
}

// window opens p's windows and returns how to ask there, by the command line.
func (p *testPeople) window(t *testing.T) (ctl func(args ...string) (status int, out string)) {
	t.Helper()
	socket, _ := p.open(t)
	return func(args ...string) (int, string) {
		var out bytes.Buffer
		status := run(append([]string{"ctl", "--socket", socket}, args...), &out, &out)
		return status, out.String()
	}
}

// get is one answer of p's windows.
func get(t *testing.T, socket, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	a, err := client.Get("http://box" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(b)
}

// tail is the output of a command that goes on.
type tail struct {
	ended chan int // its exit status

	mu   sync.Mutex
	text bytes.Buffer
}

func newTail() *tail { return &tail{ended: make(chan int, 1)} }

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

// want waits for a line that holds the part, and drops what came before it.
func (w *tail) want(t *testing.T, part string) {
	t.Helper()
	var all string
	defer func() {
		if t.Failed() {
			t.Logf("it said %q", all)
		}
	}()
	eventually(t, part, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		all = w.text.String()
		_, rest, ok := strings.Cut(all, part)
		if ok {
			w.text.Reset()
			w.text.WriteString(rest)
		}
		return ok
	})
}
