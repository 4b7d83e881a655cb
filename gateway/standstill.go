package gateway

import (
	"time"

	"edged/linkpool"
)

// leastStandstill is by how much a turn is late when the thread stood still and was not merely busy.
const leastStandstill = time.Second

// standstill is the last time in which a shard did not run though it was its turn: the process was stopped or its control group
// frozen, its memory had to be read back from disk, the machine was paused. For the links that is no time: their limits are longer
// by it, or a gateway that goes on would end everybody whose login, room or next frame it held up itself.
type standstill struct {
	turned time.Duration // when the turn before began; 0: there was none
	wait   time.Duration // how long the loop might sleep then, negative: for ever
	until  linkpool.Millis
	length time.Duration // 0: there was none, or so long ago that no limit knows it
}

// turn begins a turn, and returns for how long the shard stood still before it, 0 when it did not. longest is the longest limit.
func (s *standstill) turn(now, longest time.Duration) (stood time.Duration) {
	late := now - s.turned - s.wait
	switch {
	case s.turned != 0 && s.wait >= 0 && late >= leastStandstill:
		s.until, s.length, stood = linkpool.MillisAt(now), late, late
	case s.length != 0 && linkpool.MillisAt(now).Sub(s.until) > s.length+longest:
		s.length = 0
	}
	s.turned = now
	return stood
}

// due is when a limit of d is overrun that began at a moment.
func (s *standstill) due(since linkpool.Millis, d time.Duration) linkpool.Millis {
	if s.length != 0 && since.Before(s.until) {
		d += s.length
	}
	return since.Deadline(d)
}
