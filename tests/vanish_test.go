//go:build e2e

package tests

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/wire"
)

// ownNetwork moves the calling goroutine, its sockets and the processes that it starts into a network namespace of their own
// with an interface lo. The goroutine's thread ends with it.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("a network namespace needs root: %v", err)
	}
	setLo(t, "up")
}

func setLo(t *testing.T, state string) {
	t.Helper()
	if out, err := exec.Command("ip", "link", "set", "lo", state).CombinedOutput(); err != nil {
		t.Skipf("ip link set lo %s: %v %s", state, err, out)
	}
}

// TestVanish has clients disappear without a word: the cable is cut, no FIN and no RST comes any more. Their links end by
// their timeouts, nothing of them stays behind, and those on another way live on.
func TestVanish(t *testing.T) {
	ownNetwork(t)
	dir := t.TempDir()
	unixListener := fmt.Sprintf("name = \"u\"\naddress = %q", "unix:"+filepath.Join(dir, "links.sock"))
	g := start(t, setup{
		gateway:   "login = \"none\"\nreactors = 2\nheartbeat = \"500ms\"\nidle_timeout = \"1500ms\"\nwrite_timeout = \"1s\"\nframe_timeout = \"1s\"",
		listeners: []string{`address = "127.0.0.1:0"`, unixListener},
		within:    true,
	})
	files := g.files()
	var gone, here []*client
	for range 20 {
		c := dial(t, g.addresses[0])
		c.want(wire.KindWelcome)
		gone = append(gone, c)
		c = dial(t, g.addresses[1])
		c.want(wire.KindWelcome)
		here = append(here, c)
	}
	for _, c := range gone[:10] { // half of them in the middle of a frame
		check(t, c.write([]byte{1, 0, byte(wire.KindData)}))
	}
	g.waitMetric("edged_received_bytes_total", 30)
	began := time.Now()
	setLo(t, "down")
	for _, c := range gone {
		c.close()
	}
	waitFor(t, "the vanished links are ended", func() bool {
		for _, c := range here {
			check(t, c.write(wire.AppendHeartbeat(nil)))
			c.want(0)
		}
		return g.metric("edged_links") == 20
	})
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the vanished links ended after %v", took)
	}
	s := g.scrape()
	if n := s.sum("edged_links_closed_total", "reason", "idle_timeout"); n != 20 || s.sum("edged_links_closed_total") != 20 {
		t.Errorf("%v links ended as idle, want 20 of %v", n, s.sum("edged_links_closed_total"))
	}
	g.waitMetric("edged_connections_lingering", 0)
	waitFor(t, "their files are closed", func() bool { return g.files() <= files+20 })
	g.balanced()
}
