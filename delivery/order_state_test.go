package delivery_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"edged/delivery"
)

// savedOrders returns the state of a link with a gap in its versions, a hole, and two packages.
func savedOrders(t testing.TB) (*line, []byte) {
	l := newLine(t, orderLimits())
	l.live(1, 3)
	l.now += 2001
	l.pop()
	l.live(6, 7)
	l.pack(7, 9, 0, 3, 2)
	l.pack(8, 9, 1)
	l.now += 500
	l.out = l.out[:0]
	return l, l.s.AppendState(nil, l.r, l.now)
}

func TestOrdersGoOnAfterLoading(t *testing.T) {
	_, state := savedOrders(t)
	l := &line{TB: t, s: delivery.NewOrders(orderLimits()), now: 99}
	var n int
	var err error
	if l.r, n, err = l.s.LoadState(state, l.now); err != nil || n != len(state) {
		t.Fatalf("%d of %d, %v", n, len(state), err)
	}
	l.live(2, 4)
	l.pack(8, 9, 0)
	l.want("2 late, 4, 0, 1")
	l.sleep(1500 * time.Millisecond)
	l.want("2 gap, 3")
	l.sleep(500 * time.Millisecond) // 4 came 500 ms after it was known to be missing
	l.want("6 gap, 7")
}

// The first byte says which version; what this one writes must be read by all later ones.
func TestOrdersOfVersionOne(t *testing.T) {
	zeros := func(n int) string { return string(make([]byte, n)) }
	want := []byte("\x01\x02" +
		zeros(4) + zeros(7) + "\x05" + zeros(8) + "\x00\x00\x01\x00\x00\x00\x00\x10" + "\x01\x00\x00\x00\x01" +
		zeros(7) + "\x02" + zeros(7) + "\x04" +
		zeros(7) + "\x09\x00\x00\x00\x20\x00\x00\x00\x02m9" +
		"\x00\x00\x00\x07" + zeros(7) + "\x03" + zeros(7) + "\x04" + "\x00\x00\x01\x00\x00\x00\x01\x00" + "\x00\x00\x00\x00\x00")
	l := newLine(t, orderLimits())
	var n int
	var err error
	if l.r, n, err = l.s.LoadState(want, l.now); n != len(want) || err != nil {
		t.Fatalf("%d of %d, %v", n, len(want), err)
	}
	if got := l.s.AppendState(nil, l.r, l.now); !bytes.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	l.pack(7, 4, 3)
	l.live(2, 4, 3, 5, 6, 7, 8)
	l.want("3, 2 late, 3 late, 5, 6, 7, 8, 9")
}

func TestOrdersThatAreNone(t *testing.T) {
	_, good := savedOrders(t)
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	const first, hole, held = 2, 2 + 33, 2 + 33 + 16
	for name, spoil := range map[string]func([]byte) []byte{
		"nothing":            func([]byte) []byte { return nil },
		"another version":    put(0, 2),
		"many orders":        put(1, 11),
		"more orders":        put(1, 4),
		"first is a package": put(first, 1),
		"versions with end":  put(first+12, 1),
		"no next":            put(first+4, 0, 0, 0, 0, 0, 0, 0, 0),
		"many holes":         put(first+28, 9),
		"many messages":      put(first+29, 255),
		"empty hole":         put(hole, 0, 0, 0, 0, 0, 0, 0, 3),
		"hole ahead":         put(hole+8, 1),
		"numbers fall":       put(held, 1),
		"last number":        put(held, 255, 255, 255, 255, 255, 255, 255, 255),
		"long message":       put(held+12, 255),
		"cut short":          func(b []byte) []byte { return b[:len(b)-1] },
		"cut in a hole":      func(b []byte) []byte { return b[:hole+3] },
		"cut in a message":   func(b []byte) []byte { return b[:held+3] },
		"cut in a head":      func(b []byte) []byte { return b[:first+3] },
	} {
		t.Run(name, func(t *testing.T) {
			s := delivery.NewOrders(orderLimits())
			if r, n, err := s.LoadState(spoil(slices.Clone(good)), 5); r != 0 || n != 0 || !errors.Is(err, delivery.ErrState) {
				t.Errorf("%#x, %d, %v", uint32(r), n, err)
			}
			if s.Len() != 0 || s.Held() != 0 {
				t.Errorf("Len %d, Held %d", s.Len(), s.Held())
			}
		})
	}
}

func TestStateOfNoOrders(t *testing.T) {
	s := delivery.NewOrders(orderLimits())
	state := s.AppendState(nil, 0, 5)
	if r, n, err := s.LoadState(state, 5); r != 0 || n != 2 || err != nil || len(state) != 2 {
		t.Errorf("%#x, %d, %v", uint32(r), n, err)
	}
	l := newLine(t, orderLimits())
	l.live(math.MaxUint64 - 1) // the last that has an order
	if _, _, err := l.s.LoadState(l.s.AppendState(nil, l.r, 5), 5); err != nil {
		t.Error(err)
	}
}

func FuzzLoadOrders(f *testing.F) {
	_, state := savedOrders(f)
	f.Add(state)
	f.Add([]byte("\x01\x00more"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := delivery.NewOrders(orderLimits())
		r, n, err := s.LoadState(b, 1<<31)
		if err != nil {
			if r != 0 || n != 0 || s.Len() != 0 || s.Held() != 0 {
				t.Fatalf("%v, but %#x, %d, Len %d, Held %d", err, uint32(r), n, s.Len(), s.Held())
			}
			return
		}
		if got := s.AppendState(nil, r, 1<<31); !bytes.Equal(got, b[:n]) {
			t.Fatalf("%q is saved as %q", b[:n], got)
		}
		now, left := delivery.Millis(1<<31), s.Held()
		var rel delivery.Released
		for range 100 {
			for ok := true; ok; left-- {
				r, ok = s.Pop(r, now, &rel)
			}
			if left++; left < s.Held() {
				t.Fatalf("%d messages of %d are left", s.Held(), left)
			}
			at, ok := s.Next(r)
			if !ok {
				break
			}
			if int32(at-now) <= 0 {
				t.Fatalf("Next is %d ms ago after Pop had nothing more", int32(now-at))
			}
			now = at
		}
		for ok := true; ok; {
			r, ok = s.End(r, &rel)
		}
		if s.Len() != 0 || s.Held() != 0 {
			t.Fatalf("Len %d, Held %d", s.Len(), s.Held())
		}
	})
}

func TestOrdersAllocateNothing(t *testing.T) {
	s := delivery.NewOrders(orderLimits())
	var r, pull delivery.OrderRef
	var rel delivery.Released
	msg := make([]byte, 200)
	version, id, now := uint64(1), uint32(1), delivery.Millis(5)
	drain := func(r delivery.OrderRef) delivery.OrderRef {
		for ok := true; ok; {
			r, ok = s.Pop(r, now, &rel)
		}
		return r
	}
	for _, tt := range []struct {
		name string
		call func()
	}{
		{"in turn", func() {
			r, _ = s.Version(r, now, version, msg)
			r = drain(r)
			version++
		}},
		{"two turned round", func() {
			r, _ = s.Version(r, now, version+1, msg)
			r, _ = s.Version(r, now, version, msg)
			r = drain(r)
			version += 2
		}},
		{"a gap, and late", func() {
			r, _ = s.Version(r, now, version+1, msg)
			now += 2001
			r = drain(r)
			r, _ = s.Version(r, now, version, msg)
			version += 2
		}},
		{"a package backwards", func() {
			for seq := uint32(20); seq > 0; seq-- {
				pull, _ = s.InPackage(pull, now, delivery.Position{Package: id, Seq: seq - 1, Count: 20}, msg)
			}
			if pull = drain(pull); pull != 0 {
				t.Fatalf("ref %#x", uint32(pull))
			}
			id++
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.call()
			if n := testing.AllocsPerRun(1000, tt.call); n != 0 {
				t.Errorf("%v allocations a run, want none", n)
			}
		})
	}
}

// A package of 10,000: in order, every two turned round, every 4,000 turned round.
func BenchmarkPackage(b *testing.B) {
	const count = 10_000
	for _, turned := range []int{1, 2, 4000} {
		b.Run(fmt.Sprint("turned=", turned), func(b *testing.B) {
			l := orderLimits()
			l.Bytes = 4 << 20
			s := delivery.NewOrders(l)
			var r delivery.OrderRef
			var rel delivery.Released
			msg := make([]byte, 200)
			b.ReportAllocs()
			for b.Loop() {
				for i := range count {
					seq := i - i%turned + min(turned, count-(i-i%turned)) - 1 - i%turned
					r, _ = s.InPackage(r, 5, delivery.Position{Package: 1, Seq: uint32(seq), Count: count}, msg)
					for ok := true; ok; {
						r, ok = s.Pop(r, 5, &rel)
					}
				}
				if r != 0 {
					b.Fatal("something is left")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/message")
		})
	}
}
