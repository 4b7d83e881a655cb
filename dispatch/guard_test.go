package dispatch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"edged/dispatch"
)

const tau = 15 * time.Second

// correction is the one guard, at its default.
func correction() dispatch.Guards { return dispatch.Guards{Correction: tau} }

// firstFor returns how often box i comes first, from now on and without a break, when only the guards decide.
func firstFor(r *dispatch.Ranker, now time.Duration, i int) int {
	rnd := rand.New(ones{})
	var dst []int
	for n := range 100_000 {
		if dst = r.OrderFirst(now, rnd, 1, dst); dst[0] != i {
			return n
		}
	}
	return 100_000
}

// sized returns a box of one gateway with this capacity and the links that go with its availability.
func sized(name string, availability, capacity float64) dispatch.Box {
	return dispatch.Box{Name: name, Availability: availability, Gateways: 1, Capacity: capacity, Links: capacity * (1 - availability)}
}

// TestCorrectionInLinks: 1,000 links lie between the two boxes, and each answer stands for one of every dispatcher's.
func TestCorrectionInLinks(t *testing.T) {
	for _, c := range []struct {
		name        string
		boxes       []dispatch.Box
		dispatchers int
		answers     int
	}{
		{"alone", []dispatch.Box{sized("a", 0.5, 10_000), sized("b", 0.4, 10_000)}, 1, 1_000},
		{"one of eight", []dispatch.Box{sized("a", 0.5, 10_000), sized("b", 0.4, 10_000)}, 8, 125},
		{"a small box", []dispatch.Box{sized("a", 0.5, 1_000), sized("b", 0.4, 10_000)}, 1, 100},
		{"three gateways", []dispatch.Box{
			{Name: "a", Availability: 1.5, Gateways: 3, Capacity: 30_000, Links: 15_000},
			{Name: "b", Availability: 1.4, Gateways: 3, Capacity: 30_000, Links: 16_000},
		}, 1, 1_000},
		{"gateways not counted", []dispatch.Box{
			{Name: "a", Availability: 1.5, Capacity: 30_000, Links: 15_000},
			{Name: "b", Availability: 1.4, Capacity: 30_000, Links: 16_000},
		}, 1, 1_500},
		{"a link is four times as dear as its part of the capacity", []dispatch.Box{
			{Name: "a", Availability: 0.5, Gateways: 1, Capacity: 10_000, Links: 1_250},
			{Name: "b", Availability: 0.4, Gateways: 1, Capacity: 10_000, Links: 1_500},
		}, 1, 250},
		{"traffic that is not of links", []dispatch.Box{
			{Name: "a", Availability: 0.5, Gateways: 1, Capacity: 10_000, Links: 10},
			{Name: "b", Availability: 0.4, Gateways: 1, Capacity: 10_000, Links: 10},
		}, 1, 1_000},
		{"capacity unknown", []dispatch.Box{
			{Name: "a", Availability: 0.5, Gateways: 1, Links: 5_000},
			{Name: "b", Availability: 0.4, Gateways: 1, Links: 6_000},
		}, 1, 1_000},
		{"dispatchers unknown", []dispatch.Box{sized("a", 0.5, 10_000), sized("b", 0.4, 10_000)}, 0, 250},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dispatch.NewRanker(dispatch.Seed, correction())
			r.Update(0, c.boxes, c.dispatchers)
			if got := firstFor(r, 0, 0); got < c.answers || got > c.answers+1 {
				t.Errorf("the emptier box came first %d times, want %d", got, c.answers)
			}
		})
	}
}

func TestCorrectionFades(t *testing.T) {
	r := dispatch.NewRanker(dispatch.Seed, correction())
	boxes := []dispatch.Box{sized("a", 0.5, 10_000), sized("b", 0.4, 10_000)}
	r.Update(0, boxes, 1)
	firstFor(r, 0, 0) // 1,000 answers for a, and one for b
	for _, c := range []struct {
		now   time.Duration
		again int // how many of them have faded since the last time
	}{
		{tau / 3, 283},
		{tau / 3, 0},
		{0, 0}, // a clock that goes back lets nothing fade
		{tau/3 + time.Millisecond, 0},
		{2 * tau, 811}, // 1 − e^(−5/3)
		{100 * tau, 1_000},
	} {
		r.Update(c.now, boxes, 1) // a new report does not clear the memory
		if got := firstFor(r, c.now, 0); math.Abs(float64(got-c.again)) > 2 {
			t.Errorf("at %v the emptier box came first %d times more, want about %d", c.now, got, c.again)
		}
	}
}

// TestCorrectionKeepsTheOrderOfWhatIsUsedUp: below nothing there is still more and less, and before the full ones.
func TestCorrectionKeepsTheOrderOfWhatIsUsedUp(t *testing.T) {
	r := dispatch.NewRanker(dispatch.Seed, correction())
	boxes := []dispatch.Box{sized("a", 0.010, 100), sized("b", 0.011, 100), sized("c", 0, 100)}
	r.Update(0, boxes, 1_000)
	rnd := rand.New(ones{})
	for range 1_000 {
		r.OrderFirst(0, rnd, 1, nil)
	}
	for range 10 {
		if got := r.Order(0, rnd, nil); fmt.Sprint(got) != "[1 0 2]" {
			t.Fatalf("order %v", got)
		}
	}
}

func TestMemoryOutlivesAbsence(t *testing.T) {
	r := dispatch.NewRanker(dispatch.Seed, correction())
	both := []dispatch.Box{sized("b", 0.4, 10_000), sized("a", 0.5, 10_000)}
	r.Update(0, both, 1)
	if got := firstFor(r, 0, 1); got < 1_000 || got > 1_001 {
		t.Fatalf("a came first %d times", got)
	}
	for _, fleet := range [][]dispatch.Box{both[:1], nil, {sized("c", 1, 10)}} {
		r.Update(0, fleet, 1)
	}
	r.Update(0, []dispatch.Box{both[1], sized("c", 0.1, 10), both[0]}, 1) // at other indices
	if got := firstFor(r, 0, 0); got > 2 {
		t.Errorf("back again, a came first %d times more", got)
	}
	// A second box of the same name has no memory of its own.
	r.Update(0, []dispatch.Box{both[1], both[1]}, 1)
	if got := firstFor(r, 0, 1); got < 1_000 || got > 1_005 {
		t.Errorf("the second a came first %d times", got)
	}
	r.Update(0, nil, 1)
	r.Update(20*tau, nil, 1)
	r.Update(20*tau, both, 1)
	if got := firstFor(r, 20*tau, 1); got < 1_000 || got > 1_001 {
		t.Errorf("forgotten, a came first %d times", got)
	}
}

// TestCostIsLearned: with neither links nor dispatchers known, what an answer takes is learned from what boxes lost.
func TestCostIsLearned(t *testing.T) {
	const cost = 0.0002
	r := dispatch.NewRanker(dispatch.Seed, correction())
	fleet := func(first float64) []dispatch.Box { return named(repeated(1, first, repeated(9, 0.5)...)...) }
	begin := fleet(0.9)
	begin[9].Availability = 1
	rnd := rand.New(ones{})
	for _, boxes := range [][]dispatch.Box{begin, fleet(0.9)} {
		r.Update(0, boxes, 0)
		for range 1_000 {
			r.OrderFirst(0, rnd, 1, nil)
		}
	}
	// In the window everybody also loses 0.05, and four boxes are no lesson: one that is full now, one that lost a
	// gateway, one that has begun anew, and one that has just come.
	r.Update(tau/2, fleet(0.9)[:9], 0)
	lost := fleet(0.9 - 1_000*cost - 0.05)
	for i := 1; i < 10; i++ {
		lost[i].Availability -= 0.05
	}
	lost[7].Availability, lost[7].Gateways = 0.1, 2
	lost[8].Availability = 0
	lost[9].Availability = 1
	lost = append(lost, dispatch.Box{Name: "come", Availability: 1})
	r.Update(tau, lost, 0)
	for n := range 100 { // quiet windows take nothing away
		r.Update(time.Duration(20+n)*tau, fleet(0.6), 0)
	}
	if got := firstFor(r, 200*tau, 0); math.Abs(float64(got)-0.1/cost) > 0.02*0.1/cost {
		t.Errorf("the emptiest box came first %d times, want about %v", got, 0.1/cost)
	}
}

// freshAmong returns n boxes, the last of them fresh.
func freshAmong(n int, a, fresh float64) []dispatch.Box { return named(repeated(n-1, a, fresh)...) }

// TestShareCapBoundsTheRate measures a box's part of the answers over a minute at each rate.
func TestShareCapBoundsTheRate(t *testing.T) {
	for _, perSecond := range []int{40, 1_000, 20_000} {
		t.Run(fmt.Sprint(perSecond, " a second"), func(t *testing.T) {
			rnd := rankRandom(t)
			r := dispatch.NewRanker(dispatch.Seed, dispatch.Guards{ShareCap: 10})
			r.Update(0, freshAmong(50, 0.001, 1), 1) // all others are next to full, which does not loosen the cap
			count := 0.0
			const seconds = 10
			var dst []int
			for k := range seconds * perSecond {
				dst = r.OrderFirst(time.Duration(k)*time.Second/time.Duration(perSecond), rnd, 1, dst)
				if dst[0] == 49 {
					count++
				}
			}
			// One more than the cap for each time constant, since the answer that goes over it is still given.
			near(t, "answers for the fresh box", count, float64(seconds*perSecond)/5, 20+seconds+0.05*float64(seconds*perSecond)/5)
		})
	}
}

// TestShareOutlivesAbsence: a box that is back after a second is still over its share.
func TestShareOutlivesAbsence(t *testing.T) {
	r := dispatch.NewRanker(dispatch.Seed, dispatch.Guards{ShareCap: 10})
	fleet := freshAmong(50, 0.5, 1)
	r.Update(0, fleet, 1)
	firstFor(r, 0, 49)
	r.Update(100*time.Millisecond, fleet[:49], 1)
	rnd := rand.New(ones{})
	for range 40 {
		r.OrderFirst(100*time.Millisecond, rnd, 1, nil)
	}
	r.Update(time.Second, fleet, 1)
	if got := firstFor(r, time.Second, 49); got != 0 {
		t.Errorf("back again, the fresh box came first %d times", got)
	}
}

func TestShareCapLeavesFewAnswersAlone(t *testing.T) {
	rnd := rand.New(ones{})
	r := dispatch.NewRanker(dispatch.Seed, dispatch.Guards{ShareCap: 10})
	r.Update(0, freshAmong(50, 0.5, 1), 1)
	if got := firstFor(r, 0, 49); got != 21 {
		t.Errorf("of the first answers %d go to the fresh box, want 21", got)
	}
	if got := r.Order(0, rnd, nil); got[49] != 49 {
		t.Errorf("a box over its share stands before others: %v", got)
	}
	full := freshAmong(50, 0, 1)
	r.Update(0, full, 1)
	if got := r.Order(0, rnd, nil); got[0] != 49 {
		t.Errorf("a box over its share stands behind full ones: %v", got)
	}
	r.Update(0, freshAmong(9, 0.5, 1), 1) // ten times fair is all of it
	if got := firstFor(r, 0, 8); got != 100_000 {
		t.Errorf("the fresh one of nine came first %d times", got)
	}
}

// TestShareCapKnowsSize: what is fair follows the capacity upwards, and no report takes from the fair share of others.
func TestShareCapKnowsSize(t *testing.T) {
	for _, c := range []struct {
		name       string
		big, small float64
		share      float64
	}{
		{"twice as large", 100, 50, 10 * 100.0 / (49*50 + 100)},
		{"smaller", 1, 50, 10 / 50.0},
		{"half of all", 49, 1, 1},
		{"unknown", 0, 50, 10 / 50.0},
		{"absurd", 1e300, 50, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			rnd := rankRandom(t)
			boxes := freshAmong(50, 0.001, 1)
			for i := range boxes {
				boxes[i].Capacity = c.small
			}
			boxes[49].Capacity = c.big
			r := dispatch.NewRanker(dispatch.Seed, dispatch.Guards{ShareCap: 10})
			r.Update(0, boxes, 1)
			count := 0.0
			var dst []int
			for k := range 20_000 {
				dst = r.OrderFirst(time.Duration(k)*time.Millisecond, rnd, 1, dst)
				if dst[0] == 49 {
					count++
				}
			}
			near(t, "share of the fresh box", count/20_000, c.share, 0.02)
		})
	}
	boxes := freshAmong(50, 1, 1)
	for i := range boxes {
		boxes[i].Capacity = 20_000
	}
	boxes[49].Capacity = 1e300
	r := dispatch.NewRanker(dispatch.Seed, dispatch.DefaultGuards())
	r.Update(0, boxes, 1)
	rnd := rankRandom(t)
	count := 0.0
	for k := range 20_000 {
		if r.OrderFirst(time.Duration(k)*time.Millisecond, rnd, 1, nil)[0] == 49 {
			count++
		}
	}
	if count > 20_000/5 {
		t.Errorf("a box that claims an absurd capacity got %v of 20,000", count)
	}
}

// TestGuardsOff: every value that is no guard is the rule to the letter, however much is handed out.
func TestGuardsOff(t *testing.T) {
	for _, g := range []dispatch.Guards{{}, {Correction: -time.Second, ShareCap: -1}, {ShareCap: math.NaN()}} {
		r := dispatch.NewRanker(dispatch.Seed, g)
		r.Update(0, []dispatch.Box{sized("a", 0.5, 100), sized("b", 0.4, 100)}, 100)
		if got := firstFor(r, 0, 0); got != 100_000 {
			t.Errorf("%+v: the emptier box came first %d times", g, got)
		}
	}
	only := dispatch.NewRanker(dispatch.Seed, dispatch.Guards{ShareCap: 10})
	only.Update(0, []dispatch.Box{sized("a", 0.5, 100), sized("b", 0.4, 100)}, 100)
	if got := firstFor(only, 0, 0); got != 100_000 {
		t.Errorf("without correction the emptier of two came first %d times", got)
	}
}
