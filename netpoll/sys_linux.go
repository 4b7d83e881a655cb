package netpoll

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are raw: they do not tell the Go scheduler, which is right only because none of them can block. A call
// that a signal interrupted is repeated here; nobody above sees EINTR.

// eventConn is the Conn that epollCtl put into an event's data.
func eventConn(e *unix.EpollEvent) Conn { return Conn(uint32(e.Fd)) | Conn(uint32(e.Pad))<<32 }

func epollCtl(ep, op, fd int, events uint32, c Conn) syscall.Errno {
	ev := unix.EpollEvent{Events: events, Fd: int32(uint32(c)), Pad: int32(uint32(c >> 32))}
	_, _, e := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return e
}

// arm has an epoll watch a descriptor, whether it does so already or not.
func arm(ep, fd int, events uint32, c Conn) syscall.Errno {
	e := epollCtl(ep, unix.EPOLL_CTL_ADD, fd, events, c)
	if e == unix.EEXIST {
		e = epollCtl(ep, unix.EPOLL_CTL_MOD, fd, events, c)
	}
	return e
}

func recv(fd int32, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

func send(fd int32, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// sendv is writev(2) by its socket form, which alone can be told not to raise SIGPIPE.
func sendv(fd int32, iov []unix.Iovec) (int, syscall.Errno) {
	h := unix.Msghdr{Iov: &iov[0]}
	h.SetIovlen(len(iov))
	for {
		n, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), unix.MSG_NOSIGNAL)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

func iovec(p []byte) unix.Iovec {
	v := unix.Iovec{Base: &p[0]}
	v.SetLen(len(p))
	return v
}

// accept takes one connection off the queue, non-blocking and without CLOEXEC: a successor process inherits it.
func accept(fd int, peer *unix.RawSockaddrAny) (int, syscall.Errno) {
	size := uint32(unsafe.Sizeof(*peer))
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(peer)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK, 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

func getPeer(fd int32, peer *unix.RawSockaddrAny) {
	size := uint32(unsafe.Sizeof(*peer))
	_, _, _ = unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(peer)), uintptr(unsafe.Pointer(&size)))
}

// addrPort reads a socket address; the zero AddrPort stands for what has none (a unix socket). IPv4 in IPv6 is unmapped.
func addrPort(a *unix.RawSockaddrAny) netip.AddrPort {
	switch a.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkPort(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), networkPort(&in.Port))
	}
	return netip.AddrPort{}
}

func networkPort(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

// outQueue returns the bytes sent on fd that the peer has not acknowledged yet (SIOCOUTQ, tcp(7)); for a unix socket, those
// it has not read.
func outQueue(fd int32) int {
	var n int32
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n))); e != 0 {
		return 0
	}
	return int(n)
}

func shutdown(fd int32, how int) {
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
}

// closeFD closes fd. With reset the kernel drops what is unsent and answers RST, so that no orphan stays behind
// (SO_LINGER of zero, socket(7)).
func closeFD(fd int32, reset bool) {
	if reset {
		l := unix.Linger{Onoff: 1}
		_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l), 0)
	}
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

func isInternet(fd int32) bool {
	domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain != unix.AF_UNIX
}

// socketError returns and clears what happened to the socket.
func socketError(fd int32) syscall.Errno {
	v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return syscall.Errno(v)
}

// bell wakes a loop from its wait: an eventfd, edge-triggered in the loop's epoll and so never read. The lock is that of the
// one waker who found the loop asleep against the end of the loop: the number of a closed descriptor is soon another file's.
type bell struct {
	mu    sync.Mutex
	fd    int    // -1 once closed; guarded by mu
	rings uint64 // guarded by mu
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		return
	}
	b.rings++
	one := [8]byte{}
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(b.fd), uintptr(unsafe.Pointer(&one[0])), 8)
}

func (b *bell) count() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rings
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	closeFD(int32(b.fd), false)
	b.fd = -1
}

// setBatch puts the calling thread under SCHED_BATCH (sched(7)): it no longer preempts others when it wakes.
func setBatch() error {
	const schedBatch = 3
	var param int32
	if _, _, e := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, schedBatch, uintptr(unsafe.Pointer(&param))); e != 0 {
		return e
	}
	return nil
}
