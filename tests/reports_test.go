//go:build e2e

package tests

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/admin"
	"edged/redisconn/redistest"
	"edged/wire"
)

// reporting returns the sections of a gateway that reports to a Redis once a second.
func reporting(address, slb string) string {
	return fmt.Sprintf("[redis]\naddresses = [%q]\nslb = %q\n[health]\ninterval = \"1s\"\npps_limit = 10_000_000\n", address, slb)
}

// account asks the gateway for its own account of itself.
func (g *gateway) account() (s admin.Status) {
	g.t.Helper()
	_, body, _ := g.ask("GET", "/v1/status")
	check(g.t, json.Unmarshal(body, &s))
	return s
}

// report is what stands in Redis about a gateway.
func report(r *redistest.Server, id string) map[string]string {
	fields := map[string]string{}
	all := strings.Split(r.Do("HGETALL", "edged:gw:{"+id+"}"), "\n")
	for i := 0; i+1 < len(all); i += 2 {
		fields[all[i]] = all[i+1]
	}
	return fields
}

// TestReport: what Redis is told, that it goes on, and that it ends with the gateway.
func TestReport(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	g := start(t, setup{gateway: "login = \"none\"\ncapacity = 100", more: reporting(r.Addr, "sh-1")})
	id := g.advertise
	waitFor(t, "the first report", func() bool { return report(r, id)["state"] != "" })
	if first := report(r, id); first["state"] == "warming" && first["availability"] != "0.000" {
		t.Errorf("a gateway that has measured nothing yet says %v", first)
	}
	waitFor(t, "state up", func() bool { return report(r, id)["state"] == "up" })
	for range 50 {
		dial(t, g.address()).want(wire.KindWelcome)
	}
	waitFor(t, "half of the room is gone", func() bool { return report(r, id)["availability"] == "0.500" })
	got := report(r, id)
	for key, want := range map[string]string{"v": "1", "links": "50", "capacity": "100", "reason": "links", "slb": "sh-1", "address": g.advertise,
		"pps_limit": "10000000", "sharded": "1"} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if life, _ := strconv.Atoi(r.Do("PTTL", "edged:gw:{"+id+"}")); life <= 1000 || life > 3000 {
		t.Errorf("the report lives for %d ms more, want up to three intervals of a second", life)
	}
	if member := r.Do("ZRANGE", "edged:slb:sh-1", "0", "-1"); member != id {
		t.Errorf("sh-1 has %q", member)
	}
	if s := g.account(); s.Room == nil || s.Room.Reports != "ok" || s.Room.Availability != 0.5 || s.Room.Reason != "links" {
		t.Errorf("the status says %+v", s.Room)
	}
	if v := g.metric("edged_availability"); v != 0.5 {
		t.Errorf("edged_availability is %v", v)
	}
	g.stop()
	if left := report(r, id); len(left) != 0 {
		t.Errorf("the gateway has left, and Redis still says %v", left)
	}
}

// TestDrainReport: draining is told at once, out of tick, and so is its end; the links are sent away over the time.
func TestDrainReport(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	g := start(t, setup{gateway: "login = \"none\"", more: strings.Replace(reporting(r.Addr, ""), "1s", "30s", 1)})
	waitFor(t, "the first report", func() bool { return report(r, g.advertise)["state"] == "warming" })
	var clients []*client
	for range 80 {
		c := dial(t, g.address())
		c.want(wire.KindWelcome)
		clients = append(clients, c)
	}
	began := time.Now()
	if status, _, stderr := run(t, "ctl", "--socket", g.admin, "drain", "--within", "4s"); status != 0 {
		t.Fatalf("ctl drain: %s", stderr)
	}
	waitFor(t, "draining in Redis", func() bool { return report(r, g.advertise)["state"] == "draining" })
	if took := time.Since(began); took > 15*time.Second { // a tick would be 30 s away
		t.Errorf("it took %v", took)
	}
	if got := report(r, g.advertise); got["availability"] != "0.000" {
		t.Errorf("a gateway that drains says %v", got)
	}
	at, _ := byes(t, clients, began, wire.ByeDraining)
	early, last := 0, time.Duration(0)
	for _, d := range at {
		if d < time.Second {
			early++
		}
		last = max(last, d)
	}
	if early > 50 || last < 2*time.Second {
		t.Errorf("%d of 80 links were sent away in the first of four seconds, the last after %v", early, last)
	}
	if status, _, stderr := run(t, "ctl", "--socket", g.admin, "drain", "--undo"); status != 0 {
		t.Fatalf("ctl drain --undo: %s", stderr)
	}
	waitFor(t, "not draining", func() bool { return report(r, g.advertise)["state"] != "draining" })
}

// TestReportWithoutRedis: a Redis that is away, hangs or forgets costs no link and no message, and is told again when it is back.
func TestReportWithoutRedis(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	r.Kill() // down at the start
	p := newPlain(t, nil)
	g := start(t, setup{managers: []string{p.address}, more: reporting(r.Addr, "")})
	c := dialIn(t, g.address(), "user/device")
	talks := func(when string) {
		t.Helper()
		if err := c.exchange([]byte(when)); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	reports := func(want string) func() bool {
		return func() bool { return g.account().Room.Reports == want }
	}
	waitFor(t, "failing reports", func() bool { return strings.HasPrefix(g.account().Room.Reports, "failing: ") })
	talks("down at the start")
	r.Restart()
	waitFor(t, "reports", reports("ok"))
	r.Pause()
	waitFor(t, "a hung Redis shows", func() bool { return strings.HasPrefix(g.account().Room.Reports, "failing: ") })
	talks("hung")
	if status, _ := g.probe("/healthz"); status != 200 {
		t.Errorf("/healthz says %d while Redis hangs", status)
	}
	if status, _ := g.probe("/readyz"); status != 200 {
		t.Errorf("/readyz says %d while Redis hangs", status)
	}
	r.Continue()
	waitFor(t, "reports after the hang", reports("ok"))
	r.Do("FLUSHALL")
	waitFor(t, "the report is written again", func() bool { return report(r, g.advertise)["address"] == g.advertise })
	waitFor(t, "the gateway is listed again", func() bool { return r.Do("ZRANGE", "edged:slb:"+g.advertise, "0", "-1") == g.advertise })
	talks("flushed")
	r.Kill()
	waitFor(t, "a killed Redis shows", func() bool { return strings.HasPrefix(g.account().Room.Reports, "failing: ") })
	talks("killed")
	if g.metric("edged_report_failures_total") == 0 {
		t.Error("no failure is counted")
	}
	if lost := g.log.lines("level=ERROR"); len(lost) > 0 {
		t.Errorf("logged %q", lost)
	}
}

// TestReportTwin: two gateways of one ID are told of each other.
func TestReportTwin(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	same := setup{gateway: "id = \"twin\"\nlogin = \"none\"", more: reporting(r.Addr, "sh-1")}
	a, b := start(t, same), start(t, same)
	for _, g := range []*gateway{a, b} {
		waitFor(t, "the twin is seen", func() bool { return strings.Contains(g.account().Room.Reports, "another gateway") })
	}
	if a.metric("edged_report_twins_total") == 0 {
		t.Error("no twin is counted")
	}
}
