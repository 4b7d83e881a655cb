package dispatch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"edged/dispatch"
)

// BenchmarkOrder asks 20,000 times a second of virtual time, so that the fading of memory has its part in the price.
func BenchmarkOrder(b *testing.B) {
	for _, mode := range []dispatch.Mode{dispatch.Seed, dispatch.Proportional, dispatch.P2C} {
		for _, size := range []struct{ boxes, first int }{{10, 10}, {200, 1}, {200, 3}, {200, 200}, {2000, 3}} {
			b.Run(fmt.Sprintf("%v/boxes=%d/first=%d", mode, size.boxes, size.first), func(b *testing.B) {
				rnd := rand.New(rand.NewPCG(1, 2))
				r := dispatch.NewRanker(mode, dispatch.DefaultGuards())
				r.Update(0, someBoxes(rnd, size.boxes), 8)
				dst := make([]int, 0, size.first)
				now := time.Duration(0)
				b.ReportAllocs()
				for b.Loop() {
					now += 50 * time.Microsecond
					dst = r.OrderFirst(now, rnd, size.first, dst)
				}
			})
		}
	}
}

// BenchmarkUpdate is what a refresh costs.
func BenchmarkUpdate(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := dispatch.NewRanker(dispatch.Seed, dispatch.DefaultGuards())
	boxes := someBoxes(rnd, 200)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += time.Second
		r.Update(now, boxes, 8)
	}
}

// someBoxes returns boxes of unequal size and load, each with something free.
func someBoxes(rnd *rand.Rand, n int) []dispatch.Box {
	boxes := make([]dispatch.Box, n)
	for i := range boxes {
		used := 0.99 * rnd.Float64()
		capacity := 5_000 + 35_000*rnd.Float64()
		boxes[i] = dispatch.Box{Name: fmt.Sprint("slb-", i), Availability: 1 - used, Gateways: 1, Capacity: capacity, Links: used * capacity}
	}
	return boxes
}
