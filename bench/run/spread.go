package main

import (
	"math"
	"slices"
)

// spread is what several rounds say of one figure.
type spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // in the order of the rounds
}

// spreadOf returns the spread of the values that are numbers; nil if none is. NaN stands for a round that gave none.
func spreadOf(values []float64) *spread {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return nil
	}
	return &spread{Median: median(v), Min: slices.Min(v), Max: slices.Max(v), Values: v}
}

// median returns the middle value, or the mean of the two in the middle. There must be one.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	half := len(v) / 2
	if len(v)%2 == 1 {
		return v[half]
	}
	return (v[half-1] + v[half]) / 2
}

// ratios divides round by round: two values of one round were measured within the same seconds, so that the drift of a
// machine's speed falls out. A round that lacks either gives NaN.
func ratios(a, b []float64) []float64 {
	r := make([]float64, min(len(a), len(b)))
	for i := range r {
		r[i] = a[i] / b[i]
		if b[i] == 0 {
			r[i] = math.NaN()
		}
	}
	return r
}

// seriesKey names one figure of one program in one row.
type seriesKey struct {
	row, who string
	figure   figure
	base     bool // of the commit that we compare with
}

// results holds what was measured.
type results struct {
	rounds   int
	order    []seriesKey // in which they were first measured
	values   map[seriesKey][]float64
	others   map[seriesKey][]float64 // CPUs that the rest of the machine used meanwhile
	lineNs   []float64               // from CPU to CPU and back, before and after each measurement
	settled  []float64               // seconds until a server's memory stood still
	repeated int                     // times that a row was measured again because the host had moved the CPUs
	moved    int                     // rows, counted in each round, that were kept although it had
	awake    int                     // rows, counted in each round, during which idle CPUs polled
	failures []string
}

func newResults(rounds int) *results {
	return &results{rounds: rounds, values: make(map[seriesKey][]float64), others: make(map[seriesKey][]float64)}
}

func (r *results) put(k seriesKey, round int, v, others float64) {
	if r.values[k] == nil {
		r.order = append(r.order, k)
		r.values[k] = slices.Repeat([]float64{math.NaN()}, r.rounds)
		r.others[k] = slices.Clone(r.values[k])
	}
	r.values[k][round] = v
	r.others[k][round] = others
}
