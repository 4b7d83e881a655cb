package client_test

import (
	"reflect"
	"testing"
	"testing/synctest"

	"edged/sdk/client"
	"edged/wire"
)

// where compares what a client knows of its versions.
func where(t *testing.T, c *client.Client, synced uint64, missing ...client.Range) {
	t.Helper()
	if got := c.Missing(); c.Synced() != synced || len(got)+len(missing) > 0 && !reflect.DeepEqual(got, missing) {
		t.Errorf("synced %d, missing %v; want %d, %v", c.Synced(), got, synced, missing)
	}
}

// proven compares Complete of each version up to and beyond the last one.
func proven(t *testing.T, c *client.Client, from, to uint64) {
	t.Helper()
	for v := uint64(1); v < to+20; v++ {
		if got, want := c.Complete(v), from <= v && v <= to; got != want {
			t.Errorf("Complete(%d) is %v", v, got)
		}
	}
	if !c.Complete(0) {
		t.Error("Complete(0) is false")
	}
}

// The story of doc.go.
func TestHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		where(t, c, 0)
		p, synced := feed(f)
		if synced != 0 {
			t.Errorf("asked for what lies behind %d", synced)
		}
		for v := range uint64(4) {
			p.stored(0, v+1)
		}
		where(t, c, 4)
		p.stored(0, 7)
		p.stored(0, 8)
		where(t, c, 4, client.Range{From: 5, To: 6})
		p.stored(wire.FlagLate, 5)
		where(t, c, 5, client.Range{From: 6, To: 6})
		proven(t, c, 1, 5)

		_ = p.conn.Close()
		p, synced = feed(f)
		if synced != 5 {
			t.Errorf("asked for what lies behind %d", synced)
		}
		where(t, c, 5, client.Range{From: 6, To: 6})
		p.stored(0, 7) // a double, which shows that the log has no 6
		where(t, c, 8, client.Range{From: 6, To: 6})
		p.stored(0, 8)
		p.stored(0, 9)
		where(t, c, 9, client.Range{From: 6, To: 6})
		proven(t, c, 1, 5)

		p.stored(wire.FlagLate, 6) // after all
		where(t, c, 9)
		proven(t, c, 1, 9)
		l.want(t, "m1", "m2", "m3", "m4", "hole 5-6", "m7", "m8", "m5 L", "m9", "m6 L")
		if s := c.Stats(); s.Missed != 2 || s.Late != 2 || s.Doubles != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// What the first link did not get, the next one pulls; for the handler it is late.
func TestHoleIsFilledByTheNextLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		p, _ := feed(f)
		p.stored(0, 1)
		p.stored(0, 5)
		_ = p.conn.Close()
		p, synced := feed(f)
		if synced != 1 {
			t.Errorf("asked for what lies behind %d", synced)
		}
		for v := uint64(2); v <= 6; v++ {
			p.stored(wire.FlagAck, v)
			p.acked()
		}
		l.want(t, "m1", "hole 2-4", "m5", "m2 L", "m3 L", "m4 L", "m6")
		where(t, c, 6)
		proven(t, c, 1, 6)
	})
}

// The log no longer reaches back to where the client was.
func TestFirstVersionOfALinkLiesHigher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		o := noting(f, l)
		o.Synced = func() uint64 { return 10 }
		c := newClient(t, o)
		where(t, c, 10)
		proven(t, c, 1, 10)
		for link := range 2 {
			p, synced := feed(f)
			if synced != 10 {
				t.Errorf("link %d asks for what lies behind %d", link, synced)
			}
			p.stored(0, 31)
			p.stored(0, 32)
			_ = p.conn.Close()
		}
		p, synced := feed(f)
		if synced != 32 {
			t.Errorf("asked for what lies behind %d", synced)
		}
		p.stored(0, 33)
		l.want(t, "hole 11-30", "m31", "m32", "m33") // one report
		where(t, c, 33, client.Range{From: 11, To: 30})
		proven(t, c, 1, 10)
	})
}

// A repeat, or one that is late, does not show that the link has passed a hole.
func TestWhatDoesNotPassAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, noting(f, newLog()))
		p, _ := feed(f)
		p.stored(0, 1)
		p.stored(0, 5)
		_ = p.conn.Close()
		p, _ = feed(f)
		p.stored(wire.FlagLate, 9)
		p.stored(wire.FlagAgain, 5)
		where(t, c, 1, client.Range{From: 2, To: 4}, client.Range{From: 6, To: 8})
		p.stored(0, 6) // passes the first, not what this link has found
		where(t, c, 6, client.Range{From: 2, To: 4}, client.Range{From: 7, To: 8})
		p.stored(0, 10)
		where(t, c, 6, client.Range{From: 2, To: 4}, client.Range{From: 7, To: 8})
	})
}

// A client that knows nothing begins with the first version that comes, and takes late ones from before it.
func TestUnknownBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		c := newClient(t, noting(f, l))
		p, _ := feed(f)
		p.stored(0, 100)
		p.stored(wire.FlagLate, 98)
		p.stored(wire.FlagLate, 98)
		p.stored(wire.FlagLate, 99)
		p.stored(0, 101)
		l.want(t, "m100", "m98 L", "m99 L", "m101")
		where(t, c, 101)
		proven(t, c, 100, 101)
	})
}

// However many holes a gateway makes, the last 256 are known; a forgotten one counts as filled.
func TestHolesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		pushes, holes := 0, 0
		o.OnPush = func(client.Push) { pushes++ }
		o.Hole = func(from, to uint64) { holes++ }
		c := newClient(t, o)
		p, _ := feed(f)
		p.stored(0, 1)
		for n := range uint64(300) {
			p.stored(0, 3+2*n)
		}
		missing := c.Missing()
		first := uint64(2 * (300 - 256 + 1))
		if len(missing) != 256 || missing[0] != (client.Range{From: first, To: first}) || c.Synced() != first-1 || holes != 300 {
			t.Errorf("%d holes from %v on, synced %d", len(missing), missing[0], c.Synced())
		}
		p.stored(wire.FlagLate, 2) // forgotten
		p.stored(wire.FlagLate, first)
		if pushes != 302 || c.Synced() != first+1 {
			t.Errorf("%d pushes, synced %d", pushes, c.Synced())
		}
		p.stored(0, 1<<63)
		p.stored(0, 1<<64-1)
		p.stored(wire.FlagLate, 1<<63+1<<62) // splits the last hole in two
		missing = c.Missing()
		last := client.Range{From: 1<<63 + 1<<62 + 1, To: 1<<64 - 2}
		if len(missing) != 256 || missing[255] != last || pushes != 305 {
			t.Errorf("%d holes, last %v, %d pushes", len(missing), missing[255], pushes)
		}
		p.stored(0, 1<<64-1)
		p.stamped(0, 1<<64-1, "other")
		if pushes != 306 || c.Stats().Rewinds != 1 {
			t.Errorf("%d pushes, %+v", pushes, c.Stats())
		}
	})
}
