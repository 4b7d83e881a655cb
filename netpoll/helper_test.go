package netpoll_test

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"edged/netpoll"
)

// limit is how long a test waits for anything.
const limit = 10 * time.Second

// hooks is a Handler of functions; a missing one does nothing, a missing read uses all up.
type hooks struct {
	loop    *netpoll.Loop
	opened  func(c netpoll.Conn, source int)
	read    func(c netpoll.Conn, in []byte) int
	backlog func(c netpoll.Conn, pending int)
	closed  func(c netpoll.Conn, why error)
	turn    func(now time.Duration) time.Duration
	pending func() bool
}

func (h *hooks) Opened(c netpoll.Conn, source int) {
	if h.opened != nil {
		h.opened(c, source)
	}
}

func (h *hooks) Read(c netpoll.Conn, in []byte) int {
	if h.read != nil {
		return h.read(c, in)
	}
	return len(in)
}

func (h *hooks) Backlog(c netpoll.Conn, pending int) {
	if h.backlog != nil {
		h.backlog(c, pending)
	}
}

func (h *hooks) Closed(c netpoll.Conn, why error) {
	if h.closed != nil {
		h.closed(c, why)
	}
}

func (h *hooks) Turn(now time.Duration) time.Duration {
	if h.turn != nil {
		return h.turn(now)
	}
	return -1
}

func (h *hooks) Pending() bool { return h.pending != nil && h.pending() }

// newGroup makes a group of loops with hooks, stopped at the end of the test.
func newGroup(t testing.TB, cfg netpoll.Config, set func(h *hooks)) *netpoll.Group {
	t.Helper()
	g, err := netpoll.New(cfg, func(l *netpoll.Loop) netpoll.Handler {
		h := &hooks{loop: l}
		set(h)
		return h
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

// listen opens a listener on a port of the loopback that the kernel chooses.
func listen(t testing.TB, g *netpoll.Group) string {
	t.Helper()
	_, addr, err := g.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

// serve starts a group of one loop that listens, and returns the loop and its address.
func serve(t testing.TB, cfg netpoll.Config, set func(h *hooks)) (*netpoll.Loop, string) {
	t.Helper()
	g := newGroup(t, cfg, set)
	addr := listen(t, g)
	g.Start()
	return g.Loops()[0], addr
}

// dial connects a client whose every wait has a limit.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// on runs f on the loop's thread and waits for it.
func on(t testing.TB, l *netpoll.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); f() }) {
		t.Fatal("the loop has stopped")
	}
	wait(t, done, "posted work")
}

func stats(t testing.TB, l *netpoll.Loop) (s netpoll.Stats) {
	t.Helper()
	on(t, l, func() { s = l.Stats() })
	return s
}

func wait[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(limit):
		t.Fatalf("waited %v for %s", limit, what)
	}
	return v
}

// until asks again and again on the loop's thread, since what it waits for is no event of the test's side.
func until(t testing.TB, l *netpoll.Loop, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); ; {
		ok := false
		on(t, l, func() { ok = f() })
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// renew gives the next operation of a client the whole limit, however long the test has taken so far.
func renew(t testing.TB, c any) {
	t.Helper()
	if c, ok := c.(interface{ SetDeadline(time.Time) error }); ok {
		if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
	}
}

func mustWrite(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	renew(t, w)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	renew(t, r)
	b := make([]byte, n)
	if got, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("read %d of %d bytes: %v", got, n, err)
	}
	return b
}

// mustEnd reads until the end of the stream and returns what came before it.
func mustEnd(t testing.TB, r io.Reader) []byte {
	t.Helper()
	renew(t, r)
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(b), err)
	}
	return b
}

func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return seeded(seed)
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// unixPath is where a test may listen.
func unixPath(t testing.TB) string { return t.TempDir() + "/edge" }

func dialUnix(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialTimeout("unix", path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+7)
	for len(b) < n {
		b = binary.NativeEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n:n]
}

// whole returns how much of in is whole frames: two bytes of length, then as many.
func whole(in []byte) int {
	used := 0
	for len(in)-used >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(in[used:]))
		if len(in)-used < n {
			break
		}
		used += n
	}
	return used
}

func appendFrame(dst, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(body))), body...)
}

// openFiles counts this process's descriptors, leaving out those that the test binary's runtime may open on its own.
func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range list {
		to, err := os.Readlink("/proc/self/fd/" + f.Name())
		if err == nil && (strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "anon_inode:")) {
			n++
		}
	}
	return n
}

func addrPortOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
