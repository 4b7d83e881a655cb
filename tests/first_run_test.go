//go:build e2e

package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edged/admin"
	"edged/wire"
)

// TestFirstRun: the file that is installed works on any box as it is. Nobody has said where the Manager is, so the gateway serves,
// takes no client in, and says at each of its windows what is missing.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	g := startInstalled(t, nil)
	const missing = "no Manager: none is configured"
	if status, text := g.probe("/readyz"); status != http.StatusServiceUnavailable || !strings.HasPrefix(text, missing) {
		t.Errorf("/readyz: %d %q", status, text)
	}
	if status, text := g.probe("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %q", status, text)
	}
	if status, stdout, _ := g.ctl("status"); status != 0 || !strings.Contains(stdout, missing) || !strings.Contains(stdout, "[manager]") {
		t.Errorf("ctl status: %d\n%s", status, stdout)
	}
	if s := g.statusJSON(); s.State != admin.StateUp || s.Room == nil || s.Room.Availability != 0 {
		t.Errorf("the status is %+v, and should leave no room for clients", s)
	}
	if said := g.log.lines("level=WARN", missing); len(said) != 1 {
		t.Errorf("the log says %d times what is missing:\n%s", len(said), g.log)
	}
	c := dial(t, g.address())
	check(t, c.send(wire.KindHello, []byte("hello")))
	c.wantBye(wire.ByeNoManager)
}

// TestFirstRunManager: the one line that was missing is enough.
func TestFirstRunManager(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	const section = "[manager]\n# The business backend, [\"127.0.0.1:7100\"] or [\"unix:/run/manager.sock\"]; empty: no Manager.\naddresses = []\n"
	g := startInstalled(t, map[string]string{section: "[manager]\naddresses = [\"" + k.address + "\"]\n"})
	waitFor(t, "ready", func() bool { status, _ := g.probe("/readyz"); return status == http.StatusOK })
	crowdOf(t, g, 3)
	if said := g.log.lines("no Manager:"); len(said) != 0 {
		t.Errorf("the log still misses a Manager: %s", said)
	}
}

// startInstalled starts a gateway on the file that is installed, whose addresses alone are the test's, and with what change says.
func startInstalled(t *testing.T, change map[string]string) *gateway {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "admin.sock")
	text := string(must(os.ReadFile("../etc/edged.toml"))(t))
	replace := map[string]string{`"0.0.0.0:7000"`: `"127.0.0.1:0"`, "/run/edged/admin.sock": socket}
	for old, now := range change {
		replace[old] = now
	}
	for old, now := range replace {
		if strings.Count(text, old) != 1 {
			t.Fatalf("etc/edged.toml has %q %d times", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, now, 1)
	}
	file := filepath.Join(dir, "edged.toml")
	check(t, os.WriteFile(file, []byte(text), 0o600))
	return startFile(t, file, socket, setup{})
}
