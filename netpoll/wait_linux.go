package netpoll

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How a loop waits. A wait through syscall.Syscall gives the P away; with no idle P at hand, sysmon then takes the P back
// every 20 µs, starts threads for it, and never backs off, which costs a fifth of a core and more. A raw wait keeps the P
// and costs what the same loop costs in C. Its price is that sysmon preempts the sleeping loop each 10 ms by a signal
// (EINTR), so after rawTurns waits without an event the loop gives the P away for good, and an idle process costs nothing. It tells
// the runtime that it will block (blockingWait): after a Syscall sysmon looks for 10 ms at intervals of 20 µs and more whether the
// call comes back soon, which is most of the CPU of a process that wakes twice a second.
//
// A raw wait is safe because that signal also comes when the garbage collector wants to stop the world. Without
// asynchronous preemption (GODEBUG=asyncpreemptoff=1) it would not, and with too few Ps the other goroutines would starve:
// then every wait goes through Syscall.
const rawTurns = 3

// longestWait keeps the milliseconds within the 32 bits that the system call takes.
const longestWait = time.Hour

// Procs returns the GOMAXPROCS with which the given number of loops, of all groups, may wait raw: each sleeping loop holds a
// P, and the other goroutines need two at least. Who sets it keeps the runtime from following the CPU limit of a control
// group, which could take the Ps away later.
func Procs(loops int) int { return max(loops+2, runtime.NumCPU()) }

func mayWaitRaw(loops int) bool {
	return runtime.GOMAXPROCS(0) >= loops+2 && !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")
}

// waiter is one loop's epoll as it waits on it.
type waiter struct {
	ep     int
	raw    bool
	empty  int // waits in a row that brought nothing
	events [512]unix.EpollEvent
}

// wait returns the number of events, 0 after timeout or a signal. A negative timeout is for ever.
func (w *waiter) wait(timeout time.Duration) int {
	ms := -1
	if timeout >= 0 {
		ms = int((min(timeout, longestWait) + time.Millisecond - 1) / time.Millisecond)
	}
	var n uintptr
	var e syscall.Errno
	switch {
	case ms == 0 || w.raw && w.empty < rawTurns:
		n, _, e = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.ep), uintptr(unsafe.Pointer(&w.events[0])), uintptr(len(w.events)), uintptr(ms), 0, 0)
	case w.raw:
		n, e = w.blockingWait(ms)
	default:
		n, _, e = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.ep), uintptr(unsafe.Pointer(&w.events[0])), uintptr(len(w.events)), uintptr(ms), 0, 0)
	}
	if e != 0 && e != unix.EINTR {
		panic(fmt.Sprintf("netpoll: epoll_pwait of %d: %v", w.ep, e)) // it would come back at once, for ever
	}
	if e != 0 || n == 0 {
		w.empty++
		return 0
	}
	w.empty = 0
	return int(n)
}

// entersyscallblock gives the P away before a system call that will block, exitsyscall takes one after it. The runtime leaves both
// to be linked like this by others (go.dev/issue/67401); what lies between them must not split the stack.
//
//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

//go:nosplit
func (w *waiter) blockingWait(ms int) (n uintptr, e syscall.Errno) {
	entersyscallblock()
	n, _, e = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.ep), uintptr(unsafe.Pointer(&w.events[0])), uintptr(len(w.events)), uintptr(ms), 0, 0)
	exitsyscall()
	return n, e
}
