package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"edged/linkpool"
)

func TestBeatsSteps(t *testing.T) {
	for _, tt := range []struct {
		heartbeat, idle, slack time.Duration
		step                   time.Duration
	}{
		{25 * time.Second, 30 * time.Second, time.Second, 500 * time.Millisecond},
		{25 * time.Second, 30 * time.Second, 400 * time.Millisecond, 200 * time.Millisecond},
		{25 * time.Second, 30 * time.Second, 0, 0},
		{25 * time.Second, 30 * time.Second, time.Hour, 625 * time.Millisecond}, // a quarter of the spare time
		{25 * time.Second, 25*time.Second + 150*time.Millisecond, time.Second, 0},
		{10 * time.Second, time.Hour, time.Hour, 500 * time.Millisecond}, // a tenth of the interval
		{time.Second, time.Hour, time.Second, 50 * time.Millisecond},
		{100 * time.Millisecond, time.Hour, time.Second, 0}, // too short to be worth anything
		{7 * time.Second, time.Minute, 300 * time.Millisecond, 148 * time.Millisecond},
		{24*time.Hour - time.Second, 24 * time.Hour, time.Second, 125 * time.Millisecond},
	} {
		c := Config{Heartbeat: tt.heartbeat, IdleTimeout: tt.idle, HeartbeatSlack: tt.slack}
		if b := newBeats(&c, 0); time.Duration(b.step)*time.Millisecond != tt.step || b.on {
			t.Errorf("%v of %v, slack %v: steps of %d ms, on %v", tt.heartbeat, tt.idle, tt.slack, b.step, b.on)
		}
	}
}

// TestBeatsPay has heartbeats gathered while they are many and most of what wakes, and be judged once a second.
func TestBeatsPay(t *testing.T) {
	c := Default()
	for _, begin := range []linkpool.Millis{0, 5000, 1<<31 + 5, 1<<32 - 500} {
		b := newBeats(&c, begin)
		now, heard, turns := begin, uint64(0), uint64(0)
		if b.due(now) {
			t.Fatal("judged before anything can be known")
		}
		for _, tt := range []struct {
			heard, turns uint64 // a second
			on           bool
		}{{0, 0, false}, {300, 300, true}, {300, 20, true}, {31, 31, false}, {33, 32, true}, {33, 120, true}, {33, 140, false}, {10_000, 40_001, false}, {10_000, 100, true}, {0, 1000, false}} {
			for range 5 { // what came before counts no more by then
				since := now
				for !b.due(now) {
					now += 100
				}
				took := uint64(now.Sub(since) / time.Millisecond)
				if took < 1000 {
					t.Fatalf("judged after %d ms", took)
				}
				heard, turns = heard+tt.heard*took/1000, turns+tt.turns*took/1000
				b.judge(now, heard, turns)
			}
			if b.on != tt.on {
				t.Errorf("from %d on: %d heartbeats and %d turns a second: on is %v", begin, tt.heard, tt.turns, b.on)
			}
		}
	}
}

// TestBeatsModel has one client send heartbeats, as punctual as clients are, and the link be looked at as a shard does, now and then
// late: no answer waits longer than a window and the lateness, whatever the client does, and next to all heartbeats of a punctual one
// are gathered.
func TestBeatsModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type client struct {
		name          string
		drift, jitter int     // ms that each heartbeat is later than the interval at least, and how much it may be earlier or later than that
		outOfTurn     float64 // how often one comes at any time
		late          int     // ms that a look may be late
		gathered      float64 // at least
	}
	for _, cl := range []client{
		{name: "punctual", late: 5, gathered: 0.96},
		{name: "drifting", drift: 4, jitter: 2, late: 5, gathered: 0.95},
		{name: "a phone", drift: 10, jitter: 60, late: 5, gathered: 0.9},
		{name: "beside a busy reactor", drift: 2, jitter: 5, late: 120, gathered: 0.9},
		{name: "erratic", jitter: 3000, late: 20},
		{name: "early", drift: -5000, late: 5},
		{name: "probing", drift: 3, jitter: 5, outOfTurn: 0.3, late: 5, gathered: 0.5},
	} {
		for _, c := range []Config{Default(), {Heartbeat: 2 * time.Second, IdleTimeout: time.Minute, HeartbeatSlack: time.Second}, {Heartbeat: 26300 * time.Millisecond, IdleTimeout: time.Minute, HeartbeatSlack: time.Second}} {
			start := linkpool.Millis(r.Uint32())
			b := newBeats(&c, start)
			scale := func(ms int) int { return ms * int(b.step) / 500 }
			heard, wasGathered := start, false
			n, together := 5000, 0
			at := start // when the heartbeat comes
			for range n {
				d := int(b.interval) + scale(cl.drift)
				if cl.jitter != 0 {
					d += r.IntN(2*scale(cl.jitter)+1) - scale(cl.jitter)
				}
				if r.Float64() < cl.outOfTurn {
					d = 1 + r.IntN(int(b.interval))
				}
				at += linkpool.Millis(max(d, 1))
				begin, end := b.window(heard, wasGathered)
				if end.Sub(begin) != 2*time.Duration(b.step)*time.Millisecond {
					t.Fatalf("a window of %v", end.Sub(begin))
				}
				armed := begin + linkpool.Millis(r.IntN(scale(cl.late)+1)) // a late look begins it late
				if !armed.Before(end) || at.Before(armed) || !at.Before(end) {
					heard, wasGathered = at, false // told as it comes
					continue
				}
				answered := end + linkpool.Millis(r.IntN(scale(cl.late)+1))
				if wait := int(answered.Sub(at) / time.Millisecond); wait > 2*int(b.step)+scale(cl.late) {
					t.Fatalf("%s: answered after %d ms", cl.name, wait)
				}
				heard, wasGathered, together = answered, true, together+1
			}
			if part := float64(together) / float64(n); part < cl.gathered {
				t.Errorf("%s, %v: %.3f of the heartbeats were gathered", cl.name, c.Heartbeat, part)
			} else {
				t.Logf("%s, %v: %.3f", cl.name, c.Heartbeat, part)
			}
		}
	}
}
