package gateway

import (
	"testing"
	"time"

	"edged/linkpool"
)

// TestStandstillIsNoTime: what began before a standstill has as long after it as it had before; what begins after it knows nothing
// of it, also when the clock of milliseconds has gone round.
func TestStandstillIsNoTime(t *testing.T) {
	const limit = 10 * time.Second
	for _, begin := range []time.Duration{time.Minute, 1<<32*time.Millisecond - 20*time.Second} {
		var s standstill
		now := begin
		turn := func(after, wait time.Duration) time.Duration {
			now += after
			d := s.turn(now, limit)
			s.wait = wait
			return d
		}
		left := func(since time.Duration) time.Duration {
			return s.due(linkpool.MillisAt(since), limit).Sub(linkpool.MillisAt(now)) - time.Millisecond // Deadline is never early
		}
		if d := turn(0, 2*time.Second); d != 0 {
			t.Fatalf("the first turn stood still for %v", d)
		}
		if d := turn(2500*time.Millisecond, 2*time.Second); d != 0 {
			t.Fatalf("half a second late is a standstill of %v", d)
		}
		before := now
		if d := turn(2*time.Second+time.Minute, 0); d != time.Minute {
			t.Fatalf("a minute late is a standstill of %v", d)
		}
		if d := left(before); d != limit-2*time.Second {
			t.Fatalf("%v of %v left after 2 s and a standstill", d, limit)
		}
		if d := left(now); d != limit {
			t.Fatalf("%v of %v left of what begins now", d, limit)
		}
		if d := turn(limit, -1); d != limit { // no wait, and yet it took so long
			t.Fatalf("a turn of %v is a standstill of %v", limit, d)
		}
		if d := turn(time.Hour, time.Hour); d != 0 { // it may sleep for as long as it likes
			t.Fatalf("a sleep is a standstill of %v", d)
		}
		for range 60 * 24 {
			turn(time.Hour, time.Hour)
			if d := left(now - time.Second); d != limit-time.Second {
				t.Fatalf("%v after the standstill %v are left, want %v", now-before, d, limit-time.Second)
			}
		}
	}
}
