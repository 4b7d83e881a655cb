package swarm_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"edged/swarm"
)

// quantile is that of a sorted list of all times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func TestHistogramAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var h, a, b swarm.Histogram
		var all []time.Duration
		var sum time.Duration
		for range 1 + rnd.IntN(3000) {
			d := time.Duration(math.Exp(rnd.Float64() * math.Log(1e12))) // 1 ns to 1000 s
			all = append(all, d)
			sum += d
			h.Record(d)
			if rnd.IntN(2) == 0 {
				a.Record(d)
			} else {
				b.Record(d)
			}
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
			got, want := h.Quantile(q), quantile(all, q)
			if got < want || float64(got) > float64(want)*(1+1.0/64)+1 {
				t.Fatalf("quantile %v of %d: %v, want %v", q, len(all), got, want)
			}
		}
		if h.Min() != all[0] || h.Max() != all[len(all)-1] || h.Count() != uint64(len(all)) || h.Mean() != sum/time.Duration(len(all)) {
			t.Fatalf("min %v, max %v, count %d, mean %v", h.Min(), h.Max(), h.Count(), h.Mean())
		}
		if a.Merge(&b); !reflect.DeepEqual(a, h) {
			t.Fatal("two halves merged differ from the whole")
		}
	}
}

func TestHistogramEdges(t *testing.T) {
	var h swarm.Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Count() != 0 {
		t.Error("an empty histogram has numbers")
	}
	h.Merge(&swarm.Histogram{})
	h.Record(-time.Second)
	if h.Min() != 0 || h.Quantile(1) != 0 {
		t.Errorf("min %v", h.Min())
	}
	h.Record(1000 * time.Hour) // beyond the last bucket
	if h.Quantile(1) < time.Hour || h.Max() != 1000*time.Hour {
		t.Errorf("quantile %v, max %v", h.Quantile(1), h.Max())
	}
	h.Reset()
	if h.Count() != 0 || h.Max() != 0 || h.Quantile(1) != 0 {
		t.Error("not empty after Reset")
	}
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHistogramJSON(t *testing.T) {
	var h, back swarm.Histogram
	for i := range 5000 {
		h.Record(time.Duration(i*i) * time.Microsecond)
	}
	b, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, h) {
		t.Errorf("came back different: %v", err)
	}
	var empty swarm.Histogram
	b, _ = json.Marshal(&empty)
	if err := json.Unmarshal(b, &empty); err != nil || empty.Count() != 0 {
		t.Error(err)
	}
	for _, bad := range []string{`[]`, `{"count":1}`, `{"count":1,"buckets":[[-5,1]]}`, `{"count":1,"buckets":[[5,-1]]}`, `{"count":2,"buckets":[[5,1]]}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if back.Count() != 5000 {
		t.Error("a failed Unmarshal changed the histogram")
	}
}

func BenchmarkHistogramRecord(b *testing.B) {
	var h swarm.Histogram
	b.ReportAllocs()
	for i := range b.N {
		h.Record(time.Duration(i) * 37)
	}
}
