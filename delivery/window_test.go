package delivery_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"edged/delivery"
)

func TestAcksInAnyOrder(t *testing.T) {
	g := newRig(t, limits())
	var tids []uint32
	for range 6 {
		tids = append(tids, g.send(false, 0))
		g.tid++ // a push that wants no ACK
	}
	g.ack(tids[5], delivery.Acked)
	g.ack(tids[3], delivery.Acked)
	g.ack(tids[3], delivery.Duplicate)
	g.ack(99, delivery.Unknown)
	if pushes, _ := g.s.Outstanding(g.r); pushes != 4 {
		t.Errorf("%d pushes are outstanding, want 4", pushes)
	}
	for _, i := range []int{0, 4, 2, 1} {
		if rc := g.ack(tids[i], delivery.Acked); rc.Tries != 1 || rc.Sampled {
			t.Errorf("receipt %+v", rc)
		}
	}
	if g.r != 0 {
		t.Errorf("ref %#x is left", uint32(g.r))
	}
	empty(t, g.s)
}

// A tid that was sent but is not waited for is a duplicate; one that was never sent is unknown.
func TestAckOfAnotherTid(t *testing.T) {
	s := delivery.NewWindows(limits())
	var rc delivery.Receipt
	for _, tt := range []struct {
		name string
		tid  uint32
		next uint32
		want delivery.Answer
	}{
		{"first of a new link", 0, 0, delivery.Unknown},
		{"plain push", 0, 1, delivery.Duplicate},
		{"next", 7, 7, delivery.Unknown},
		{"far", 1<<32 - 1, 7, delivery.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r, got := s.Ack(0, 5, tt.tid, tt.next, &rc); r != 0 || got != tt.want {
				t.Errorf("%#x, %v, want 0, %v", uint32(r), got, tt.want)
			}
		})
	}
}

func TestRetryThenLoss(t *testing.T) {
	g := newRig(t, limits())
	tid := strconv.Itoa(int(g.send(false, 0)))
	for i, want := range []struct {
		after time.Duration
		what  string
	}{
		{5 * time.Second, "repeat " + tid + " 2"},
		{10 * time.Second, "repeat " + tid + " 3"},
		{20 * time.Second, "repeat " + tid + " 4"},
		{40 * time.Second, "repeat " + tid + " 5"},
		{80 * time.Second, "no_ack " + tid + " 5"},
	} {
		if after := g.sleep(); after < want.after || after > want.after+time.Millisecond {
			t.Errorf("step %d comes after %v, want %v", i, after, want.after)
		}
		g.now--
		if got := g.due(); got != nil {
			t.Errorf("step %d comes early: %q", i, got)
		}
		g.now++
		if got := g.due(); !slices.Equal(got, []string{want.what}) {
			t.Fatalf("step %d: %q, want %q", i, got, want.what)
		}
	}
	empty(t, g.s)
	g.ack(g.tid-1, delivery.Duplicate)
}

func TestTimeToLive(t *testing.T) {
	l := limits()
	l.TTL = 12 * time.Second
	g := newRig(t, l)
	own, usual := g.send(false, 3*time.Second), g.send(false, 0)
	if after := g.sleep(); after < 3*time.Second || after > 3*time.Second+time.Millisecond {
		t.Errorf("the first ends after %v", after)
	}
	if got, want := g.due(), "expired "+strconv.Itoa(int(own))+" 1"; !slices.Equal(got, []string{want}) {
		t.Fatalf("%q, want %q", got, want)
	}
	g.sleep()
	if got, want := g.due(), "repeat "+strconv.Itoa(int(usual))+" 2"; !slices.Equal(got, []string{want}) {
		t.Fatalf("%q, want %q", got, want)
	}
	if after := g.sleep(); after < 6*time.Second || after > 8*time.Second {
		t.Errorf("the second ends %v after its repeat", after)
	}
	if got, want := g.due(), "expired "+strconv.Itoa(int(usual))+" 2"; !slices.Equal(got, []string{want}) {
		t.Fatalf("%q, want %q", got, want)
	}
	empty(t, g.s)
}

func TestSampledIsNeverRepeated(t *testing.T) {
	g := newRig(t, limits())
	first, second := g.send(true, 0), g.send(true, 0)
	if _, size := g.s.Outstanding(g.r); size > 30 {
		t.Errorf("two samples hold %d bytes: their frames are kept", size)
	}
	if rc := g.ack(first, delivery.Acked); !rc.Sampled {
		t.Errorf("receipt %+v", rc)
	}
	if after := g.sleep(); after < 155*time.Second || after > 156*time.Second {
		t.Errorf("forgotten after %v, want as long as a required one takes: 155s", after)
	}
	if got, want := g.due(), "no_ack "+strconv.Itoa(int(second))+" 1"; !slices.Equal(got, []string{want}) {
		t.Fatalf("%q, want %q", got, want)
	}
	empty(t, g.s)
}

func TestWindowIsBounded(t *testing.T) {
	l := limits()
	l.Window, l.Bytes = 3, 1000
	frame := func(n int) delivery.Push { return delivery.Push{Frame: make([]byte, n)} }
	sample := func(n int) delivery.Push { return delivery.Push{Sampled: true, MsgID: make([]byte, n)} }
	for _, tt := range []struct {
		name      string
		send      []delivery.Push
		last      error
		displaced uint64
	}{
		{"pushes", []delivery.Push{frame(1), frame(1), frame(1), frame(1)}, delivery.ErrFull, 0},
		{"bytes", []delivery.Push{frame(600), frame(401)}, delivery.ErrFull, 0},
		{"all bytes", []delivery.Push{frame(600), frame(400)}, nil, 0},
		{"one that is too large alone", []delivery.Push{frame(5000)}, nil, 0},
		{"behind one that is too large", []delivery.Push{frame(5000), frame(0)}, delivery.ErrFull, 0},
		{"sample in a full window", []delivery.Push{frame(1), frame(1), sample(1), sample(1)}, delivery.ErrFull, 0},
		{"sample gives way", []delivery.Push{frame(1), sample(1), sample(1), frame(1)}, nil, 1},
		{"samples give way for bytes", []delivery.Push{sample(250), sample(250), frame(1000)}, nil, 2},
		{"sample to nothing", []delivery.Push{frame(1), frame(1), frame(1), sample(1)}, delivery.ErrFull, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, l)
			for i, p := range tt.send {
				err := g.try(p)
				if want := tt.last; i == len(tt.send)-1 && !errors.Is(err, want) || i < len(tt.send)-1 && err != nil {
					t.Fatalf("push %d: %v, want %v", i, err, want)
				}
			}
			if got := g.s.Displaced(); got != tt.displaced {
				t.Errorf("%d samples are displaced, want %d", got, tt.displaced)
			}
		})
	}
}

func TestEndTellsAll(t *testing.T) {
	g := newRig(t, limits())
	var want []uint32
	for i := range 40 {
		want = append(want, g.send(i%7 == 0, 0))
	}
	g.ack(want[20], delivery.Acked)
	want = slices.Delete(want, 20, 21)
	var got []uint32
	var ev delivery.Event
	for {
		r, ok := g.s.End(g.r, &ev)
		if g.r = r; !ok {
			break
		}
		if ev.What != delivery.Closed || string(ev.MsgID) != strconv.Itoa(int(ev.TID)) {
			t.Errorf("event %+v", ev)
		}
		got = append(got, ev.TID)
	}
	if !slices.Equal(got, want) || g.r != 0 {
		t.Errorf("%v, want %v; ref %#x", got, want, uint32(g.r))
	}
	empty(t, g.s)
}

// A turn may stop in the middle of what is due, and other things happen before it goes on.
func TestDueInPieces(t *testing.T) {
	g := newRig(t, limits())
	var want []uint32
	for range 50 {
		want = append(want, g.send(false, 0))
	}
	g.now += 6000
	var ev delivery.Event
	for i := range want {
		if at, ok := g.s.Next(g.r); !ok || int32(at-g.now) > 0 {
			t.Fatalf("event %d: Next is %d, %v at %d", i, at, ok, g.now)
		}
		r, ok := g.s.Due(g.r, g.now, &ev)
		if g.r = r; !ok || ev.TID != want[i] || ev.What != delivery.Repeat || ev.Tries != 2 {
			t.Fatalf("event %d: %+v, %v, want tid %d", i, ev, ok, want[i])
		}
		if i == 10 {
			g.send(false, 0)
			g.ack(want[0], delivery.Acked)
			g.ack(want[4], delivery.Acked)
		}
		g.now++
	}
	if got := g.due(); got != nil {
		t.Fatalf("%q", got)
	}
	if at, _ := g.s.Next(g.r); int32(at-g.now) < 4000 {
		t.Errorf("next look in %d ms, want not before 4000", int32(at-g.now))
	}
}

func TestFrameComesBackAsGiven(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 17, 255, 256, 4000, 65535, delivery.MaxFrame} {
		g := newRig(t, limits())
		id, frame := bytes.Repeat([]byte("i"), delivery.MaxMsgID), bytes.Repeat([]byte("f"), size)
		if err := g.try(delivery.Push{MsgID: id, Frame: frame}); err != nil {
			t.Fatal(err)
		}
		clear(frame)
		g.now += 5001
		var ev delivery.Event
		_, ok := g.s.Due(g.r, g.now, &ev)
		if !ok || !bytes.Equal(ev.MsgID, id) || !bytes.Equal(ev.Frame, bytes.Repeat([]byte("f"), size)) {
			t.Errorf("frame of %d bytes comes back with %d", size, len(ev.Frame))
		}
	}
}

func TestWrongUsePanics(t *testing.T) {
	for name, call := range map[string]func(){
		"limits":          func() { delivery.NewWindows(delivery.Limits{}) },
		"long msg_id":     func() { newRig(t, limits()).try(delivery.Push{MsgID: make([]byte, 256)}) },
		"long frame":      func() { newRig(t, limits()).try(delivery.Push{Frame: make([]byte, delivery.MaxFrame+1)}) },
		"tid backwards":   func() { g := newRig(t, limits()); g.send(false, 0); g.tid -= 2; g.send(false, 0) },
		"tid twice":       func() { g := newRig(t, limits()); g.send(false, 0); g.tid--; g.send(false, 0) },
		"ref of no store": func() { delivery.NewWindows(limits()).Next(5) },
		"ref given back": func() {
			g := newRig(t, limits())
			g.send(false, 0)
			old := g.r
			g.ack(g.tid-1, delivery.Acked)
			g.s.Next(old)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}
