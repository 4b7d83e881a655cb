//go:build e2e

package tests

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/wire"
)

// TestReloadKeepsPresence: for the fleet nothing happens in a reload. Routes, lease and report stay, nobody comes or goes, and the
// score does not begin anew; what changes afterwards is told.
func TestReloadKeepsPresence(t *testing.T) {
	const users, times = 40, 5
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}, more: reporting(r.Addr, "sh-1")})
	clients := crowdOf(t, g, users)
	id := g.advertise
	events := func() int { n, _ := strconv.Atoi(r.Do("XLEN", "edged:presence")); return n }
	route := func(n int) string { return r.Do("HGET", fmt.Sprintf("edged:route:{user-%d}", n), "x") }
	waitFor(t, "routes and report", func() bool { return events() == users && route(users-1) != "" && report(r, id)["state"] == "up" })
	lease, routes := r.Do("GET", "edged:lease:{"+id+"}"), make([]string, users)
	for n := range routes {
		routes[n] = route(n)
	}
	written := g.metric("edged_routes_written_total") + g.metric("edged_reports_total")

	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan string, 1)
	go func() { watched <- watchReport(ctx, r, id) }()
	for range times {
		g.reload()
		pause(300 * time.Millisecond) // long enough for the new process to say something
	}
	cancel()
	if bad := <-watched; bad != "" {
		t.Error(bad)
	}
	if now := r.Do("GET", "edged:lease:{"+id+"}"); now != lease {
		t.Errorf("lease %q, was %q", now, lease)
	}
	for n := range routes {
		if now := route(n); now != routes[n] {
			t.Errorf("the route of user %d is %q, was %q", n, now, routes[n])
		}
	}
	if n := events(); n != users {
		t.Errorf("%d events, want %d: somebody was told to have come or gone", n, users)
	}
	if now := g.metric("edged_routes_written_total") + g.metric("edged_reports_total"); now < written {
		t.Errorf("counters went back from %v to %v", written, now)
	}
	if twins := g.metric("edged_report_twins_total") + g.metric("edged_lease_twins_total"); twins != 0 {
		t.Errorf("%v twins were seen", twins)
	}

	status, _, stderr := g.ctl("push", "--user", "user-3", "--text", "after the reload")
	if status != 0 {
		t.Fatalf("push: status %d, %q", status, stderr)
	}
	clients[3].want(wire.KindPush)
	clients[0].close()
	dialIn(t, g.address(), "late/x")
	waitFor(t, "one to be gone and one to have come", func() bool {
		return events() == users+2 && route(0) == "" && r.Do("HGET", "edged:route:{late}", "x") != ""
	})
}

// TestReloadWhileRedisHangs: what Redis takes to hear of it is no part of the time for which links may stand still.
func TestReloadWhileRedisHangs(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	g := start(t, setup{gateway: `login = "none"`, more: reporting(r.Addr, "sh-1") + "[handover]\nfreeze = \"190ms\"\naccept_pause = \"5s\"\n"})
	waitFor(t, "the report", func() bool { return report(r, g.advertise)["state"] == "up" })
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	r.Pause()
	g.reload()
	r.Continue()
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
}

// watchReport looks at the report all the time until ctx ends, and returns what is wrong with it.
func watchReport(ctx context.Context, r *redistest.Server, id string) string {
	for ctx.Err() == nil {
		if f := report(r, id); f["state"] != "up" || f["availability"] == "0.000" {
			return fmt.Sprintf("the report said %v", f)
		}
		pause(5 * time.Millisecond)
	}
	return ""
}
