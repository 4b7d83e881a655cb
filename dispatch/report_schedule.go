package dispatch

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

const (
	// tickJitter is how much of the interval a tick may come early or late.
	tickJitter = 0.05
	// tickLag is how much of the interval ticks come after the phase that the gateway's ID gives, because package health
	// measures at that phase: a tick finds a report that is just new, and not one that is just about to be replaced.
	tickLag = 0.1
)

// schedule is when reports are written: each interval, at a phase that the gateway's ID chooses, a little early or late. It
// knows no clock.
type schedule struct {
	phase, interval time.Duration
	slot            int64 // the number of the next tick
}

func newSchedule(gateway string, interval time.Duration) schedule {
	h := fnv.New64a()
	_, _ = h.Write([]byte(gateway))
	phase := time.Duration(h.Sum64() % uint64(interval))
	return schedule{phase: phase + time.Duration(tickLag*float64(interval)), interval: interval}
}

// next returns how long it is to the next tick at a time after the start. random is from -1 to 1. A process that was stopped
// for several intervals makes up for one tick, not for all.
func (s *schedule) next(since time.Duration, random float64) time.Duration {
	s.slot = max(s.slot, int64((since-s.phase)/s.interval))
	at := s.phase + time.Duration(s.slot)*s.interval + jittered(s.interval, random) - s.interval
	s.slot++
	return max(at-since, 0)
}

// jittered returns d, up to tickJitter of it more or less.
func jittered(d time.Duration, random float64) time.Duration {
	return d + time.Duration(tickJitter*random*float64(d))
}

// random is from -1 to 1.
func random() float64 { return 2*rand.Float64() - 1 }
