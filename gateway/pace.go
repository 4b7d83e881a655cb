package gateway

import (
	"math"
	"time"

	"edged/linkpool"
)

// A link that says more than Config.LinkRate is not read for a while: nothing is lost, its client's sends wait. What it says is
// counted in windows that are short, so that the run of messages which a window lets through holds nobody else up.
const (
	paceWindow = 4 * time.Millisecond
	paceUnit   = 1 << 10 // bytes of a frame that count as a message
	paceCheck  = 64      // messages of one input after which it is looked at the rate
)

// units is what a frame counts.
func units(body int) int { return 1 + body/paceUnit }

// overspent counts what a link said, and says whether it was too much for the window.
func (s *shard) overspent(l *link, units int) bool {
	// A window that looks like that of a second ago costs at most one needless pause.
	if w := uint8(s.now() / linkpool.Millis(paceWindow/time.Millisecond)); l.window != w {
		l.window, l.spent = w, 0
	}
	l.spent = uint16(min(int(l.spent)+units, math.MaxUint16))
	return int(l.spent) > s.g.paceBurst
}

// paceBurst is what a link may say in a window.
func paceBurst(rate int) int {
	if rate == 0 {
		return math.MaxInt
	}
	return int(time.Duration(rate) * paceWindow / time.Second)
}

// throttle stops reading from a link until what it said is within its rate again.
func (s *shard) throttle(place uint32, l *link) {
	pause := time.Duration(l.spent) * time.Second / time.Duration(s.g.cfg.LinkRate)
	s.count.Throttles++
	l.flags = l.flags&^half | throttled
	l.since = s.now().Deadline(pause)
	s.loop.Pause(l.conn)
	s.deadlines.Earlier(place, l.since)
}

// release reads again from a link that was throttled for long enough.
func (s *shard) release(l *link, now linkpool.Millis) {
	l.flags &^= throttled
	l.heard = now // its silence was ours
	s.loop.Resume(l.conn)
}
