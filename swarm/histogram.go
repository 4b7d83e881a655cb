package swarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// A Histogram's buckets are as wide as 1/64 of the power of two that they lie in, so that what is read from it is at most
// 1.6 % too high. Times below 128 ns have a bucket each; those over an hour share the last one.
const (
	subBits    = 6
	maxBits    = 42
	lastBucket = (maxBits-subBits-1)<<subBits + 1<<(subBits+1) - 1
)

// Histogram counts times. The zero value is empty and ready. It is not for two goroutines at a time.
type Histogram struct {
	counts   []uint64 // made by the first Record
	n        uint64
	sum      time.Duration
	min, max time.Duration
}

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	exp := bits.Len64(v) - (subBits + 1)
	if exp <= 0 {
		return int(v)
	}
	return min(exp<<subBits+int(v>>exp), lastBucket)
}

// bucketTop is the highest time of a bucket.
func bucketTop(i int) time.Duration {
	if i < 1<<(subBits+1) {
		return time.Duration(i)
	}
	exp := i>>subBits - 1
	return time.Duration(i-exp<<subBits+1)<<exp - 1
}

// Record counts d; what is less than nothing counts as nothing.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	if h.counts == nil {
		h.counts = make([]uint64, lastBucket+1)
	}
	h.counts[bucket(d)]++
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += d
}

// Merge adds what o has counted.
func (h *Histogram) Merge(o *Histogram) {
	if o.n == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, lastBucket+1)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
}

// Reset forgets everything but keeps the memory.
func (h *Histogram) Reset() {
	clear(h.counts)
	*h = Histogram{counts: h.counts}
}

// Count returns how many times were recorded.
func (h *Histogram) Count() uint64 { return h.n }

// Min returns the shortest time.
func (h *Histogram) Min() time.Duration { return h.min }

// Max returns the longest time.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean returns the average.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// Quantile returns a time that the share q of all, 0 to 1, did not exceed, as exactly as the buckets are; 0 when nothing
// was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	if float64(rank) < q*float64(h.n) || rank == 0 {
		rank++
	}
	rank = min(rank, h.n)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return max(min(bucketTop(i), h.max), h.min)
		}
	}
	return h.max
}

// histogramJSON is a Histogram for other programs. Buckets holds pairs of a bucket's highest time and its count.
type histogramJSON struct {
	Count   uint64     `json:"count"`
	MinNs   int64      `json:"min_ns"`
	MeanNs  int64      `json:"mean_ns"`
	P50Ns   int64      `json:"p50_ns"`
	P90Ns   int64      `json:"p90_ns"`
	P99Ns   int64      `json:"p99_ns"`
	P999Ns  int64      `json:"p999_ns"`
	MaxNs   int64      `json:"max_ns"`
	SumNs   int64      `json:"sum_ns"`
	Buckets [][2]int64 `json:"buckets"`
}

// MarshalJSON writes the usual quantiles and all buckets that are not empty, so that reports can be merged.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	q := func(q float64) int64 { return int64(h.Quantile(q)) }
	j := histogramJSON{
		Count: h.n, MinNs: int64(h.min), MeanNs: int64(h.Mean()), MaxNs: int64(h.max), SumNs: int64(h.sum),
		P50Ns: q(0.5), P90Ns: q(0.9), P99Ns: q(0.99), P999Ns: q(0.999), Buckets: [][2]int64{},
	}
	for i, n := range h.counts {
		if n > 0 {
			j.Buckets = append(j.Buckets, [2]int64{int64(bucketTop(i)), int64(n)})
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("swarm: histogram: %w", err)
	}
	fresh := Histogram{n: j.Count, sum: time.Duration(j.SumNs), min: time.Duration(j.MinNs), max: time.Duration(j.MaxNs)}
	total := uint64(0)
	if len(j.Buckets) > 0 {
		fresh.counts = make([]uint64, lastBucket+1)
	}
	for _, pair := range j.Buckets {
		if pair[0] < 0 || pair[1] < 0 {
			return errors.New("swarm: histogram: a bucket below 0")
		}
		fresh.counts[bucket(time.Duration(pair[0]))] += uint64(pair[1])
		total += uint64(pair[1])
	}
	if total != j.Count || j.MinNs > j.MaxNs {
		return fmt.Errorf("swarm: histogram: %d in the buckets, %d in all", total, j.Count)
	}
	*h = fresh
	return nil
}
