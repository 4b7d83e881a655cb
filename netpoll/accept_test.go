package netpoll_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

func TestAcceptStorm(t *testing.T) {
	const clients, atOnce = 2000, 50
	var opened, closed atomic.Int64
	g := newGroup(t, netpoll.Config{Loops: 2, MaxConns: clients}, func(h *hooks) {
		echoFrames(h)
		h.opened = func(netpoll.Conn, int) { opened.Add(1) }
		h.closed = func(netpoll.Conn, error) { closed.Add(1) }
	})
	addr := listen(t, g)
	g.Start()
	var wg sync.WaitGroup
	conns := make(chan net.Conn, clients)
	for range atOnce {
		wg.Go(func() {
			for range clients / atOnce {
				c, err := net.DialTimeout("tcp", addr, limit)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(limit))
				if _, err := c.Write([]byte{0, 1, 'x'}); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(c, make([]byte, 3)); err != nil {
					t.Error(err)
				}
				conns <- c
			}
		})
	}
	wg.Wait()
	close(conns)
	for c := range conns {
		_ = c.Close()
	}
	var accepts uint64
	for _, l := range g.Loops() {
		until(t, l, "the ends", func() bool { return l.Stats().Conns == 0 })
		s := stats(t, l)
		accepts += s.Accepts
		if s.Accepts == 0 {
			t.Errorf("loop %d had no part in the storm", l.Number())
		}
	}
	if accepts != clients || opened.Load() != clients || closed.Load() != clients {
		t.Errorf("accepted %d, opened %d, closed %d of %d", accepts, opened.Load(), closed.Load(), clients)
	}
}

func TestMaxConns(t *testing.T) {
	const most = 3
	l, addr := serve(t, netpoll.Config{MaxConns: most}, echoFrames)
	check := func(c *net.TCPConn) {
		t.Helper()
		mustWrite(t, c, []byte{0, 1, 'x'})
		mustRead(t, c, 3)
	}
	var in []*net.TCPConn
	for range most {
		c := dial(t, addr)
		check(c)
		in = append(in, c)
	}
	for i := range 5 {
		c, err := net.DialTimeout("tcp", addr, limit)
		if err == nil { // the reset may come before or after the client knows that it is connected
			_ = c.SetDeadline(time.Now().Add(limit))
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("one too many was told %v", err)
		}
		if s := stats(t, l); s.Refused != uint64(i+1) || s.Conns != most || s.Accepts != most {
			t.Errorf("%+v", s)
		}
	}
	_ = in[1].Close()
	until(t, l, "a slot", func() bool { return l.Stats().Conns == most-1 })
	check(dial(t, addr))
	check(in[0])
	check(in[2])
}

// Out of descriptors a loop goes on with the connections that it has, without turning all the time, and accepts again as soon
// as there are some.
func TestOutOfFiles(t *testing.T) {
	if !isChild() {
		child(t)
		return
	}
	const many, few = 100, 40
	g := newGroup(t, netpoll.Config{Linger: time.Millisecond}, echoFrames)
	addr := listen(t, g)
	g.Start()
	l := g.Loops()[0]
	check := func(c *net.TCPConn) {
		t.Helper()
		mustWrite(t, c, []byte{0, 1, 'x'})
		mustRead(t, c, 3)
	}
	pass := newClock(t)
	late, lateAddr := passed(t)
	first := dial(t, addr)
	check(first)
	var clients []*net.TCPConn
	on(t, l, func() { // the loop is here: its clients have their descriptors before it can accept
		for range many {
			clients = append(clients, dial(t, addr))
		}
		clients = append(clients, dial(t, lateAddr))
		leaveFiles(t, few)
	})
	until(t, l, "the lack of descriptors", func() bool { return l.Stats().NoFiles > 0 })
	check(first)
	if _, err := g.Adopt(late); err != nil { // a listener that comes now, with somebody waiting at it
		t.Fatal(err)
	}
	before := stats(t, l)
	pass(350 * time.Millisecond)
	after := stats(t, l)
	if n := after.NoFiles - before.NoFiles; n < 2 || n > 20 {
		t.Errorf("%d tries in 350 ms", n)
	}
	if n := after.Wakeups - before.Wakeups; n > 60 {
		t.Errorf("%d turns in 350 ms", n)
	}
	if after.Accepts > few+1 {
		t.Fatalf("%d accepted with %d descriptors", after.Accepts, few)
	}
	for _, c := range clients[:few] { // they leave, and their descriptors are for the others
		_ = c.Close()
	}
	for _, c := range clients[few:] {
		check(c)
	}
}

// leaveFiles has this process open n more descriptors at most.
func leaveFiles(t *testing.T, n uint64) {
	t.Helper()
	lowest, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(lowest)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest) + n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
}

func TestListenOnATakenPort(t *testing.T) {
	for _, reusePort := range []bool{false, true} {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			_ = c.Control(func(fd uintptr) {
				if reusePort {
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
				}
			})
			return err
		}}
		other, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
		if _, _, err = g.Listen("tcp", other.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("reuse port %v: %v", reusePort, err)
		}
		_ = other.Close()
		if _, _, err = g.Listen("tcp", other.Addr().String()); err != nil {
			t.Errorf("free again: %v", err)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	g := newGroup(t, netpoll.Config{}, echoFrames)
	for _, a := range [][2]string{{"udp", "127.0.0.1:0"}, {"tcp", "localhost"}, {"tcp", "192.0.2.1:1"}, {"unix", "/nonexistent/x"}, {"tcp", ""}} {
		if _, _, err := g.Listen(a[0], a[1]); err == nil {
			t.Errorf("%v was taken", a)
		}
	}
}

func TestSourcesAreTold(t *testing.T) {
	sources := make(chan int, 1)
	g := newGroup(t, netpoll.Config{}, func(h *hooks) { h.opened = func(_ netpoll.Conn, s int) { sources <- s } })
	var addrs []string
	for i := range 2 {
		s, addr, err := g.Listen("tcp", "127.0.0.1:0")
		if err != nil || s != i {
			t.Fatalf("source %d, %v", s, err)
		}
		addrs = append(addrs, addr.String())
	}
	g.Start()
	s, addr, err := g.Listen("tcp", "127.0.0.1:0") // while it runs
	if err != nil || s != 2 {
		t.Fatalf("source %d, %v", s, err)
	}
	for want, addr := range append(addrs, addr.String()) {
		dial(t, addr)
		if got := wait(t, sources, "the connection"); got != want {
			t.Errorf("source %d, want %d", got, want)
		}
	}
}

func TestStopAcceptingAndListenAgain(t *testing.T) {
	for _, started := range []bool{false, true} {
		g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
		addr := listen(t, g)
		if started {
			g.Start()
		}
		check := func(c *net.TCPConn) {
			t.Helper()
			mustWrite(t, c, []byte{0, 1, 'x'})
			mustRead(t, c, 3)
		}
		var stays *net.TCPConn
		if started {
			stays = dial(t, addr)
			check(stays)
		}
		g.StopAccepting()
		if c, err := net.DialTimeout("tcp", addr, limit); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialled %v, %v after StopAccepting", c, err)
		}
		if _, _, err := g.Listen("tcp", addr); err != nil {
			t.Fatal(err)
		}
		g.Start()
		check(dial(t, addr))
		if stays != nil {
			check(stays)
		}
	}
}

func TestDualStack(t *testing.T) {
	remotes := make(chan string, 1)
	g := newGroup(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { remotes <- h.loop.Remote(c).String() }
	})
	_, addr, err := g.Listen("tcp", "[::]:0")
	if err != nil {
		t.Skip("no IPv6: ", err)
	}
	_, addr6, err := g.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 loopback: ", err)
	}
	_, mapped, err := g.Listen("tcp", "[::ffff:127.0.0.1]:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	_, port, _ := net.SplitHostPort(addr.String())
	for _, a := range []string{"127.0.0.1:" + port, "[::1]:" + port, addr6.String(), mapped.String()} {
		c := dial(t, a)
		if got, want := wait(t, remotes, "the connection"), c.LocalAddr().String(); got != want {
			t.Errorf("peer of %s is %s, want %s", a, got, want)
		}
	}
}

func TestUnixListenerHandsOut(t *testing.T) {
	const clients = 60
	var seen [3]atomic.Int64
	g := newGroup(t, netpoll.Config{Loops: 3}, func(h *hooks) {
		echoFrames(h)
		h.opened = func(c netpoll.Conn, source int) {
			if remote := h.loop.Remote(c); remote.IsValid() != (source == 0) {
				t.Errorf("a peer of source %d at %v", source, remote)
			}
			seen[h.loop.Number()].Add(1)
		}
	})
	path := t.TempDir() + "/edge"
	tcp := listen(t, g)
	if _, _, err := g.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	g.Start()
	dial(t, tcp) // whose address is not to be taken for the others'
	for range clients {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(limit))
		mustWrite(t, c, []byte{0, 1, 'x'})
		mustRead(t, c, 3)
		_ = c.Close()
	}
	for i := range seen {
		if seen[i].Load() < clients/6 {
			t.Errorf("loop %d got %d of %d", i, seen[i].Load(), clients)
		}
	}
}

func TestUnixSocketFiles(t *testing.T) {
	path := t.TempDir() + "/edge"
	first := newGroup(t, netpoll.Config{}, echoFrames)
	if _, _, err := first.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	second := newGroup(t, netpoll.Config{}, echoFrames)
	if _, _, err := second.Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that is listened on: %v", err)
	}
	first.Stop()
	if _, _, err := second.Listen("unix", path); err != nil {
		t.Errorf("the socket of one that is gone: %v", err)
	}

	precious := t.TempDir() + "/precious"
	if err := os.WriteFile(precious, []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := second.Listen("unix", precious); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a file that is no socket: %v", err)
	}
	if b, err := os.ReadFile(precious); string(b) != "of somebody else" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

// passed returns a listening socket as a supervisor would pass it, and its address.
func passed(t testing.TB) (fd int, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err = unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Close(), l.Close()
	return fd, l.Addr().String()
}

func TestAdopt(t *testing.T) {
	type told struct {
		loop   int
		remote string
	}
	opened := make(chan told, 1)
	g := newGroup(t, netpoll.Config{Loops: 3}, func(h *hooks) {
		echoFrames(h)
		h.opened = func(c netpoll.Conn, _ int) { opened <- told{h.loop.Number(), h.loop.Remote(c).String()} }
	})
	fd, addr := passed(t)
	if _, err := g.Adopt(fd); err != nil {
		t.Fatal(err)
	}
	g.Start()
	seen := map[int]int{}
	for range 30 {
		c := dial(t, addr)
		got := wait(t, opened, "the connection")
		if want := c.LocalAddr().String(); got.remote != want {
			t.Errorf("loop %d: peer %s, want %s", got.loop, got.remote, want)
		}
		seen[got.loop]++
	}
	if len(seen) != 3 {
		t.Errorf("handed out to %v", seen)
	}
}

func TestAdoptRefuses(t *testing.T) {
	g := newGroup(t, netpoll.Config{}, echoFrames)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) }()
	for _, fd := range []int{pair[0], 0, -1, 1 << 20} {
		if _, err := g.Adopt(fd); err == nil {
			t.Errorf("file %d was adopted", fd)
		}
	}
}

// Who shares a listening socket may shut it down: it reports for ever what no accept can take away.
func TestListenerShutDownByAnother(t *testing.T) {
	fd, _ := passed(t)
	other, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t, netpoll.Config{}, echoFrames)
	if _, err := g.Adopt(fd); err != nil {
		t.Fatal(err)
	}
	addr := listen(t, g)
	g.Start()
	if err := unix.Shutdown(other, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(other)
	for end := time.Now().Add(limit); g.Err() == nil; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("nobody told of the broken listener")
		}
	}
	waitIdle(t, g.Loops()[0])
	c := dial(t, addr) // the other one is well
	mustWrite(t, c, []byte{0, 0})
	mustRead(t, c, 2)
	g.StopAccepting()
}
