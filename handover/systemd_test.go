package handover_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// manager is a systemd that only listens.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Setenv("NOTIFY_SOCKET", name)
	return c
}

// told returns the next message, and closes what came along.
func told(t *testing.T, c *net.UnixConn, closeFiles bool) string {
	t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 256)
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		t.Error(err)
		return ""
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			if closeFiles {
				_ = unix.Close(fd)
			} else {
				t.Cleanup(func() { _ = unix.Close(fd) })
			}
		}
	}
	return string(b[:n])
}

func TestSystemd(t *testing.T) {
	for name, socket := range map[string]string{
		"path": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@handover-test-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			c := manager(t, socket)
			s := handover.NewSystemd()
			if err := errors.Join(s.Reloading(), s.Ready("7 links\nsecond line"), s.Notify("WATCHDOG=1")); err != nil {
				t.Fatal(err)
			}
			first := told(t, c, true)
			var usec int64
			if n, err := fmt.Sscanf(first, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); n != 1 || usec == 0 {
				t.Errorf("%q: %v", first, err)
			}
			for _, want := range []string{"READY=1\nWATCHDOG=1\nSTATUS=7 links; second line", "WATCHDOG=1"} {
				if got := told(t, c, true); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

// MainPID returns when systemd has read it, and not before.
func TestSystemdMainPID(t *testing.T) {
	c := manager(t, filepath.Join(t.TempDir(), "notify"))
	s := handover.NewSystemd()
	done := make(chan error, 1)
	go func() { done <- s.MainPID(context.Background(), 4711) }()
	if got := told(t, c, true); got != "MAINPID=4711" {
		t.Errorf("got %q", got)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if got := told(t, c, true); got != "BARRIER=1" {
		t.Errorf("got %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSystemdHangs(t *testing.T) {
	c := manager(t, filepath.Join(t.TempDir(), "notify"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := handover.NewSystemd().MainPID(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	told(t, c, false)
	told(t, c, false)
}

func TestNoSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if handover.NewSystemd() != nil {
		t.Error("there is one")
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if err := handover.NewSystemd().Reloading(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

// playListen is a process to which systemd passed sockets.
func playListen() int {
	if os.Getenv("LISTEN_PID") == "mine" {
		_ = os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	}
	sockets, err := handover.ListenFDs()
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	for _, s := range sockets {
		flags, _ := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0)
		fmt.Printf("%s=%d,%d ", s.Name, s.FD, flags)
	}
	again, err := handover.ListenFDs()
	fmt.Print(len(again), err, os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"), os.Getenv("LISTEN_PID"))
	return 0
}

func TestListenFDs(t *testing.T) {
	for _, tc := range []struct{ name, pid, fds, names, want string }{
		{"none", "", "", "", "0 <nil>"},
		{"named", "mine", "2", "main:admin", "main=3,0 admin=4,0 0 <nil>"},
		{"several of a name", "mine", "3", "main:main:admin", "main=3,0 main=4,0 admin=5,0 0 <nil>"},
		{"without names", "mine", "1", "", "unknown=3,0 0 <nil>"},
		{"fewer names", "mine", "2", "main", "main=3,0 unknown=4,0 0 <nil>"},
		{"for another process", "1", "2", "main:admin", "0 <nil>"},
		{"nonsense", "mine", "two", "", `error handover: LISTEN_FDS="two"`},
		{"more than there are", "mine", "9", "", `error handover: LISTEN_FDS="9", but file 6 was not passed`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := &exec.Cmd{Path: exe, Args: []string{"listen"}, ExtraFiles: []*os.File{os.Stdin, os.Stdin, os.Stdin}}
			for _, v := range [][2]string{{"LISTEN_PID", tc.pid}, {"LISTEN_FDS", tc.fds}, {"LISTEN_FDNAMES", tc.names}} {
				if v[1] != "" {
					cmd.Env = append(cmd.Env, v[0]+"="+v[1])
				}
			}
			out, _ := cmd.Output()
			if got := strings.TrimSpace(string(out)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
