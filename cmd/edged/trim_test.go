package main

import "testing"

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
