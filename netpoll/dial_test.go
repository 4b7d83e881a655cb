package netpoll_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"edged/netpoll"
)

type dialEvent struct {
	what string // "opened" or "closed"
	c    netpoll.Conn
	tag  uint32
	why  error
}

// dialler is a loop that tells what becomes of its connections.
func dialler(t *testing.T, cfg netpoll.Config) (*netpoll.Loop, chan dialEvent) {
	events := make(chan dialEvent, 100)
	l, _ := serve(t, cfg, func(h *hooks) {
		h.opened = func(c netpoll.Conn, source int) {
			if source != netpoll.Dialled {
				t.Errorf("source %d", source)
			}
			events <- dialEvent{"opened", c, h.loop.Tag(c), nil}
		}
		h.closed = func(c netpoll.Conn, why error) { events <- dialEvent{"closed", c, h.loop.Tag(c), why} }
	})
	return l, events
}

func dialOn(t *testing.T, l *netpoll.Loop, to string, from netip.Addr, tag uint32) (c netpoll.Conn, err error) {
	t.Helper()
	on(t, l, func() { c, err = l.Dial(netip.MustParseAddrPort(to), from, tag) })
	return c, err
}

func TestDial(t *testing.T) {
	for _, tc := range []struct{ name, listen, from string }{
		{"IPv4", "127.0.0.1:0", ""},
		{"from an address", "127.0.0.1:0", "127.0.0.9"},
		{"IPv6", "[::1]:0", ""},
		{"IPv6 from an address", "[::1]:0", "::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, err := net.Listen("tcp", tc.listen)
			if err != nil {
				t.Skip(err)
			}
			defer func() { _ = server.Close() }()
			var from netip.Addr
			if tc.from != "" {
				from = netip.MustParseAddr(tc.from)
			}
			l, events := dialler(t, netpoll.Config{})
			c, err := dialOn(t, l, server.Addr().String(), from, 99)
			if err != nil {
				t.Fatal(err)
			}
			peer, err := server.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if e := wait(t, events, "the connection"); e != (dialEvent{"opened", c, 99, nil}) {
				t.Errorf("%+v", e)
			}
			if host := peer.RemoteAddr().(*net.TCPAddr).IP.String(); tc.from != "" && host != tc.from {
				t.Errorf("came from %s, want %s", host, tc.from)
			}
			on(t, l, func() {
				if got := l.Remote(c).String(); got != server.Addr().String() {
					t.Errorf("the peer is %s", got)
				}
				l.Write(c, []byte("hello"))
			})
			mustRead(t, peer, 5)
			_ = peer.Close()
			if e := wait(t, events, "the end"); e != (dialEvent{"closed", c, 99, io.EOF}) {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestDialRefused(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := server.Addr().String()
	_ = server.Close()
	l, events := dialler(t, netpoll.Config{})
	c, err := dialOn(t, l, addr, netip.Addr{}, 5)
	if err == nil {
		e := wait(t, events, "the refusal")
		if e.what != "closed" || e.c != c || e.tag != 5 {
			t.Errorf("%+v", e)
		}
		err = e.why
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused with %v", err)
	}
	if s := stats(t, l); s.Conns != 0 {
		t.Errorf("%d connections left", s.Conns)
	}
}

func TestDialThatCannotBegin(t *testing.T) {
	l, events := dialler(t, netpoll.Config{MaxConns: 1})
	on(t, l, func() {
		for _, tc := range []struct {
			to   netip.AddrPort
			from netip.Addr
		}{
			{netip.AddrPort{}, netip.Addr{}},
			{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddr("192.0.2.1")},
			{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddr("::1")},
		} {
			if c, err := l.Dial(tc.to, tc.from, 0); err == nil {
				t.Errorf("dialled %v from %v: %#x", tc.to, tc.from, c)
			}
		}
	})
	full := fullListener(t)
	if _, err := dialOn(t, l, full, netip.Addr{}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := dialOn(t, l, full, netip.Addr{}, 0); err == nil {
		t.Error("dialled without a slot")
	}
	if n := len(events); n != 0 {
		t.Errorf("%d events", n)
	}
}

// fullListener returns the address of a listener whose queue is full: who dials it goes on dialling.
func fullListener(t *testing.T) (addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port)).String()
	c, err := net.DialTimeout("tcp", addr, limit) // a queue of 0 takes one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return addr
}

func TestDialGivenUp(t *testing.T) {
	addr := fullListener(t)
	for name, end := range map[string]func(l *netpoll.Loop, c netpoll.Conn){
		"close": func(l *netpoll.Loop, c netpoll.Conn) { l.Close(c, []byte("to nobody")) },
		"abort": func(l *netpoll.Loop, c netpoll.Conn) { l.Abort(c) },
	} {
		t.Run(name, func(t *testing.T) {
			l, events := dialler(t, netpoll.Config{})
			c, err := dialOn(t, l, addr, netip.Addr{}, 3)
			if err != nil {
				t.Fatal(err)
			}
			on(t, l, func() {
				if l.Write(c, []byte("too early")) || l.Tag(c) != 3 {
					t.Error("a dialling connection took output, or has no tag")
				}
				end(l, c)
				end(l, c)
				if s := l.Stats(); s.Conns != 0 || s.Lingering != 0 {
					t.Errorf("%+v", s)
				}
			})
			if e := wait(t, events, "the end"); e != (dialEvent{"closed", c, 3, nil}) {
				t.Errorf("%+v", e)
			}
			if n := len(events); n != 0 {
				t.Errorf("%d more events", n)
			}
		})
	}
}
