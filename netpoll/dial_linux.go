package netpoll

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Dial opens a connection to addr; from, where valid, is the local address to use. Opened follows with Dialled, or Closed
// alone when nobody answers. The loop's thread only.
func (l *Loop) Dial(addr netip.AddrPort, from netip.Addr, tag uint32) (Conn, error) {
	if !addr.IsValid() {
		return 0, errors.New("netpoll: dial: no address")
	}
	addr, from = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), from.Unmap()
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
	var c Conn
	if err == nil {
		c, err = l.adopt(fd, connecting|dialled, unix.EPOLLOUT)
	}
	if err != nil {
		closeFD(int32(fd), false)
		return 0, fmt.Errorf("netpoll: dial %s: %w", addr, err)
	}
	l.conns[c.slot()].tag = tag
	return c, nil
}
