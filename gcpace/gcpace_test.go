package gcpace

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, mostPercent}, {1 << 20, mostPercent}, {16 << 20, 400}, {64 << 20, 100}, {1 << 40, 100}} {
		if got := percent(c.live); got != c.want {
			t.Errorf("%d%% with %d bytes alive, want %d", got, c.live, c.want)
		}
	}
}

func now() int {
	p := debug.SetGCPercent(100)
	debug.SetGCPercent(p)
	return p
}

// keep puts GOGC back when the test ends.
func keep(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// The percentage follows what lives when it is far away, and the operator's stays.
func TestPacer(t *testing.T) {
	keep(t)
	t.Setenv("GOGC", "50")
	if New().Follow(1 << 30); now() != 100 {
		t.Errorf("%d%%, although the operator has set it", now())
	}
	t.Setenv("GOGC", "")
	p := New()
	for _, c := range []struct {
		live uint64
		want int
	}{{0, mostPercent}, {16 << 20, 400}, {17 << 20, 400}, {20 << 20, 400}, {22 << 20, 290}, {1 << 30, 100}} {
		if p.Follow(c.live); now() != c.want {
			t.Errorf("%d%% with %d bytes alive, want %d", now(), c.live, c.want)
		}
	}
}

// Run sees what really lives, and ends with its context.
func TestRun(t *testing.T) {
	keep(t)
	t.Setenv("GOGC", "")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { Run(ctx); close(done) }()
	alive := make([]byte, 128<<20)
	runtime.GC() // what lives is counted by a collection
	for end := time.Now().Add(20 * time.Second); now() != 100; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d%% with %d bytes alive", now(), len(alive))
		}
	}
	runtime.KeepAlive(alive)
	stop()
	<-done
}
