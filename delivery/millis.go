package delivery

import "time"

// Millis is a moment in milliseconds of a monotonic clock, counted modulo 2^32: linkpool.Millis
// under another name, as packages of one floor do not know each other. Two moments are compared by
// the shorter way between them, so all that are compared must lie less than 24.8 days apart.
type Millis uint32

// maxAhead is the farthest that a moment is set from now: the days that are left are for looking at
// it late.
const maxAhead = 20 * 24 * time.Hour

func (m Millis) before(n Millis) bool { return int32(m-n) < 0 }

// after returns the first Millis at which ms milliseconds have surely passed since a moment that
// was stamped m: a stamp and the now it is compared with have both lost up to a millisecond.
func (m Millis) after(ms uint32) Millis { return m + Millis(ms) + 1 }

func earlier(m, n Millis) Millis {
	if n.before(m) {
		return n
	}
	return m
}

// millis returns d in whole milliseconds, rounded up, between 0 and maxAhead.
func millis(d time.Duration) uint32 {
	d = min(max(d, 0), maxAhead)
	return uint32((d + time.Millisecond - 1) / time.Millisecond)
}
