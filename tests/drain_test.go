//go:build e2e

package tests

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/admin"
	"edged/api/edgedpb"
	"edged/wire"
)

// byes reads every client to its BYE, side by side, and returns when each came, counted from began.
func byes(t *testing.T, clients []*client, began time.Time, want wire.Reason) (at []time.Duration, retry map[time.Duration]bool) {
	t.Helper()
	type farewell struct {
		bye wire.Bye
		err error
		at  time.Duration
	}
	all := make(chan farewell, len(clients))
	for _, c := range clients {
		go func() {
			b, err := c.readToBye()
			_ = c.conn.Close()
			all <- farewell{b, err, time.Since(began)}
		}()
	}
	retry = map[time.Duration]bool{}
	for range clients {
		f := <-all
		if f.err != nil || f.bye.Reason != want {
			t.Errorf("BYE %v, %v, want %v", f.bye.Reason, f.err, want)
		}
		if f.bye.RetryAfter <= 0 || f.bye.RetryAfter > 30*time.Second {
			t.Errorf("retry after %v", f.bye.RetryAfter)
		}
		retry[f.bye.RetryAfter] = true
		at = append(at, f.at)
	}
	return at, retry
}

func crowdOf(t *testing.T, g *gateway, n int) (clients []*client) {
	t.Helper()
	for i := range n {
		clients = append(clients, dialIn(t, g.address(), fmt.Sprintf("user-%d/x", i)))
	}
	return clients
}

// TestTerm sends all links away over the time, tells the Manager of each, and leaves with status 0.
func TestTerm(t *testing.T) {
	t.Parallel()
	p := newPlain(t, nil)
	g := start(t, setup{gateway: "reactors = 2\ndrain_timeout = \"2s\"", managers: []string{p.address}})
	clients := crowdOf(t, g, 100)
	began := time.Now()
	g.signal(syscall.SIGTERM)
	at, retry := byes(t, clients, began, wire.ByeDraining)
	g.wait(patience)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the drain took %v, more than drain_timeout and a second", took)
	}
	early := 0
	for _, d := range at {
		if d < 500*time.Millisecond {
			early++
		}
	}
	if early > 60 || len(retry) < 50 {
		t.Errorf("%d of 100 links were sent away in the first quarter of the time, to come back at %d moments", early, len(retry))
	}
	closed := p.items.all(func(it *edgedpb.UpItem) bool { return it.GetClosed().GetReason() == uint32(wire.ByeDraining) })
	if len(closed) != 100 {
		t.Errorf("the Manager heard of %d ends, want 100", len(closed))
	}
	if conn, err := connect(g.address()); err == nil {
		_ = conn.Close()
		t.Error("the port still listens")
	}
}

// TestTermFlushes has output wait for a slow client when the end comes: it gets all of it, and its BYE.
func TestTermFlushes(t *testing.T) {
	t.Parallel()
	p := newPlain(t, nil)
	g := start(t, setup{gateway: `drain_timeout = "3s"`, managers: []string{p.address}})
	c := dialNarrow(t, g.address(), "slow/one")
	l := p.opened(c.link).GetLink()
	const messages, size = 4, 20000 // more than the kernel takes, less than makes a slow consumer
	for i := range messages {
		p.send(dataItem(l, fmt.Appendf(make([]byte, 0, size), "%d", i)[:size]))
	}
	g.waitMetric("edged_frames_sent_total", messages, "kind", "data")
	if g.metric("edged_output_blocked_total") == 0 {
		t.Error("no output waits in the gateway: the test tests nothing")
	}
	g.signal(syscall.SIGTERM)
	p.await("closed", func(it *edgedpb.UpItem) bool { return it.GetClosed() != nil })
	pause(300 * time.Millisecond) // slow as it is
	for i := range messages {
		if got := c.want(wire.KindData); len(got) != size || got[0] != byte('0'+i) {
			t.Errorf("message %d came with %d bytes", i, len(got))
		}
	}
	c.wantBye(wire.ByeDraining)
	c.close()
	g.wait(patience)
}

// TestTermTwice leaves at once at the second signal.
func TestTermTwice(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: "login = \"none\"\ndrain_timeout = \"60s\""})
	for range 20 {
		dial(t, g.address()).want(wire.KindWelcome)
	}
	g.signal(syscall.SIGTERM)
	waitFor(t, "draining", func() bool { return g.metric("edged_draining") == 1 })
	began := time.Now()
	g.signal(syscall.SIGTERM)
	g.wait(patience)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it left %v after the second signal", took)
	}
}

// TestTermAtOnce has no drain.
func TestTermAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: "login = \"none\"\ndrain_timeout = \"0s\""})
	for range 20 {
		dial(t, g.address()).want(wire.KindWelcome)
	}
	began := time.Now()
	g.signal(syscall.SIGINT)
	g.wait(patience)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v to leave", took)
	}
}

func (g *gateway) ctl(args ...string) (status int, stdout, stderr string) {
	g.t.Helper()
	return run(g.t, append([]string{"ctl", "--socket", g.admin}, args...)...)
}

func (g *gateway) wantCtl(said string, args ...string) {
	g.t.Helper()
	if status, stdout, stderr := g.ctl(args...); status != 0 || stdout != said+"\n" || stderr != "" {
		g.t.Errorf("ctl %v: status %d, %q, %q", args, status, stdout, stderr)
	}
}

func (g *gateway) statusJSON() admin.Status {
	g.t.Helper()
	status, stdout, stderr := g.ctl("status", "--json")
	var s admin.Status
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || status != 0 {
		g.t.Fatalf("ctl status --json: status %d, %v, %q, %q", status, err, stdout, stderr)
	}
	return s
}

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	lis := must(net.Listen("tcp", ownHost+":0"))(t)
	defer lis.Close()
	return lis.Addr().String()
}

// TestDrain is a drain by hand, taken back, and one that ends the process.
func TestDrain(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}})
	clients := crowdOf(t, g, 40)
	checkStatus(t, g, admin.StateUp, 40)
	began := time.Now()
	g.wantCtl("draining", "drain", "--within", "4s")
	waitFor(t, "not ready", func() bool {
		status, text := g.probe("/readyz")
		return status == http.StatusServiceUnavailable && text == "draining\n"
	})
	if status, _ := g.probe("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz while draining: %d", status)
	}
	g.waitMetric("edged_draining", 1)
	waitFor(t, "some are gone", func() bool { return g.metric("edged_links_closed_total", "reason", "draining") >= 5 })
	g.wantCtl("not draining any more", "drain", "--undo")
	if took := time.Since(began); took > 3*time.Second {
		t.Fatalf("the machine is too slow: the first links went after %v", took)
	}
	left := g.metric("edged_links")
	if status, text := g.probe("/readyz"); status != http.StatusOK || left == 0 || left == 40 {
		t.Errorf("/readyz after undo: %d %q, %v links", status, text, left)
	}
	clients = append(clients, crowdOf(t, g, 5)...) // new ones are welcome again
	g.waitMetric("edged_links", left+5)
	checkStatus(t, g, admin.StateUp, int(left)+5)

	began = time.Now()
	g.wantCtl("draining", "drain", "--within", "500ms", "--exit")
	byes(t, clients, began, wire.ByeDraining)
	g.wait(patience)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("drain --exit took %v", took)
	}
}

// checkStatus compares ctl status in both forms with what is known.
func checkStatus(t *testing.T, g *gateway, state string, links int) {
	t.Helper()
	s := g.statusJSON()
	if s.State != state || s.Links != links || s.PID != g.pid() || s.Capacity != g.capacity || s.Advertise != g.advertise ||
		s.Reactors != g.reactors || len(s.Managers) != 1 || s.Managers[0].State != "up" || s.Managers[0].Streams != g.reactors {
		t.Errorf("status says %+v, want %s with %d links", s, state, links)
	}
	status, text, stderr := g.ctl("status")
	for _, w := range []string{"state", state, fmt.Sprintf("%d of ", links), g.advertise, s.Managers[0].Address} {
		if !strings.Contains(text, w) || status != 0 || stderr != "" {
			t.Errorf("ctl status: status %d, %q is not in\n%s%s", status, w, text, stderr)
		}
	}
}

// TestDrainIsTold is what clients see who come while a gateway drains: nobody listens.
func TestDrainIsTold(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: `login = "none"`})
	g.wantCtl("draining", "drain")
	waitFor(t, "nobody listens", func() bool {
		c, err := connect(g.address())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	s := g.statusJSON()
	if s.State != admin.StateDraining || s.Reason != "draining" {
		t.Errorf("status says %q, %q", s.State, s.Reason)
	}
	select {
	case <-g.exited:
		t.Error("drain without --exit ended the process")
	default:
	}
}

// TestDrainOfAShare sends a part of the links away while new ones are taken, tells how far it is, and can be taken back.
func TestDrainOfAShare(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: "login = \"none\"\nreactors = 2"})
	for range 100 {
		dial(t, g.address()).want(wire.KindWelcome)
	}
	status, stdout, stderr := g.ctl("drain", "--share", "30%", "--within", "1500ms", "--wait")
	if status != 0 || stderr != "" || !strings.HasPrefix(stdout, "sending links away\n") ||
		!strings.Contains(stdout, " links of a share are left, the last one goes at ") || !strings.HasSuffix(stdout, "\ndone\n") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	if n := g.metric("edged_links"); n < 68 || n > 72 { // each reactor rounds
		t.Errorf("%v links are left", n)
	}
	dial(t, g.address()).want(wire.KindWelcome)
	left := g.metric("edged_links")
	g.wantCtl("sending links away", "drain", "--share", "50%", "--within", "1h")
	if d := g.statusJSON().Drain; d == nil || !d.Share || d.Total < 34 || d.Left != d.Total {
		t.Errorf("%+v", d)
	}
	g.wantCtl("not draining any more", "drain", "--undo")
	if d := g.statusJSON().Drain; d != nil || g.metric("edged_links") < left-2 {
		t.Errorf("%+v, %v links", d, g.metric("edged_links"))
	}
	if status, _, stderr := g.ctl("drain", "--share", "120%"); status != 2 || !strings.Contains(stderr, "20%") {
		t.Errorf("status %d, %q", status, stderr)
	}
	g.wantCtl("draining", "drain", "--within", "1h")
	if status, _, stderr := g.ctl("drain", "--share", "10%"); status != 1 || !strings.Contains(stderr, "all links are being sent away already") {
		t.Errorf("status %d, %q", status, stderr)
	}
	if d := g.statusJSON().Drain; d == nil || d.Share || d.Total == 0 {
		t.Errorf("%+v", d)
	}
}
