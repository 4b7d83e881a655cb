package handover_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUpgrade(t *testing.T) {
	for _, mode := range []string{"fork", "exec"} {
		t.Run(mode, func(t *testing.T) {
			p := startEcho(t)
			c := startCrowd(t, p.port, 50)
			first := p.pid
			for range 5 {
				if words, ok := p.reload(mode, "none", "-", "-"); !ok {
					t.Fatal(words)
				} else {
					t.Log(words)
				}
				c.goesOn()
			}
			if links, torn := p.stat(); links != 50 || torn != 0 {
				t.Errorf("%d links, %d torn", links, torn)
			}
			if (p.pid == first) != (mode == "exec") {
				t.Errorf("PID %d became %d", first, p.pid)
			}
		})
	}
}

// Whatever is wrong with the new process, the old one goes on with all links, and says why in one sentence.
func TestFaultyUpgrade(t *testing.T) {
	for _, tc := range []struct{ fault, want, freeze string }{
		{"check-refuses", `refuses: edged.toml:7: unknown key "listner"`, "-"},
		{"check-hangs", "did not check the configuration within 1s", "-"},
		{"called-off", "called off: context canceled", "-"},
		{"check-crashes", "does not check the configuration: signal: killed", "-"},
		{"check-formats", `reads version 3 to 4 of the state's part "echo", and this one writes 1 to 2`, "-"},
		{"crash-start", "ended before it could say hello", "-"},
		{"exit-start", "ended before it could say hello", "-"},
		{"hang-start", "did not say hello within", "-"},
		{"refuse", "refuses: this binary; does not want to", "-"},
		{"other-formats", `reads version 3 to 9 of the state's part "echo", and this one writes 1 to 2`, "-"},
		{"crash-restore", "ended before it could load the state", "-"},
		{"exit-restore", "ended before it could load the state", "-"},
		{"hang-restore", "did not load the state within", "100ms"},
		{"refuse-state", "refuses: this state is not to my taste", "-"},
		{"broken-record", "refuses: handover: no record: 3 bytes left", "-"},
		{"stranger", "refuses: handover: file 9999 was not inherited", "-"},
		{"append-fails", "the state cannot be written: echo/0: no state today", "-"},
		{"huge", "part echo/0 expects 17179869184 bytes", "-"},
		{"no-memory", "bytes for the state: cannot allocate memory", "-"},
		{"crash-go", "ended before it could start", "-"},
		{"hang-go", "did not start within 1", "-"},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			p := startEcho(t)
			c := startCrowd(t, p.port, 20)
			words, ok := p.reload("fork", tc.fault, "-", tc.freeze)
			if got := strings.Join(words, " "); ok || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			c.goesOn()
			if links, torn := p.stat(); links != 20 || torn != 0 {
				t.Errorf("%d links, %d torn", links, torn)
			}
			if _, ok := p.reload("fork", "none", "-", "-"); !ok {
				t.Error("and now it cannot reload any more")
			}
			c.goesOn()
		})
	}
}

// The trial of exec mode finds what would be fatal after the exec.
func TestFaultyExec(t *testing.T) {
	for _, fault := range []string{"check-refuses", "crash-start", "refuse", "crash-restore", "hang-restore", "append-fails"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			p := startEcho(t)
			c := startCrowd(t, p.port, 20)
			if _, ok := p.reload("exec", fault, "-", "200ms"); ok {
				t.Error("it succeeded")
			}
			c.goesOn()
			if _, ok := p.reload("exec", "none", "-", "-"); !ok {
				t.Error("and now it cannot reload any more")
			}
			c.goesOn()
		})
	}
}

// A successor that used one link and died costs that link only.
func TestTouchedLink(t *testing.T) {
	p := startEcho(t)
	c := startCrowd(t, p.port, 20)
	if words, ok := p.reload("fork", "touch", "-", "-"); ok {
		t.Fatal(words)
	}
	links, torn := p.stat()
	if torn != 1 || links != 19 {
		t.Errorf("%d links, %d torn", links, torn)
	}
	time.Sleep(10 * time.Millisecond)
	if b, w := c.broken.Load(), c.wrong.Load(); b != 1 || w != 0 {
		t.Errorf("%d links broken, %d answers wrong", b, w)
	}
}

// The predecessor is killed: after it handed over everything, the successor goes on alone.
func TestKilledPredecessor(t *testing.T) {
	p := startEcho(t)
	c := startCrowd(t, p.port, 20)
	p.tell("reload fork orphan - -")
	if words := p.expect("running"); words[1] != "true" {
		t.Errorf("it does not know that it is alone: %v", words)
	}
	c.goesOn()
	if links, _ := p.stat(); links != 20 {
		t.Errorf("%d links", links)
	}
}

// Killed before that, it takes the links with it, and its child leaves.
func TestKilledPredecessorEarly(t *testing.T) {
	for _, fault := range []string{"append-dies", "orphan-before"} {
		t.Run(fault, func(t *testing.T) {
			p := startEcho(t)
			c := startCrowd(t, p.port, 5)
			p.tell("reload fork %s - -", fault)
			for range p.lines { //nolint:revive // until both have ended
			}
			c.wg.Wait()
			if c.broken.Load() != 5 {
				t.Errorf("%d links broken", c.broken.Load())
			}
		})
	}
}

func TestBrokenBinary(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	p := startEcho(t)
	c := startCrowd(t, p.port, 20)
	for _, path := range []string{
		filepath.Join(dir, "absent"),
		file("not-executable", string(whole[:1000]), 0o600),
		file("empty", "", 0o700),
		file("truncated", string(whole[:len(whole)/3]), 0o700),
		file("text", "this is no program\n", 0o700),
	} {
		for _, fault := range []string{"none", "no-check"} {
			for _, mode := range []string{"fork", "exec"} {
				words, ok := p.reload(mode, fault, path, "-")
				if ok {
					t.Errorf("%s: it succeeded", path)
				}
				t.Log(strings.Join(words, " "))
				c.goesOn()
			}
		}
	}
	if _, ok := p.reload("fork", "none", exe, "-"); !ok {
		t.Error("and now it cannot reload any more")
	}
	c.goesOn()
}

// An older successor gets an older format; a part that outgrew what it expected still crosses; the check has no links.
func TestUnusualUpgrade(t *testing.T) {
	for _, fault := range []string{"older", "outgrown", "check-links", "busy"} {
		t.Run(fault, func(t *testing.T) {
			p := startEcho(t)
			c := startCrowd(t, p.port, 100)
			if words, ok := p.reload("fork", fault, "-", "-"); !ok {
				t.Fatal(words)
			}
			c.goesOn()
			if links, _ := p.stat(); links != 100 {
				t.Errorf("%d links", links)
			}
		})
	}
}

// Who connects while accepting pauses waits, and is served.
func TestNewLinksDuringUpgrade(t *testing.T) {
	p := startEcho(t)
	c := startCrowd(t, p.port, 5)
	stop := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				t.Logf("%d came and went", n)
				result <- nil
				return
			default:
			}
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
			if err == nil {
				err = c.say(conn, 1, n%2 == 0)
				_ = conn.Close()
			}
			if err != nil {
				result <- err
				return
			}
		}
	}()
	for range 10 {
		if words, ok := p.reload("fork", "none", "-", "-"); !ok {
			t.Fatal(words)
		}
	}
	close(stop)
	if err := <-result; err != nil {
		t.Error(err)
	}
	c.goesOn()
}

// What a link's end leaves open in a successor is closed: it sees no descriptor that nobody claimed.
func TestNothingIsLeft(t *testing.T) {
	p := startEcho(t)
	c := startCrowd(t, p.port, 30)
	count := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	c.goesOn() // all of them are accepted
	before := count()
	for range 5 {
		if words, ok := p.reload("fork", "none", "-", "-"); !ok {
			t.Fatal(words)
		}
	}
	if after := count(); after > before+2 {
		t.Errorf("%d descriptors became %d", before, after)
	}
	c.goesOn()
}

// In a PID namespace of its own no process can be a sibling of the first one: its PID stays, whatever the mode.
func TestFirstOfItsNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	p := startIn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, "echo")
	p.serving()
	c := startCrowd(t, p.port, 20)
	for range 2 {
		p.tell("reload fork none - -")
		if w := p.expect("running"); w[0] != "1" {
			t.Errorf("its PID is %s", w[0])
		}
		c.goesOn()
	}
}

// The new process may run where the old one could when it began, however the thread is pinned that starts it.
func TestSuccessorIsNotPinned(t *testing.T) {
	for _, mode := range []string{"fork", "exec"} {
		p := startEcho(t)
		p.tell("stat")
		before := p.expect("stat")
		if words, ok := p.reload(mode, "pinned", "-", "-"); !ok {
			t.Fatal(words)
		}
		p.tell("stat")
		if after := p.expect("stat"); after[4] != before[4] {
			t.Errorf("%s: %s CPUs became %s", mode, before[4], after[4])
		}
	}
}

// A second process of the same group of supervisors notices the death of a successor: it is a child of the first one's parent.
func TestSuccessorIsSibling(t *testing.T) {
	p := startEcho(t)
	if words, ok := p.reload("fork", "none", "-", "-"); !ok {
		t.Fatal(words)
	}
	p.tell("quit")
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if pid, _ := unix.Wait4(p.pid, nil, unix.WNOHANG, nil); pid == p.pid {
			return
		}
		if time.Now().After(end) {
			t.Fatal("its end is not told to this process")
		}
	}
}
