package lane_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edged/lane"
)

// fill pushes until the lane is full.
func fill(t *testing.T, l *lane.Lane[int]) {
	t.Helper()
	for range l.Cap() {
		if !l.Push(-1) {
			t.Fatal("a lane with room refuses")
		}
	}
}

// waiters starts n producers that wait for room, and counts those that got in
// and those that were sent away.
func waiters(l *lane.Lane[int], n int, done <-chan struct{}) (in, away *atomic.Int32) {
	in, away = new(atomic.Int32), new(atomic.Int32)
	for i := range n {
		go func() {
			if l.PushWait(done, i) {
				in.Add(1)
			} else {
				away.Add(1)
			}
		}()
	}
	synctest.Wait()
	return in, away
}

// TestEachFreeSlotLetsOneIn pops in bursts and then stops: nobody may stay parked
// while there is room, though the bursts put down one token only.
func TestEachFreeSlotLetsOneIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lane.New[int](8, nil)
		fill(t, l)
		in, _ := waiters(l, 20, nil)
		if in.Load() != 0 {
			t.Fatalf("%d producers got into a full lane", in.Load())
		}
		for _, burst := range []int32{1, 3, 8, 8} {
			before := in.Load()
			for range burst {
				l.Pop()
			}
			synctest.Wait()
			if got := in.Load() - before; got != burst {
				t.Fatalf("%d pops let %d producers in", burst, got)
			}
		}
		if l.Full() != 0 || l.Len() != 8 {
			t.Errorf("full %d, length %d, want 0 and 8: waiting is no refusal", l.Full(), l.Len())
		}
	})
}

// TestTokenIsNotLostWithWhoLeaves lets all but one waiter go by done just when
// the room comes.
func TestTokenIsNotLostWithWhoLeaves(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			l := lane.New[int](2, nil)
			fill(t, l)
			done := make(chan struct{})
			leaves, away := waiters(l, 5, done)
			stays, _ := waiters(l, 1, nil)
			l.Pop()
			close(done)
			l.Pop()
			synctest.Wait()
			if leaves.Load()+away.Load() != 5 {
				t.Fatalf("%d in and %d away of 5 whose done is closed", leaves.Load(), away.Load())
			}
			for stays.Load() == 0 {
				if _, ok := l.Pop(); !ok {
					t.Fatal("a producer is parked before an empty lane")
				}
				synctest.Wait()
			}
		})
	}
}

func TestDoneSendsTheWaitingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lane.New[int](2, nil)
		fill(t, l)
		done := make(chan struct{})
		in, away := waiters(l, 3, done)
		close(done)
		synctest.Wait()
		if in.Load() != 0 || away.Load() != 3 || l.Len() != 2 {
			t.Errorf("%d in, %d away, length %d, want 0, 3 and 2", in.Load(), away.Load(), l.Len())
		}
		// Where there is room nobody asks for done.
		l.Pop()
		if !l.PushWait(done, 9) {
			t.Error("PushWait refuses although there is room")
		}
	})
}

func TestCloseSendsTheWaitingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lane.New[int](2, nil)
		fill(t, l)
		in, away := waiters(l, 7, nil)
		l.Close()
		synctest.Wait()
		if in.Load() != 0 || away.Load() != 7 || l.Len() != 2 {
			t.Errorf("%d in, %d away, length %d, want 0, 7 and 2", in.Load(), away.Load(), l.Len())
		}
	})
}

// TestCloseLosesNothing closes while producers push, and compares what they were
// told with what the consumer found.
func TestCloseLosesNothing(t *testing.T) {
	limit := time.Now().Add(patience)
	for round := range 2000 {
		l := lane.New[int](4, nil)
		var taken atomic.Int64
		var producers sync.WaitGroup
		for range 4 {
			producers.Go(func() {
				for l.PushWait(nil, 1) || l.Push(1) {
					taken.Add(1)
				}
			})
		}
		popped := int64(0)
		for i := 0; ; i++ {
			if i == round%50 {
				l.Close()
			}
			if _, ok := l.Pop(); ok {
				popped++
			} else if l.Closed() && l.Len() == 0 {
				break
			} else if runtime.Gosched(); time.Now().After(limit) {
				t.Fatalf("round %d: length %d, and nothing to pop", round, l.Len())
			}
		}
		producers.Wait()
		if popped != taken.Load() || l.Len() != 0 {
			t.Fatalf("round %d: %d values popped of %d taken", round, popped, taken.Load())
		}
	}
}
