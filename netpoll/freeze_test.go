package netpoll_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/handover"
	"edged/netpoll"
)

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func mustFreeze(t testing.TB, g *netpoll.Group) {
	t.Helper()
	if err := errors.Join(g.Pause(soon(t)), g.Freeze(soon(t))); err != nil {
		t.Fatal(err)
	}
}

// crowd is clients that send frames in parts and compare what comes back, until it is to end. Some go, and others come.
type crowd struct {
	wg   sync.WaitGroup
	stop chan struct{}
	torn bool // connections may break
}

func newCrowd(t *testing.T, n int, addrs ...string) *crowd {
	c := &crowd{stop: make(chan struct{})}
	t.Cleanup(c.end)
	c.come(t, n, addrs...)
	return c
}

func (c *crowd) come(t *testing.T, n int, addrs ...string) {
	r := random(t)
	for i := range n {
		seed := r.Uint64()
		c.wg.Go(func() { c.client(t, addrs[i%len(addrs)], seed) })
	}
}

func (c *crowd) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.wg.Wait()
}

func (c *crowd) client(t *testing.T, addr string, seed uint64) {
	for r := seeded(seed); ; {
		conn, err := net.DialTimeout("tcp", addr, limit)
		if err != nil {
			t.Errorf("connect: %v", err)
			return
		}
		err = c.visit(conn, r)
		_ = conn.Close()
		if err != nil && (!c.torn || errors.Is(err, errOther)) {
			t.Errorf("echo: %v", err)
			return
		}
		select {
		case <-c.stop:
			return
		default:
		}
	}
}

// visit is what a client does with one connection.
func (c *crowd) visit(conn net.Conn, r *rand.Rand) error {
	for range 1 + r.IntN(60) {
		if err := exchange(conn, frames(r, 1+r.IntN(3000), 400), r.IntN); err != nil {
			return err
		}
		select {
		case <-c.stop:
			return nil
		default:
		}
	}
	return nil
}

var errOther = errors.New("other bytes came back")

// exchange sends whole frames in parts and reads their echo, all of it or, of what went before, some.
func exchange(c net.Conn, sent []byte, intn func(int) int) error {
	_ = c.SetDeadline(time.Now().Add(limit))
	got := make([]byte, len(sent))
	for written, read := 0, 0; read < len(sent); {
		if n := min(len(sent)-written, 1+intn(len(sent))); n > 0 {
			if _, err := c.Write(sent[written : written+n]); err != nil {
				return err
			}
			written += n
		}
		if n := whole(sent[:written]) - read; n > 0 {
			k, err := io.ReadFull(c, got[read:read+1+intn(n)])
			if !bytes.Equal(got[read:read+k], sent[read:read+k]) {
				return errOther
			}
			if read += k; err != nil {
				return err
			}
		}
	}
	return nil
}

// A standstill is felt by nobody: no byte is lost, no connection refused or reset.
func TestFreezeAndThawUnderLoad(t *testing.T) {
	g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
	addr := listen(t, g)
	g.Start()
	newCrowd(t, 16, addr)
	pass := newClock(t)
	for range 40 {
		mustFreeze(t, g)
		first := appendStates(g)
		pass(2 * time.Millisecond) // the clients go on meanwhile
		for i, b := range appendStates(g) {
			if !bytes.Equal(b, first[i]) {
				t.Errorf("loop %d did not stand still", i)
			}
		}
		g.Thaw()
		pass(time.Millisecond)
	}
}

func appendStates(g *netpoll.Group) (states [][]byte) {
	for _, l := range g.Loops() {
		states = append(states, l.AppendState(nil, netpoll.StateVersion))
	}
	return states
}

// Who connects while the group is paused waits, and is served in the end. What is open is served meanwhile.
func TestPauseLeavesConnectionsInTheQueue(t *testing.T) {
	const n = 50
	g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
	addr := listen(t, g)
	g.Start()
	before := dial(t, addr)
	mustWrite(t, before, []byte{0, 0})
	mustRead(t, before, 2)
	accepts := stats(t, g.Loops()[0]).Accepts + stats(t, g.Loops()[1]).Accepts
	if err := g.Pause(soon(t)); err != nil {
		t.Fatal(err)
	}
	var waiting []*net.TCPConn
	for range n {
		c := dial(t, addr)
		mustWrite(t, c, []byte{0, 1, 7})
		waiting = append(waiting, c)
	}
	mustWrite(t, before, []byte{0, 0})
	mustRead(t, before, 2)
	if now := stats(t, g.Loops()[0]).Accepts + stats(t, g.Loops()[1]).Accepts; now != accepts {
		t.Errorf("%d connections were accepted", now-accepts)
	}
	if _, _, err := g.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("a listener was opened while paused")
	}
	g.Thaw()
	for _, c := range waiting {
		mustRead(t, c, 3)
	}
	listen(t, g)
}

// A connection that one loop gave to another has come to it when Pause returns.
func TestPauseWaitsForConnectionsOnTheirWay(t *testing.T) {
	pass := newClock(t)
	for range 20 {
		opened := make(chan int, 1000)
		g := newGroup(t, netpoll.Config{Loops: 3}, func(h *hooks) {
			h.opened = func(netpoll.Conn, int) { opened <- h.loop.Number() }
		})
		fd, addr := passed(t)
		if _, err := g.Adopt(fd); err != nil {
			t.Fatal(err)
		}
		g.Start()
		for range 30 {
			dial(t, addr)
		}
		mustFreeze(t, g)
		n := len(opened)
		counted := 0
		for _, l := range g.Loops() {
			for range l.Connections() {
				counted++
			}
		}
		pass(time.Millisecond)
		if counted != n || len(opened) != n {
			t.Errorf("%d connections, %d told, %d told later", counted, n, len(opened)-n)
		}
		g.Thaw()
		for range 30 {
			wait(t, opened, "a connection")
		}
		g.Stop()
	}
}

// A loop with work does not stand still, nor one that is given some by another on its way to rest.
func TestFreezeWaitsForWork(t *testing.T) {
	work := make(chan int, 1) // turns that loop 1 still has to take
	work <- 50
	turns := 0
	var g *netpoll.Group
	g = newGroup(t, netpoll.Config{Loops: 2}, func(h *hooks) {
		if h.loop.Number() == 0 {
			return
		}
		h.pending = func() bool { return turns > 0 }
		h.turn = func(time.Duration) time.Duration {
			if turns--; turns >= 0 && turns < 100 {
				g.Loops()[0].Post(func() {})
			}
			return -1
		}
	})
	g.Start()
	on(t, g.Loops()[1], func() { turns = <-work })
	mustFreeze(t, g)
	if turns > 0 {
		t.Errorf("stands still with %d turns to take", turns)
	}
	if err := g.Freeze(soon(t)); err == nil {
		t.Error("frozen twice")
	}
	g.Thaw()
	on(t, g.Loops()[1], func() { turns = 1 << 30 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a loop that always has work stands still: %v", err)
	}
	if n := g.CheckFlows(nil); n != 0 {
		t.Errorf("%d flows of a group that is not frozen", n)
	}
	g.Thaw()
	on(t, g.Loops()[1], func() { turns = 0 })
	mustFreeze(t, g)
}

func TestFreezeOfWhatDoesNotRun(t *testing.T) {
	g := newGroup(t, netpoll.Config{}, echoFrames)
	mustFreeze(t, g)
	g.Thaw()
	g.Start()
	g.Abandon() // not frozen: nothing
	mustFreeze(t, g)
	g.Stop() // thaws
	if err := g.Pause(soon(t)); !errors.Is(err, netpoll.ErrStopped) {
		t.Errorf("paused after Stop: %v", err)
	}
	if err := g.Freeze(soon(t)); !errors.Is(err, netpoll.ErrStopped) {
		t.Errorf("frozen after Stop: %v", err)
	}
	g.Thaw()
}

// A pause in the time without descriptors: only when both are over is anybody accepted.
func TestPauseWithoutDescriptors(t *testing.T) {
	if !isChild() {
		child(t)
		return
	}
	g := newGroup(t, netpoll.Config{}, echoFrames)
	addr := listen(t, g)
	g.Start()
	l := g.Loops()[0]
	pass := newClock(t)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for _, thawFirst := range []bool{true, false} {
		tries := stats(t, l).NoFiles
		var c *net.TCPConn
		on(t, l, func() {
			c = dial(t, addr)
			leaveFiles(t, 0)
		})
		until(t, l, "the lack of descriptors", func() bool { return l.Stats().NoFiles > tries })
		accepts := stats(t, l).Accepts
		mustFreeze(t, g)
		enough := func() {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
				t.Fatal(err)
			}
		}
		if thawFirst {
			g.Thaw()
			enough()
		} else {
			enough()
			pass(150 * time.Millisecond) // it would try again by now
			if n := l.Stats().Accepts; n != accepts {
				t.Errorf("%d accepted while paused", n-accepts)
			}
			g.Thaw()
		}
		mustWrite(t, c, []byte{0, 0})
		mustRead(t, c, 2)
	}
}

// What a successor did to a connection that this process goes on with shows in its counters: the connection is ended. The others
// go on, whatever the successor told the epoll.
func TestCheckFlows(t *testing.T) {
	ends := make(chan error, 10)
	g := newGroup(t, netpoll.Config{Linger: limit}, func(h *hooks) {
		echoFrames(h)
		h.closed = func(_ netpoll.Conn, why error) { ends <- why }
	})
	addr := listen(t, g)
	path := unixPath(t)
	if _, _, err := g.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	g.Start()
	l := g.Loops()[0]
	clients := map[string]net.Conn{}
	conns := map[string]netpoll.Conn{}
	for _, name := range []string{"read", "written", "both", "quiet", "unheard", "unix", "half", "gone"} {
		c := net.Conn(nil)
		if name == "unix" {
			c = dialUnix(t, path)
		} else {
			c = dial(t, addr)
		}
		mustWrite(t, c, []byte{0, 2, 1, 2, 0, 5, 1}) // half a frame stays there
		mustRead(t, c, 4)
		clients[name] = c
		on(t, l, func() {
			for x := range l.Connections() {
				if l.Tag(x) == 0 {
					l.SetTag(x, 1)
					conns[name] = x
				}
			}
		})
	}
	mustFreeze(t, g)
	ep := l.Epoll()
	for name, c := range conns {
		fd := l.FD(c)
		switch name {
		case "read", "both":
			mustWrite(t, clients[name], []byte{9})
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds())); n != 1 {
				t.Fatalf("nothing came: %v", err)
			}
			if n, err := unix.Read(fd, make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
		switch name {
		case "written", "both":
			if n, err := unix.Write(fd, []byte{9}); n != 1 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		case "half":
			mustWrite(t, clients[name], []byte{2})
		case "unheard", "unix":
			if err := unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
				t.Fatal(err)
			}
		case "gone":
			if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := g.CheckFlows(handover.CheckFlow); n != 3 {
		t.Errorf("%d connections torn, want 3", n)
	}
	for range 3 {
		if why := wait(t, ends, "the end of a torn one"); !errors.Is(why, handover.ErrTorn) {
			t.Errorf("closed for %v", why)
		}
	}
	g.Thaw()
	if why := wait(t, ends, "the end of what was shut down"); why != io.EOF {
		t.Errorf("closed for %v", why)
	}
	for _, name := range []string{"quiet", "unheard", "unix", "half"} {
		c := clients[name]
		rest := []byte{2, 3, 4, 5}
		if name == "half" {
			rest = rest[1:]
		}
		mustWrite(t, c, rest)
		if got := mustRead(t, c, 7); !bytes.Equal(got, []byte{0, 5, 1, 2, 3, 4, 5}) {
			t.Errorf("%s: got %v", name, got)
		}
		on(t, l, func() {
			if r, w := l.Flow(conns[name]); r != 11 || w != 11 {
				t.Errorf("%s: %d read, %d written", name, r, w)
			}
		})
	}
	on(t, l, func() {
		if r, w := l.Flow(conns["read"]); r != 0 || w != 0 {
			t.Errorf("flow %d, %d of what is gone", r, w)
		}
	})
	if len(ends) != 0 {
		t.Errorf("%d more ends", len(ends))
	}
}
