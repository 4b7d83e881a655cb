package main

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestProxyConfigs(t *testing.T) {
	ha := haproxyConfig(2, 1500, 7001, "127.0.0.1:7000")
	for _, want := range []string{"maxconn 1500", "nbthread 2", "mode tcp", "bind 127.0.0.1:7001", "server backend 127.0.0.1:7000"} {
		if !strings.Contains(ha, want) {
			t.Errorf("%q is not in\n%s", want, ha)
		}
	}
	ng := nginxConfig(2, 1500, 7001, "127.0.0.1:7000", "/m/stream.so", "/t/nginx.pid")
	for _, want := range []string{"load_module /m/stream.so;", "worker_processes 2;", "daemon off;", "worker_connections 3100;", "listen 127.0.0.1:7001 reuseport", "proxy_pass 127.0.0.1:7000;"} {
		if !strings.Contains(ng, want) {
			t.Errorf("%q is not in\n%s", want, ng)
		}
	}
	if strings.Contains(nginxConfig(1, 1, 1, "b", "", "p"), "load_module") {
		t.Error("a module that is built in is loaded")
	}
}

// TestLookProxies: what is in PATH is taken, and what cannot be run is none.
func TestLookProxies(t *testing.T) {
	root := t.TempDir()
	bin := filepath.Join(root, "bin")
	module := filepath.Join(root, "usr/lib/nginx/modules/ngx_stream_module.so")
	for file, mode := range map[string]os.FileMode{filepath.Join(bin, "haproxy"): 0o755, module: 0o644} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if p := lookProxies(root, bin); p.haproxy != filepath.Join(bin, "haproxy") || p.stream != module {
		t.Errorf("got %+v", p)
	}
	if packages, want := (proxies{haproxy: "h"}).missing(), [][]string{{"nginx-core", "libnginx-mod-stream"}, {"nats-server"}, {"mosquitto"}}; !reflect.DeepEqual(packages, want) {
		t.Errorf("missing: %q, want %q", packages, want)
	}
	if executable(module) || executable(bin) || !executable(filepath.Join(bin, "haproxy")) {
		t.Error("executable is wrong about a module, a directory or a program")
	}
	if got, want := libraryDirs(root), []string{filepath.Dir(module)}; !slices.Equal(got, want) {
		t.Errorf("libraries in %v, want %v", got, want)
	}
}

// TestProxiesOr: what the machine has goes before what was unpacked, and an nginx goes with its own module.
func TestProxiesOr(t *testing.T) {
	unpacked := proxies{haproxy: "h2", nginx: "n2", nats: "s2", stream: "m2", libraries: "l2"}
	for _, tt := range []struct{ have, want proxies }{
		{proxies{}, unpacked},
		{proxies{nginx: "n1"}, proxies{haproxy: "h2", nginx: "n1", nats: "s2", libraries: "l2"}},
		{proxies{haproxy: "h1", nats: "s1"}, proxies{haproxy: "h1", nginx: "n2", nats: "s1", stream: "m2", libraries: "l2"}},
	} {
		if got := tt.have.or(unpacked); got != tt.want {
			t.Errorf("%+v: got %+v, want %+v", tt.have, got, tt.want)
		}
	}
}

func TestChildren(t *testing.T) {
	p := fakeProc(t, map[string]string{"42/task/42/children": "43 44 "})
	if got, err := p.children(42); err != nil || !slices.Equal(got, []int{43, 44}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := p.children(45); err == nil {
		t.Error("a process that is not there has children")
	}
}

func TestTryEcho(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 2)
		if n, _ := c.Read(b); n == 2 {
			_, _ = c.Write(b)
		}
	}()
	if err := tryEcho(l.Addr().String()); err != nil {
		t.Error(err)
	}
	<-done
	port, err := freePort()
	if err != nil || port == 0 {
		t.Fatalf("port %d, %v", port, err)
	}
	if err := tryEcho(net.JoinHostPort("127.0.0.1", "1")); err == nil {
		t.Error("a port without a server answers")
	}
}

// TestPeersAsked: the proxies are in the rows only if they were asked for.
func TestPeersAsked(t *testing.T) {
	t.Setenv("PEERS", "")
	has := func(set settings, p program) bool {
		return slices.ContainsFunc(allRows(set, 2), func(r row) bool {
			return slices.ContainsFunc(r.subjects, func(s subject) bool { return s.program == p })
		})
	}
	if set := defaults(t); has(set, nginx) || has(set, nats) || !has(set, peerNet) {
		t.Error("rows without -peers: nginx, NATS, or no net")
	}
	t.Setenv("PEERS", "1")
	if set := defaults(t); !has(set, nginx) || !has(set, haproxy) || !has(set, nats) {
		t.Error("rows of PEERS=1 without the proxies")
	}
}
