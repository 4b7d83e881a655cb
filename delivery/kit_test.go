package delivery_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"edged/delivery"
)

// seed is random, or EDGED_SEED, so that a failure can be seen again.
func seed(t testing.TB) uint64 {
	n := uint64(time.Now().UnixNano())
	if v := os.Getenv("EDGED_SEED"); v != "" {
		var err error
		if n, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("EDGED_SEED=%d", n)
	return n
}

func dice(n, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(n, stream)) }

// rig is one link of a store and its clock.
type rig struct {
	testing.TB
	s   *delivery.Windows
	r   delivery.Ref
	now delivery.Millis
	tid uint32
}

func limits() delivery.Limits {
	return delivery.Limits{Retry: 5 * time.Second, Tries: 5, Window: 256, Bytes: delivery.DefaultBytes}
}

// newRig begins near the end of the clock and of the tids, so that both wrap in most tests.
func newRig(t testing.TB, l delivery.Limits) *rig {
	return &rig{TB: t, s: delivery.NewWindows(l), now: 1<<32 - 3000, tid: 1<<32 - 3}
}

func (g *rig) try(p delivery.Push) error {
	g.Helper()
	p.TID = g.tid
	r, err := g.s.Send(g.r, g.now, &p)
	if g.r = r; err == nil {
		g.tid++
	}
	return err
}

// send sends a push whose msg_id and frame tell its tid, which it returns.
func (g *rig) send(sampled bool, ttl time.Duration) uint32 {
	g.Helper()
	id := strconv.Itoa(int(g.tid))
	if err := g.try(delivery.Push{Sampled: sampled, TTL: ttl, MsgID: []byte(id), Frame: []byte("frame " + id)}); err != nil {
		g.Fatalf("Send: %v", err)
	}
	return g.tid - 1
}

func (g *rig) ack(tid uint32, want delivery.Answer) (rc delivery.Receipt) {
	g.Helper()
	r, got := g.s.Ack(g.r, g.now, tid, g.tid, &rc)
	if g.r = r; got != want {
		g.Fatalf("ACK of %d: %v, want %v", tid, got, want)
	}
	if got == delivery.Acked && (rc.TID != tid || string(rc.MsgID) != strconv.Itoa(int(tid))) {
		g.Fatalf("ACK of %d: receipt %+v", tid, rc)
	}
	return rc
}

// due returns what is due now as "repeat 7 2": what, tid, sends.
func (g *rig) due() (got []string) {
	g.Helper()
	var ev delivery.Event
	for {
		r, ok := g.s.Due(g.r, g.now, &ev)
		if g.r = r; !ok {
			return got
		}
		id := strconv.Itoa(int(ev.TID))
		frame := "frame " + id
		if ev.Sampled {
			frame = ""
		}
		if string(ev.MsgID) != id || string(ev.Frame) != frame {
			g.Fatalf("event %+v", ev)
		}
		got = append(got, ev.What.String()+" "+id+" "+strconv.Itoa(ev.Tries))
	}
}

// sleep goes on to the link's next moment and says after how long it came.
func (g *rig) sleep() time.Duration {
	g.Helper()
	at, ok := g.s.Next(g.r)
	if !ok {
		g.Fatal("nothing is awaited")
	}
	d := time.Duration(int32(at-g.now)) * time.Millisecond
	g.now = at
	return d
}

// empty fails unless the store holds nothing.
func empty(t testing.TB, s *delivery.Windows) {
	t.Helper()
	if s.Len() != 0 || s.Pushes() != 0 || s.Bytes() != 0 {
		t.Errorf("Len %d, Pushes %d, Bytes %d, want none", s.Len(), s.Pushes(), s.Bytes())
	}
}
