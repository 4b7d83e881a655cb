package dispatch_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"edged/dispatch"
)

// twin is the guards by their formulas: it remembers the time of each answer and adds up what is left of them.
type twin struct {
	answers     map[string][]time.Duration
	all         []time.Duration
	boxes       []dispatch.Box
	dispatchers int
}

// left returns the bounds of what the guards leave of box i: the Ranker lets memory fade and looks at shares in steps of
// 10 ms, in which the total may grow, and forgets hundredths of an answer.
func (m *twin) left(now time.Duration, i int) (low, high float64) {
	b := m.boxes[i]
	cost := float64(m.dispatchers) * float64(b.Gateways) / b.Capacity
	assigned := fading(m.answers[b.Name], now, tau)
	slack := (0.002*assigned + 0.03) * cost
	low = max(b.Availability-assigned*cost-slack, b.Availability/1_000)
	high = max(b.Availability-assigned*cost+slack, b.Availability/1_000)
	all := 0.0
	for _, b := range m.boxes {
		all += b.Capacity
	}
	fair := max(1/float64(len(m.boxes)), b.Capacity/all)
	recent, total := fading(m.answers[b.Name], now, 2*time.Second), fading(m.all, now, 2*time.Second)
	before := total
	for _, at := range m.all {
		if now-at < 20*time.Millisecond {
			before--
		}
	}
	if total > 19.8 && recent > 0.985*10*fair*before-0.03 {
		low = low / 1e9
	}
	if before > 20.2 && recent > 1.015*10*fair*total+0.03 {
		high = high / 1e9
	}
	return low, high
}

func fading(times []time.Duration, now, over time.Duration) float64 {
	sum := 0.0
	for _, at := range times {
		sum += math.Exp(-float64(now-at) / float64(over))
	}
	return sum
}

// TestRankerAgainstTwin: boxes come, go and change, and the order of what is left is always the twin's.
func TestRankerAgainstTwin(t *testing.T) {
	rnd := rankRandom(t)
	for range 8 {
		r := dispatch.NewRanker(dispatch.Seed, dispatch.DefaultGuards())
		m := &twin{answers: map[string][]time.Duration{}}
		now := time.Duration(rnd.Int64N(int64(time.Hour)))
		var dst []int
		for range 40 {
			m.boxes, m.dispatchers = someOfTwenty(rnd), 1+rnd.IntN(10)
			r.Update(now, m.boxes, m.dispatchers)
			for range rnd.IntN(60) {
				now += time.Duration(rnd.Int64N(int64(50 * time.Millisecond)))
				dst = r.Order(now, rand.New(ones{}), dst)
				m.check(t, now, dst)
				first := m.boxes[dst[0]].Name
				m.answers[first] = append(m.answers[first], now)
				m.all = append(m.all, now)
			}
			now += time.Duration(math.Pow(rnd.Float64(), 4) * float64(30*time.Second))
		}
	}
}

// someOfTwenty returns a reading of a fleet of which some boxes are missing. Links cost no more than their part of the
// capacity, so that the tariff is the twin's.
func someOfTwenty(rnd *rand.Rand) []dispatch.Box {
	var boxes []dispatch.Box
	for i := range 20 {
		if rnd.IntN(3) > 0 || i == 0 {
			gateways := 1 + rnd.IntN(3)
			used := math.Round(rnd.Float64()*100) / 100
			capacity := float64(gateways) * (100 + 1_000*rnd.Float64())
			boxes = append(boxes, dispatch.Box{
				Name: fmt.Sprint("slb-", i), Availability: float64(gateways) * (1 - used), Gateways: gateways,
				Capacity: capacity, Links: capacity * used,
			})
		}
	}
	rnd.Shuffle(len(boxes), func(i, j int) { boxes[i], boxes[j] = boxes[j], boxes[i] })
	return boxes
}

func (m *twin) check(t *testing.T, now time.Duration, order []int) {
	t.Helper()
	checkOrder(t, m.boxes, order)
	most := math.Inf(1)
	for _, i := range order {
		low, high := m.left(now, i)
		if low > most*(1+1e-9) {
			t.Fatalf("box %d has %v at least and stands behind one with %v at most: %v", i, low, most, order)
		}
		most = min(most, high)
	}
}

// checkOrder fails unless every box is in the order once and none that has nothing stands before one that has.
func checkOrder(t *testing.T, boxes []dispatch.Box, order []int) {
	t.Helper()
	if len(order) != len(boxes) {
		t.Fatalf("%d places for %d boxes", len(order), len(boxes))
	}
	seen := make([]bool, len(boxes))
	full := false
	for _, i := range order {
		if i < 0 || i >= len(boxes) || seen[i] {
			t.Fatalf("not every box once: %v", order)
		}
		seen[i] = true
		has := boxes[i].Availability > 0 && !math.IsInf(boxes[i].Availability, 1)
		if has && full {
			t.Fatalf("a box with %v stands behind full ones: %v", boxes[i].Availability, order)
		}
		full = !has
	}
}

// FuzzRanker feeds numbers that no report should hold, and any clock.
func FuzzRanker(f *testing.F) {
	f.Add(uint64(1), byte(0), []byte("any bytes are numbers, and these are enough for two boxes or so, are they?"))
	weird := []float64{0, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 0.5, 1e-300}
	var numbers []byte
	for _, v := range weird {
		numbers = binary.LittleEndian.AppendUint64(numbers, math.Float64bits(v))
	}
	f.Add(uint64(2), byte(7), slices.Repeat(numbers, 3))
	f.Fuzz(func(t *testing.T, seed uint64, kind byte, input []byte) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		guards := []dispatch.Guards{dispatch.DefaultGuards(), {}, {ShareCap: 1e-9}, {Correction: 1}}[kind/3%4]
		r := dispatch.NewRanker(dispatch.Mode(kind%3), guards)
		next := func() uint64 {
			var b [8]byte
			input = input[copy(b[:], input):]
			return binary.LittleEndian.Uint64(b[:])
		}
		number := func() float64 { return math.Float64frombits(next()) }
		var dst []int
		now := time.Duration(0)
		for rounds := 0; len(input) > 0 && rounds < 10; rounds++ {
			boxes := make([]dispatch.Box, next()%40)
			for i := range boxes {
				boxes[i] = dispatch.Box{
					Name: fmt.Sprint(next() % 50), Availability: number(), Gateways: int(next()), Capacity: number(), Links: number(),
				}
			}
			now += time.Duration(next() >> (next() % 64))
			r.Update(now, boxes, int(next()))
			for range 30 {
				dst = r.Order(now, rnd, dst)
				checkOrder(t, boxes, dst)
				now += time.Duration(rnd.Int64N(int64(time.Second)))
			}
			n := rnd.IntN(50)
			if dst = r.OrderFirst(now, rnd, n, dst); len(dst) != min(n, len(boxes)) {
				t.Fatalf("%d places, want the first %d of %d", len(dst), n, len(boxes))
			}
		}
	})
}
