package netpoll

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollParams is struct epoll_params of linux/eventpoll.h; padding has to be zero.
type epollParams struct {
	usecs  uint32
	budget uint16
	prefer uint8
	_      uint8
}

// setBusyPoll has an epoll poll the queue that its connections come by. ENOTTY: the kernel is older than 6.9; EPERM: the
// budget is for CAP_NET_ADMIN.
func setBusyPoll(ep int, b BusyPoll) error {
	p := epollParams{usecs: uint32(b.Time / time.Microsecond), budget: uint16(b.Budget)}
	if b.Prefer {
		p.prefer = 1
	}
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(ep), unix.EPIOCSPARAMS, uintptr(unsafe.Pointer(&p)))
	switch {
	case e == 0:
		return nil
	case errors.Is(e, unix.ENOTTY):
		return fmt.Errorf("netpoll: busy polling: this kernel has none for an epoll: %w", e)
	}
	return fmt.Errorf("netpoll: busy polling for %v with a budget of %d: %w", b.Time, b.Budget, e)
}

// busyPoll has the loops' epolls poll, as far as the kernel lets them.
func (g *Group) busyPoll() {
	if g.cfg.BusyPoll.Time < time.Microsecond {
		if g.legacy != nil { // a predecessor's epolls may poll
			for _, l := range g.loops {
				_ = setBusyPoll(l.ep, BusyPoll{})
			}
		}
		return
	}
	for _, l := range g.loops {
		if err := setBusyPoll(l.ep, g.cfg.BusyPoll); err != nil {
			g.report(err) // once: it is the same for each
			return
		}
	}
	g.steer.busyPoll = true
}
