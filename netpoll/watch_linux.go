package netpoll

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// MaxWatches is how many descriptors of others a loop can watch.
const MaxWatches = wakeSlot - watchSlot

// watching guards the epoll of a loop against its end: the number of a closed descriptor is soon another file's.
type watching struct {
	mu    sync.Mutex
	ended bool
}

func (w *watching) end(closeEpoll func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	closeEpoll()
}

// Watch has the loop tell Config.Ready under a number, below MaxWatches, turn by turn as long as there is something to read from
// fd, which stays the caller's: he calls Unwatch before he closes it, and before a Freeze whose state goes to a successor. The error
// is one of the kernel's, or ErrStopped. Any goroutine may call it.
func (l *Loop) Watch(number, fd int) error {
	if number < 0 || number >= MaxWatches || l.group.cfg.Ready == nil {
		panic(fmt.Sprintf("netpoll: watch %d, Ready set: %v", number, l.group.cfg.Ready != nil))
	}
	l.watching.mu.Lock()
	defer l.watching.mu.Unlock()
	if l.watching.ended {
		return ErrStopped
	}
	if e := epollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, makeConn(watchSlot+uint32(number), 0)); e != 0 {
		return fmt.Errorf("netpoll: epoll_ctl: %w", e)
	}
	return nil
}

// Unwatch ends Watch: Ready is not told of fd in any later turn. Any goroutine may call it.
func (l *Loop) Unwatch(fd int) {
	l.watching.mu.Lock()
	defer l.watching.mu.Unlock()
	if !l.watching.ended {
		epollCtl(l.ep, unix.EPOLL_CTL_DEL, fd, 0, 0)
	}
}
