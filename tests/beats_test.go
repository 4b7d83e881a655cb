//go:build e2e

package tests

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/wire"
)

// beatsEach is the interval of the heartbeats here: short, so that a test sees many of each link.
const beatsEach = 2 * time.Second

// beatsConfig has two reactors, each of which hears enough heartbeats to gather them.
const beatsConfig = `
reactors = 2
heartbeat = "2s"
idle_timeout = "5s"
frame_timeout = "5s"
write_timeout = "5s"
`

// beaters are links that only send heartbeats, spread evenly, and await each answer before the next one.
type beaters struct {
	t    *testing.T
	all  []*client
	sent atomic.Int64
	quit chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	bad  []error // guarded by mu
}

func startBeaters(t *testing.T, address string, links int) *beaters {
	t.Helper()
	b := &beaters{t: t, quit: make(chan struct{})}
	for i := range links {
		c := dialIn(t, address, fmt.Sprintf("u%d/phone", i))
		b.all = append(b.all, c)
		b.wg.Go(func() {
			if err := b.beat(c, beatsEach*time.Duration(i)/time.Duration(links)); err != nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.bad = append(b.bad, fmt.Errorf("link %d: %w", i, err))
			}
		})
	}
	return b
}

func (b *beaters) beat(c *client, after time.Duration) error {
	next := time.NewTimer(after)
	defer next.Stop()
	for due := time.Now().Add(after); ; {
		select {
		case <-b.quit:
			return nil
		case <-next.C:
		}
		if err := c.write(wire.AppendHeartbeat(nil)); err != nil {
			return err
		}
		b.sent.Add(1)
		if _, err := c.expect(0); err != nil {
			return err
		}
		due = due.Add(beatsEach)
		if late := time.Since(due); late > 0 {
			due = due.Add(late) // a busy machine; the gateway is told again when the next one comes
		}
		next.Reset(time.Until(due))
	}
}

// finish ends the heartbeats: each was answered, and nobody lost his link. Each link says something then, which is echoed.
func (b *beaters) finish() {
	b.t.Helper()
	close(b.quit)
	b.wg.Wait()
	for i, err := range b.bad {
		if i < 3 {
			b.t.Error(err)
		}
	}
	if len(b.bad) > 0 {
		b.t.Fatalf("%d of %d links were lost", len(b.bad), len(b.all))
	}
	for _, c := range b.all {
		check(b.t, c.exchange([]byte("still here")))
	}
}

// beatsOf returns how many heartbeats there were, and how many of them were gathered.
func (g *gateway) beatsOf() (all, gathered float64) {
	g.t.Helper()
	s := g.scrape()
	return s.sum("edged_heartbeats_total"), s.sum("edged_heartbeats_gathered_total")
}

// TestHeartbeatsAreGathered has many links send heartbeats: most of them are answered together with others, so that there are fewer
// turns than heartbeats; while the process is replaced, too. What is no heartbeat does not wait for them, nor does one out of turn.
func TestHeartbeatsAreGathered(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}, gateway: beatsConfig})
	b := startBeaters(t, g.address(), 400)
	other := dialIn(t, g.address(), "other/desktop")
	round := func() {
		t.Helper()
		was, before := g.beatsOf()
		waitFor(t, "heartbeats are gathered", func() bool {
			check(t, other.exchange([]byte("hello")))
			check(t, other.write(wire.AppendHeartbeat(nil)))
			other.want(0)
			_, now := g.beatsOf()
			return now >= before+200
		})
		all, gathered := g.beatsOf()
		t.Logf("%v of %v heartbeats were gathered", gathered-before, all-was)
	}
	round()
	for range 2 {
		g.reload()
		round()
	}
	b.finish()
	if all, _ := g.beatsOf(); all < float64(b.sent.Load()) {
		t.Errorf("%v heartbeats were counted, %d sent", all, b.sent.Load())
	}
	g.waitMetric("edged_links", float64(len(b.all)+1))
}

// TestHeartbeatsAreNotGathered where the configuration says so: each is answered as it comes.
func TestHeartbeatsAreNotGathered(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}, gateway: beatsConfig + "heartbeat_slack = \"0s\"\n"})
	b := startBeaters(t, g.address(), 400)
	waitFor(t, "some thousand heartbeats", func() bool { all, _ := g.beatsOf(); return all > 2500 })
	b.finish()
	if _, gathered := g.beatsOf(); gathered != 0 {
		t.Errorf("%v heartbeats were gathered", gathered)
	}
}

// TestKilledWhileGathering has the process die while sockets keep heartbeats to themselves: the next one is told of them.
func TestKilledWhileGathering(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := startKept(t, startKeeper(t, "30s"), setup{managers: []string{k.address}, gateway: beatsConfig})
	b := startBeaters(t, g.address(), 400)
	torn := 0
	for range 3 {
		_, before := g.beatsOf()
		waitFor(t, "heartbeats are gathered", func() bool { _, now := g.beatsOf(); return now >= before+100 })
		torn += g.crash()
	}
	waitFor(t, "the next ones are answered", func() bool { all, _ := g.beatsOf(); return all >= 500 })
	close(b.quit)
	b.wg.Wait()
	for _, err := range b.bad {
		t.Log(err)
	}
	if len(b.bad) > torn {
		t.Errorf("%d links of %d were lost, %d torn", len(b.bad), len(b.all), torn)
	}
}

// TestWhoLeavesWhileGathered is noticed at once: the end of a connection is no heartbeat.
func TestWhoLeavesWhileGathered(t *testing.T) {
	t.Parallel()
	k := newKit(t, echoHandler())
	g := start(t, setup{managers: []string{k.address}, gateway: beatsConfig})
	b := startBeaters(t, g.address(), 400)
	waitFor(t, "heartbeats are gathered", func() bool { _, n := g.beatsOf(); return n > 100 })
	close(b.quit)
	b.wg.Wait() // and now all are silent, and about to be gathered or so already
	for _, c := range b.all {
		c.close()
	}
	g.waitMetric("edged_links", 0)
	if n := g.metric("edged_links_closed_total", "reason", wire.ByeIdle.String()); n != 0 {
		t.Errorf("%v links were closed for their silence", n)
	}
	g.balanced()
}
