package gateway

import (
	"time"

	"edged/batch"
	"edged/linkpool"
	"edged/wire"
)

// dueBudget bounds the links that one turn looks at because of time.
const dueBudget = 1024

// A link has one deadline in the heap, at most checkEvery away, and is looked at when that comes up: only then is it found out
// what is due and when the next look is. So input only stamps the time, output nothing at all, and yet no limit of a link's
// silence, frames or output is overrun, because none is shorter than checkEvery.
//
// What a link owes is measured up to when all that came was seen, not up to now, and without the time in which the gateway stood
// still itself: then it finds everybody's deadline over, and what they sent in time in their sockets.

// expire looks at the links whose deadline has come.
func (s *shard) expire() {
	now, seen := s.now(), linkpool.MillisAt(s.loop.SeenUntil())
	if s.beats.due(now) {
		s.beats.judge(now, s.count.Heartbeats, s.loop.Stats().Wakeups)
	}
	left := gatherBudget
	for range dueBudget {
		place, ok := s.deadlines.Due(now)
		if !ok {
			return
		}
		l, uniq := s.links.At(place)
		if was, alive := s.collect(place, uniq, l); was {
			if left--; !alive {
				continue
			}
		}
		if l.flags&throttled != 0 && !now.Before(l.since) {
			s.release(l, now)
		}
		if e, over := s.overdue(l, seen); over {
			s.end(place, uniq, l, e)
			continue
		}
		if !s.pingIfSilent(place, uniq, l, now) {
			continue
		}
		if l.flags&latent != 0 && now.Sub(l.opened) > latentAge {
			s.settle(place, uniq, l)
		}
		if l.delivers() {
			if s.attend(place, uniq, l, now); s.links.Get(place, uniq) == nil {
				continue
			}
		}
		s.deadlines.Set(place, s.nextDeadline(place, l, now))
		if left == 0 {
			return
		}
	}
}

// attend does what the link's pushes need: repeats, turns that were waited for long enough, another try with the log.
func (s *shard) attend(place, uniq uint32, l *link, now linkpool.Millis) {
	if at, ok := s.windowDue(l); ok && !now.Before(at) {
		if s.repeat(place, uniq, l); s.links.Get(place, uniq) == nil {
			return
		}
	}
	if l.flags&replaying != 0 {
		if s.feedAgain(place, uniq, l); s.links.Get(place, uniq) == nil {
			return
		}
	}
	if at, ok := s.orders.Next(l.order); ok && !now.Before(linkpoolMillis(at)) {
		s.popTurns(place, uniq, l)
	}
}

// windowDue is when a push of the link must be repeated or given up.
func (s *shard) windowDue(l *link) (linkpool.Millis, bool) {
	if l.flags&latent != 0 {
		return 0, false
	}
	at, ok := s.windows.Next(l.unacked)
	return linkpoolMillis(at), ok
}

// deliveryDue is when attend must be called.
func (s *shard) deliveryDue(place uint32, l *link, now linkpool.Millis, sooner func(linkpool.Millis)) {
	if at, ok := s.windowDue(l); ok {
		sooner(at)
	}
	if l.flags&replaying != 0 {
		r := s.replays.by[place]
		if at, ok := s.replayDue(r, now); ok {
			sooner(at)
		}
		if r.busy() {
			return
		}
	}
	if at, ok := s.orders.Next(l.order); ok {
		sooner(linkpoolMillis(at))
	}
}

// overdue says whether a limit of the link was overrun at a time up to which all that came was seen.
func (s *shard) overdue(l *link, seen linkpool.Millis) (ending, bool) {
	c := &s.g.cfg
	passed := func(since linkpool.Millis, d time.Duration) bool { return !seen.Before(s.stood.due(since, d)) }
	byGateway := func(r wire.Reason, evidence string) (ending, bool) {
		return ending{reason: r, side: batch.SideGateway, evidence: evidence}, true
	}
	switch {
	case l.flags&welcomed == 0 && passed(l.opened, c.LoginTimeout):
		if s.managers.anyUp(s) {
			return byGateway(wire.ByeLoginTimeout, "no login in time")
		}
		return ending{reason: wire.ByeNoManager, side: batch.SideGateway, evidence: "no login in time: no Manager reachable", retry: s.retryAfter()}, true
	case l.flags&waiting != 0:
		if passed(l.since, c.StallTimeout) {
			return ending{reason: wire.ByeNoManager, side: batch.SideGateway, evidence: "no room towards the Manager", retry: s.retryAfter()}, true
		}
	case l.flags&throttled != 0: // it is not silent, we do not listen
	case passed(l.heard, c.IdleTimeout):
		return byGateway(wire.ByeIdle, "silent")
	case l.flags&half != 0 && passed(l.since, c.FrameTimeout):
		return byGateway(wire.ByeIdle, "frame not finished in time")
	}
	if stalled := s.loop.Stalled(l.conn); stalled > 0 && passed(s.now().Ago(stalled), c.WriteTimeout) {
		return byGateway(wire.ByeSlow, "output without progress")
	}
	return ending{}, false
}

// pingIfSilent sends a PING where the link's listener wants one; false when that ended the link.
func (s *shard) pingIfSilent(place, uniq uint32, l *link, now linkpool.Millis) bool {
	every := s.g.listeners[l.listener].PingInterval
	if every == 0 || l.flags&(welcomed|waiting|throttled) != welcomed || now.Before(s.quietSince(l).Deadline(every)) {
		return true
	}
	l.flags |= asked
	l.pinged = now
	s.scratch = wire.AppendPing(s.scratch[:0], s.random.Uint32())
	return s.send(place, uniq, l, wire.KindPing, s.scratch)
}

// quietSince is when the link was last heard or asked.
func (s *shard) quietSince(l *link) linkpool.Millis {
	if l.flags&asked != 0 && l.heard.Before(l.pinged) {
		return l.pinged
	}
	return l.heard
}

// nextDeadline is when the link must be looked at again, nothing being overdue now: in the next turn, if something may turn out to
// be when all that came is seen.
func (s *shard) nextDeadline(place uint32, l *link, now linkpool.Millis) linkpool.Millis {
	c := &s.g.cfg
	at := now.Deadline(s.g.checkEvery)
	sooner := func(t linkpool.Millis) {
		if t.Before(at) {
			at = t
		}
	}
	if l.flags&welcomed == 0 {
		sooner(s.stood.due(l.opened, c.LoginTimeout))
	}
	switch {
	case l.flags&waiting != 0:
		sooner(s.stood.due(l.since, c.StallTimeout))
	case l.flags&throttled != 0:
		sooner(l.since)
	default:
		sooner(s.stood.due(l.heard, c.IdleTimeout))
		if l.flags&half != 0 {
			sooner(s.stood.due(l.since, c.FrameTimeout))
		}
	}
	if stalled := s.loop.Stalled(l.conn); stalled > 0 {
		sooner(s.stood.due(now.Ago(stalled), c.WriteTimeout))
	}
	if every := s.g.listeners[l.listener].PingInterval; every != 0 && l.flags&(welcomed|waiting|throttled) == welcomed {
		sooner(s.quietSince(l).Deadline(every))
	}
	if l.delivers() {
		s.deliveryDue(place, l, now, sooner)
	}
	if s.beats.on {
		s.await(l, now, sooner)
	}
	if !now.Before(at) {
		return now + 1
	}
	return at
}

// untilDue is how long the loop may sleep.
func (s *shard) untilDue() time.Duration {
	wait := time.Duration(-1)
	if at, ok := s.deadlines.Next(); ok {
		wait = max(at.Sub(s.now()), 0)
	}
	if (s.drain.active || s.shed.active) && (wait < 0 || wait > drainTick) {
		wait = drainTick
	}
	if s.managers.anyCrowd() && (wait < 0 || wait > crowdTick) {
		wait = crowdTick
	}
	if d, ok := s.syncWait(); ok && (wait < 0 || wait > d) {
		wait = d
	}
	if s.replays.resyncing && (wait < 0 || wait > resyncTick) {
		wait = resyncTick
	}
	if d := s.keep.sleep(); wait < 0 && d < maxTimeout || wait > d {
		wait = d
	}
	return wait
}

// longestLimit is the longest of a link's limits.
func longestLimit(c Config) time.Duration {
	return max(c.IdleTimeout, c.FrameTimeout, c.LoginTimeout, c.StallTimeout, c.WriteTimeout)
}

// checkEvery is the longest time between two looks at a link.
func checkEvery(c Config, listeners []Listener) time.Duration {
	d := min(c.IdleTimeout, c.FrameTimeout, c.WriteTimeout) // a wait for room moves its link's deadline itself
	for _, l := range listeners {
		if l.PingInterval != 0 {
			d = min(d, l.PingInterval)
		}
	}
	return d
}
