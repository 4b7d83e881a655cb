package netpoll

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

var errFull = errors.New("every slot is taken")

// accepting is one loop's listeners. Owned by the loop.
type accepting struct {
	fds     []accepter
	paused  bool // no file descriptors: not armed until retryAt
	off     bool // by Group.Pause, or before Start of a group that inherits: not armed
	retryAt time.Duration
	last    Conn // whose peer address is at hand
	peer    unix.RawSockaddrAny
	even    even
	seen    uint // connections that it was to be decided about whether to look at them
}

type accepter struct {
	fd     int // -1 once given up
	source *source
}

// listen adds a listener: at once before the group starts, else as soon as the loop comes to it; false when the loop has
// stopped.
func (l *Loop) listen(a accepter) bool {
	if l.group.started.Load() {
		return l.Post(func() { l.accepts.add(l, a) })
	}
	l.accepts.add(l, a)
	return true
}

func (a *accepting) add(l *Loop, from accepter) {
	a.fds = append(a.fds, from)
	if !a.paused && !a.off && !a.watch(l, len(a.fds)-1) {
		a.pause(l)
	}
}

// watch has epoll report connections to accept; false when it cannot.
func (a *accepting) watch(l *Loop, n int) bool {
	return arm(l.ep, a.fds[n].fd, unix.EPOLLIN, makeConn(listenSlot+uint32(n), 0)) == 0
}

func (a *accepting) unwatch(l *Loop, n int) {
	epollCtl(l.ep, unix.EPOLL_CTL_DEL, a.fds[n].fd, 0, 0)
}

// pause leaves the listeners alone for a while: they would be reported again and again while no descriptor is to be had.
func (a *accepting) pause(l *Loop) {
	if a.paused {
		return
	}
	a.paused = true
	a.retryAt = l.now + retryAccept
	for n := range a.fds {
		a.unwatch(l, n)
	}
}

func (a *accepting) resume(l *Loop) {
	a.paused = false
	if a.off {
		return
	}
	for n := range a.fds {
		if a.fds[n].fd >= 0 && !a.watch(l, n) {
			a.pause(l)
			return
		}
	}
}

// turnOff leaves who connects in the kernel's queue, until turnOn.
func (a *accepting) turnOff(l *Loop) {
	a.off = true
	for n := range a.fds {
		a.unwatch(l, n)
	}
}

func (a *accepting) turnOn(l *Loop) {
	a.off = false
	if !a.paused {
		a.resume(l)
	}
}

// drop gives up a listener that will never accept again.
func (a *accepting) drop(l *Loop, n int, why error) {
	l.group.report(fmt.Errorf("netpoll: accept from listener %d on loop %d: %w", a.fds[n].source.number, l.number, why))
	a.unwatch(l, n)
	a.fds[n].source.lose(a.fds[n].fd, l.now+l.group.steer.settle)
	a.fds[n].fd = -1 // its place names the others
}

// close ends listening: who connects from now on is refused by the kernel.
func (a *accepting) close(l *Loop) {
	for n := range a.fds {
		if a.fds[n].fd >= 0 {
			a.unwatch(l, n)
			a.fds[n].source.close(a.fds[n].fd)
		}
	}
	a.fds, a.paused = nil, false
}

// acceptFrom takes a batch of connections from one listener.
func (l *Loop) acceptFrom(n int) {
	if n >= len(l.accepts.fds) || l.accepts.fds[n].fd < 0 {
		return
	}
	from := l.accepts.fds[n]
	for range acceptBatch {
		fd, e := accept(from.fd, &l.accepts.peer)
		switch e {
		case 0:
			l.place(fd, from.source)
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.stats.NoFiles++
			l.accepts.pause(l)
			return
		case unix.EINVAL, unix.EBADF, unix.ENOTSOCK: // who shares the socket has shut it down
			l.accepts.drop(l, n, e)
			return
		default: // the connection was reset before it was accepted, or the network refused it: the next one may be fine
		}
	}
}

// takeOver opens a connection that another loop has accepted.
func (l *Loop) takeOver(fd, source int) {
	l.accepts.peer = unix.RawSockaddrAny{}
	getPeer(int32(fd), &l.accepts.peer)
	l.open(fd, source)
}

// open gives an accepted connection, whose peer's address is at hand, a slot and its handler.
func (l *Loop) open(fd, source int) {
	c, err := l.adopt(fd, open, unix.EPOLLIN)
	if err != nil {
		l.stats.Refused++
		closeFD(int32(fd), true)
		return
	}
	l.stats.Accepts++
	l.accepts.last = c
	l.handler.Opened(c, source)
	l.accepts.last = 0
}

// adopt gives a descriptor a slot and a place in the epoll.
func (l *Loop) adopt(fd int, state flags, events uint32) (Conn, error) {
	slot, ok := l.take(fd)
	if !ok {
		return 0, errFull
	}
	r := &l.conns[slot]
	c := makeConn(slot, r.gen)
	if e := epollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, events, c); e != 0 { // ENOSPC: fs.epoll.max_user_watches; ENOMEM
		l.slots.giveBack(slot)
		return 0, e
	}
	r.flags = state
	l.note(c, r)
	l.stats.Conns++
	l.placed.conns.Store(int64(l.stats.Conns))
	return c, nil
}
