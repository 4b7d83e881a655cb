package delivery_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"edged/delivery"
)

// saved returns the state of a link with two pushes, one of them repeated, and a sample.
func saved(t testing.TB) []byte {
	g := newRig(t, limits())
	g.send(false, 0)
	g.now += 5001
	g.due()
	g.send(true, time.Minute)
	g.ack(g.send(false, 0), delivery.Acked)
	g.send(false, 0)
	return g.s.AppendState(nil, g.r, g.now)
}

func TestStateKeepsTimesOnAnotherClock(t *testing.T) {
	g := newRig(t, limits())
	first := g.send(false, 0)
	g.now += 4000
	state := g.s.AppendState(nil, g.r, g.now)
	next := &rig{TB: t, s: delivery.NewWindows(limits()), now: 77, tid: g.tid}
	var n int
	var err error
	if next.r, n, err = next.s.LoadState(state, next.now); err != nil || n != len(state) {
		t.Fatalf("%d of %d, %v", n, len(state), err)
	}
	if d := next.sleep(); d < time.Second || d > 1001*time.Millisecond {
		t.Errorf("due %v after loading, want 1s", d)
	}
	next.due()
	if rc := next.ack(first, delivery.Acked); rc.Tries != 2 || rc.Took < 5*time.Second || rc.Took > 5002*time.Millisecond {
		t.Errorf("receipt %+v", rc)
	}
	empty(t, next.s)
}

func TestStateOfNothing(t *testing.T) {
	g := newRig(t, limits())
	for range 3 {
		g.ackAfter(time.Minute)
	}
	for _, r := range []delivery.Ref{0, g.r} {
		state := g.s.AppendState(nil, r, g.now)
		if got, n, err := g.s.LoadState(state, 5); got != r || n != 6 || err != nil {
			t.Errorf("%#x, %d, %v, want %#x", uint32(got), n, err, uint32(r))
		}
	}
	if g.r == 0 {
		t.Error("a slow link is remembered by nothing")
	}
	empty(t, g.s)
}

// A window over the limits of a new configuration is kept, and shrinks from there.
func TestStateOverTheLimits(t *testing.T) {
	g := newRig(t, limits())
	for range 10 {
		g.send(false, 0)
	}
	state := g.s.AppendState(nil, g.r, g.now)
	l := limits()
	l.Window, l.Tries = 2, 1
	next := &rig{TB: t, s: delivery.NewWindows(l), now: g.now, tid: g.tid}
	var err error
	if next.r, _, err = next.s.LoadState(state, next.now); err != nil {
		t.Fatal(err)
	}
	if n, _ := next.s.Outstanding(next.r); n != 10 {
		t.Errorf("%d pushes, want 10", n)
	}
	if err := next.try(delivery.Push{}); !errors.Is(err, delivery.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	next.sleep()
	if got := next.due(); len(got) != 10 {
		t.Errorf("%q", got)
	}
	empty(t, next.s)
}

// The first byte says which version; what this one writes must be read by all later ones.
func TestStateOfVersionOne(t *testing.T) {
	want := []byte("\x01\x00\x00\x00\x00\x01" + "\x00\x00\x00\x20\x00\x00\x00\x08\x00\x00\x13\x88" +
		"\x00\x00\x00\x07\x00\x02\x00\x00\x13\x88\x00\x00\x03\xe8\x00\x00\x0f\xa0\x00\x00\x4e\x20\x02\x00\x00\x00\x06idbody")
	s := delivery.NewWindows(limits())
	r, n, err := s.LoadState(want, 9)
	if err != nil || n != len(want) {
		t.Fatalf("%d of %d, %v", n, len(want), err)
	}
	if got := s.AppendState(nil, r, 9); !bytes.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	var rc delivery.Receipt
	if _, a := s.Ack(r, 9, 7, 8, &rc); a != delivery.Acked || string(rc.MsgID) != "id" || rc.Tries != 2 || rc.Took != time.Second {
		t.Errorf("%v, receipt %+v", a, rc)
	}
}

func TestStateThatIsNone(t *testing.T) {
	good := saved(t)
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	const first = 6 + 12
	for name, spoil := range map[string]func([]byte) []byte{
		"nothing":             func([]byte) []byte { return nil },
		"another version":     put(0, 2),
		"patience and pushes": put(1, 7),
		"too many":            put(2, 0, 1, 0, 0),
		"no base":             put(14, 0, 0, 0, 0),
		"base of hours":       put(14, 1, 0, 0, 0),
		"srtt of hours":       put(6, 1, 0, 0, 0),
		"rttvar of hours":     put(10, 1, 0, 0, 0),
		"unknown flag":        put(first+4, 2),
		"repeated sample":     put(first+4, 1),
		"no try":              put(first+5, 0),
		"many tries":          put(first+5, 101),
		"push without base":   put(first+6, 0, 0, 0, 0),
		"msg_id over body":    put(first+22, 255),
		"large body":          put(first+23, 0, 2, 0, 0),
		"tids not in order":   func(b []byte) []byte { binary.BigEndian.PutUint32(b[first:], 0); return b },
		"cut short":           func(b []byte) []byte { return b[:len(b)-1] },
		"cut in a head":       func(b []byte) []byte { return b[:first+20] },
		"cut before a push":   func(b []byte) []byte { return b[:first] },
	} {
		t.Run(name, func(t *testing.T) {
			s := delivery.NewWindows(limits())
			if r, n, err := s.LoadState(spoil(slices.Clone(good)), 5); r != 0 || n != 0 || !errors.Is(err, delivery.ErrState) {
				t.Errorf("%#x, %d, %v", uint32(r), n, err)
			}
			empty(t, s)
		})
	}
	s := delivery.NewWindows(limits())
	if _, n, err := s.LoadState(good, 5); n != len(good) || err != nil {
		t.Errorf("the good one: %d, %v", n, err)
	}
}

func FuzzLoadWindow(f *testing.F) {
	f.Add(saved(f))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x60\x00\x00\x00\x00more"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := delivery.NewWindows(limits())
		r, n, err := s.LoadState(b, 1<<31)
		if err != nil {
			if r != 0 || n != 0 {
				t.Fatalf("%v, but %#x, %d", err, uint32(r), n)
			}
			empty(t, s)
			return
		}
		if got := s.AppendState(nil, r, 1<<31); !bytes.Equal(got, b[:n]) {
			t.Fatalf("%q is saved as %q", b[:n], got)
		}
		g := &rig{TB: t, s: s, r: r, now: 1 << 31}
		var ev delivery.Event
		for range 2000 {
			at, ok := s.Next(g.r)
			if !ok {
				break
			}
			if int32(at-g.now) > 0 {
				g.now = at
			}
			for ok = true; ok; {
				g.r, ok = s.Due(g.r, g.now, &ev)
			}
		}
		for ok := true; ok; {
			g.r, ok = s.End(g.r, &ev)
		}
		empty(t, s)
	})
}
