package gateway

import (
	"time"

	"edged/linkpool"
	"edged/wire"
)

// beats gathers heartbeats, so that a reactor that has little else to do is woken for many of them and not for each: being woken
// costs more than what a heartbeat is. A client that says nothing sends one when the interval that WELCOME told it has passed since
// it said something. Around that moment lies a window, in which the kernel is asked not to tell of so few bytes
// (netpoll.Loop.Gather), and at whose end the link is read. Windows begin and end at full steps of the clock, so that a turn does
// many of them.
//
//	heard                 expected
//	  |------interval-------->|
//	                      [  window   ]    a look at its beginning, and one at its end, at which it is read and answered
//	--|-----|-----|-----|-----|-----|--    steps
//
// Nothing else waits: a message, and the end of a link, are told at once. So is a heartbeat out of turn, unless it falls into a
// window, and then it waits no longer than any other. One that comes after its window, or before it, is told as it comes, and
// places the next window anew.
type beats struct {
	// Static after construction.
	step     linkpool.Millis // half a window; 0: none is gathered
	interval linkpool.Millis

	on     bool // they are many, and most of what wakes the reactor
	next   linkpool.Millis
	judged linkpool.Millis // when on was judged last, and what had been counted then
	heard  uint64
	turns  uint64
}

const (
	// leastBeats is how many heartbeats a second make it worth while: nobody notices what fewer cost.
	leastBeats = 32

	// leastStep is the shortest step at which being woken at its end costs less than what it saves.
	leastStep = 20 * time.Millisecond

	// gatherBudget is how many links a turn reads that were gathered. Their answers go out at its end, while their sockets are
	// still in the CPU's cache: 1.12 times the CPU of a heartbeat with 150.
	gatherBudget = 16
)

// newBeats returns what a shard begins with at some moment.
func newBeats(c *Config, now linkpool.Millis) beats {
	// Who waits for an answer before it takes the gateway for dead waits for a part of that spare time at least.
	slack := min(c.HeartbeatSlack, c.Heartbeat/10, (c.IdleTimeout-c.Heartbeat)/4)
	if slack/2 < leastStep {
		return beats{}
	}
	steps := (c.Heartbeat + slack/2 - 1) / (slack / 2) // whole ones in an interval, as far as milliseconds allow
	b := beats{step: millisOf(c.Heartbeat / steps), interval: millisOf(c.Heartbeat)}
	b.judge(now, 0, 0)
	b.on = false
	return b
}

func millisOf(d time.Duration) linkpool.Millis { return linkpool.Millis(d / time.Millisecond) }

// due says that it is time for judge.
func (b *beats) due(now linkpool.Millis) bool { return b.step != 0 && !now.Before(b.next) }

// judge finds out whether gathering pays: heard and turns are how many heartbeats and turns there were ever.
func (b *beats) judge(now linkpool.Millis, heard, turns uint64) {
	n, took := float64(heard-b.heard), now.Sub(b.judged).Seconds()
	b.on = n >= leastBeats*took && 4*n >= float64(turns-b.turns)
	b.judged, b.heard, b.turns = now, heard, turns
	b.next = now + max(4*b.step, millisOf(time.Second))
}

// window is when the next heartbeat is expected of a link that was heard at some moment, and whether that was because it was
// gathered: then it came within the window that ended with that step, and so will the next one.
func (b *beats) window(heard linkpool.Millis, gathered bool) (begin, end linkpool.Millis) {
	if gathered {
		end = heard - heard%b.step + b.interval
	} else {
		end = heard + b.interval + b.step/5 + b.step - 1
		end -= end % b.step
	}
	return end - 2*b.step, end
}

// await gathers a link whose window has begun, and tells when it is to be looked at again.
func (s *shard) await(l *link, now linkpool.Millis, sooner func(linkpool.Millis)) {
	if l.flags&(welcomed|half|waiting|throttled|blocked) != welcomed {
		return
	}
	switch begin, end := s.beats.window(l.heard, l.flags&gathered != 0); {
	case now.Before(begin):
		sooner(begin)
	case now.Before(end):
		s.loop.Gather(l.conn, wire.HeadLen+1)
		sooner(end)
	}
}

// collect reads a link if it was gathered. was says so, alive that it is still there.
func (s *shard) collect(place, uniq uint32, l *link) (was, alive bool) {
	before, heard := s.count.Heartbeats, l.heard
	if !s.loop.Collect(l.conn) {
		return false, true
	}
	s.count.Gathered += s.count.Heartbeats - before
	if s.links.Get(place, uniq) == nil {
		return true, false
	}
	if l.heard != heard {
		l.flags |= gathered
	}
	return true, true
}
