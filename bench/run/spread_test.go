package main

import (
	"math"
	"slices"
	"testing"
)

var nan = math.NaN()

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		given := slices.Clone(tt.values)
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
		if !slices.Equal(given, tt.values) {
			t.Errorf("median changed its argument to %v", tt.values)
		}
	}
}

func TestSpreadOf(t *testing.T) {
	if s := spreadOf([]float64{nan, nan}); s != nil {
		t.Errorf("of no number: %+v, want nil", s)
	}
	s := spreadOf([]float64{5, nan, 1, 3})
	if s == nil || s.Median != 3 || s.Min != 1 || s.Max != 5 || !slices.Equal(s.Values, []float64{5, 1, 3}) {
		t.Errorf("got %+v", s)
	}
}

// TestRatios: a pair is two values of one round; a machine that is twice as slow in the second round changes no ratio.
func TestRatios(t *testing.T) {
	got := ratios([]float64{2, 4, nan, 1, 6}, []float64{1, 2, 1, nan, 0})
	want := []float64{2, 2, nan, nan, nan}
	same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := ratios([]float64{1, 2}, nil); len(got) != 0 {
		t.Errorf("without a floor: %v", got)
	}
}

func TestMoved(t *testing.T) {
	ran := func(ns ...float64) []outcome {
		var got []outcome
		for i := 0; i < len(ns); i += 2 {
			got = append(got, outcome{sample: sample{lineNs: [2]float64{ns[i], ns[i+1]}}})
		}
		return got
	}
	for _, near := range [][]float64{nil, {0, 0}, {70, 80, 60, 75}, {390, 410, 380, 400}, {70, 0, 70, 70}} {
		if moved(ran(near...)) {
			t.Errorf("%v: moved", near)
		}
	}
	for _, far := range [][]float64{{70, 390}, {70, 70, 390, 390}, {70, 70, 70, 390}} {
		if !moved(ran(far...)) {
			t.Errorf("%v: not moved", far)
		}
	}
}

func TestResultsLine(t *testing.T) {
	r := newResults(3)
	floorKey := seriesKey{row: "r", who: floorFree.who, figure: messageCPU}
	now := seriesKey{row: "r", who: "netpoll", figure: messageCPU}
	base := now
	base.base = true
	for round, v := range []float64{1, 2, 4} {
		r.put(floorKey, round, v, 0)
		r.put(now, round, 2*v, 0)
		if round != 1 {
			r.put(base, round, 4*v, 0) // failed in the second round
		}
	}
	l := r.line(now, floorFree.who)
	if l.Now.Median != 4 || l.PerFloor.Min != 2 || l.PerFloor.Max != 2 {
		t.Errorf("now %+v, ÷ floor %+v", l.Now, l.PerFloor)
	}
	if l.Base.Median != 10 || l.PerBase.Median != 0.5 || len(l.PerBase.Values) != 2 {
		t.Errorf("base %+v, ÷ base %+v", l.Base, l.PerBase)
	}
	if l := r.line(floorKey, floorFree.who); l.PerFloor != nil || l.Base != nil {
		t.Errorf("the floor is compared with itself: %+v", l)
	}
}
