package dispatch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"edged/dispatch"
)

// rankRandom returns a random source whose seed is in the test's log.
func rankRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// ones draws the same number again and again, which orders the boxes of mode Seed by what the guards have left of them.
type ones struct{}

func (ones) Uint64() uint64 { return math.MaxUint64 }

// named returns a box for each availability.
func named(availability ...float64) []dispatch.Box {
	boxes := make([]dispatch.Box, len(availability))
	for i, a := range availability {
		boxes[i] = dispatch.Box{Name: fmt.Sprint("slb-", i), Availability: a}
	}
	return boxes
}

// repeated returns n times a, and then the others.
func repeated(n int, a float64, others ...float64) []float64 {
	return append(slices.Repeat([]float64{a}, n), others...)
}

// firsts counts who comes first in 100,000 orders of n places.
func firsts(rnd *rand.Rand, mode dispatch.Mode, n int, boxes []dispatch.Box) []float64 {
	r := dispatch.NewRanker(mode, dispatch.Guards{})
	r.Update(0, boxes, 1)
	count := make([]float64, len(boxes))
	var dst []int
	for range 100_000 {
		dst = r.OrderFirst(0, rnd, n, dst)
		count[dst[0]]++
	}
	return count
}

// firstByIntegral returns P(i first) = ∫₀¹ Π_{j≠i} min(1, u·Aᵢ/Aⱼ) du by the midpoint rule.
func firstByIntegral(availability []float64, i int) float64 {
	const n = 4_000
	sum := 0.0
	for k := range n {
		u := (float64(k) + 0.5) / n
		p := 1.0
		for j, a := range availability {
			if j != i {
				p *= min(1, u*availability[i]/a)
			}
		}
		sum += p
	}
	return sum / n
}

func TestFirstPlacesFollowTheIntegral(t *testing.T) {
	rnd := rankRandom(t)
	for _, c := range []struct {
		name         string
		availability []float64
		last         float64 // known share of the last box
	}{
		{"two", []float64{1, 0.5}, 0.25},
		{"one a little below nine", repeated(9, 1, 0.9), 0.0387},
		{"one at half of nine", repeated(9, 1, 0.5), 0.0002},
		{"one fresh among ten", repeated(9, 0.5, 1), 0.55},
		{"one fresh among fifty", repeated(49, 0.5, 1), 0.51},
		{"one fresh among nine that are nearly full", repeated(9, 0.1, 1), 0.91},
		{"a staircase", []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}, 0.375},
		{"sums over several gateways", []float64{7.5, 10, 9.25, 0.5}, 0},
	} {
		for _, n := range []int{1, 3, len(c.availability)} {
			t.Run(fmt.Sprintf("%s, first %d", c.name, n), func(t *testing.T) {
				if n == 1 && c.last > 0 {
					near(t, "the integral for the last", firstByIntegral(c.availability, len(c.availability)-1), c.last, 0.001)
				}
				for i, got := range firsts(rnd, dispatch.Seed, n, named(c.availability...)) {
					near(t, fmt.Sprint("share of box ", i), got/100_000, firstByIntegral(c.availability, i), 0.01)
				}
			})
		}
	}
}

func near(t *testing.T, what string, got, want, by float64) {
	t.Helper()
	if !(math.Abs(got-want) <= by) {
		t.Errorf("%s is %v, want %v ± %v", what, got, want, by)
	}
}

func TestProportionalShares(t *testing.T) {
	rnd := rankRandom(t)
	boxes := named(1, 0.5, 0.25, 0.05)
	for i, got := range firsts(rnd, dispatch.Proportional, 4, boxes) {
		near(t, fmt.Sprint("share by availability of box ", i), got/100_000, boxes[i].Availability/1.8, 0.01)
	}
	// Of unequal boxes the share is of free links: 20,000, 2 × 0.25 × 20,000 and 0.5 × 10,000.
	for i, size := range []struct {
		gateways int
		capacity float64
	}{{1, 20_000}, {2, 40_000}, {1, 10_000}, {1, 1}} {
		boxes[i].Gateways, boxes[i].Capacity = size.gateways, size.capacity
	}
	boxes[2].Availability = 0.5
	for i, got := range firsts(rnd, dispatch.Proportional, 4, boxes) {
		near(t, fmt.Sprint("share by free links of box ", i), got/100_000, []float64{20, 10, 5, 0}[i]/35, 0.01)
	}
	// One unknown size, and sizes are of no use.
	boxes[3].Gateways = 0
	for i, got := range firsts(rnd, dispatch.Proportional, 1, boxes) {
		near(t, fmt.Sprint("share with an unknown size of box ", i), got/100_000, []float64{1, 0.5, 0.5, 0.05}[i]/2.05, 0.01)
	}
}

// TestProportionalSecondPlaces: what is left is again shared in proportion.
func TestProportionalSecondPlaces(t *testing.T) {
	rnd := rankRandom(t)
	r := dispatch.NewRanker(dispatch.Proportional, dispatch.Guards{})
	r.Update(0, named(0.6, 0.3, 0.1), 1)
	var dst []int
	var second [3]float64
	for range 100_000 {
		dst = r.Order(0, rnd, dst)
		second[dst[1]]++
	}
	near(t, "second places of the largest", second[0]/100_000, 0.3*6/7+0.1*6/9, 0.01)
	near(t, "second places of the middle", second[1]/100_000, 0.6*3/4+0.1*3/9, 0.01)
}

// TestP2CShares: a box is first if it is drawn with one of the boxes below it.
func TestP2CShares(t *testing.T) {
	rnd := rankRandom(t)
	for _, n := range []int{1, 10} {
		for i, got := range firsts(rnd, dispatch.P2C, n, named(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)) {
			near(t, fmt.Sprint("share of box ", i), got/100_000, float64(i)/45, 0.01)
		}
	}
	for i, got := range firsts(rnd, dispatch.P2C, 1, named(0.5, 0.5, 0.5)) {
		near(t, fmt.Sprint("share of equal box ", i), got/100_000, 1.0/3, 0.01)
	}
}

// TestFullBoxesAreInUniformOrder looks at each place: nothing free, or nothing known, must not send everybody to one box.
func TestFullBoxesAreInUniformOrder(t *testing.T) {
	for _, mode := range []dispatch.Mode{dispatch.Seed, dispatch.Proportional, dispatch.P2C} {
		for _, c := range []struct {
			name         string
			availability []float64
			live         int
		}{
			{"all full", repeated(10, 0), 0},
			{"two not", repeated(10, 0, 0.001, 1), 2},
			{"broken numbers", repeated(5, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0), 0},
		} {
			t.Run(fmt.Sprintf("%v, %s", mode, c.name), func(t *testing.T) {
				rnd := rankRandom(t)
				r := dispatch.NewRanker(mode, dispatch.DefaultGuards())
				r.Update(0, named(c.availability...), 1)
				var seen [10][10]float64 // place among the full, box
				var dst []int
				last, repeats := 0, 0.0
				const orders = 50_000
				for k := range orders {
					if len(dst) > 0 {
						last = dst[c.live]
					}
					dst = r.Order(time.Duration(k)*time.Millisecond, rnd, dst)
					for place, i := range dst {
						if (place < c.live) != (i >= 10) {
							t.Fatalf("order %v", dst)
						}
						if place >= c.live {
							seen[place-c.live][i]++
						}
					}
					if dst[c.live] == last {
						repeats++
					}
				}
				near(t, "part of answers that repeat the last", repeats/orders, 0.1, 0.008)
				for place, counts := range seen {
					uniform(t, fmt.Sprint("place ", place), counts[:], orders)
				}
			})
		}
	}
}

// uniform is Pearson's χ² test with a bound that chance exceeds about once in 10 million.
func uniform(t *testing.T, what string, counts []float64, total float64) {
	t.Helper()
	expected, freedom := total/float64(len(counts)), float64(len(counts)-1)
	x := 0.0
	for _, n := range counts {
		x += (n - expected) * (n - expected) / expected
	}
	if bound := freedom + 10*math.Sqrt(2*freedom); x > bound {
		t.Errorf("%s: χ² is %.1f, over %.1f: %v", what, x, bound, counts)
	}
}

// TestFirstPlacesOfAnOrderAreItsBeginning: to ask for few is the same rule.
func TestFirstPlacesOfAnOrderAreItsBeginning(t *testing.T) {
	rnd := rankRandom(t)
	for _, mode := range []dispatch.Mode{dispatch.Seed, dispatch.Proportional, dispatch.P2C} {
		for _, n := range []int{1, 2, 3, 16, 17, 60, 99, 100, 101, 1 << 40} {
			boxes := someBoxes(rnd, 100)
			for i := range 30 {
				boxes[3*i].Availability = 0
			}
			seed := rnd.Uint64()
			order := func(n int) []int {
				r := dispatch.NewRanker(mode, dispatch.DefaultGuards())
				r.Update(0, boxes, 1)
				return r.OrderFirst(0, rand.New(rand.NewPCG(seed, 0)), n, nil)
			}
			whole, part := order(len(boxes)), order(n)
			if !slices.Equal(part, whole[:min(n, 100)]) {
				t.Errorf("%v: first %d %v, all %v", mode, n, part, whole)
			}
			slices.Sort(whole)
			for i, box := range whole {
				if i != box {
					t.Fatalf("%v: not every box once: %v", mode, whole)
				}
			}
		}
	}
}

func TestOrderOfNothing(t *testing.T) {
	rnd := rankRandom(t)
	r := dispatch.NewRanker(dispatch.Seed, dispatch.DefaultGuards())
	dst := []int{7, 8}
	for _, boxes := range [][]dispatch.Box{nil, named(1), nil, {}} {
		if got := r.Order(0, rnd, dst); len(got) != 0 {
			t.Errorf("an order of nothing: %v", got)
		}
		r.Update(0, boxes, 1)
		for _, n := range []int{0, -1, math.MinInt} {
			if got := r.OrderFirst(0, rnd, n, dst); len(got) != 0 {
				t.Errorf("first %d: %v", n, got)
			}
		}
		if got := r.Order(0, rnd, dst); len(got) != len(boxes) {
			t.Errorf("%v of %v", got, boxes)
		}
		r.Update(0, nil, 1)
	}
}

func TestAvailabilityIsBoundedByGateways(t *testing.T) {
	r := dispatch.NewRanker(dispatch.Seed, dispatch.Guards{})
	boxes := named(2.5, 1e300, 1.5)
	boxes[1].Gateways = 2
	r.Update(0, boxes, 1)
	if got := r.Order(0, rand.New(ones{}), nil); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("order %v, want that of 2.5, 2, 1.5", got)
	}
}

func TestOrderAllocatesNothing(t *testing.T) {
	rnd := rankRandom(t)
	for _, mode := range []dispatch.Mode{dispatch.Seed, dispatch.Proportional, dispatch.P2C} {
		r := dispatch.NewRanker(mode, dispatch.DefaultGuards())
		r.Update(0, append(someBoxes(rnd, 200), named(0, 0, 0)...), 8)
		dst := make([]int, 0, 203)
		now := time.Duration(0)
		for _, n := range []int{1, 3, 203} {
			if got := testing.AllocsPerRun(1000, func() {
				now += time.Millisecond
				dst = r.OrderFirst(now, rnd, n, dst)
			}); got != 0 {
				t.Errorf("%v, first %d: %v allocations", mode, n, got)
			}
		}
	}
}

func TestModeNames(t *testing.T) {
	for name, mode := range map[string]dispatch.Mode{"seed": dispatch.Seed, "proportional": dispatch.Proportional, "p2c": dispatch.P2C} {
		if got, err := dispatch.ParseMode(name); got != mode || err != nil || mode.String() != name {
			t.Errorf("%q is %v, %v, and %v has the name %q", name, got, err, mode, mode.String())
		}
	}
	for _, name := range []string{"", "Seed", "random"} {
		if _, err := dispatch.ParseMode(name); err == nil {
			t.Errorf("%q is a mode", name)
		}
	}
	if got := dispatch.Mode(9).String(); got != "Mode(9)" {
		t.Errorf("a mode that is none is called %q", got)
	}
}
