package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/admin"
)

const token = "a-token-that-is-long-enough"

// source is a Source made of functions; a missing one answers with nothing.
// Whoever hangs in it counts itself in inside.
type source struct {
	status  func() admin.Status
	metrics func() []admin.Metric
	healthy func() error
	ready   func() error
	drain   func(context.Context, admin.DrainRequest) error

	inside, most atomic.Int32
}

func (s *source) enter() func() {
	n := s.inside.Add(1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	return func() { s.inside.Add(-1) }
}

func (s *source) Status() admin.Status {
	defer s.enter()()
	if s.status == nil {
		return admin.Status{}
	}
	return s.status()
}

func (s *source) Metrics() []admin.Metric {
	defer s.enter()()
	if s.metrics == nil {
		return nil
	}
	return s.metrics()
}

func (s *source) Healthy() error {
	defer s.enter()()
	if s.healthy == nil {
		return nil
	}
	return s.healthy()
}

func (s *source) Ready() error {
	defer s.enter()()
	if s.ready == nil {
		return nil
	}
	return s.ready()
}

func (s *source) Drain(ctx context.Context, r admin.DrainRequest) error {
	defer s.enter()()
	if s.drain == nil {
		return nil
	}
	return s.drain(ctx, r)
}

// folk is a Source with People, made of functions too.
type folk struct {
	source
	push     func(context.Context, admin.PushRequest) (admin.Pushed, error)
	users    func(context.Context) (admin.Users, error)
	devices  func(ctx context.Context, user string) ([]admin.Device, error)
	presence func(ctx context.Context, after string, wait time.Duration) ([]admin.PresenceEvent, string, error)
}

func (f *folk) Push(ctx context.Context, r admin.PushRequest) (admin.Pushed, error) {
	defer f.enter()()
	return f.push(ctx, r)
}

func (f *folk) Users(ctx context.Context) (admin.Users, error) {
	defer f.enter()()
	return f.users(ctx)
}

func (f *folk) Devices(ctx context.Context, user string) ([]admin.Device, error) {
	defer f.enter()()
	return f.devices(ctx, user)
}

func (f *folk) Presence(ctx context.Context, after string, wait time.Duration) ([]admin.PresenceEvent, string, error) {
	defer f.enter()()
	return f.presence(ctx, after, wait)
}

// logs collects what a Server logs.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// box is a serving Server and what is around it.
type box struct {
	*admin.Server
	t   *testing.T
	log *logs
}

// start serves cfg until the test ends, and then checks that nothing is left.
func start(t *testing.T, cfg admin.Config, src admin.Source, lim admin.Limits) *box {
	t.Helper()
	b := &box{t: t, log: &logs{}}
	var err error
	b.Server, err = admin.NewLimited(cfg, src, b.log.logger(), lim)
	if err != nil {
		t.Fatal(err)
	}
	b.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		noneLeft(t)
	})
	return b
}

// startBoth serves on a Unix socket (address 0) and a loopback port (address 1).
func startBoth(t *testing.T, src admin.Source, lim admin.Limits) *box {
	t.Helper()
	cfg := admin.Config{Listen: []string{"unix:" + sock(t), "127.0.0.1:0"}, Token: token}
	return start(t, cfg, src, lim)
}

func sock(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "admin.sock")
}

// noneLeft checks that no goroutine of a Server runs. A goroutine that has told
// its end may still be on its way out, so it is given a moment.
func noneLeft(t *testing.T) {
	t.Helper()
	var left []string
	for range 200 {
		left = left[:0]
		for g := range strings.SplitSeq(stacks(), "\n\n") {
			if strings.Contains(g, "edged/admin.(*") || strings.Contains(g, "edged/admin.launch") || strings.Contains(g, "net/http.(*conn).serve") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines left:\n%s", len(left), strings.Join(left, "\n\n"))
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// dial opens a connection to the address number i.
func (b *box) dial(i int) net.Conn {
	b.t.Helper()
	network, addr := "tcp", b.Addresses()[i]
	if p, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", p
	}
	c, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   string
}

// ask makes one request at address i; head holds further header lines.
func (b *box) ask(i int, method, path, body string, head ...string) answer {
	b.t.Helper()
	c := b.dial(i)
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: box\r\nConnection: close\r\nContent-Length: %d\r\n", method, path, len(body))
	for _, h := range head {
		fmt.Fprintf(c, "%s\r\n", h)
	}
	_, _ = io.WriteString(c, "\r\n"+body) // an early refusal may break it: the answer counts
	return b.read(c, method)
}

func (b *box) read(c net.Conn, method string) answer {
	b.t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	return answer{r.StatusCode, r.Header, string(body)}
}

// want checks a code and a part of the body.
func (a answer) want(t *testing.T, code int, part string) {
	t.Helper()
	if a.code != code || !strings.Contains(a.body, part) {
		t.Errorf("got %d %q, want %d with %q", a.code, a.body, code, part)
	}
}
