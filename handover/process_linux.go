package handover

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// variable is the environment variable by which a process learns that it is a successor: "fork:" and the descriptor of its end
// of the channel, or "exec:" and that of the state.
const variable = "EDGED_HANDOVER"

// dropped are variables that are true of this process alone: it took the sockets that systemd passed to it, and the PID that
// the watchdog names is its own.
var dropped = []string{variable, checkVariable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"}

// successorEnv returns the environment of a new process, with one more variable.
func successorEnv(add string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		drop := false
		for _, d := range dropped {
			drop = drop || d == name
		}
		if !drop {
			env = append(env, v)
		}
	}
	return append(env, add)
}

// cpuSet is where a thread may run.
type cpuSet = unix.CPUSet

// child is a process that was started to take over.
type child struct {
	pid   int
	pidfd int  // -1: the kernel is too old for one
	mine  bool // this process is its parent, and must wait for it
}

// spawn starts a program that inherits every descriptor which is not closed on exec, and those in pass, under their numbers. A
// sibling becomes a child of this process's parent (CLONE_PARENT): of the supervisor, so that its death is noticed there.
func spawn(path string, args, env []string, sibling bool, pass []int, cpus *cpuSet) (*child, error) {
	c := &child{pidfd: -1, mine: !sibling}
	attr := &syscall.ProcAttr{
		// Nothing beyond these three: whatever ForkExec places is placed over a descriptor of the same number.
		Files: []uintptr{0, 1, 2},
		Env:   env,
		Sys:   &syscall.SysProcAttr{PidFD: &c.pidfd},
	}
	if sibling {
		attr.Sys.Cloneflags = unix.CLONE_PARENT
	}
	undo, err := passOn(pass)
	if err != nil {
		return nil, err
	}
	defer undo()
	onCPUs(cpus, func() { c.pid, err = syscall.ForkExec(path, args, attr) })
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return c, nil
}

// passOn lets descriptors cross an exec until undo is called. Any child that is started meanwhile goes through the shim, which
// closes them.
func passOn(fds []int) (undo func(), err error) {
	var done []int
	undo = func() {
		for _, fd := range done {
			unix.CloseOnExec(fd)
		}
	}
	for _, fd := range fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
			done = append(done, fd)
		}
		if err != nil {
			undo()
			return nil, fmt.Errorf("pass on file %d: %w", fd, os.NewSyscallError("fcntl", err))
		}
	}
	return undo, nil
}

// ownCPUs returns where the calling thread may run: a new program inherits that from the thread which starts it, and reactors
// are pinned.
func ownCPUs() *cpuSet {
	var set cpuSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	return &set
}

func onCPUs(set *cpuSet, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var now cpuSet
	if set != nil && unix.SchedGetaffinity(0, &now) == nil && now != *set {
		if unix.SchedSetaffinity(0, set) == nil {
			defer func() { _ = unix.SchedSetaffinity(0, &now) }()
		}
	}
	f()
}

// kill ends the child, which may have ended before.
func (c *child) kill() {
	if c.pidfd >= 0 {
		_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
	} else {
		_ = unix.Kill(c.pid, unix.SIGKILL)
	}
}

// ended waits until the child has ended, at most for limit.
func (c *child) ended(limit time.Duration) bool {
	for end := time.Now().Add(limit); ; {
		if c.pidfd < 0 {
			if errors.Is(unix.Kill(c.pid, 0), unix.ESRCH) || c.reap(unix.WNOHANG) {
				return true
			}
			time.Sleep(time.Millisecond)
		} else {
			left := max(time.Until(end), 0)
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}, int(left/time.Millisecond))
			if n > 0 {
				c.reap(0)
				return true
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return false
			}
		}
		if !time.Now().Before(end) {
			return false
		}
	}
}

// reap takes the exit status of a child of this process, so that it does not stay as a zombie.
func (c *child) reap(options int) bool {
	if !c.mine {
		return false
	}
	for {
		pid, err := unix.Wait4(c.pid, nil, options, nil)
		if !errors.Is(err, unix.EINTR) {
			c.mine = c.mine && pid != c.pid
			return pid == c.pid
		}
	}
}

func (c *child) close() {
	if c.pidfd >= 0 {
		_ = unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

// become replaces this program by another one, which inherits as by spawn; it returns only with an error, everything being as
// it was.
func become(path string, args, env []string, pass []int, cpus *cpuSet) error {
	undo, err := passOn(pass)
	if err != nil {
		return err
	}
	defer undo()
	onCPUs(cpus, func() { err = syscall.Exec(path, args, env) })
	return fmt.Errorf("exec %s: %w", path, err)
}

func closeFile(fd int) { _ = unix.Close(fd) }

// monotonic returns CLOCK_MONOTONIC, which is one for all processes of the machine.
func monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano())
}
