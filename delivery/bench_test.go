package delivery_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"edged/delivery"
)

var (
	msgID = []byte("0123456789abcdef")
	frame = make([]byte, 100)
)

func TestNothingAllocates(t *testing.T) {
	s := delivery.NewWindows(limits())
	var r, busy delivery.Ref
	var rc delivery.Receipt
	var ev delivery.Event
	p := delivery.Push{MsgID: msgID, Frame: frame}
	now, tid := delivery.Millis(0), uint32(0)
	for p.TID = 0; p.TID < 200; p.TID++ {
		busy, _ = s.Send(busy, now, &p)
	}
	state := make([]byte, 0, 1<<20)
	for _, tt := range []struct {
		name string
		call func()
	}{
		{"Send and Ack", func() {
			p.TID = tid
			tid++
			r, _ = s.Send(r, now, &p)
			r, _ = s.Ack(r, now, p.TID, tid, &rc)
		}},
		{"Send and Ack of a sample", func() {
			p.TID, p.Sampled = tid, true
			tid++
			r, _ = s.Send(r, now, &p)
			r, _ = s.Ack(r, now, p.TID, tid, &rc)
			p.Sampled = false
		}},
		{"fifty at once, acknowledged backwards", func() {
			for range 50 {
				p.TID = tid
				tid++
				r, _ = s.Send(r, now, &p)
			}
			for i := range uint32(50) {
				r, _ = s.Ack(r, now, tid-1-i, tid, &rc)
			}
		}},
		{"Ack of another tid", func() { _, _ = s.Ack(busy, now, 5000, 200, &rc) }},
		{"Due and End", func() {
			p.TID = tid
			tid++
			r, _ = s.Send(r, now, &p)
			now += 6000
			for ok := true; ok; {
				r, ok = s.Due(r, now, &ev)
			}
			for ok := true; ok; {
				r, ok = s.End(r, &ev)
			}
		}},
		{"AppendState and LoadState", func() {
			state = s.AppendState(state[:0], busy, now)
			again, _, _ := s.LoadState(state, now)
			for ok := true; ok; {
				again, ok = s.End(again, &ev)
			}
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

// scannable returns how much of the heap the garbage collector looks through for pointers.
func scannable() uint64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What a crowd of unacknowledged pushes took goes back when they are acknowledged, and next to none
// of it is looked through by the garbage collector.
func TestMemoryComesBack(t *testing.T) {
	const n = 50_000
	refs := make([]delivery.Ref, n)
	before, scanned := heap(), scannable()
	s := delivery.NewWindows(limits())
	for i := range refs {
		for tid := range uint32(2) {
			refs[i], _ = s.Send(refs[i], 5, &delivery.Push{TID: tid, MsgID: msgID, Frame: frame})
		}
	}
	used := heap() - before
	if more := scannable() - scanned; more > used/50 {
		t.Errorf("of %d bytes %d are scanned", used, more)
	}
	t.Logf("%d bytes for each link with two pushes of 116 bytes", used/n)
	var rc delivery.Receipt
	for i := range refs {
		for tid := range uint32(2) {
			refs[i], _ = s.Ack(refs[i], 7, tid, 2, &rc)
		}
		if refs[i] != 0 {
			t.Fatalf("ref %#x", uint32(refs[i]))
		}
	}
	if left := int(heap() - before); left > 256<<10 {
		t.Errorf("%d bytes of %d are kept", left, used)
	}
	if s.Held() > 128<<10 {
		t.Errorf("Held %d", s.Held())
	}
	runtime.KeepAlive(s)
}

// A push and its ACK, one link after the other: alone in its window, and among others.
func BenchmarkSendAck(b *testing.B) {
	for _, c := range []struct{ links, window int }{{1, 0}, {1, 100}, {10_000, 0}, {10_000, 10}} {
		b.Run(fmt.Sprintf("links=%d/window=%d", c.links, c.window), func(b *testing.B) {
			s := delivery.NewWindows(limits())
			refs, tids := make([]delivery.Ref, c.links), make([]uint32, c.links)
			p := delivery.Push{MsgID: msgID, Frame: frame}
			send := func(i int) {
				p.TID = tids[i]
				tids[i]++
				refs[i], _ = s.Send(refs[i], delivery.Millis(tids[i]), &p)
			}
			for i := range refs {
				for range c.window {
					send(i)
				}
			}
			var rc delivery.Receipt
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				send(i)
				refs[i], _ = s.Ack(refs[i], delivery.Millis(tids[i]), tids[i]-uint32(c.window)-1, tids[i], &rc)
				if i++; i == c.links {
					i = 0
				}
			}
		})
	}
}

// An ACK of tids that nobody waits for, in the largest window.
func BenchmarkUnknownAck(b *testing.B) {
	l := limits()
	l.Window, l.Bytes = 65535, 1<<30
	s := delivery.NewWindows(l)
	var r delivery.Ref
	for tid := range uint32(65535) {
		r, _ = s.Send(r, 0, &delivery.Push{TID: 2 * tid, MsgID: msgID})
	}
	var rc delivery.Receipt
	tid := uint32(1)
	for b.Loop() {
		r, _ = s.Ack(r, 0, tid, 1<<20, &rc)
		tid = (tid + 7918) & 0x1ffff
	}
}

// One look at a window of 256 pushes, all of which are repeated.
func BenchmarkDue(b *testing.B) {
	l := limits()
	l.Tries = 100
	s := delivery.NewWindows(l)
	var r delivery.Ref
	for tid := range uint32(256) {
		r, _ = s.Send(r, 0, &delivery.Push{TID: tid, MsgID: msgID, Frame: frame})
	}
	state := s.AppendState(nil, r, 0)
	var ev delivery.Event
	now := delivery.Millis(0)
	for b.Loop() {
		if now += delivery.Millis(time.Hour / time.Millisecond); now > 80*3_600_000 {
			for ok := true; ok; {
				r, ok = s.End(r, &ev)
			}
			now = 3_600_000
			r, _, _ = s.LoadState(state, now)
		}
		for ok := true; ok; {
			r, ok = s.Due(r, now, &ev)
		}
	}
}
