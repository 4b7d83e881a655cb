package admin_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/admin"
)

const quick = 100 * time.Millisecond

// paths are all that ask the Source, with the answer for one that hangs and one
// that panics.
var paths = []struct {
	method, path string
	hangs        int
	panics       int
}{
	{"GET", "/healthz", 503, 503},
	{"GET", "/readyz", 503, 503},
	{"GET", "/metrics", 503, 500},
	{"GET", "/v1/status", 503, 500},
	{"POST", "/v1/drain", 503, 500},
}

// everything makes a source whose methods all call f.
func everything(f func()) *source {
	return &source{
		status:  func() admin.Status { f(); return admin.Status{} },
		metrics: func() []admin.Metric { f(); return nil },
		healthy: func() error { f(); return nil },
		ready:   func() error { f(); return nil },
		drain:   func(context.Context, admin.DrainRequest) error { f(); return nil },
	}
}

func TestSourcePanics(t *testing.T) {
	b := startBoth(t, everything(func() { panic("lost my numbers") }), admin.Limits{})
	for _, p := range paths {
		for range 2 { // the second finds no trace of the first
			b.ask(0, p.method, p.path, "").want(t, p.panics, "panicked: lost my numbers")
		}
	}
	if l := b.log.String(); !strings.Contains(l, "lost my numbers") || !strings.Contains(l, "hang_test.go") {
		t.Errorf("no stack in the log: %s", l)
	}
}

func TestSourceHangs(t *testing.T) {
	leave := make(chan struct{})
	src := everything(func() { <-leave })
	b := startBoth(t, src, admin.Limits{Source: quick})
	for _, p := range paths {
		begin := time.Now()
		b.ask(0, p.method, p.path, "").want(t, p.hangs, "has not answered for")
		if d := time.Since(begin); d < quick || d > 5*time.Second {
			t.Errorf("%s took %v", p.path, d)
		}
	}
	// All who come later learn it at once, and start nothing.
	var wg sync.WaitGroup
	for range 20 {
		for _, p := range paths[:4] {
			wg.Go(func() {
				b.ask(1, p.method, p.path, "", "Authorization: Bearer "+token).want(t, p.hangs, "has not answered for")
			})
		}
	}
	wg.Wait()
	b.ask(0, "POST", "/v1/drain", "").want(t, 409, "before this one is still at work")
	if n := src.most.Load(); n != int32(len(paths)) {
		t.Errorf("%d goroutines in the source, want %d", n, len(paths))
	}
	if l := b.log.String(); !strings.Contains(l, "admin source does not answer") || !strings.Contains(l, "method=Metrics") {
		t.Errorf("log: %s", l)
	}
	close(leave)
	for src.inside.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	eventually(t, func() bool { return b.ask(0, "GET", "/healthz", "").code == 200 })
	eventually(t, func() bool { return b.ask(0, "POST", "/v1/drain", "").code == 200 })
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for range 500 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never")
}

func TestAnswersAreShared(t *testing.T) {
	inside, leave := make(chan struct{}, 100), make(chan struct{})
	src := &source{status: func() admin.Status {
		inside <- struct{}{}
		<-leave
		return admin.Status{ID: "shared"}
	}}
	b := startBoth(t, src, admin.Limits{Source: 10 * time.Second})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() { b.ask(0, "GET", "/v1/status", "").want(t, 200, "shared") })
	}
	<-inside
	close(leave)
	wg.Wait()
	if n := src.most.Load(); n != 1 {
		t.Errorf("%d goroutines in Status at a time", n)
	}
}

func TestDrainOutlivesItsClient(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	b := startBoth(t, &source{drain: func(ctx context.Context, _ admin.DrainRequest) error {
		close(inside)
		<-leave
		result <- ctx.Err()
		return nil
	}}, admin.Limits{Source: 10 * time.Second})
	c := b.dial(0)
	_, _ = io.WriteString(c, "POST /v1/drain HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	<-inside
	_ = c.Close()
	close(leave)
	if err := <-result; err != nil {
		t.Errorf("the order was taken back: %v", err)
	}
}

func TestDrainContextEndsWithTheLimit(t *testing.T) {
	b := startBoth(t, &source{drain: func(ctx context.Context, _ admin.DrainRequest) error {
		<-ctx.Done()
		return ctx.Err()
	}}, admin.Limits{Source: quick})
	if a := b.ask(0, "POST", "/v1/drain", ""); a.code != 503 && a.code != 409 {
		t.Errorf("got %d %s", a.code, a.body)
	}
	eventually(t, func() bool { return !strings.Contains(b.ask(0, "POST", "/v1/drain", "").body, "still at work") })
}

func TestCloseTellsOfAHungSource(t *testing.T) {
	leave := make(chan struct{})
	log := &logs{}
	s, err := admin.NewLimited(admin.Config{Listen: []string{"unix:" + sock(t)}}, everything(func() { <-leave }), log.logger(), admin.Limits{Source: quick})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	b := &box{Server: s, t: t, log: log}
	b.ask(0, "GET", "/v1/status", "").want(t, 503, "Status has not answered")
	ctx, cancel := context.WithTimeout(context.Background(), quick)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(leave)
	noneLeft(t)
}

// A request that waits for a hung Source must not hold Close for longer than
// the grace.
func TestCloseCutsOffWhoWaits(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	b := startBoth(t, &source{status: func() admin.Status { close(inside); <-leave; return admin.Status{} }},
		admin.Limits{Source: time.Minute, Grace: quick})
	c := b.dial(0)
	_, _ = io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
	<-inside
	time.AfterFunc(3*quick, func() { close(leave) })
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}
