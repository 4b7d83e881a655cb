//go:build e2e

package tests

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"edged/wire"
)

// TestPassedSockets lets somebody else open the listeners, as systemd does: the gateway takes them by their names, spreads their
// links over its reactors, and listens on them again when a drain is taken back.
func TestPassedSockets(t *testing.T) {
	t.Parallel()
	tcp := must(net.Listen("tcp", "127.0.0.1:0"))(t).(*net.TCPListener)
	path := filepath.Join(t.TempDir(), "links.sock")
	local := must(net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}))(t)
	files := []*os.File{must(tcp.File())(t), must(local.File())(t)}
	want := []string{tcp.Addr().String(), "unix:" + path}
	g := start(t, setup{
		gateway:   "login = \"none\"\nreactors = 2",
		listeners: []string{"name = \"main\"\naddress = \"127.0.0.1:1\"", "name = \"local\"\naddress = \"systemd:box\""},
		passed:    files,
		names:     "main:box",
	})
	if !slices.Equal(g.addresses, want) {
		t.Errorf("it listens on %v, not on %v", g.addresses, want)
	}
	check(t, tcp.Close()) // its own ones listen on
	for range 20 {
		for _, a := range want {
			dial(t, a).want(wire.KindWelcome)
		}
	}
	for _, reactor := range []string{"0", "1"} {
		g.waitMetric("edged_links", 20, "reactor", reactor)
	}
	for _, command := range [][]string{{"--within", "100ms"}, {"--undo"}} {
		if status, _, stderr := run(t, append([]string{"ctl", "--socket", g.admin, "drain"}, command...)...); status != 0 {
			t.Fatal(stderr)
		}
	}
	dial(t, want[0]).want(wire.KindWelcome)
}
