package gateway

import (
	"time"

	"edged/batch"
	"edged/linkpool"
	"edged/wire"
)

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
	s.drain = drain{active: true, started: s.now(), within: within, links: s.links.Len()}
}

// drainSome sends as many links away as the time that has passed asks for.
func (s *shard) drainSome() {
	d := &s.drain
	if !d.active {
		return
	}
	goal := d.links
	if passed := s.now().Sub(d.started); passed < d.within {
		goal = int(int64(d.links) * int64(passed+drainTick) / int64(d.within))
	}
	for n := min(goal, d.links) - d.gone; n > 0 && s.links.Len() > 0; n-- {
		d.at = s.links.Each(d.at, 1, func(place, uniq uint32, l *link) {
			s.end(place, uniq, l, ending{reason: wire.ByeDraining, side: batch.SideGateway, evidence: "draining", retry: s.retryAfter()})
		})
		d.gone++
	}
	if s.links.Len() == 0 {
		d.active = false
	}
}
