package netpoll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
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
		if source, err = g.adopt([]int{fd}, false, false); err != nil {
			closeFD(int32(fd), false)
			return 0, nil, err
		}
		return source, &net.UnixAddr{Name: address, Net: "unix"}, nil
	case "tcp":
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return 0, nil, fmt.Errorf("netpoll: listen %s: %w", address, err)
		}
		return g.listenTCP(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
	}
	return 0, nil, fmt.Errorf("netpoll: listen %s: unknown network %q", address, network)
}

// Adopt takes listening sockets of one address that somebody else has opened, and closes them in the end. Those of a
// SO_REUSEPORT group, in the order in which they began to listen, are one for each loop if there are as many; the connections
// of fewer, or of one, are handed out to the loops. With an error the sockets stay the caller's.
func (g *Group) Adopt(fds ...int) (source int, err error) {
	for _, fd := range fds {
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
			return 0, fmt.Errorf("netpoll: file %d is no listening socket", fd)
		}
	}
	tcp, err := sameAddress(fds)
	if err != nil {
		return 0, err
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			return 0, fmt.Errorf("netpoll: file %d: %w", fd, err)
		}
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0) // a successor inherits it, as those of Listen
		setTCPOptions(fd, g.cfg.UserTimeout)               // a unix socket refuses them, rightly
	}
	return g.adopt(fds, tcp, true)
}

// sameAddress refuses sockets that are not of one address, and tells whether it is one of TCP.
func sameAddress(fds []int) (tcp bool, err error) {
	if len(fds) == 0 {
		return false, errors.New("netpoll: no socket to adopt")
	}
	var first unix.Sockaddr
	for _, fd := range fds {
		at, err := unix.Getsockname(fd)
		switch {
		case err != nil:
			return false, fmt.Errorf("netpoll: file %d: %w", fd, err)
		case first == nil:
			first = at
		case !reflect.DeepEqual(first, at):
			return false, fmt.Errorf("netpoll: files %d and %d listen at different addresses", fds[0], fd)
		}
	}
	_, local := first.(*unix.SockaddrUnix)
	return !local, nil
}

func (g *Group) newSource(number int, fds []int, tcp, passed bool) *source {
	single := len(g.loops) > 1 && (len(fds) < len(g.loops) || !reusePort(fds))
	return &source{number: number, tcp: tcp, passed: passed, single: single}
}

// adopt has the loops accept from listening sockets.
func (g *Group) adopt(fds []int, tcp, passed bool) (int, error) {
	if g.stopping.Load() {
		return 0, ErrStopped
	}
	if g.paused.Load() {
		return 0, errPaused
	}
	s := g.newSource(g.sources, fds, tcp, passed)
	if passed && tcp && !s.single {
		s.program = program{}
	}
	for i, fd := range fds {
		s.members = append(s.members, member{fd, i % len(g.loops)})
	}
	g.join(s, 0)
	for i, fd := range fds {
		if !g.loops[i%len(g.loops)].listen(accepter{fd, s}) {
			s.close(fd)
		}
	}
	g.sources++
	return s.number, nil
}

// reusePort says whether sockets may be a SO_REUSEPORT group.
func reusePort(fds []int) bool {
	for _, fd := range fds {
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT); err != nil || v != 1 {
			return false
		}
	}
	return true
}

// listenTCP opens the sockets in the order of their loops: that is their order in the kernel's group.
func (g *Group) listenTCP(ap netip.AddrPort) (source int, addr net.Addr, err error) {
	if ap.Port() != 0 {
		if err := portFree(ap); err != nil {
			return 0, nil, err
		}
	}
	fds := make([]int, 0, len(g.loops))
	closeAll := func() {
		for _, fd := range fds {
			closeFD(int32(fd), false)
		}
	}
	for range g.loops {
		fd, err := listenSocket(ap, true, g.cfg.UserTimeout)
		if err != nil {
			closeAll()
			return 0, nil, err
		}
		fds = append(fds, fd)
		if ap.Port() == 0 {
			ap = netip.AddrPortFrom(ap.Addr(), boundPort(fd))
		}
	}
	if source, err = g.adopt(fds, true, false); err != nil {
		closeAll()
		return 0, nil, err
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
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
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

// listenUnix binds a path. The socket of a process that has died is removed; one that answers is somebody else's, and so is
// a file of another kind, which refuses a connection in the same words.
func listenUnix(path string) (int, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return 0, fmt.Errorf("netpoll: listen %s: %w", path, syscall.EADDRINUSE)
	} else if errors.Is(err, syscall.ECONNREFUSED) && isSocket(path) {
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

func isSocket(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
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
