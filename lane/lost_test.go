package lane_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/lane"
)

// TestLastRoomIsSeen plays the moment in which a wake-up could be lost, over and
// over: a full lane, producers that come to wait, and a consumer that makes room
// for all of them and then touches the lane no more. In a stream of items
// the next pop would wake whom this one forgot.
func TestLastRoomIsSeen(t *testing.T) {
	rounds(t, 1, items(400_000))
	rounds(t, 2, items(5_000))
	rounds(t, 4, items(5_000))
}

// TestLastRoomIsSeenWhenInterrupted has the collector stop the goroutines in the
// middle of their steps, where the scheduler alone would rarely do so.
func TestLastRoomIsSeenWhenInterrupted(t *testing.T) {
	var stop atomic.Bool
	var collecting sync.WaitGroup
	collecting.Go(func() {
		for !stop.Load() {
			runtime.GC()
		}
	})
	defer collecting.Wait()
	defer stop.Store(true)
	for _, producers := range []int{2, 4} {
		rounds(t, producers, items(5_000))
	}
}

func rounds(t *testing.T, producers, n int) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("%d producers, seed %d", producers, seed)
	r := rand.New(rand.NewPCG(seed, 0))
	l := lane.New[int](producers, nil)
	fill(t, l)

	var round, finished, spins atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	defer round.Store(-1)
	defer l.Close()
	for range producers {
		all.Go(func() {
			for seen, idle := int64(0), 0; seen >= 0; {
				if now := round.Load(); now == seen {
					// A round begins too soon after the last one for the scheduler.
					if idle++; idle%200 == 0 {
						runtime.Gosched()
					}
				} else if seen = now; seen > 0 {
					l.PushWait(nil, 1)
					finished.Add(1)
				}
			}
		})
	}
	// Under the race detector fewer rounds have to do.
	start := time.Now()
	for i := int64(0); i < int64(n) && time.Since(start) < 2*time.Second; i++ {
		round.Store(i + 1)
		for range r.IntN(80) {
			spins.Add(1)
		}
		for range producers {
			if _, ok := l.Pop(); !ok {
				t.Fatalf("round %d: the lane was not full", i)
			}
		}
		for finished.Load() < int64(producers)*(i+1) {
			if time.Since(start) > patience {
				t.Fatalf("round %d: %d of %d producers got in, %d of %d slots are taken: a wake-up was lost",
					i, finished.Load()-int64(producers)*i, producers, l.Len(), l.Cap())
			}
			runtime.Gosched()
		}
	}
}
