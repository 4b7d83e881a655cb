package netpoll

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSeenUntilIsSeen plays the kernel's list of descriptors that are ready, with random arrivals, stand-stills and waits too
// small for what there is, and holds SeenUntil against what was told.
func TestSeenUntilIsSeen(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		most := 16 + r.IntN(64)
		since := make([]time.Duration, 1+r.IntN(3000)) // when what waits at each descriptor came first, 0: nothing does
		ready := []int{}
		now := time.Hour
		s := sight{until: 0}
		seen := 0
		for range 400 {
			began := now
			for range r.IntN(3 * most) {
				now += time.Duration(r.IntN(5))
				if fd := r.IntN(len(since)); since[fd] == 0 {
					since[fd] = now
					ready = append(ready, fd)
				}
			}
			n := min(len(ready), most)
			for _, fd := range ready[:n] {
				since[fd] = 0
			}
			told := ready[:n]
			ready = ready[n:]
			for _, fd := range told {
				if r.IntN(4) == 0 { // not all of it was read: it is ready again, behind all others
					since[fd] = now
					ready = append(ready, fd)
				}
			}
			before := s.until
			s.looked(began, n, most, len(since))
			if s.until < before {
				t.Fatalf("seen until %d, then until %d", before, s.until)
			}
			if s.until > before {
				seen++
			}
			for _, fd := range ready {
				if since[fd] < s.until {
					t.Fatalf("seen until %d, but descriptor %d of %d waits since %d, %d events a wait", s.until, fd, len(since), since[fd], most)
				}
			}
			if r.IntN(20) == 0 {
				now += time.Duration(r.IntN(int(time.Minute)))
			}
			now++
		}
		if seen == 0 {
			t.Fatalf("of %d descriptors, %d events a wait, nothing was ever seen", len(since), most)
		}
	}
}
