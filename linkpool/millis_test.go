package linkpool_test

import (
	"testing"
	"time"

	"edged/linkpool"
)

func TestMillisAt(t *testing.T) {
	tests := []struct {
		clock time.Duration
		want  linkpool.Millis
	}{
		{0, 0},
		{999 * time.Microsecond, 0},
		{time.Millisecond, 1},
		{(1<<32 - 1) * time.Millisecond, 1<<32 - 1},
		{(1<<32 + 7) * time.Millisecond, 7},
	}
	for _, tt := range tests {
		if got := linkpool.MillisAt(tt.clock); got != tt.want {
			t.Errorf("MillisAt(%v) = %d, want %d", tt.clock, got, tt.want)
		}
	}
}

func TestBeforeAndSub(t *testing.T) {
	tests := []struct {
		m, n   linkpool.Millis
		before bool
		sub    time.Duration
	}{
		{5, 5, false, 0},
		{5, 8, true, -3 * time.Millisecond},
		{8, 5, false, 3 * time.Millisecond},
		{1<<32 - 2, 2, true, -4 * time.Millisecond},
		{2, 1<<32 - 2, false, 4 * time.Millisecond},
		{0, 1<<31 - 1, true, -(1<<31 - 1) * time.Millisecond},
	}
	for _, tt := range tests {
		if got := tt.m.Before(tt.n); got != tt.before {
			t.Errorf("%d.Before(%d) = %v", tt.m, tt.n, got)
		}
		if got := tt.m.Sub(tt.n); got != tt.sub {
			t.Errorf("%d.Sub(%d) = %v, want %v", tt.m, tt.n, got, tt.sub)
		}
		if got := tt.m.Ago(tt.sub); got != tt.n {
			t.Errorf("%d.Ago(%v) = %d, want %d", tt.m, tt.sub, got, tt.n)
		}
	}
}

// TestDeadlineIsNeverEarly holds the two roundings against the true clock.
func TestDeadlineIsNeverEarly(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Millisecond - 1, time.Millisecond, 30 * time.Second, 30*time.Second + 1} {
		for _, read := range []time.Duration{0, 1, 400 * time.Microsecond, time.Millisecond - 1, 71*time.Minute + 1} {
			at := linkpool.MillisAt(read).Deadline(d)
			// The deadline is reached in the first moment whose Millis is at.
			reached := time.Duration(at) * time.Millisecond
			if late := reached - (read + d); late < 0 || late > 2*time.Millisecond {
				t.Errorf("read at %v, deadline in %v: comes %v late, want 0 to 2ms", read, d, late)
			}
		}
	}
}

func TestDeadlineStaysInReach(t *testing.T) {
	for _, m := range []linkpool.Millis{0, 1 << 31, 1<<32 - 1} {
		for _, d := range []time.Duration{24 * 24 * time.Hour, 25 * 24 * time.Hour, 1<<63 - 1} {
			if at := m.Deadline(d); !m.Before(at) || at.Sub(m) != 24*24*time.Hour+time.Millisecond {
				t.Errorf("%d.Deadline(%v) is %v ahead, want 24 days", m, d, at.Sub(m))
			}
		}
		if at := m.Deadline(-time.Hour); at.Sub(m) != time.Millisecond {
			t.Errorf("%d.Deadline(-1h) is %v ahead, want the next millisecond", m, at.Sub(m))
		}
	}
}
