package relay

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newGate() *gate {
	g := new(gate)
	g.prepare()
	return g
}

func never() <-chan struct{} { return nil }

func ended() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestGate(t *testing.T) {
	g := newGate()
	for range 2 {
		if !g.enter(never) {
			t.Fatal("an open gate lets nobody in")
		}
	}
	g.shut()
	g.shut()
	if g.enter(ended) {
		t.Error("somebody went through a shut gate")
	}
	short, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.wait(short); !errors.Is(err, context.Canceled) {
		t.Errorf("with two inside: %v", err)
	}
	g.leave()
	g.leave()
	if err := g.wait(context.Background()); err != nil {
		t.Error(err)
	}
	g.reopen()
	g.reopen()
	if !g.enter(ended) {
		t.Error("a gate that opened again lets nobody in")
	}
	g.leave()
}

// Nobody is inside after wait, and everybody gets in again.
func TestGateUnderLoad(t *testing.T) {
	g := newGate()
	var inside, passed atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if !g.enter(never) {
					t.Error("a wait without an end ended")
					return
				}
				inside.Add(1)
				passed.Add(1)
				inside.Add(-1)
				g.leave()
				runtime.Gosched() // on few CPUs the spinning would be all that happens
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 200 {
		g.shut()
		if err := g.wait(ctx); err != nil {
			t.Fatal(err)
		}
		before := passed.Load()
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d are inside", n)
		}
		if passed.Load() != before {
			t.Fatal("somebody went through")
		}
		g.reopen()
		for passed.Load() == before && ctx.Err() == nil {
			if !g.enter(never) {
				t.Fatal("shut for ever")
			}
			g.leave()
			runtime.Gosched()
		}
	}
	stop.Store(true)
	wg.Wait()
}
