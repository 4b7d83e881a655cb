package admin_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edged/admin"
)

// corpse leaves the socket file of a process that died without cleaning up.
func corpse(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func unixConfig(path string) admin.Config { return admin.Config{Listen: []string{"unix:" + path}} }

// names lists what lies in the directory of path.
func names(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var n []string
	for _, e := range entries {
		n = append(n, e.Name())
	}
	return strings.Join(n, " ")
}

func TestSocketMode(t *testing.T) {
	path := sock(t)
	b := start(t, unixConfig(path), &source{}, admin.Limits{})
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode() != os.ModeSocket|0o660 {
		t.Errorf("mode %v", fi.Mode())
	}
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := names(t, path); n != "" {
		t.Errorf("left behind: %s", n)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := sock(t)
	corpse(t, path)
	b := start(t, unixConfig(path), &source{}, admin.Limits{})
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
	if n := names(t, path); n != "admin.sock" {
		t.Errorf("beside the socket: %s", n)
	}
}

func TestSocketInUse(t *testing.T) {
	path := sock(t)
	b := start(t, unixConfig(path), &source{}, admin.Limits{})
	other, err := admin.New(unixConfig(path), &source{}, (&logs{}).logger())
	if err == nil {
		_ = other.Close(context.Background())
		t.Fatal("two servers on one path")
	}
	if !strings.Contains(err.Error(), "another edged serves "+path) {
		t.Errorf("got %v", err)
	}
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
}

func TestLongestPathOverADeadSocket(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "edged")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, strings.Repeat("x", 99-len(dir)-1))
	corpse(t, path)
	b := start(t, unixConfig(path), &source{}, admin.Limits{})
	b.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
}

// Two start at once over the file of a dead one: one has it, the other says so.
func TestTwoStartAtOnce(t *testing.T) {
	for round := range 50 {
		path := sock(t)
		corpse(t, path)
		servers, errs := make([]*admin.Server, 2), make([]error, 2)
		var wg sync.WaitGroup
		for i := range servers {
			wg.Go(func() { servers[i], errs[i] = admin.New(unixConfig(path), &source{}, (&logs{}).logger()) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: %v and %v", round, errs[0], errs[1])
		}
		if n := names(t, path); n != "admin.sock" {
			t.Errorf("round %d: %s", round, n)
		}
		for i, s := range servers {
			if s == nil {
				wantError(t, errs[i], "admin socket unix:"+path+": another edged serves "+path)
				continue
			}
			s.Serve()
			(&box{Server: s, t: t}).ask(0, "GET", "/healthz", "").want(t, 200, "ok")
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if n := names(t, path); n != "" {
			t.Errorf("round %d left: %s", round, n)
		}
	}
}

func TestPathIsNoSocket(t *testing.T) {
	path := sock(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := admin.New(unixConfig(path), &source{}, (&logs{}).logger())
	if err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Fatalf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

func TestForeignSocketIsLeftAlone(t *testing.T) {
	path := sock(t)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := admin.New(unixConfig(path), &source{}, (&logs{}).logger()); err == nil {
		t.Fatal("a datagram socket was replaced")
	}
	if n := names(t, path); n != "admin.sock" {
		t.Errorf("left: %s", n)
	}
}

func TestDirectoryIsMadeOneLevelDeep(t *testing.T) {
	dir := t.TempDir()
	start(t, unixConfig(dir+"/edged/admin.sock"), &source{}, admin.Limits{})
	if _, err := admin.New(unixConfig(dir+"/a/b/admin.sock"), &source{}, (&logs{}).logger()); err == nil {
		t.Error("two levels were made")
	}
}

func TestCloseSparesTheSuccessor(t *testing.T) {
	path := sock(t)
	cfg := admin.Config{Listen: []string{"unix:" + path, "127.0.0.1:0"}}
	first := start(t, cfg, &source{}, admin.Limits{})
	if err := os.Remove(path); err != nil { // as a take-over would
		t.Fatal(err)
	}
	second := start(t, cfg, &source{}, admin.Limits{})
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	second.ask(0, "GET", "/healthz", "").want(t, 200, "ok")
	if n := names(t, path); n != "admin.sock admin.token" {
		t.Errorf("left: %s", n)
	}
}

func TestNewUndoesHalfAStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := sock(t)
	cfg := admin.Config{Listen: []string{"unix:" + path, l.Addr().String()}}
	_, err = admin.New(cfg, &source{}, (&logs{}).logger())
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("got %v", err)
	}
	if n := names(t, path); n != "" {
		t.Errorf("left behind: %s", n)
	}
}

func TestNewRefusesABadConfig(t *testing.T) {
	if _, err := admin.New(admin.Config{Listen: []string{"x"}}, &source{}, (&logs{}).logger()); err == nil {
		t.Fatal("no error")
	}
}

func TestCloseWithoutServe(t *testing.T) {
	path := sock(t)
	s, err := admin.New(admin.Config{Listen: []string{"unix:" + path, "127.0.0.1:0"}}, &source{}, (&logs{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n := names(t, path); n != "" {
		t.Errorf("left behind: %s", n)
	}
	if c, err := net.Dial("tcp", s.Addresses()[1]); err == nil {
		_ = c.Close()
		t.Error("the port is still open")
	}
	noneLeft(t)
}

func TestNoAddressAtAll(t *testing.T) {
	b := start(t, admin.Config{}, &source{}, admin.Limits{})
	if len(b.Addresses()) != 0 {
		t.Error(b.Addresses())
	}
}

func TestLogIsQuietOnAnOrderlyStop(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	b.ask(1, "GET", "/healthz", "").want(t, 200, "ok")
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if l := b.log.String(); l != "" {
		t.Errorf("logged: %s", l)
	}
}
