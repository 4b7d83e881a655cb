//go:build e2e

package tests

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/wire"
)

// few is a limit of open files that leaves room for some links beside what the process needs for itself.
const few = 1200

// TestCapacity computes the capacity from the limit of open files, and keeps to it.
func TestCapacity(t *testing.T) {
	g := start(t, setup{gateway: "login = \"none\"\nreactors = 2", files: few})
	if g.capacity < 50 || g.capacity > few-1000 {
		t.Fatalf("capacity %d with %d files", g.capacity, few)
	}
	if n := g.metric("edged_capacity_links"); n != float64(g.capacity) {
		t.Errorf("edged_capacity_links is %v, the ready line says %d", n, g.capacity)
	}
	var links []*client
	for range g.capacity {
		c := dial(t, g.address())
		c.want(wire.KindWelcome)
		links = append(links, c)
	}
	if status, text := g.probe("/readyz"); status != 503 || text != "full\n" {
		t.Errorf("/readyz when full: %d %q", status, text)
	}
	spread := map[time.Duration]bool{}
	for range 20 {
		b := dial(t, g.address()).wantBye(wire.ByeOverloaded)
		if b.RetryAfter <= 0 || b.RetryAfter > 30*time.Second {
			t.Errorf("retry after %v", b.RetryAfter)
		}
		spread[b.RetryAfter] = true
	}
	if len(spread) < 10 {
		t.Errorf("20 clients are told to come back at %d moments", len(spread))
	}
	for _, c := range links {
		check(t, c.write(wire.AppendHeartbeat(nil)))
		c.want(0)
	}
	check(t, links[0].leave())
	g.waitMetric("edged_links", float64(g.capacity-1))
	dial(t, g.address()).want(wire.KindWelcome)
	dial(t, g.address()).wantBye(wire.ByeOverloaded)
	g.waitMetric("edged_links_refused_total", 21, "reason", "overloaded")
	g.balanced()
}

// storm opens connections that nobody closes but the test's end, or the returned function.
func storm(t *testing.T, g *gateway, n int) (end func()) {
	t.Helper()
	var conns []net.Conn
	end = func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
		conns = nil
	}
	t.Cleanup(func() { end() })
	for range n {
		conn, err := connect(g.address())
		if isReset(err) {
			continue // cut off as soon as it was there
		}
		check(t, err)
		conns = append(conns, conn)
	}
	return end
}

// TestStorm opens many times more connections than there is room for, which do not go when they are told to. The operator
// still gets answers, those who are in notice nothing, and it passes.
func TestStorm(t *testing.T) {
	g := start(t, setup{gateway: `login = "none"`, files: few})
	keeper := dial(t, g.address())
	keeper.want(wire.KindWelcome)
	end := storm(t, g, 3*few)
	for range 20 {
		began := time.Now()
		g.metric("edged_links")
		if took := time.Since(began); took > time.Second {
			t.Fatalf("/metrics took %v, %d files open", took, g.files())
		}
		check(t, keeper.write(wire.AppendHeartbeat(nil)))
		keeper.want(0)
	}
	if n := g.metric("edged_accepts_without_files_total"); n != 0 {
		t.Errorf("%v accepts found no file", n)
	}
	g.waitMetric("edged_links_refused_total", float64(3*few+1-g.capacity), "reason", "overloaded")
	end()
	g.waitMetric("edged_links", 1)
	g.waitMetric("edged_connections_lingering", 0)
	for range 50 {
		dial(t, g.address()).want(wire.KindWelcome)
	}
	g.balanced()
}

// TestNoFiles takes the files away that the capacity was computed from. That must not burn CPU, those who are in notice
// nothing, and who waits gets in when there are files again.
func TestNoFiles(t *testing.T) {
	g := start(t, setup{gateway: `login = "none"`})
	keeper := dial(t, g.address())
	keeper.want(wire.KindWelcome)
	g.metric("edged_links")
	limit := unix.Rlimit{}
	check(t, unix.Prlimit(g.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit))
	short := unix.Rlimit{Cur: uint64(g.files()) + 20, Max: limit.Max}
	check(t, unix.Prlimit(g.cmd.Process.Pid, unix.RLIMIT_NOFILE, &short, nil))
	storm(t, g, 200)
	waitFor(t, "files run out", func() bool { return g.files() >= int(short.Cur)-1 })
	const watched = 2 * time.Second
	used, began := g.cpu(), time.Now()
	for time.Since(began) < watched {
		check(t, keeper.write(wire.AppendHeartbeat(nil)))
		keeper.want(0)
		pause(20 * time.Millisecond)
	}
	used = g.cpu() - used
	t.Logf("%v of CPU in %v, %d files open", used, watched, g.files())
	if used > watched/2 {
		t.Errorf("%v of CPU in %v while there are no files", used, watched)
	}
	check(t, unix.Prlimit(g.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil))
	g.waitMetric("edged_links", 201)
	if g.metric("edged_accepts_without_files_total") == 0 {
		t.Error("no accept was in vain")
	}
	g.balanced()
}

// pause lets time pass where a measurement needs it; nothing is waited for.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// TestChurn opens and ends thousands of links: neither memory nor files stay behind, and every link is counted.
func TestChurn(t *testing.T) {
	k := newKit(t, echoHandler())
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}})
	dialIn(t, g.address(), "ann/phone")
	const links, at = 5000, 20
	churn(t, g, 1000, at)
	g.waitMetric("edged_links", 1)
	g.waitMetric("edged_connections_lingering", 0)
	warm, files := g.procStatus("VmRSS"), g.files() // not before: some files are opened after it is ready
	churn(t, g, links-1000, at)
	g.waitMetric("edged_links", 1)
	g.waitMetric("edged_connections_lingering", 0)
	grown := g.procStatus("VmRSS") - warm
	t.Logf("RSS grew by %d KiB from %d KiB over %d links", grown>>10, warm>>10, links-1000)
	if grown > 16<<20 {
		t.Errorf("RSS grew by %d MiB over %d links", grown>>20, links)
	}
	waitFor(t, "every file is closed again", func() bool { return g.files() <= files })
	s := g.scrape()
	if n := s.sum("edged_links_opened_total"); n != links+1 {
		t.Errorf("%v links opened, want %d", n, links+1)
	}
	if bye, eof := s.sum("edged_links_closed_total", "reason", "client_bye"), s.sum("edged_links_closed_total", "reason", "peer_closed"); bye != links/2 || eof != links/2 {
		t.Errorf("%v links ended by BYE and %v without, want half and half of %d", bye, eof, links)
	}
	g.balanced()
}

// churn has at goroutines open, use and end links, each the same even number of them.
func churn(t *testing.T, g *gateway, links, at int) {
	t.Helper()
	results := make(chan error, at)
	for range at {
		go func() {
			var errs []error
			for i := range links / at {
				errs = append(errs, shortLink(g.address(), i%2 == 0))
			}
			results <- errors.Join(errs...)
		}()
	}
	for range at {
		check(t, <-results)
	}
}

// shortLink logs in, has one message echoed, and leaves with or without a BYE.
func shortLink(address string, bye bool) error {
	c, err := newClient(address)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.login("short/" + c.conn.LocalAddr().String()); err != nil {
		return err
	}
	if err := c.exchange([]byte("hi")); err != nil {
		return err
	}
	if bye {
		return c.leave()
	}
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if _, err := c.next(patience); err != io.EOF {
		return err
	}
	return nil
}

// TestIdle holds two thousand quiet links: no thread and no goroutine is theirs, and they cost next to no CPU.
func TestIdle(t *testing.T) {
	k := newKit(t, echoHandler())
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}})
	churn(t, g, 100, 4)
	threads, goroutines := g.procStatus("Threads"), g.metric("go_goroutines")
	const links = 2000
	var clients []*client
	for i := range links {
		clients = append(clients, dialIn(t, g.address(), fmt.Sprintf("idle/%d", i)))
	}
	if n := g.metric("edged_links"); n != links {
		t.Errorf("%v links, want %d", n, links)
	}
	const watched = time.Second
	used := g.cpu()
	pause(watched)
	used = g.cpu() - used
	// The runtime may start a thread or two of its own at any time.
	if now := g.procStatus("Threads"); now > threads+4 {
		t.Errorf("%d threads with %d links, %d without", now, links, threads)
	}
	if now := g.metric("go_goroutines"); now > goroutines+4 {
		t.Errorf("%v goroutines with %d links, %v without", now, links, goroutines)
	}
	t.Logf("%d idle links: %d threads, %v goroutines, %v of CPU in %v, RSS %d KiB", links, g.procStatus("Threads"),
		g.metric("go_goroutines"), used, watched, g.procStatus("VmRSS")>>10)
	if used > watched/10 {
		t.Errorf("%v of CPU in %v for idle links", used, watched)
	}
	for _, c := range clients[:100] {
		check(t, c.exchange([]byte("still here")))
	}
}
