//go:build !race

package dispatch_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"edged/dispatch"
)

// unequalFleet returns 2,000 boxes of 5,000 to 40,000 links that are filled to 60 %, and the last of them, of the size
// asked for, empty.
func unequalFleet(rnd *rand.Rand, empty float64) []stormBox {
	boxes := make([]stormBox, 2_000)
	for i := range boxes {
		capacity := math.Round(5_000 + 35_000*rnd.Float64())
		boxes[i] = stormBox{capacity: capacity, links: 0.6 * capacity}
	}
	boxes[len(boxes)-1] = stormBox{capacity: empty}
	return boxes
}

// TestStormOverLargeFleet is the storm over 2,000 boxes of unequal size: 600 million draws for each run, which is too
// many for the race detector, and nothing in it is concurrent.
func TestStormOverLargeFleet(t *testing.T) {
	for _, c := range []struct {
		name     string
		guards   dispatch.Guards
		rate     float64
		lasts    time.Duration
		empty    float64
		overflow bool
	}{
		{"guards off", dispatch.Guards{}, 5_000, 10 * time.Second, 5_000, true},
		{"guards on", dispatch.DefaultGuards(), 5_000, 60 * time.Second, 5_000, false},
		{"guards on, ten times the rate", dispatch.DefaultGuards(), 50_000, 6 * time.Second, 40_000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rnd := rankRandom(t)
			s := storm{
				boxes: unequalFleet(rnd, c.empty), rate: c.rate, lasts: c.lasts, after: 5 * time.Second,
				dispatchers: 8, told: 8, refresh: 5 * time.Second, guards: c.guards,
			}
			out := s.run(rnd)
			t.Log(out)
			switch {
			case c.overflow && out.overflow == 0:
				t.Error("no overflow, so that this storm proves nothing")
			case !c.overflow && (out.worst > 1.10 || out.overflow > 0):
				t.Error("a box has too much")
			}
		})
	}
}
