package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edged/admin"
)

// replaceable is a Source that can be reloaded, made of a function too.
type replaceable struct {
	source
	reload func(context.Context) (admin.Reloaded, error)
}

func (r *replaceable) Reload(ctx context.Context) (admin.Reloaded, error) { return r.reload(ctx) }

var reloaded = admin.Reloaded{PID: 4711, Bytes: 12, Check: 80 * time.Millisecond, Paused: 38 * time.Millisecond, Frozen: 7123 * time.Microsecond}

func TestReload(t *testing.T) {
	reason := errors.New("the new process refuses: no")
	var fails atomic.Bool
	src := &replaceable{reload: func(context.Context) (admin.Reloaded, error) {
		if fails.Load() {
			return admin.Reloaded{}, reason
		}
		return reloaded, nil
	}}
	b := startBoth(t, src, admin.Limits{})
	b.ask(0, http.MethodPost, "/v1/reload", "").want(t, http.StatusOK, `"frozen":"7.123ms"`)
	b.ask(0, http.MethodPost, "/v1/reload", "now").want(t, http.StatusBadRequest, "takes nothing")
	b.ask(0, http.MethodGet, "/v1/reload", "").want(t, http.StatusMethodNotAllowed, "POST")
	b.ask(1, http.MethodPost, "/v1/reload", "").want(t, http.StatusUnauthorized, "token")
	c, err := admin.Dial(b.Addresses()[0], "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Reload(t.Context())
	if err != nil || got != reloaded || got.String() != "process 4711 serves; links stood still for 7.1ms, accepting for 38ms" {
		t.Errorf("%v, %v", got, err)
	}
	fails.Store(true)
	var no *admin.RefusalError
	if _, err = c.Reload(t.Context()); !errors.As(err, &no) || no.Reason != reason.Error() {
		t.Errorf("error %v", err)
	}
}

func TestReloadOfWhatCannot(t *testing.T) {
	b := start(t, unixConfig(sock(t)), &source{}, admin.Limits{})
	b.ask(0, http.MethodPost, "/v1/reload", "").want(t, http.StatusNotFound, "/v1/reload")
}

// TestReloadTakesItsTime is about one that lasts longer than any other request may.
func TestReloadTakesItsTime(t *testing.T) {
	src := &replaceable{reload: func(ctx context.Context) (admin.Reloaded, error) {
		time.Sleep(400 * time.Millisecond)
		return reloaded, ctx.Err()
	}}
	lim := admin.Limits{Source: 50 * time.Millisecond, Read: 100 * time.Millisecond, Write: 100 * time.Millisecond}
	b := startBoth(t, src, lim)
	b.ask(0, http.MethodPost, "/v1/reload", "").want(t, http.StatusOK, `"pid":4711`)
}

func TestReloadedJSON(t *testing.T) {
	b, err := json.Marshal(reloaded)
	var back admin.Reloaded
	if err = errors.Join(err, json.Unmarshal(b, &back)); err != nil || back != reloaded {
		t.Errorf("%s became %+v, %v", b, back, err)
	}
	for _, bad := range []string{`{"check":"soon","paused":"1s","frozen":"1s"}`, `{}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken as %+v", bad, back)
		}
	}
}

// TestReloadInPlace asks a daemon whose program is replaced under the request: the answer is the next one's status.
func TestReloadInPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		epoch string
		want  error
	}{"handed over": {"1", nil}, "started anew": {"2", admin.ErrStartedAnew}} {
		t.Run(name, func(t *testing.T) {
			path := sock(t)
			var after atomic.Bool
			src := &replaceable{}
			src.status = func() admin.Status {
				if after.Load() {
					return admin.Status{Epoch: tc.epoch, Reloads: 4, Reload: &reloaded}
				}
				return admin.Status{Epoch: "1", Reloads: 3, Reload: &admin.Reloaded{PID: 1}}
			}
			src.reload = func(context.Context) (admin.Reloaded, error) {
				after.Store(true)
				panic(http.ErrAbortHandler)
			}
			// The connection ends without an answer, as it does when another program takes the place of this one.
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/reload" {
					_, _ = src.reload(r.Context())
				}
				_ = json.NewEncoder(w).Encode(src.status())
			})}
			go func() { _ = srv.Serve(l) }()
			defer srv.Close()
			c, err := admin.Dial(path, "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Reload(t.Context())
			if !errors.Is(err, tc.want) || tc.want == nil && got != reloaded {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// heir makes a Server of what another one listens on, as the next process does.
func heir(t *testing.T, cfg admin.Config, old *admin.Server) *box {
	t.Helper()
	b := &box{t: t, log: &logs{}}
	var err error
	b.Server, err = admin.NewFrom(cfg, &source{status: func() admin.Status { return admin.Status{ID: "heir"} }}, b.log.logger(), passed(t, old))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// passed are duplicates of what a Server listens on, as a fork makes them.
func passed(t *testing.T, old *admin.Server) func(listen string) (int, bool) {
	t.Helper()
	fds := map[string]int{}
	for _, f := range old.Files() {
		fd, err := syscall.Dup(f.FD)
		if err != nil {
			t.Fatal(err)
		}
		fds[f.Listen] = fd
	}
	return func(listen string) (int, bool) {
		fd, ok := fds[listen]
		return fd, ok
	}
}

// TestHeir: who connects while nobody accepts is answered by the next one, on the same addresses, with the same token.
func TestHeir(t *testing.T) {
	path := sock(t)
	cfg := admin.Config{Listen: []string{"unix:" + path, "127.0.0.1:0"}} // the token is made up
	old := start(t, cfg, &source{status: func() admin.Status { return admin.Status{ID: "old"} }}, admin.Limits{})
	made, err := os.ReadFile(filepath.Join(filepath.Dir(path), "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	bearer := "Authorization: Bearer " + strings.TrimSpace(string(made))
	old.ask(1, http.MethodGet, "/v1/status", "", bearer).want(t, http.StatusOK, `"id":"old"`)
	addresses := old.Addresses()
	old.Pause()
	old.Pause() // again: nothing happens
	answers := make(chan answer, 2)
	for i := range 2 {
		c := old.dial(i)
		go func() {
			_, _ = c.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: box\r\nConnection: close\r\n" + bearer + "\r\n\r\n"))
			answers <- old.read(c, http.MethodGet)
		}()
	}
	b := heir(t, cfg, old.Server)
	if err := old.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := names(t, path); names != "admin.sock admin.token" {
		t.Errorf("the old one left %q", names)
	}
	b.Serve()
	for range 2 {
		select {
		case a := <-answers:
			a.want(t, http.StatusOK, `"id":"heir"`)
		case <-time.After(10 * time.Second):
			t.Fatal("no answer")
		}
	}
	if got := b.Addresses(); got[0] != addresses[0] || got[1] != addresses[1] {
		t.Errorf("addresses %v, were %v", got, addresses)
	}
	b.ask(1, http.MethodGet, "/v1/status", "", bearer).want(t, http.StatusOK, `"id":"heir"`)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := names(t, path); names != "" {
		t.Errorf("left behind: %s", names)
	}
	noneLeft(t)
}

// TestHeirThatDoesNotCome leaves everything as it was, and the old one goes on.
func TestHeirThatDoesNotCome(t *testing.T) {
	path := sock(t)
	cfg := admin.Config{Listen: []string{"unix:" + path}}
	old := start(t, cfg, &source{}, admin.Limits{})
	old.Pause()
	waiting := old.dial(0)
	_, _ = waiting.Write([]byte("GET /healthz HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n"))
	cfg.Listen = append(cfg.Listen, "unix:/nowhere/at/all.sock")
	if _, err := admin.NewFrom(cfg, &source{}, old.log.logger(), passed(t, old.Server)); err == nil {
		t.Fatal("a socket in a directory that is not there")
	}
	old.Resume()
	old.Resume()
	old.read(waiting, http.MethodGet).want(t, http.StatusOK, "ok")
	old.ask(0, http.MethodGet, "/healthz", "").want(t, http.StatusOK, "ok")
}

// TestHeirWithoutAPath makes a socket of its own where that of the old one is gone, and where the address is new.
func TestHeirWithoutAPath(t *testing.T) {
	path := sock(t)
	old := start(t, unixConfig(path), &source{}, admin.Limits{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := sock(t)
	b := heir(t, admin.Config{Listen: []string{"unix:" + path, "unix:" + other}}, old.Server)
	b.Serve()
	for i := range 2 {
		b.ask(i, http.MethodGet, "/v1/status", "").want(t, http.StatusOK, `"id":"heir"`)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestCloseWhilePaused ends who waits to accept again.
func TestCloseWhilePaused(t *testing.T) {
	old := start(t, unixConfig(sock(t)), &source{}, admin.Limits{})
	old.Pause()
}
