package relay_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"edged/batch"
	"edged/relay"
)

// stuff delivers items for one shard until it has no room.
func stuff(t *testing.T, in *relay.Inlet, shard int) (n int) {
	t.Helper()
	b := down("fill", shard)
	for {
		switch err := in.Deliver(b, 0); {
		case errors.Is(err, relay.ErrBusy):
			return n
		case err != nil:
			t.Fatal(err)
		}
		n++
	}
}

// newBubble is a relay without Managers whose shards nobody plays but the test.
func newBubble(t *testing.T, shards int) *relay.Relay {
	t.Helper()
	o := relay.Options{Config: relay.Default(), Shards: shards, ShardOf: shardOf, Cast: roomOf}
	o.Config.Buffer = 128 << 10
	r, err := relay.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(t.Context()) }) // nothing is under way
	return r
}

// drain takes what waits for a shard, and returns the payloads.
func drain(t *testing.T, r *relay.Relay, shard int) (out []string) {
	t.Helper()
	p := r.Port(shard)
	for e, ok := p.Next(); ok; e, ok = p.Next() {
		if v, ok := e.Cast.(string); ok {
			out = append(out, "["+v+"]")
		}
		out = append(out, dataOf(t, e.Items)...)
	}
	return out
}

// A shard without room keeps a delivery waiting for so long and no longer; the others get what is theirs.
func TestInletBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBubble(t, 3)
		in := r.NewInlet(true)
		n := stuff(t, in, 1)
		room := batch.AppendDataTo(nil, batch.ToRoom("r"), 0, nil)
		b := append(append(down("a", 0, 1, 1), room...), down("b", 1, 2)...)
		begin := time.Now()
		if err := in.Deliver(b, 3*time.Second); !errors.Is(err, relay.ErrBusy) {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("it waited for %v in all", d)
		}
		same(t, drain(t, r, 0), []string{"a", "[r]"})
		if got := drain(t, r, 1); len(got) != n || got[n-1] != "fill" {
			t.Errorf("%d payloads, the last %s", len(got), got[len(got)-1])
		}
		same(t, drain(t, r, 2), []string{"[r]", "b"})
		st := r.Stats().Inlets[0]
		if st.Dropped != 1+4 || st.Busy != 2 || st.Received.Batches != uint64(n+2) {
			t.Errorf("stats %+v after %d batches", st, n)
		}
		if err := in.Deliver(b, 0); err != nil {
			t.Errorf("with room again: %v", err)
		}
		same(t, drain(t, r, 1), []string{"a", "a", "[r]", "b"})
	})
}

// Room that comes in time is used.
func TestInletWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBubble(t, 1)
		in := r.NewInlet(true)
		n := stuff(t, in, 0)
		var got []string
		time.AfterFunc(time.Second, func() { got = drain(t, r, 0) })
		begin := time.Now()
		if err := in.Deliver(down("late", 0), time.Minute); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it waited for %v", d)
		}
		synctest.Wait()
		got = append(got, drain(t, r, 0)...)
		if len(got) != n+1 || got[n] != "late" {
			t.Errorf("%d payloads after %d", len(got), n)
		}
		if st := r.Stats().Inlets[0]; st.Busy != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

// What a cast holds counts against the bound of every shard.
func TestCastsAreBounded(t *testing.T) {
	r := newBubble(t, 2)
	in := r.NewInlet(true)
	b := batch.AppendDataTo(nil, batch.ToRoom("r"), 0, make([]byte, 50<<10))
	for i := range 5 {
		err := in.Deliver(b, 0)
		if want := i >= 3; errors.Is(err, relay.ErrBusy) != want {
			t.Fatalf("cast %d: %v", i, err)
		}
	}
	same(t, drain(t, r, 0), []string{"[r]", "[r]", "[r]"})
	// Only the shard that still has its own lacks the next one.
	if err := in.Deliver(b, 0); !errors.Is(err, relay.ErrBusy) {
		t.Fatal(err)
	}
	same(t, drain(t, r, 0), []string{"[r]"})
	same(t, drain(t, r, 1), []string{"[r]", "[r]", "[r]"})
	if st := r.Stats().Inlets[0]; st.Dropped != 2*2+1 || st.Busy != 3 {
		t.Errorf("stats %+v", st)
	}
	if err := in.Deliver(b, 0); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// What is for nobody is spread over the shards, inlet by inlet.
func TestInletsOfSeveralShards(t *testing.T) {
	r := newBubble(t, 2)
	b := batch.AppendDataTo(nil, batch.ToUser("u"), 0, []byte("x"))
	for range 4 {
		if err := r.NewInlet(false).Deliver(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	for shard := range 2 {
		same(t, drain(t, r, shard), []string{"x", "x"})
	}
	if err := r.NewInlet(true).Deliver(nil, 0); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
	st := r.Stats().Inlets
	if want := (relay.InletStats{Received: relay.Flow{Batches: 1}}); len(st) != 5 || st[4] != want {
		t.Errorf("stats %+v", st)
	}
}

// Stop lets nobody wait on.
func TestStopEndsInlets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBubble(t, 1)
		in := r.NewInlet(true)
		stuff(t, in, 0)
		done := make(chan error, 1)
		go func() { done <- in.Deliver(down("x", 0), time.Hour) }()
		synctest.Wait() // it waits for room
		begin := time.Now()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, relay.ErrStopped) {
			t.Error(err)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("after %v", d)
		}
	})
}
