package linkpool

import "time"

// Millis is a moment in milliseconds of a monotonic clock, counted modulo 2^32,
// that is, round and round every 49.7 days. Two moments are compared by
// the shorter way between them, which is right while they lie less than 2^31 ms,
// or 24.8 days, apart.
type Millis uint32

// maxAhead leaves most of a day for a deadline to be overdue.
const maxAhead = 24 * 24 * time.Hour

// MillisAt returns the Millis of a clock's reading, which may be any time since
// any beginning. What is less than a millisecond is cut off.
func MillisAt(clock time.Duration) Millis { return Millis(clock / time.Millisecond) }

// Before reports whether m lies before n.
func (m Millis) Before(n Millis) bool { return int32(m-n) < 0 }

// Sub returns the time from n to m, negative when m lies before n.
func (m Millis) Sub(n Millis) time.Duration { return time.Duration(int32(m-n)) * time.Millisecond }

// Ago returns the moment that lies d before m.
func (m Millis) Ago(d time.Duration) Millis { return m - Millis(d/time.Millisecond) }

// Deadline returns the first Millis at which d has surely passed since a moment
// that was stamped m. A stamp and the now it is compared with have both lost
// up to a millisecond, and a deadline must not come early, so one is added.
// More than 24 days are taken as 24 days and less than nothing as nothing.
func (m Millis) Deadline(d time.Duration) Millis {
	d = min(max(d, 0), maxAhead)
	return m + Millis((d+time.Millisecond-1)/time.Millisecond) + 1
}
