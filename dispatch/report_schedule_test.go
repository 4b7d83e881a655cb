package dispatch

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// TestScheduleRhythm walks through 1,000 ticks: each lies within the jitter of its place, and none is left out or doubled.
func TestScheduleRhythm(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const every = 5 * time.Second
	for range 20 {
		s := newSchedule(strconv.FormatUint(rnd.Uint64(), 36), every)
		now := time.Duration(0)
		for i := range 1000 {
			now += s.next(now, 2*rnd.Float64()-1)
			place := s.phase + time.Duration(i)*every
			if off := now - place; off.Abs() > every/20 {
				t.Fatalf("tick %d is %v off its place", i, off)
			}
			now += time.Duration(rnd.Int64N(int64(100 * time.Millisecond))) // the timer is late
		}
	}
}

// TestScheduleSpread asks for what the phase is there for: gateways that start together write at different times.
func TestScheduleSpread(t *testing.T) {
	const every, gateways, parts = 5 * time.Second, 2000, 10
	var n [parts]int
	for i := range gateways {
		s := newSchedule("192.0.2."+strconv.Itoa(i%250)+":"+strconv.Itoa(7000+i/250), every)
		first := s.next(0, 0)
		if first != s.phase || first < every/10 || first >= every+every/10 {
			t.Fatalf("first tick after %v, phase %v", first, s.phase)
		}
		n[(first-every/10)*parts/every]++
	}
	for i, n := range n {
		if n < gateways/parts/2 || n > gateways/parts*2 {
			t.Errorf("%d of %d gateways write in part %d of %d", n, gateways, i, parts)
		}
	}
}

func TestScheduleAfterStop(t *testing.T) {
	const every = time.Second
	s := schedule{phase: every / 2, interval: every}
	s.next(0, 0)
	if wait := s.next(100*every, 0); wait != 0 {
		t.Errorf("a process that stood for 100 intervals waits %v more", wait)
	}
	if wait := s.next(100*every, 0); wait != every/2 {
		t.Errorf("the next tick after that comes in %v, want %v: missed ones are not made up for", wait, every/2)
	}
	s = schedule{phase: 10 * time.Millisecond, interval: every}
	if wait := s.next(0, -1); wait != 0 {
		t.Errorf("a first tick before the start is awaited for %v", wait)
	}
}
