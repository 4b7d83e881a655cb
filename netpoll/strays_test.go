package netpoll_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// Connections of which nothing is known are closed with the restoration, and only if New succeeds.
func TestRestoreClosesStrays(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	c, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	a, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	f, err := a.(*net.TCPConn).File() // as if a keeper had it as well
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	in := &netpoll.Restoration{Version: netpoll.StateVersion, Loops: make([][]netpoll.Kept, 2), Strays: []int{fd}}
	if _, err := netpoll.New(netpoll.Config{Loops: 1, Restore: in}, nil); err == nil {
		t.Fatal("the connections of two loops for one")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Fatal("closed although New failed: ", err)
	}
	in.Loops = in.Loops[:1]
	g, err := netpoll.New(netpoll.Config{Loops: 1, Restore: in}, func(*netpoll.Loop) netpoll.Handler { return &hooks{} })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Error("the descriptor is open still: ", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the client was not told")
	}
}
