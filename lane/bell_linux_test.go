package lane_test

import (
	"sync/atomic"
	"testing"
	"time"

	"edged/lane"
)

func newBell(t *testing.T) *lane.Bell {
	t.Helper()
	b, err := lane.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// within fails the test if f takes too long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what)
	}
}

// However a ring and the decision to sleep fall together, the sleeper sees what was done before the ring.
func TestBellIsNeverMissed(t *testing.T) {
	b := newBell(t)
	const rounds = 20000
	var asked, answered atomic.Int64
	go func() {
		for i := int64(1); i <= rounds; i++ {
			b.Wait(func() bool { return asked.Load() < i })
			answered.Store(i)
		}
	}()
	within(t, "asleep for ever", func() {
		for i := int64(1); i <= rounds; i++ {
			asked.Store(i)
			b.Ring()
			for i%64 == 0 && answered.Load() < i { // sometimes it goes to sleep in between
				time.Sleep(time.Microsecond)
			}
		}
		for answered.Load() < rounds {
			time.Sleep(time.Microsecond)
		}
	})
}

// Rings that nobody waits for do not add up, and wake nobody who has reason to sleep on.
func TestBellAsksAgain(t *testing.T) {
	b := newBell(t)
	for range 100 {
		b.Ring()
	}
	var awake atomic.Bool
	var asked atomic.Int64
	time.AfterFunc(20*time.Millisecond, b.Ring) // without a reason
	time.AfterFunc(40*time.Millisecond, func() {
		awake.Store(true)
		b.Ring()
	})
	within(t, "asleep for ever", func() {
		b.Wait(func() bool {
			asked.Add(1)
			return !awake.Load()
		})
	})
	if n := asked.Load(); !awake.Load() || n > 5 {
		t.Errorf("back with awake %v after %d questions", awake.Load(), n)
	}
}

func TestBellClose(t *testing.T) {
	b := newBell(t)
	time.AfterFunc(10*time.Millisecond, func() { _ = b.Close() })
	forever := func() bool { return true }
	within(t, "Close does not end Wait", func() { b.Wait(forever) })
	within(t, "Wait after Close sleeps", func() { b.Wait(forever) })
	b.Ring()
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestBellDoesNotAllocate(t *testing.T) {
	b := newBell(t)
	var awake atomic.Bool
	asleep := func() bool { return !awake.Swap(false) }
	turn := func() {
		awake.Store(true)
		b.Ring()
		b.Wait(asleep)
	}
	if n := testing.AllocsPerRun(200, turn); n >= 1 {
		t.Errorf("%v allocations for a ring and a wait", n)
	}
}
