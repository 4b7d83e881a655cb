package lane

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bell wakes one goroutine that sleeps, also from a thread that waits outside of the Go scheduler. NewBell makes one.
//
// A channel would do the same and be slow: the runtime puts a goroutine that is made runnable into the queue of the thread that did
// it, and a reactor goes back to its wait without looking there. Another thread has to steal it, before which it sleeps for 3 µs
// (runtime.runqgrab), and the kernel makes some 60 of them (timer slack, prctl(2)). A Bell is an eventfd in the runtime's
// netpoller: whoever is rung is run by the thread that the kernel wakes.
type Bell struct {
	file *os.File
	conn syscall.RawConn
	look func(fd uintptr) bool // made once: a closure for each wait would be garbage
	wait func() bool           // of the Wait under way

	mu     sync.RWMutex // held for reading while the bell is rung, so that Close cannot free the descriptor under it
	fd     int
	closed bool
}

// NewBell returns a bell. An error is one of the kernel's: no descriptor to be had.
func NewBell() (*Bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	b := &Bell{file: os.NewFile(uintptr(fd), "bell"), fd: fd}
	if b.conn, err = b.file.SyscallConn(); err != nil {
		_ = b.file.Close()
		return nil, err
	}
	b.look = func(uintptr) bool { return !b.wait() }
	return b, nil
}

// Ring wakes the goroutine in Wait, or the next one to come. After Close it does nothing.
func (b *Bell) Ring() {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return
	}
	one := uint64(1)
	// It cannot block: it would take 2^64 rings to fill the counter.
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(b.fd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// Wait sleeps as long as asleep returns true. It asks again after each ring: what makes asleep return false has to be done before
// Ring. One goroutine at a time may wait. After Close it returns at once.
func (b *Bell) Wait(asleep func() bool) {
	b.wait = asleep
	_ = b.conn.Read(b.look) // an error means that it is closed
}

// Close ends a Wait and frees the descriptor.
func (b *Bell) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return b.file.Close()
}
