package netpoll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// backlog is asked for; the kernel cuts it to net.core.somaxconn.
const backlog = 65535

// notSentLowat bounds what the kernel takes ahead of what it has sent (TCP_NOTSENT_LOWAT), so that the loop's own queue
// says how far behind a peer is.
const notSentLowat = 16 << 10

// accepting is one loop's listeners. Owned by the loop.
type accepting struct {
	fds     []accepter
	paused  bool // no file descriptors: not armed until retryAt
	retryAt time.Duration
	last    Conn // whose peer address is at hand
	peer    unix.RawSockaddrAny
}

type accepter struct {
	fd     int
	source int
	shared bool // the group's only socket of this address: connections are handed out
}

// Listen opens a socket for each loop, a SO_REUSEPORT group, or one for all where the network has no such thing. network is
// "tcp" with IP:port ("[::]:port" takes IPv4 as well) or "unix" with a path. It returns the number that Opened will name and
// the address, which tells the port that was chosen for port 0.
func (g *Group) Listen(network, address string) (source int, addr net.Addr, err error) {
	switch network {
	case "unix":
		fd, err := listenUnix(address)
		if err != nil {
			return 0, nil, err
		}
		return g.adopt(fd), &net.UnixAddr{Name: address, Net: "unix"}, nil
	case "tcp":
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return 0, nil, fmt.Errorf("netpoll: listen %s: %w", address, err)
		}
		return g.listenTCP(ap)
	}
	return 0, nil, fmt.Errorf("netpoll: listen %s: unknown network %q", address, network)
}

// Adopt takes a listening socket that somebody else has opened; connections are handed out to the loops.
func (g *Group) Adopt(fd int) (source int, err error) {
	if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
		return 0, fmt.Errorf("netpoll: file %d is no listening socket", fd)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return 0, fmt.Errorf("netpoll: file %d: %w", fd, err)
	}
	setTCPOptions(fd, g.cfg.UserTimeout) // a unix socket refuses them, rightly
	return g.adopt(fd), nil
}

func (g *Group) adopt(fd int) int {
	source := g.sources
	g.sources++
	g.loops[0].listen(accepter{fd, source, len(g.loops) > 1})
	return source
}

func (g *Group) listenTCP(ap netip.AddrPort) (int, net.Addr, error) {
	if ap.Port() != 0 {
		if err := portFree(ap); err != nil {
			return 0, nil, err
		}
	}
	fds := make([]int, 0, len(g.loops))
	for range g.loops {
		fd, err := listenSocket(ap, true, g.cfg.UserTimeout)
		if err != nil {
			for _, fd := range fds {
				closeFD(int32(fd), false)
			}
			return 0, nil, err
		}
		fds = append(fds, fd)
		if ap.Port() == 0 {
			ap = netip.AddrPortFrom(ap.Addr(), boundPort(fd))
		}
	}
	source := g.sources
	g.sources++
	for i, l := range g.loops {
		l.listen(accepter{fd: fds[i], source: source})
	}
	return source, net.TCPAddrFromAddrPort(ap), nil
}

// portFree tells a port that another process of this user listens on: a SO_REUSEPORT socket would join its group in silence
// and take half of its connections.
func portFree(ap netip.AddrPort) error {
	fd, err := listenSocket(ap, false, 0)
	if err != nil {
		return err
	}
	closeFD(int32(fd), false)
	return nil
}

func listenSocket(ap netip.AddrPort, group bool, userTimeout time.Duration) (int, error) {
	fail := func(call string, err error) error { return fmt.Errorf("netpoll: listen %s: %s: %w", ap, call, err) }
	family := unix.AF_INET
	if ap.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fail("socket", err)
	}
	opt := unix.SO_REUSEADDR
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, 1)
	if err == nil && group {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil && family == unix.AF_INET6 {
		v6only := 1
		if ap.Addr() == netip.IPv6Unspecified() {
			v6only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
	}
	if err == nil {
		setTCPOptions(fd, userTimeout)
		err = unix.Bind(fd, sockaddr(ap))
	}
	if err == nil && group {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		closeFD(int32(fd), false)
		return 0, fail("bind", err)
	}
	return fd, nil
}

// setTCPOptions sets on the listener what each accepted connection inherits, at no system call for it.
func setTCPOptions(fd int, userTimeout time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
}

// listenUnix binds a path. The file of a process that has died is removed; one that answers is somebody else's.
func listenUnix(path string) (int, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return 0, fmt.Errorf("netpoll: listen %s: %w", path, syscall.EADDRINUSE)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = unix.Unlink(path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("netpoll: listen %s: socket: %w", path, err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		closeFD(int32(fd), false)
		return 0, fmt.Errorf("netpoll: listen %s: bind: %w", path, err)
	}
	return fd, nil
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	if zone := ap.Addr().Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(strings.TrimSpace(zone)); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return sa
}

func boundPort(fd int) uint16 {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	}
	return 0
}

// listen adds a listener: at once before the group starts, else as soon as the loop comes to it.
func (l *Loop) listen(a accepter) {
	add := func() {
		l.accepts.fds = append(l.accepts.fds, a)
		epollCtl(l.ep, unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN, makeConn(listenSlot+uint32(len(l.accepts.fds)-1), 0))
	}
	if !l.group.started.Load() {
		add()
	} else if !l.Post(add) {
		closeFD(int32(a.fd), false)
	}
}

// arm has epoll report, or not report, connections to accept.
func (a *accepting) arm(l *Loop, events uint32) {
	for i := range a.fds {
		epollCtl(l.ep, unix.EPOLL_CTL_MOD, a.fds[i].fd, events, makeConn(listenSlot+uint32(i), 0))
	}
}

// pause leaves the listeners alone for a while: they would be reported again and again while no descriptor is to be had.
func (a *accepting) pause(l *Loop) {
	if !a.paused {
		a.paused = true
		a.retryAt = l.now + retryAccept
		a.arm(l, 0)
	}
}

func (a *accepting) resume(l *Loop) {
	a.paused = false
	a.arm(l, unix.EPOLLIN)
}

// close ends listening: who connects from now on is refused by the kernel.
func (a *accepting) close(l *Loop) {
	for i := range a.fds {
		epollCtl(l.ep, unix.EPOLL_CTL_DEL, a.fds[i].fd, 0, 0)
		closeFD(int32(a.fds[i].fd), false)
	}
	a.fds, a.paused = nil, false
}

// acceptFrom takes a batch of connections from one listener.
func (l *Loop) acceptFrom(n int) {
	if n >= len(l.accepts.fds) {
		return
	}
	from := l.accepts.fds[n]
	for range acceptBatch {
		fd, e := accept(from.fd, &l.accepts.peer)
		switch e {
		case 0:
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.stats.NoFiles++
			l.accepts.pause(l)
			return
		default: // the connection was reset before it was accepted, or the network refused it: the next one may be fine
			continue
		}
		l.accepts.last = 0
		if from.shared {
			if to := l.group.placeFor(fd); to != l {
				source := from.source
				if !to.Post(func() { to.open(fd, source) }) {
					closeFD(int32(fd), false)
				}
				continue
			}
		}
		l.open(fd, from.source)
	}
}

// open gives an accepted connection a slot and its handler.
func (l *Loop) open(fd, source int) {
	slot, ok := l.take(fd)
	if !ok {
		l.stats.Refused++
		closeFD(int32(fd), true)
		return
	}
	r := &l.conns[slot]
	c := makeConn(slot, r.gen)
	r.flags = open
	if e := epollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, c); e != 0 {
		// ENOSPC: fs.epoll.max_user_watches; ENOMEM.
		l.stats.Refused++
		l.slots.giveBack(slot)
		closeFD(int32(fd), true)
		return
	}
	l.stats.Accepts++
	l.stats.Conns++
	l.accepts.last = c
	l.handler.Opened(c, source)
	l.accepts.last = 0
}

// Dial opens a connection to addr; from, where valid, is the local address to use. Opened follows with Dialled, or Closed
// alone when nobody answers. The loop's thread only.
func (l *Loop) Dial(addr netip.AddrPort, from netip.Addr, tag uint32) (Conn, error) {
	family := unix.AF_INET
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("netpoll: dial %s: socket: %w", addr, err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if from.IsValid() {
		// The port is chosen at connect, so that one local address serves 28,000 connections to each target.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0)))
	}
	if err == nil {
		if err = unix.Connect(fd, sockaddr(addr)); errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
	}
	slot, ok := uint32(0), false
	if err == nil {
		if slot, ok = l.take(fd); !ok {
			err = errors.New("every slot is taken")
		}
	}
	if err != nil {
		closeFD(int32(fd), false)
		return 0, fmt.Errorf("netpoll: dial %s: %w", addr, err)
	}
	r := &l.conns[slot]
	r.flags, r.tag = connecting, tag
	l.stats.Conns++
	c := makeConn(slot, r.gen)
	epollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, unix.EPOLLOUT, c)
	return c, nil
}
