package delivery_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"edged/delivery"
)

// ackAfter sends one push, repeats it as often as it must, and acknowledges it. It returns how
// often it was sent.
func (g *rig) ackAfter(rtt time.Duration) int {
	g.Helper()
	tid := g.send(false, 0)
	at := g.now + delivery.Millis(rtt/time.Millisecond)
	for {
		next, _ := g.s.Next(g.r)
		if int32(next-at) > 0 {
			break
		}
		g.now = next
		g.due()
	}
	g.now = at
	return g.ack(tid, delivery.Acked).Tries
}

// firstWait returns how long the first wait of the next push is.
func (g *rig) firstWait() time.Duration {
	g.Helper()
	tid := g.send(false, 0)
	d := g.sleep()
	if got := g.due(); !slices.Equal(got, []string{"repeat " + strconv.Itoa(int(tid)) + " 2"}) {
		g.Fatalf("%q", got)
	}
	var ev delivery.Event
	for ok := true; ok; {
		g.r, ok = g.s.End(g.r, &ev)
	}
	return d
}

func TestFastLinkLeavesNothing(t *testing.T) {
	g := newRig(t, limits())
	for range 20 {
		if n := g.ackAfter(300 * time.Millisecond); n != 1 || g.r != 0 {
			t.Fatalf("%d sends, ref %#x", n, uint32(g.r))
		}
	}
}

// The wait is at least twice the round trip, also after the link had nothing outstanding, and it is
// not for ever what one bad hour made it.
func TestWaitFollowsRoundTrip(t *testing.T) {
	for _, rtt := range []time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second, 21 * time.Second, 2 * time.Minute} {
		t.Run(rtt.String(), func(t *testing.T) {
			g := newRig(t, limits())
			var sends []int
			for range 12 {
				sends = append(sends, g.ackAfter(rtt))
			}
			if sends[11] != 1 {
				t.Errorf("sends %v: never measured", sends)
			}
			if g.r.Open() {
				t.Errorf("ref %#x has a window", uint32(g.r))
			}
			if d := g.firstWait(); d < 2*rtt || d > max(4*rtt, 6*time.Second) {
				t.Errorf("first wait %v", d)
			}
		})
	}
	t.Run("and back", func(t *testing.T) {
		g := newRig(t, limits())
		for range 12 {
			g.ackAfter(30 * time.Second)
		}
		g.ackAfter(50 * time.Millisecond)
		if g.r != 0 {
			t.Errorf("ref %#x", uint32(g.r))
		}
		if d := g.firstWait(); d > 5001*time.Millisecond {
			t.Errorf("first wait %v", d)
		}
	})
}

// A client that was away acknowledges many repeated pushes at once: that is one doubt, not one for
// each.
func TestOutageDoublesOnce(t *testing.T) {
	g := newRig(t, limits())
	var tids []uint32
	for range 100 {
		tids = append(tids, g.send(false, 0))
	}
	g.now += 30_000
	g.due()
	for _, tid := range tids {
		g.ack(tid, delivery.Acked)
	}
	g.send(false, 0)
	if d := g.sleep(); d < 10*time.Second || d > 11*time.Second {
		t.Errorf("first wait %v, want 10s and up to an eighth", d)
	}
}

func TestWaitIsBounded(t *testing.T) {
	l := limits()
	l.Retry, l.Tries = 10*time.Minute, 100
	g := newRig(t, l)
	tid := g.send(false, 0)
	total := time.Duration(0)
	for range 100 {
		d := g.sleep()
		if total += d; d > time.Hour+time.Millisecond {
			t.Fatalf("waits %v", d)
		}
		g.due()
	}
	if g.r.Open() || total < 90*time.Hour || total > 100*time.Hour {
		t.Errorf("tid %d: given up after %v, ref %#x", tid, total, uint32(g.r))
	}
}
