package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/admin"
	"edged/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dispatch.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDispatchStatus: what cannot be run ends with the status and the sentence that the design names.
func TestDispatchStatus(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := write(t, "[dispatch]\nmode = \"best\"\nrefesh = \"1s\"\n")
	busy := write(t, "[dispatch]\nlisten = [\""+taken.Addr().String()+"\"]\n")
	for _, tt := range []struct {
		args   []string
		status int
		said   string
	}{
		{[]string{"dispatch", "--config", bad}, exitNot, bad + `:2: dispatch.mode: "best" is not one of`},
		{[]string{"dispatch", "--config", bad}, exitNot, bad + `:3: dispatch.refesh: unknown key; did you mean "refresh"?`},
		{[]string{"check", bad}, exitNot, bad + ":2: dispatch.mode"},
		{[]string{"check", busy}, exitDone, "configuration OK"},
		{[]string{"dispatch", "--config", filepath.Join(t.TempDir(), "none.toml")}, exitNot, "none.toml: no such file"},
		{[]string{"dispatch", "--config", busy}, exitNot, "listen " + taken.Addr().String() + ": listen tcp"},
		{[]string{"dispatch", "--confg", bad}, exitUsage, "unknown flag: --confg"},
		{[]string{"dispatch", bad}, exitUsage, "unknown command"},
	} {
		var out bytes.Buffer
		if status := run(tt.args, &out, &out); status != tt.status || !strings.Contains(out.String(), tt.said) {
			t.Errorf("%q: status %d, want %d with %q:\n%s", tt.args, status, tt.status, tt.said, &out)
		}
	}
}

// TestDispatchWindows: what operators see of a service whose Redis is away.
func TestDispatchWindows(t *testing.T) {
	dir := t.TempDir()
	cfg := config.DefaultDispatch()
	cfg.Redis.Addresses = []string{"127.0.0.1:1"}
	cfg.Admin = admin.Config{Listen: []string{"unix:" + filepath.Join(dir, "admin.sock")}}
	cfg.Dispatch.Listen = []string{"unix:" + filepath.Join(dir, "dispatch.sock")}
	file := write(t, "[[slb]]\nname = \"sh-1\"\naddresses = [\"203.0.113.7:7000\"]\n")
	loaded, err := config.LoadDispatch(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg.SLBs = loaded.SLBs
	d, err := newDispatcher(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.admin.Serve()
	ask := func(method, socket, path string) (int, string) {
		t.Helper()
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, socket))
			},
		}}
		r, err := http.NewRequest(method, "http://box"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, string(body)
	}
	want := func(method, socket, path string, code int, parts ...string) {
		t.Helper()
		got, body := ask(method, socket, path)
		for _, part := range parts {
			if got != code || !strings.Contains(body, part) {
				t.Errorf("%s %s: %d, want %d with %q in\n%s", method, path, got, code, part, body)
			}
		}
	}
	want("GET", "admin.sock", "/readyz", 503, "the fleet was not read yet")
	if !d.begin(nil) {
		t.Fatal("it does not begin")
	}
	want("GET", "dispatch.sock", "/v1/addresses", 200, `"203.0.113.7:7000"`, `"stale":true`)
	want("GET", "dispatch.sock", "/v1/addresses?m=1", 400, `\"m\": unknown key`)
	want("GET", "admin.sock", "/readyz", 200, "ok")
	want("GET", "admin.sock", "/healthz", 200, "ok")
	want("POST", "admin.sock", "/v1/drain", 409, "no links to send away")
	want("GET", "admin.sock", "/v1/status", 200, `"state":"up"`, "answers are stale", "dispatch.sock")
	want("GET", "admin.sock", "/metrics", 200,
		`edged_dispatch_requests_total{code="200"} 1`, `edged_dispatch_requests_total{code="400"} 1`, `edged_dispatch_requests_total{code="503"} 0`,
		"edged_dispatch_stale 1", "edged_dispatch_degraded 0", "edged_dispatch_gateways 0", "edged_dispatch_refresh_failures_total",
		"edged_dispatch_refreshes_total 0", "edged_dispatch_broken_reports 0", "edged_dispatch_dispatchers 0", "go_goroutines",
		`edged_dispatch_first_places_total{slb="sh-1"} 1`, `edged_dispatch_slb_availability{slb="sh-1"} 0`)
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}
