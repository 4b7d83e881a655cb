//go:build e2e

package tests

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"edged/wire"
)

// still is a link beside a gateway that stands still: what it says before, what meanwhile, and what it must hear after it.
type still struct {
	*client
	name  string
	says  []byte
	hears wire.Kind // 0: a heartbeat's answer
}

// TestStandstill stops the gateway for longer than any limit (SIGSTOP: a debugger, a frozen control group, swapping do the same).
// Nobody who said in time what he owed is ended for it: heartbeats, the rest of a frame, a login; and there are more links than
// one look at events brings. Who is silent after that is ended as ever.
func TestStandstill(t *testing.T) {
	t.Parallel()
	const (
		limit = 5 * time.Second
		links = 1600
		few   = 20
	)
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}, gateway: `
reactors = 1
heartbeat = "1s"
idle_timeout = "5s"
frame_timeout = "5s"
login_timeout = "5s"
write_timeout = "5s"
`})
	var all []still
	alive := time.Now() // when all said something last
	for i := range links {
		all = append(all, still{client: dialIn(t, g.address(), fmt.Sprintf("u%d/phone", i)), name: "heartbeat", says: wire.AppendHeartbeat(nil)})
		if time.Since(alive) > time.Second {
			for _, c := range all {
				check(t, c.write(wire.AppendHeartbeat(nil)))
				c.want(0)
			}
			alive = time.Now()
		}
	}
	data := wire.Append(nil, wire.KindData, []byte("in two parts"))
	for i := range few {
		c := dialIn(t, g.address(), fmt.Sprintf("u%d/desktop", i))
		check(t, c.write(data[:len(data)/2]))
		all = append(all, still{client: c, name: "rest of a frame", says: data[len(data)/2:], hears: wire.KindData})
	}
	for i := range few {
		hello := wire.Append(nil, wire.KindHello, fmt.Appendf(nil, "u%d/watch", i))
		all = append(all, still{client: dial(t, g.address()), name: "login", says: hello, hears: wire.KindWelcome})
	}
	for _, c := range all[:links] {
		check(t, c.write(wire.AppendHeartbeat(nil)))
		c.want(0)
	}

	t.Cleanup(func() { g.signal(syscall.SIGCONT) }) // before its end is waited for
	g.signal(syscall.SIGSTOP)
	stopped := time.Now()
	waitFor(t, "the gateway stands still", func() bool { return g.stat()[0] == "T" })
	for _, c := range all {
		check(t, c.write(c.says))
	}
	time.Sleep(time.Until(stopped.Add(limit + 3*time.Second))) // that it is stopped is what is tried
	g.signal(syscall.SIGCONT)

	lost := map[string]int{}
	for _, c := range all {
		if _, err := c.expect(c.hears); err != nil {
			if lost[c.name]++; lost[c.name] == 1 {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	if len(lost) > 0 {
		t.Errorf("links lost of %d, %d and %d: %v", links, few, few, lost)
	}
	if lines := g.log.lines("stood still"); len(lines) != 1 {
		t.Errorf("the log says of the standstill %q", lines)
	}
	for _, c := range []still{all[0], all[links]} {
		b := must(c.readToBye())(t)
		if b.Reason != wire.ByeIdle {
			t.Errorf("%s, then silence: BYE %v", c.name, b)
		}
	}
	g.waitMetric("edged_links", 0)
	g.waitMetric("edged_links_closed_total", float64(len(all)), "reason", wire.ByeIdle.String())
	g.balanced()
}
