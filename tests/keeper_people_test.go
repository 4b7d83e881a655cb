//go:build e2e

package tests

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/sdk/manager"
	"edged/wire"
)

// TestKeeperKeepsPeople: who is logged in, in which rooms, with which session and which pushes that were not acknowledged, is as
// before after a crash, and the Manager knows of no end.
func TestKeeperKeepsPeople(t *testing.T) {
	t.Parallel()
	name := manager.TextKey("test.name")
	var lost, closed, acked atomic.Int64
	h := echoHandler()
	login := h.Hello
	h.Hello = func(e *manager.Event) {
		_ = e.Join("all")
		login(e)
		_ = e.Change(name.Set("of " + string(e.Payload)))
	}
	h.Data = func(e *manager.Event) { _ = e.Data([]byte(name.Or(e.Session, ""))) }
	h.Lost = func(manager.Gateway) { lost.Add(1) }
	h.Closed = func(*manager.Event) { closed.Add(1) }
	h.Acked = func(*manager.Event) { acked.Add(1) }
	k := newKit(t, h)
	g := startKept(t, startKeeper(t, "1m"), setup{
		gateway: "reactors = 2", managers: []string{k.address}, more: "[delivery]\nretry = \"1s\"\n",
	})
	crowd := crowdOf(t, g.gateway, 10)
	push := func(to manager.Target, id string) {
		t.Helper()
		if n, err := k.m.PushTo(to, manager.Push{Payload: []byte(id), MsgID: id, Ack: manager.AckRequired}); n != 1 || err != nil {
			t.Fatalf("push to %d gateways: %v", n, err)
		}
	}
	push(manager.ToUser("user-0"), "before")
	first := must(wire.ParsePush(crowd[0].want(wire.KindPush)))(t)
	for n := range 2 {
		g.crash()
		again := must(wire.ParsePush(crowd[0].want(wire.KindPush)))(t) // nobody has acknowledged it
		if again.TID != first.TID || string(again.Payload) != "before" {
			t.Errorf("push %d %q comes again as %d %q", first.TID, first.Payload, again.TID, again.Payload)
		}
		waitFor(t, "the Manager has the gateway again", func() bool { return g.statusJSON().Managers[0].Streams == 2 })
		push(manager.ToRoom("all"), fmt.Sprint("room ", n))
		for i, c := range crowd {
			for id := ""; id != fmt.Sprint("room ", n); {
				p := must(wire.ParsePush(c.want(wire.KindPush)))(t)
				id = string(p.Payload)
				if id != "before" {
					check(t, c.write(wire.AppendAck(nil, p.TID)))
				}
			}
			check(t, c.send(wire.KindData, nil))
			for {
				f := must(c.next(patience))(t)
				if f.kind == wire.KindPush {
					continue // once more
				}
				if want := fmt.Sprintf("of user-%d/x", i); f.kind != wire.KindData || string(f.rest) != want {
					t.Errorf("link %d has the session %q, want %q", i, f.rest, want)
				}
				break
			}
		}
	}
	check(t, crowd[0].write(wire.AppendAck(nil, first.TID)))
	waitFor(t, "all is acknowledged", func() bool { return g.metric("edged_pushes_unacked") == 0 })
	if lost.Load() != 0 || closed.Load() != 0 || acked.Load() == 0 {
		t.Errorf("the Manager was told that the gateway was lost %d times, %d links closed, %d times of acknowledgements", lost.Load(), closed.Load(), acked.Load())
	}
}

// TestKeeperKeepsPresence: for the fleet nothing happens in a crash, nor in a restart.
func TestKeeperKeepsPresence(t *testing.T) {
	t.Parallel()
	const users = 30
	r := redistest.Start(t)
	k := newKit(t, echoHandler())
	g := startKept(t, startKeeper(t, "1m"), setup{gateway: "reactors = 2", managers: []string{k.address}, more: reporting(r.Addr, "sh-1")})
	clients := crowdOf(t, g.gateway, users)
	id := g.advertise
	events := func() int { n, _ := strconv.Atoi(r.Do("XLEN", "edged:presence")); return n }
	route := func(n int) string { return r.Do("HGET", fmt.Sprintf("edged:route:{user-%d}", n), "x") }
	waitFor(t, "routes and report", func() bool { return events() == users && route(users-1) != "" && report(r, id)["state"] == "up" })
	lease := r.Do("GET", "edged:lease:{"+id+"}")
	before, epoch := route(0), g.statusJSON().Epoch
	pause(1500 * time.Millisecond) // the score is written down once a second

	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan string, 1)
	go func() { watched <- watchReport(ctx, r, id) }()
	for n := range 4 {
		if n%2 == 0 {
			g.crash()
		} else {
			g.stop()
			g.again()
			g.wantKept()
		}
		pause(300 * time.Millisecond)
	}
	cancel()
	if bad := <-watched; bad != "" {
		t.Error(bad)
	}
	if now := r.Do("GET", "edged:lease:{"+id+"}"); now != lease {
		t.Errorf("lease %q, was %q", now, lease)
	}
	if now := route(0); now != before || g.statusJSON().Epoch != epoch {
		t.Errorf("a route is %q, was %q", now, before)
	}
	if n := events(); n != users {
		t.Errorf("%d events, want %d: somebody was told to have come or gone", n, users)
	}
	if twins := g.metric("edged_report_twins_total") + g.metric("edged_lease_twins_total"); twins != 0 {
		t.Errorf("%v twins were seen", twins)
	}
	status, _, stderr := g.ctl("push", "--user", "user-3", "--text", "after the crash")
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
