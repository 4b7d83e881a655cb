package handover_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// run starts a program by Start and returns what it says and how it ended.
func run(t *testing.T, path string, args []string, extra ...*os.File) (said string, ok bool) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	p, err := handover.Start(path, args, &os.ProcAttr{Env: []string{"A=b"}, Files: append([]*os.File{null, w, w}, extra...)})
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	state, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b)), state.Success()
}

// A program gets its own descriptors, and none of those that are open for a successor.
func TestStart(t *testing.T) {
	for range 20 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // not closed on exec
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
	}
	extra, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = extra.Close() }()
	for extras, want := range []string{"0 1 2 3", "0 1 2 3 4"} { // the last one is that by which it reads the directory
		got, ok := run(t, "/bin/ls", []string{"ls", "/proc/self/fd"}, []*os.File{extra}[:extras]...)
		if got = strings.Join(strings.Fields(got), " "); !ok || got != want {
			t.Errorf("%d extra files: %q, %v; want %q", extras, got, ok, want)
		}
	}
	if got, ok := run(t, "/bin/sh", []string{"name", "-c", "echo $0 $A $1", "zero", "one"}); !ok || got != "zero b one" {
		t.Errorf("%q, %v", got, ok)
	}
	if got, ok := run(t, "/nowhere", []string{"a", "b"}); ok || got != "/nowhere: exec: no such file or directory" {
		t.Errorf("%q, %v", got, ok)
	}
	if _, err := handover.Start("/bin/true", nil, &os.ProcAttr{}); err == nil {
		t.Error("a program without a name")
	}
}

func TestConfig(t *testing.T) {
	if err := handover.Default().Validate(); err != nil {
		t.Error(err)
	}
	if err := handover.DefaultKeeper().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(c *handover.Config, k *handover.KeeperConfig){
		"mode: \"spoon\" is neither":              func(c *handover.Config, _ *handover.KeeperConfig) { c.Mode = "spoon" },
		"check_timeout: 0s is not between":        func(c *handover.Config, _ *handover.KeeperConfig) { c.CheckTimeout = 0 },
		"accept_pause: 1ns is not between":        func(c *handover.Config, _ *handover.KeeperConfig) { c.AcceptPause = 1 },
		"freeze: 1h0m0s is not between":           func(c *handover.Config, _ *handover.KeeperConfig) { c.Freeze = 3600e9 },
		"freeze: 2s is longer than accept_pause":  func(c *handover.Config, _ *handover.KeeperConfig) { c.Freeze = 2e9 },
		"socket: \"\" is not an absolute":         func(_ *handover.Config, k *handover.KeeperConfig) { k.Socket = "" },
		"socket: \"relative\" is not an absolute": func(_ *handover.Config, k *handover.KeeperConfig) { k.Socket = "relative" },
		"of at most 107 bytes":                    func(_ *handover.Config, k *handover.KeeperConfig) { k.Socket = "/" + strings.Repeat("x", 107) },
		"hold: 1ms is not between 1s and 1h0m0s":  func(_ *handover.Config, k *handover.KeeperConfig) { k.Hold = 1e6 },
		"crashes: 1 is not between 2 and 1000":    func(_ *handover.Config, k *handover.KeeperConfig) { k.Crashes = 1 },
		"on_stop: \"leave\" is neither":           func(_ *handover.Config, k *handover.KeeperConfig) { k.OnStop = "leave" },
	} {
		c, k := handover.Default(), handover.DefaultKeeper()
		change(&c, &k)
		if err := fmt.Sprint(c.Validate(), k.Validate()); !strings.Contains(err, want) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
