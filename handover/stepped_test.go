//go:build !race

package handover_test

// With the race detector it takes too many instructions to come to the end of a turn.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"edged/handover"

	"golang.org/x/sys/unix"
)

// traced is a process that stands still between any two instructions of its first thread. Its own thread of this process, which
// the caller is locked to, moves it.
type traced struct {
	t     *testing.T
	pid   int
	timer *time.Timer
}

// wait returns the signal with which it stopped; 0: it has ended.
func (p *traced) wait() unix.Signal {
	p.t.Helper()
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(p.pid, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			p.t.Fatal(err)
		case ws.Stopped():
			return ws.StopSignal()
		default:
			return 0
		}
	}
}

// step lets it do one instruction; false: it has ended.
func (p *traced) step() bool {
	p.t.Helper()
	for {
		if err := unix.PtraceSingleStep(p.pid); err != nil {
			p.t.Fatal(err)
		}
		switch p.wait() {
		case 0:
			return false
		case unix.SIGTRAP:
			return true
		} // others are the scheduler's, which does without
	}
}

// startTraced starts a stepped writer and returns it where its first turn of single steps begins, with its memory.
func startTraced(t *testing.T, script uint64) (*traced, *handover.Memory) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := &exec.Cmd{Path: exe, Args: []string{stepped, fmt.Sprint(script)}, Stdout: in, Stderr: os.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	err = cmd.Start()
	_ = in.Close()
	if errors.Is(err, unix.EPERM) {
		t.Skip("ptrace is not allowed here")
	}
	if err != nil {
		t.Fatal(err)
	}
	started.Store(cmd.Process.Pid, true)
	p := &traced{t, cmd.Process.Pid, time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })}
	t.Cleanup(func() {
		p.timer.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		started.Delete(p.pid)
	})
	if p.wait() == 0 { // it stops when it has become the new program
		t.Fatal("it has ended")
	}
	if err := unix.PtraceSetOptions(p.pid, unix.PTRACE_O_EXITKILL); err != nil {
		t.Fatal(err)
	}
	for sig := unix.Signal(0); sig != unix.SIGSTOP; {
		if err := unix.PtraceCont(p.pid, int(sig)); err != nil {
			t.Fatal(err)
		}
		if sig = p.wait(); sig == 0 {
			t.Fatal("it has ended")
		}
	}
	n := 0
	if _, err := fmt.Fscan(out, &n); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/fd/%d", p.pid, n), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := handover.OpenMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	return p, m
}

// Between any two instructions a writer leaves the state of its last committed turn, whatever it is in the middle of.
func TestEveryInstruction(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	runtime.LockOSThread() // who starts a traced process is the thread that moves it
	defer runtime.UnlockOSThread()
	p, m := startTraced(t, seed)
	defer func() { _ = m.Close() }()
	w := &written{script: newScript(seed), records: map[int]content{}}
	steps, began := 0, time.Now()
	for (steps < 60_000 || w.turn == warmUp) && p.step() {
		steps++
		w.check(t, m)
		checkSent(t, m.Ring(0, 1), w.sent)
	}
	t.Logf("%d instructions, %d turns, %v", steps, w.turn-warmUp, time.Since(began))
	if w.turn == warmUp {
		t.Errorf("it ended in turn %d", w.turn)
	}
}
