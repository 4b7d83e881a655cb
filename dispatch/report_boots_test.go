package dispatch

import "testing"

func TestBoots(t *testing.T) {
	type step struct {
		boot string
		seq  uint64
		twin string // the other one's boot; empty: none
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one process", []step{{"a", 1, ""}, {"a", 2, ""}, {"a", 3, ""}}},
		{"started anew", []step{{"a", 8, ""}, {"b", 1, ""}, {"b", 2, ""}, {"c", 1, ""}, {"c", 2, ""}}},
		{"two processes", []step{{"a", 1, ""}, {"b", 1, ""}, {"a", 2, "b"}, {"b", 2, "a"}, {"b", 3, ""}, {"a", 3, "b"}}},
		{"an old report seen again", []step{{"a", 1, ""}, {"b", 1, ""}, {"a", 1, ""}, {"b", 1, ""}}},
		{"three processes", []step{{"a", 1, ""}, {"b", 1, ""}, {"c", 1, ""}, {"a", 2, "c"}, {"b", 2, "a"}, {"c", 2, "b"}}},
		{"too many to remember", []step{{"a", 1, ""}, {"b", 1, ""}, {"c", 1, ""}, {"d", 1, ""}, {"e", 1, ""}, {"a", 2, ""}, {"d", 2, "a"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b boots
			for i, s := range c.steps {
				other, twin := b.see(writer{boot: s.boot, seq: s.seq})
				if twin != (s.twin != "") || twin && other.boot != s.twin {
					t.Errorf("step %d: twin %v, other %q; want %q", i, twin, other.boot, s.twin)
				}
				if len(b.seen) > maxBoots {
					t.Errorf("step %d: %d processes are remembered", i, len(b.seen))
				}
			}
		})
	}
}
