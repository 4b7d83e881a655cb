package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// listen takes every listener's socket. It is called again when a drain is taken back, with the addresses that it found the
// first time; netpoll then gives each listener another number.
//
// kept are the sockets that a predecessor's netpoll had, by the listeners' places.
func (g *Gateway) listen(kept map[int]int) error {
	if g.draining.Load() && !g.life.started { // a predecessor began to drain
		return nil
	}
	var sources []uint8
	if known := g.sources.Load(); known != nil {
		sources = append(sources, *known...)
	}
	// No link is taken before this: the shards refuse while draining, or have not started.
	defer func() { g.sources.Store(&sources) }()
	for i, l := range g.listeners[:len(g.addresses)] {
		if _, open := kept[i]; open {
			continue
		}
		if l.Kind != "tcp" {
			return fmt.Errorf("gateway: listener %q: kind %q is not served by this version", l.Name, l.Kind)
		}
		source, err := g.take(i)
		if err != nil {
			return fmt.Errorf("gateway: listener %q: %w", l.Name, err)
		}
		for len(sources) <= source {
			sources = append(sources, uint8(i))
		}
	}
	return nil
}

// take takes the socket of one listener: one that was passed under its name, or a new one.
func (g *Gateway) take(i int) (source int, err error) {
	name, wanted := strings.CutPrefix(g.listeners[i].Address, "systemd:")
	if !wanted {
		name = g.listeners[i].Name
	}
	if fds, ok := g.passed[name]; ok {
		return g.adopt(i, fds)
	}
	if wanted {
		return 0, fmt.Errorf("%s: no socket of that name was passed to this process", g.listeners[i].Address)
	}
	network, address := "tcp", g.addresses[i]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	source, addr, err := g.group.Listen(network, address)
	if err == nil && network == "tcp" && !g.life.started {
		g.addresses[i] = addr.String()
	}
	return source, err
}

// adopt takes duplicates of passed sockets, so that there are some to listen on again after a drain that is taken back.
func (g *Gateway) adopt(i int, fds []int) (source int, err error) {
	var own []int
	for _, fd := range fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
		if err != nil {
			closeAll(own)
			return 0, fmt.Errorf("passed socket %d: %w", fd, err)
		}
		own = append(own, copied)
	}
	if source, err = g.group.Adopt(own...); err != nil {
		closeAll(own)
		return 0, err
	}
	if !g.life.started {
		g.addresses[i] = boundAddress(own[0])
	}
	return source, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// boundAddress is where a passed socket listens.
func boundAddress(fd int) string {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "unknown"
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrUnix:
		return "unix:" + sa.Name
	}
	return "unknown"
}

// listenerOf returns the place in the configuration of the listener with that number in netpoll.
func (g *Gateway) listenerOf(source int) int { return int((*g.sources.Load())[source]) }

// advertised chooses the address of the link IDs: the first listener's that has one, with the box's own address for a
// wildcard.
func advertised(addresses []string) string {
	for _, a := range addresses {
		ap, err := netip.ParseAddrPort(a)
		if err != nil {
			continue
		}
		if ap.Addr().IsUnspecified() {
			ap = netip.AddrPortFrom(ownAddress(), ap.Port())
		}
		return ap.String()
	}
	return "127.0.0.1:0"
}

// ownAddress is the address from which this box would speak to the world. Connecting a UDP socket sends nothing.
func ownAddress() netip.Addr {
	if c, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		defer func() { _ = c.Close() }()
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			return a.AddrPort().Addr().Unmap()
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
