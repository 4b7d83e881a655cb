package lane_test

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"edged/lane"
)

func TestNewRoundsUp(t *testing.T) {
	for _, tt := range []struct{ slots, want int }{{1, 2}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {1000, 1024}, {1025, 2048}} {
		if got := lane.New[int](tt.slots, nil).Cap(); got != tt.want {
			t.Errorf("New(%d) has %d slots, want %d", tt.slots, got, tt.want)
		}
	}
}

func TestNewPanicsWithoutSlots(t *testing.T) {
	defer func() {
		if s, _ := recover().(string); !strings.Contains(s, "0 slots") {
			t.Errorf("panic %q, want one about 0 slots", s)
		}
	}()
	lane.New[int](0, nil)
}

func TestFullLaneRefusesAndCounts(t *testing.T) {
	l := lane.New[int](4, nil)
	for i := range 4 {
		if !l.Push(i) {
			t.Fatalf("push %d of 4 refused", i)
		}
	}
	if l.Push(4) || l.Push(5) || l.Full() != 2 || l.Len() != 4 {
		t.Fatalf("a full lane holds %d and counts %d refusals, want 4 and 2", l.Len(), l.Full())
	}
	if v, ok := l.Pop(); !ok || v != 0 {
		t.Fatalf("Pop: %d, %v, want 0", v, ok)
	}
	if !l.Push(6) || l.Push(7) || l.Full() != 3 {
		t.Error("one Pop did not make room for one push")
	}
	for _, want := range []int{1, 2, 3, 6} {
		if v, ok := l.Pop(); !ok || v != want {
			t.Errorf("Pop: %d, %v, want %d", v, ok, want)
		}
	}
	if v, ok := l.Pop(); ok || v != 0 || l.Len() != 0 {
		t.Errorf("Pop of an empty lane: %d, %v, length %d", v, ok, l.Len())
	}
}

func TestWakeComesAfterEachPush(t *testing.T) {
	var l *lane.Lane[int]
	var woken []int
	l = lane.New[int](2, func() {
		v, ok := l.Pop() // what was pushed is there when wake is called
		if !ok {
			v = -1
		}
		woken = append(woken, v)
	})
	l.Push(1)
	l.PushWait(nil, 2)
	if len(woken) != 2 || woken[0] != 1 || woken[1] != 2 {
		t.Errorf("woken for %v, want 1 and 2", woken)
	}
}

func TestNoWakeForARefusedPush(t *testing.T) {
	woken := 0
	l := lane.New[int](2, func() { woken++ })
	for range 5 {
		l.Push(0)
	}
	done := make(chan struct{})
	close(done)
	l.PushWait(done, 0)
	l.Close()
	l.Push(0)
	l.PushWait(nil, 0)
	if woken != 2 {
		t.Errorf("woken %d times, want once for each of 2 pushes", woken)
	}
}

// TestAgainstTwin drives one goroutine's view against a slice.
func TestAgainstTwin(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	done := make(chan struct{})
	close(done)
	for _, slots := range []int{2, 4, 64} {
		var twin []int
		var wakes, wantWakes, full uint64
		l := lane.New[int](slots, func() { wakes++ })
		for i := range 300_000 {
			switch r.IntN(5) {
			case 0, 1:
				room := len(twin) < slots
				if got := l.Push(i); got != room {
					t.Fatalf("step %d: Push = %v with %d of %d", i, got, len(twin), slots)
				}
				if room {
					twin, wantWakes = append(twin, i), wantWakes+1
				} else {
					full++
				}
			case 2:
				room := len(twin) < slots
				if got := l.PushWait(done, i); got != room {
					t.Fatalf("step %d: PushWait = %v with %d of %d", i, got, len(twin), slots)
				}
				if room {
					twin, wantWakes = append(twin, i), wantWakes+1
				}
			default:
				v, ok := l.Pop()
				if ok != (len(twin) > 0) || ok && v != twin[0] {
					t.Fatalf("step %d: Pop = %d, %v, want head of %v", i, v, ok, twin)
				}
				twin = twin[min(1, len(twin)):]
			}
			if l.Len() != len(twin) || l.Full() != full || wakes != wantWakes {
				t.Fatalf("step %d: length %d, full %d, wakes %d, want %d, %d, %d", i, l.Len(), l.Full(), wakes, len(twin), full, wantWakes)
			}
		}
	}
}

func TestCloseRefusesAndKeepsWhatWasTaken(t *testing.T) {
	l := lane.New[int](4, nil)
	l.Push(1)
	l.Push(2)
	if l.Closed() {
		t.Error("closed before Close")
	}
	l.Close()
	l.Close() // harmless
	if l.Push(3) || l.PushWait(nil, 4) || !l.Closed() {
		t.Error("a closed lane takes values")
	}
	if l.Full() != 0 || l.Len() != 2 {
		t.Errorf("full %d, length %d, want 0 and 2", l.Full(), l.Len())
	}
	for _, want := range []int{1, 2} {
		if v, ok := l.Pop(); !ok || v != want {
			t.Errorf("Pop: %d, %v, want %d", v, ok, want)
		}
	}
	if _, ok := l.Pop(); ok || l.Len() != 0 {
		t.Error("a drained lane still holds something")
	}
}

func TestPopLetsTheCollectorHaveTheValue(t *testing.T) {
	l := lane.New[*[1 << 10]byte](2, nil)
	freed := make(chan struct{})
	func() {
		v := new([1 << 10]byte)
		runtime.AddCleanup(v, func(ch chan struct{}) { close(ch) }, freed)
		l.Push(v)
		l.Pop()
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-freed:
			runtime.KeepAlive(l)
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("the ring keeps a popped value alive")
}

func TestNothingAllocates(t *testing.T) {
	l := lane.New[[4]uint64](64, func() {})
	tests := []struct {
		name string
		call func()
	}{
		{"Push and Pop", func() {
			l.Push([4]uint64{1})
			l.Pop()
		}},
		{"PushWait with room", func() {
			l.PushWait(nil, [4]uint64{1})
			l.Pop()
		}},
		{"Pop of nothing", func() { l.Pop() }},
		{"Len, Cap, Full, Closed", func() { _, _, _, _ = l.Len(), l.Cap(), l.Full(), l.Closed() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1000, tt.call); n != 0 {
				t.Errorf("%v allocations a run, want none", n)
			}
		})
	}
}

func TestWaitingAllocatesNothing(t *testing.T) {
	l := lane.New[int](2, nil)
	asked, stop := make(chan struct{}), make(chan struct{})
	l.Push(0)
	l.Push(0)
	go func() {
		defer close(stop)
		for range asked {
			for l.Len() < l.Cap() {
				runtime.Gosched()
			}
			l.Pop()
		}
	}()
	n := testing.AllocsPerRun(1000, func() {
		asked <- struct{}{}
		l.PushWait(nil, 1)
	})
	close(asked)
	<-stop
	if n != 0 {
		t.Errorf("%v allocations for each push that waits, want none", n)
	}
}
