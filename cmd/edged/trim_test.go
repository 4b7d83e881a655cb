package main

import (
	"runtime/debug"
	"testing"
)

func TestTrimmer(t *testing.T) {
	var tr trimmer
	for i, step := range []struct {
		allocated uint64
		want      bool
	}{
		{10 << 20, false}, // busy
		{10<<20 + 1000, true},
		{10<<20 + 2000, false}, // nothing new
		{10<<20 + 200<<10, false},
		{50 << 20, false}, // busy again
		{50<<20 + trimQuiet - 1, true},
		{50<<20 + trimQuiet, false},
	} {
		if got := tr.due(step.allocated); got != step.want {
			t.Errorf("step %d: %v after %d bytes", i, got, step.allocated)
		}
	}
}

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, mostPercent}, {1 << 20, mostPercent}, {16 << 20, 400}, {64 << 20, 100}, {1 << 40, 100}} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d%% with %d bytes alive, want %d", got, c.live, c.want)
		}
	}
}

// The percentage follows what lives when it is far away, and the operator's stays.
func TestPacer(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	now := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	newPacer("50").follow(0)
	if got := now(); got != 100 {
		t.Errorf("%d%%, although the operator has set it", got)
	}
	p := newPacer("")
	for _, c := range []struct {
		live uint64
		want int
	}{{0, mostPercent}, {16 << 20, 400}, {17 << 20, 400}, {20 << 20, 400}, {22 << 20, 290}, {1 << 30, 100}} {
		if p.follow(c.live); now() != c.want {
			t.Errorf("%d%% with %d bytes alive, want %d", now(), c.live, c.want)
		}
	}
}
