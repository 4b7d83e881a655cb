package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/config"
)

// TestDispatchConfig: what the address service is configured with is a valid file that names every load balancer.
func TestDispatchConfig(t *testing.T) {
	text := dispatchConfig("127.0.0.1:6379")
	if n := strings.Count(text, "[[slb]]"); n != fleetBoxes {
		t.Errorf("%d load balancers, want %d", n, fleetBoxes)
	}
	if _, err := config.ParseDispatch("dispatch.toml", []byte(text)); err != nil {
		t.Error(err)
	}
}

func TestParseAsks(t *testing.T) {
	r, err := parseAsks([]byte(`{"requests":100,"rate":50,"us":20,"redis_idle":4000,"redis_busy":4100}`))
	if err != nil || r.CPU != 20 || r.RedisBusy != 4100 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "{}", `{"requests":5}`, "asks: no"} {
		if _, err := parseAsks([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestFindRedis: the one that tools/redis has fetched is found where PATH has none.
func TestFindRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	root := t.TempDir()
	b := &bench{now: programs{dispatcher: "edged"}}
	if b.findRedis(root); b.now.redis != "" || b.now.dispatcher != "" {
		t.Errorf("found %q; the service is %q", b.now.redis, b.now.dispatcher)
	}
	file := filepath.Join(root, ".tools", "redis", "usr", "bin", "redis-server")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if b.findRedis(root); b.now.redis != file {
		t.Errorf("found %q", b.now.redis)
	}
}
