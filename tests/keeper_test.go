//go:build e2e

package tests

import (
	"bufio"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/handover"
)

// keeperProcess is a running `edged keeper`.
type keeperProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	file   string
	socket string
	log    *textLog
	told   *net.UnixConn // what the supervisor hears
	exited chan struct{} // closed when the process has ended
	ended  bool
}

// startKeeper runs one until the test ends, with more lines of [keeper]. If these do not say otherwise a test may have any number of
// crashes within a minute.
func startKeeper(t *testing.T, hold string, more ...string) *keeperProcess {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper") // t.TempDir may be longer than a socket's address
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755)) // what others may not do is the socket's affair
	k := &keeperProcess{t: t, socket: filepath.Join(dir, "k.sock"), log: &textLog{}}
	k.file = filepath.Join(dir, "edged.toml")
	if len(more) == 0 {
		more = []string{"crashes = 1000"}
	}
	text := fmt.Sprintf("[keeper]\nenabled = true\nsocket = %q\nhold = %q\n%s\n", k.socket, hold, strings.Join(more, "\n"))
	check(t, os.WriteFile(k.file, []byte(text), 0o600))
	k.told = must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}))(t)
	t.Cleanup(func() { _ = k.told.Close() })
	t.Cleanup(func() { k.stop() })
	k.start()
	return k
}

// start runs it, also again after kill.
func (k *keeperProcess) start() {
	k.t.Helper()
	k.cmd = exec.Command(edged, "keeper", "--config", k.file)
	k.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(filepath.Dir(k.file), "notify"))
	k.cmd.Stderr = k.log
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := must(k.cmd.StdoutPipe())(k.t)
	k.exited = make(chan struct{})
	check(k.t, spawn(k.cmd, k.exited))
	k.ended = false
	late := time.AfterFunc(patience, func() { _ = k.cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "ready: keeper listening on "+k.socket) {
		k.t.Fatalf("edged keeper said %q, %v; its log:\n%s", line, err, k.log.tail(1000))
	}
}

// kill ends it without a chance to say anything.
func (k *keeperProcess) kill() {
	k.ended = true
	killProcess(k.cmd)
	close(k.exited)
}

// stop ends it as a supervisor does; it must leave with status 0, and its socket with it.
func (k *keeperProcess) stop() {
	k.t.Helper()
	if k.ended || k.exited == nil {
		return
	}
	k.ended = true
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = k.cmd.Process.Kill() })
	defer late.Stop()
	err := k.cmd.Wait()
	close(k.exited)
	if err != nil {
		k.t.Errorf("edged keeper ended: %v; its log:\n%s", err, k.log.tail(1000))
	}
	if _, err := os.Lstat(k.socket); !errors.Is(err, os.ErrNotExist) {
		k.t.Errorf("its socket is there still: %v", err)
	}
}

// hears waits for a message to the supervisor with a line that begins so.
func (k *keeperProcess) hears(want string) {
	k.t.Helper()
	b := make([]byte, 4096)
	for check(k.t, k.told.SetReadDeadline(time.Now().Add(patience))); ; {
		n, err := k.told.Read(b)
		if err != nil {
			k.t.Fatalf("no %q: %v", want, err)
		}
		if slices.ContainsFunc(strings.Split(string(b[:n]), "\n"), func(s string) bool { return strings.HasPrefix(s, want) }) {
			return
		}
	}
}

// gateway connects as one; the one before may still be leaving.
func (k *keeperProcess) gateway() (*handover.Keeping, handover.Welcome) {
	k.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		g, w, err := handover.OpenKeeping(k.socket, nil)
		if err == nil {
			return g, w
		}
		if !errors.Is(err, handover.ErrKeeperBusy) || time.Now().After(end) {
			k.t.Fatal(err)
		}
	}
}

// deposit leaves a descriptor there.
func deposit(t *testing.T, g *handover.Keeping, key uint64, fd int) {
	t.Helper()
	d := g.Deposit()
	d.Add(key, fd)
	for end := time.Now().Add(patience); d.Waiting(); time.Sleep(time.Millisecond) {
		if d.Flush(); time.Now().After(end) {
			t.Fatal("the keeper does not take it")
		}
	}
}

// taken returns the keys of what a keeper has.
func taken(t *testing.T, g *handover.Keeping) (keys []uint64) {
	t.Helper()
	check(t, g.Take(func(key uint64, fd int) {
		keys = append(keys, key)
		_ = unix.Close(fd)
	}))
	slices.Sort(keys)
	return keys
}

// TestKeeper: links outlive the gateway that left them, a second gateway is refused, and the end of the keeper is theirs.
func TestKeeper(t *testing.T) {
	t.Parallel()
	k := startKeeper(t, "1m")
	k.hears("READY=1")
	first, w := k.gateway()
	if w.Links != 0 || w.Memory != -1 {
		t.Errorf("a new keeper says %+v", w)
	}
	pair := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	deposit(t, first, 7, pair[0])
	check(t, unix.Close(pair[0]))
	if _, _, err := handover.OpenKeeping(k.socket, nil); !errors.Is(err, handover.ErrKeeperBusy) {
		t.Errorf("a second gateway was told %v", err)
	}
	k.hears("STATUS=1 links kept; so far 1 gateways, 0 crashes, 1 connections refused")
	first.Close() // it says nothing: it crashed
	second, w := k.gateway()
	if got := taken(t, second); w.Crashes != 1 || !slices.Equal(got, []uint64{7}) {
		t.Errorf("the next gateway hears %+v and finds %v", w, got)
	}
	check(t, k.cmd.Process.Signal(syscall.SIGHUP)) // nothing
	check(t, second.Leave(true))
	second.Close()
	third, w := k.gateway()
	if got := taken(t, third); w.Crashes != 1 || len(got) != 1 {
		t.Errorf("after one that left: %+v and %v", w, got)
	}
	k.stop()
	third.Close()
	if n, err := unix.Read(pair[1], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the link reads %d, %v when the keeper has ended", n, err)
	}
	_ = unix.Close(pair[1])
	if log := k.log.tail(1000); !strings.Contains(log, "msg=stopped") || !strings.Contains(log, "gateways=3") {
		t.Errorf("its last words: %s", log)
	}
}

// TestKeeperHardened: nothing that a keeper holds can be got at by other users, nor by its own.
func TestKeeperHardened(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	k := startKeeper(t, "1m")
	if err := connectAs(nobody, k.socket); !errors.Is(err, unix.EACCES) {
		t.Errorf("another user connects: %v", err)
	}
	check(t, os.Chmod(k.socket, 0o777)) // even so
	if err := connectAs(nobody, k.socket); !errors.Is(err, errParted) {
		t.Errorf("another user is heard: %v", err)
	}
	for end := time.Now().Add(patience); !strings.Contains(k.log.tail(1000), fmt.Sprintf("user=%d", nobody)); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nothing is said of it: %s", k.log.tail(1000))
		}
	}
	g, _ := k.gateway()
	g.Close()
	if info := must(buildinfo.ReadFile(edged))(t); !slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		t.Skip("a binary with cgo, unlike that of make build, cannot give up capabilities for all its threads")
	}
	status := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", k.cmd.Process.Pid)))(t))
	for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("it has not %q:\n%s", want, status)
		}
	}
}

const nobody = 65534

var errParted = errors.New("the other side has hung up")

// connectAs connects and waits for an answer to nothing, on a thread that belongs to another user and ends with this.
func connectAs(uid int, socket string) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		result <- func() error {
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
				return fmt.Errorf("setresuid: %w", e)
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			limit := unix.NsecToTimeval(int64(patience))
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
				return err
			}
			if n, err := unix.Read(fd, make([]byte, 1)); n > 0 || err != nil && !errors.Is(err, unix.ECONNRESET) {
				return fmt.Errorf("read %d: %w", n, err)
			}
			return errParted
		}()
	}()
	return <-result
}
