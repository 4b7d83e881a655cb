package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/admin"
	"edged/config"
	"edged/redisconn/redistest"
)

// TestQueueStatus: what cannot be run ends with the status and the sentence that the design names.
func TestQueueStatus(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := write(t, "[queue]\nbatch = 0\nlissen = []\n")
	busy := write(t, "[queue]\nlisten = [\""+taken.Addr().String()+"\"]\ntoken = \"0123456789abcdef\"\n")
	for _, tt := range []struct {
		args   []string
		status int
		said   string
	}{
		{[]string{"queue", "--config", bad}, exitNot, bad + ":2: queue.batch: 0 is not between"},
		{[]string{"queue", "--config", bad}, exitNot, bad + `:3: queue.lissen: unknown key; did you mean "listen"?`},
		{[]string{"check", bad}, exitNot, bad + ":2: queue.batch"},
		{[]string{"check", busy}, exitDone, "configuration OK"},
		{[]string{"queue", "--config", filepath.Join(t.TempDir(), "none.toml")}, exitNot, "none.toml: no such file"},
		{[]string{"queue", "--config", busy}, exitNot, "listen " + taken.Addr().String() + ": listen tcp"},
		{[]string{"queue", "--confg", bad}, exitUsage, "unknown flag: --confg"},
		{[]string{"queue", bad}, exitUsage, "unknown command"},
	} {
		var out bytes.Buffer
		if status := run(tt.args, &out, &out); status != tt.status || !strings.Contains(out.String(), tt.said) {
			t.Errorf("%q: status %d, want %d with %q:\n%s", tt.args, status, tt.status, tt.said, &out)
		}
	}
}

// windows is the sockets of a queue layer in a directory.
type windows struct {
	t   *testing.T
	dir string
}

func (w windows) ask(method, socket, path, body string) (int, string) {
	w.t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(w.dir, socket))
		},
	}}
	r, err := http.NewRequest(method, "http://box"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// want asks until the answer is as wanted.
func (w windows) want(method, socket, path, body string, code int, parts ...string) {
	w.t.Helper()
	got, text := 0, ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got, text = w.ask(method, socket, path, body)
		missing := got != code
		for _, part := range parts {
			missing = missing || !strings.Contains(text, part)
		}
		if !missing {
			return
		}
	}
	w.t.Errorf("%s %s: %d, want %d with %q in\n%s", method, path, got, code, parts, text)
}

// TestQueueWindows: what operators see of a queue layer, with Redis there and away.
func TestQueueWindows(t *testing.T) {
	s := redistest.Start(t)
	w := windows{t, t.TempDir()}
	cfg := config.DefaultQueue()
	cfg.Redis.Addresses = []string{s.Addr}
	cfg.Admin = admin.Config{Listen: []string{"unix:" + filepath.Join(w.dir, "admin.sock")}}
	cfg.Queue.Listen = []string{"unix:" + filepath.Join(w.dir, "queue.sock")}
	cfg.Queue.Consumer = "box-1"
	q, err := newQueuer(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	q.admin.Serve()
	q.server.Serve()
	w.want("GET", "admin.sock", "/readyz", "", 200, "ok")
	w.want("GET", "admin.sock", "/healthz", "", 200, "ok")
	w.want("POST", "admin.sock", "/v1/drain", "", 409, "no links to send away")
	if code, text := w.ask("POST", "queue.sock", "/v1/messages", `{"to":"user:42","text":"x","offline":true}{"to":"user:42","text":"y"}`); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	w.want("POST", "queue.sock", "/v1/messages", `{"to":"user:42"}`, 400, "line 1: payload: missing")
	s.Do("XADD", "edged:in", "*", "to", "nobody", "payload", "x")
	w.want("GET", "admin.sock", "/metrics", "", 200,
		`edged_queue_entries_total{outcome="stored"} 1`, `edged_queue_entries_total{outcome="nobody"} 1`, `edged_queue_entries_total{outcome="dead"} 1`,
		`edged_queue_entries_total{outcome="delivered"} 0`, `edged_queue_dead_total{reason="bad-to"} 1`, `edged_queue_dead_total{reason="clash"} 0`,
		"edged_queue_stored_total 1", "edged_queue_in_flight_entries 0", "edged_queue_delay_seconds_count 3", "edged_queue_consumers 1",
		"edged_queue_stream_entries 0", "edged_queue_waiting_entries 0", "edged_queue_dead_entries 1", "edged_queue_trimmed_total 3",
		`edged_queue_requests_total{code="200"} 1`, "edged_queue_posted_total 2", "edged_queue_redis_up 1", "go_goroutines")
	w.want("GET", "admin.sock", "/v1/status", "", 200, `"id":"box-1"`, `"state":"up"`, "queue.sock", `"messages_in":3`, `"messages_out":3`)
	s.Kill()
	w.want("GET", "admin.sock", "/readyz", "", 503, "read edged:in: ")
	w.want("GET", "admin.sock", "/v1/status", "", 200, `"state":"down"`, "read edged:in: ")
	w.want("POST", "queue.sock", "/v1/messages", `{"to":"user:42","text":"x"}`, 503, "write edged:in: ")
	w.want("GET", "admin.sock", "/metrics", "", 200, "edged_queue_redis_up 0")
	s.Restart()
	w.want("GET", "admin.sock", "/readyz", "", 200, "ok")
	if err := q.stop(); err != nil {
		t.Error(err)
	}
	if got := s.Do("XINFO", "CONSUMERS", "edged:in", "edged"); got != "" {
		t.Errorf("it is in the group still: %q", got)
	}
}
