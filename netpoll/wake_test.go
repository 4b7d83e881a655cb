package netpoll_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/netpoll"
)

// raw lets the loops of a test wait raw, which they do with enough Ps only.
func raw(t testing.TB, loops int) {
	t.Helper()
	old := runtime.GOMAXPROCS(netpoll.Procs(loops))
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// eachWait runs a test with raw waits and without.
func eachWait(t *testing.T, f func(t *testing.T)) {
	t.Run("raw", func(t *testing.T) { raw(t, 4); f(t) })
	t.Run("syscall", f)
}

// Work is given to the loop as lanes do it: a counter, then Wake. A unit that the loop sleeps over is a lost wake-up: with
// no other event it would wait for ever.
func TestNoWakeIsLost(t *testing.T) {
	const wakers, each = 4, 25000
	eachWait(t, func(t *testing.T) {
		var given, taken atomic.Uint64
		l, _ := serve(t, netpoll.Config{}, func(h *hooks) {
			h.pending = func() bool { return given.Load() != taken.Load() }
			h.turn = func(time.Duration) time.Duration { taken.Store(given.Load()); return -1 }
		})
		var wg sync.WaitGroup
		for range wakers {
			wg.Go(func() {
				for range each {
					mine := given.Add(1)
					l.Wake()
					// Seen before the next is given, so that the loop falls asleep all the time.
					for end := time.Now().Add(limit); taken.Load() < mine; runtime.Gosched() {
						if time.Now().After(end) {
							t.Errorf("unit %d was not seen within %v", mine, limit)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		s := stats(t, l)
		t.Logf("%d wakes, %d rings, %d turns", wakers*each, s.Rings, s.Wakeups)
		if s.Rings > wakers*each+100 {
			t.Errorf("%d rings for %d wakes", s.Rings, wakers*each)
		}
	})
}

func TestPostFromManyRunsOnceAndInOrder(t *testing.T) {
	const posters, each = 4, 5000
	eachWait(t, func(t *testing.T) {
		l, _ := serve(t, netpoll.Config{}, func(*hooks) {})
		var next [posters]int // owned by the loop
		done := make(chan struct{})
		total := 0
		for p := range posters {
			go func() {
				for i := range each {
					if !l.Post(func() {
						if next[p] != i {
							t.Errorf("poster %d: %d ran as number %d", p, i, next[p])
						}
						next[p]++
						if total++; total == posters*each {
							close(done)
						}
					}) {
						t.Error("refused")
					}
				}
			}()
		}
		wait(t, done, "all posted work")
	})
}

func TestPostFromPostedWork(t *testing.T) {
	l, _ := serve(t, netpoll.Config{}, func(*hooks) {})
	done := make(chan struct{})
	left := 1000
	var again func()
	again = func() {
		if left--; left == 0 {
			close(done)
		} else {
			l.Post(again)
		}
	}
	l.Post(again)
	wait(t, done, "the chain")
}

// While the loop is busy nobody has to ring.
func TestWakesOfABusyLoopAreCoalesced(t *testing.T) {
	const wakes = 100_000
	l, _ := serve(t, netpoll.Config{}, func(*hooks) {})
	before := stats(t, l)
	on(t, l, func() {
		for range wakes {
			l.Wake()
		}
	})
	after := stats(t, l)
	if n := after.Rings - before.Rings; n > 4 {
		t.Errorf("%d rings for %d wakes of a busy loop", n, wakes)
	}
	var working atomic.Bool
	working.Store(true)
	busy, _ := serve(t, netpoll.Config{}, func(h *hooks) { h.pending = working.Load })
	before = stats(t, busy)
	for range wakes {
		busy.Wake()
	}
	if n := stats(t, busy).Rings - before.Rings; n > 1 {
		t.Errorf("%d rings for %d wakes of a loop that does not sleep", n, wakes)
	}
	working.Store(false)
}

func TestTurnsWaitIsHonoured(t *testing.T) {
	const pause = 20 * time.Millisecond
	eachWait(t, func(t *testing.T) {
		var begin, due time.Duration
		done := make(chan time.Duration, 1)
		serve(t, netpoll.Config{}, func(h *hooks) {
			h.turn = func(now time.Duration) time.Duration {
				switch {
				case begin == 0:
					begin, due = now, now+pause
				case due != 0 && now >= due:
					done <- now - begin
					due = 0
				}
				if due == 0 {
					return -1
				}
				return due - now
			}
		})
		if d := wait(t, done, "the deadline"); d < pause {
			t.Errorf("due after %v", d)
		}
	})
}

// The longest of all waits is not one that wraps to the shortest.
func TestTurnsWaitOfAnyLength(t *testing.T) {
	for _, d := range []time.Duration{1<<63 - 1, 1 << 32 * time.Millisecond} {
		l, _ := serve(t, netpoll.Config{}, func(h *hooks) {
			h.turn = func(time.Duration) time.Duration { return d }
		})
		waitIdle(t, l)
	}
}

// Time goes to the turn as one clock for all loops, the kernel's own.
func TestNow(t *testing.T) {
	var last time.Duration
	l, _ := serve(t, netpoll.Config{}, func(h *hooks) {
		h.turn = func(now time.Duration) time.Duration {
			if now < last || now != h.loop.Now() {
				t.Errorf("now %v after %v, Now %v", now, last, h.loop.Now())
			}
			last = now
			return -1
		}
	})
	for range 100 {
		on(t, l, func() {})
	}
}
