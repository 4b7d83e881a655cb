package gateway

import (
	"context"
	"slices"
	"time"

	"edged/batch"
	"edged/linkpool"
	"edged/wire"
)

// Start begins to accept.
func (g *Gateway) Start() {
	g.life.Lock()
	defer g.life.Unlock()
	if g.life.started || g.life.stopped {
		return
	}
	g.life.started = true
	if g.kept != nil && g.kept.Began != nil {
		g.kept.Began()
	}
	g.startDesk()
	g.relay.Start()
	g.group.Start()
}

// Drain stops accepting and sends the links away, evenly over the time within; it returns at once.
func (g *Gateway) Drain(within time.Duration) {
	g.life.Lock()
	defer g.life.Unlock()
	if g.draining.Swap(true) {
		return
	}
	g.log.Info("draining", "links", g.Links(), "within", within)
	g.group.StopAccepting()
	for _, s := range g.shards {
		s.loop.Post(func() { s.startDrain(within) })
	}
}

// Undrain takes a drain back: links that are still here stay, and new ones are accepted again.
func (g *Gateway) Undrain() error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.life.stopped || !g.draining.Load() {
		return nil
	}
	for _, s := range g.shards {
		s.loop.Post(func() { s.drain = drain{} })
	}
	if err := g.listen(nil); err != nil {
		g.group.StopAccepting() // some of them may listen: all or none
		return err
	}
	g.draining.Store(false)
	g.log.Info("not draining any more")
	return nil
}

// Wait returns when no link is left or ctx ends.
func (g *Gateway) Wait(ctx context.Context) error {
	return untilTrue(ctx, func() bool { return g.Links() == 0 })
}

// Farewell returns when those whose links have ended took their last bytes, or had their time to, or when ctx ends.
func (g *Gateway) Farewell(ctx context.Context) error {
	return untilTrue(ctx, func() bool { return !g.lingering(ctx) })
}

// lingering says whether a connection is still open whose link has ended.
func (g *Gateway) lingering(ctx context.Context) bool {
	st, err := g.Stats(ctx)
	if err != nil {
		return ctx.Err() != nil // else the loops have stopped
	}
	return slices.ContainsFunc(st.Shards, func(s ShardStats) bool { return s.Loop.Lingering > 0 })
}

// Trim drops the buffers that the shards keep for what comes next: for a time in which little is going on.
func (g *Gateway) Trim() {
	for _, s := range g.shards {
		s.loop.Post(func() {
			s.loop.Trim()
			s.port.Trim()
			s.trimZipper()
		})
	}
}

// Stop ends the gateway: the links that are left are told by BYE and the Managers by `closed`, what is on its way to Managers is
// flushed as long as ctx allows, and every connection is closed.
func (g *Gateway) Stop(ctx context.Context) error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.life.stopped {
		return nil
	}
	g.life.stopped = true
	g.draining.Store(true)
	if g.life.started {
		g.group.StopAccepting()
		g.onShards(ctx, (*shard).dismiss)
		_ = untilTrue(ctx, func() bool { return !g.owing(ctx) }) // what remains is told by the relay's error
	}
	err := g.relay.Stop(ctx)
	g.group.Stop()
	g.stopDesk(ctx)
	return err
}

// owing says whether a shard holds something for a Manager that can still be told.
func (g *Gateway) owing(ctx context.Context) bool {
	answers := make(chan bool, len(g.shards))
	g.onShards(ctx, func(s *shard) { answers <- s.managers.owing() })
	for {
		select {
		case a := <-answers:
			if a {
				return true
			}
		default:
			return false
		}
	}
}

// onShards runs f on every shard's thread and waits for it, at most until ctx ends.
func (g *Gateway) onShards(ctx context.Context, f func(*shard)) {
	done := make(chan struct{}, len(g.shards))
	for _, s := range g.shards {
		if !s.loop.Post(func() { f(s); done <- struct{}{} }) {
			done <- struct{}{}
		}
	}
	for range g.shards {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

func untilTrue(ctx context.Context, f func() bool) error {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// drainTick is how often a draining shard sends links away.
const drainTick = 10 * time.Millisecond

// drain sends a shard's links away at an even pace.
type drain struct {
	active  bool
	started linkpool.Millis
	within  time.Duration
	links   int // there were at the start
	gone    int // sent away so far
	at      int // where the walk goes on
}

// startDrain begins, on the shard's thread.
func (s *shard) startDrain(within time.Duration) {
	s.drain, s.shed = drain{active: true, started: s.now(), within: within, links: s.links.Len()}, shed{}
}

// drainSome sends as many links away as the time that has passed asks for.
func (s *shard) drainSome() {
	d := &s.drain
	if !d.active {
		return
	}
	goal := paced(d.links, s.now().Sub(d.started), d.within)
	for n := goal - d.gone; n > 0 && s.links.Len() > 0; n-- {
		d.at = s.links.Each(d.at, 1, func(place, uniq uint32, l *link) {
			s.end(place, uniq, l, ending{reason: wire.ByeDraining, side: batch.SideGateway, evidence: "draining", retry: s.retryAfter()})
		})
		d.gone++
	}
	if s.links.Len() == 0 {
		d.active = false
	}
}

// dismiss sends all links away at once, and gives the relay what it is to be told of that.
func (s *shard) dismiss() {
	s.drain.active = false
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, l *link) {
		s.end(place, uniq, l, ending{reason: wire.ByeDraining, side: batch.SideGateway, evidence: "the gateway stops", retry: s.retryAfter()})
	})
	s.managers.flush(s)
}
