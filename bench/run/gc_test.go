package main

import (
	"strings"
	"testing"
)

const gcTrace = `edged ready
gc 1 @0.013s 2%: 0.018+1.5+0.003 ms clock, 0.072+0.1/0.5/0.2+0.01 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 4 P
scvg: nothing
gc 2 @0.113s 0%: 0.018+2+0.003 ms clock, 0.072+0/3/0+0.01 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 4 P (forced)
gc 3 @10.1s 0%: 0.018+4+0.003 ms clock, 0.072+0/1/0+0.01 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 4 P
gc 4 @11.`

func TestCollections(t *testing.T) {
	got := collections(gcTrace)
	if len(got) != 3 || got[0].wall != 1.5 || got[0].cpu < 0.799 || got[0].cpu > 0.801 || got[1] != (collection{2, 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestCollected(t *testing.T) {
	few := []collection{{1, 2}, {3, 4}, {2, 3}}
	all := []collection{{9, 12}, {1, 2}, {5, 6}}
	got, err := collected(sample{}, few, all)
	if err != nil {
		t.Fatal(err)
	}
	want := map[figure]float64{markFew: 3, markAll: 6, markRatio: 2, wallFew: 2, wallAll: 5}
	for _, v := range got.values {
		if want[v.figure] != v.value {
			t.Errorf("%v: %v, want %v", v.figure, v.value, want[v.figure])
		}
	}
	if len(got.values) != len(want) {
		t.Errorf("%d figures, want %d", len(got.values), len(want))
	}
	if _, err := collected(sample{}, few, all[:2]); !strings.Contains(errText(err), "3 are needed") {
		t.Errorf("of two collections: %v", err)
	}
}
