package lane

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestOneTokenForManySlots builds by hand what takes an unlikely preemption to
// happen: several producers stand between their last try and their wait while the
// consumer frees as many slots, so that all but one of its tokens find the
// place taken. One token for four slots must let four producers in, not one.
func TestOneTokenForManySlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots, producers = 4, 5
		l := New[int](slots, nil)
		for l.Push(0) {
		}
		var in atomic.Int32
		for range producers {
			go func() {
				l.PushWait(nil, 1)
				in.Add(1)
			}()
		}
		synctest.Wait()

		l.waiting.Add(-producers) // keeps Pop from putting tokens down
		for range slots {
			l.Pop()
		}
		l.waiting.Add(producers)
		l.letIn()
		synctest.Wait()
		if n := in.Load(); n != slots {
			t.Errorf("%d producers got in with %d free slots", n, slots)
		}
		// The token that the last of them passed on may not stand in the way now.
		l.Pop()
		synctest.Wait()
		if n := in.Load(); n != producers || l.waiting.Load() != 0 {
			t.Errorf("%d of %d producers got in, %d wait", n, producers, l.waiting.Load())
		}
	})
}
