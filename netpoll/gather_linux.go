package netpoll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Gather has the handler not be told of what comes from c before that is so many bytes, or its stream ends or fails: for who knows
// that something short will come which can wait, and that others like it will. Until Collect is called, a shorter message lies
// where nobody sees it. c may be paused and resumed meanwhile. Where the kernel does not count (a unix socket), nothing changes
// but that Collect looks.
//
// SO_RCVLOWAT counts for epoll since Linux 2.6.28, and does not get in the way of a window that grows since 4.18
// (socket(7); tcp_set_rcvlowat in net/ipv4/tcp.c, tcp_data_ready in net/ipv4/tcp_input.c).
func (l *Loop) Gather(c Conn, least int) {
	if r := l.live(c); r != nil && r.flags&gathering == 0 {
		r.flags |= gathering
		setLowat(r.fd, least)
	}
}

// Collect ends Gather for c: it reads what came, if anything, as if the loop had been told of it, before it returns, and c is told
// of all that comes from then on. was is false where c was not gathering.
func (l *Loop) Collect(c Conn) (was bool) {
	r := l.live(c)
	if r == nil || r.flags&gathering == 0 {
		return false
	}
	if r.flags&paused == 0 {
		l.read(c, r)
	}
	l.scatter(c)
	return true
}

// scatter has the kernel tell of every byte of c again. It looks itself whether there are some now.
func (l *Loop) scatter(c Conn) {
	if r := l.find(c); r != nil && r.flags&gathering != 0 {
		r.flags &^= gathering
		setLowat(r.fd, 1)
	}
}

// scatterAll is for a loop that stands still: who goes on with its connections knows of no gathering.
func (l *Loop) scatterAll() {
	for slot := range l.used {
		if r := &l.conns[slot]; r.flags&gathering != 0 {
			l.scatter(makeConn(slot, r.gen))
		}
	}
}

func setLowat(fd int32, least int) {
	v := int32(least)
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
}
