package netpoll_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

func TestRestFor(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  time.Duration
	}{{-1, 0}, {0, 0}, {0.02, 0}, {0.06, 50}, {0.10, 100}, {0.9, 100}, {40, 100}} {
		got := netpoll.RestFor(c.share, 100*time.Microsecond)
		if d := got - c.want*time.Microsecond; d < -time.Microsecond || d > time.Microsecond {
			t.Errorf("%v where a thread waits for %v of its time, want %d µs", got, c.share, c.want)
		}
	}
}

func TestParseRunDelay(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"86709230 46185188 666\n": 46185188, "0 0 0\n": 0, "1 2": 2, "1 999999999999999999 3": 999999999999999999,
		"": -1, "5": -1, "5 ": -1, "5  6": -1, "a b c": -1, "1 -2 3": -1, "1 9999999999999999999 3": -1,
	} {
		if got := netpoll.ParseRunDelay([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func FuzzParseRunDelay(f *testing.F) {
	f.Add([]byte("86709230 46185188 666\n"))
	f.Add([]byte(" 1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := netpoll.ParseRunDelay(b)
		want := int64(-1)
		if _, rest, ok := bytes.Cut(b, []byte(" ")); ok {
			end := 0
			for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
				end++
			}
			if n, err := strconv.ParseInt(string(rest[:end]), 10, 64); err == nil && end <= 18 {
				want = n
			}
		}
		if int64(got) != want {
			t.Errorf("%q: %d, want %d", b, got, want)
		}
	})
}

// A loop rests while its thread has to wait for CPUs and it is woken often, and no longer.
func TestLook(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/schedstat") // of a thread
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	const longest = 100 * time.Microsecond
	c := netpoll.NewCoalescing(int(file.Fd()), longest)
	now, waited, turns := 1000*time.Hour, time.Duration(0), uint64(0)
	look := func(what string, took time.Duration, share float64, rate int, least, most time.Duration) {
		t.Helper()
		now += took
		more := uint64(float64(rate) * took.Seconds())
		waited += time.Duration(share*float64(took)) + time.Duration(more)*3*time.Microsecond // of its wake-ups
		turns += more
		if _, err := file.WriteAt([]byte(fmt.Sprintf("1 %d 3\n", waited)), 0); err != nil {
			t.Fatal(err)
		}
		if got := c.Look(now, turns); got < least || got > most {
			t.Errorf("%s: %v, want %v to %v", what, got, least, most)
		}
	}
	const tick = 50 * time.Millisecond
	look("the first look: few turns since the clock began", tick, 0.9, 50_000, 0, 0)
	look("nothing is known yet", tick, 0.9, 50_000, 0, 0)
	look("too early to look", tick/2, 0.9, 50_000, 0, 0)
	look("one look", tick/2, 0.9, 50_000, longest/2, longest/2)
	for range 10 {
		look("full", tick, 0.9, 50_000, longest/2, longest)
	}
	look("full for long", tick, 0.9, 50_000, longest*99/100, longest)
	look("half of it", tick, 0.06, 50_000, longest*74/100, longest*76/100)
	for range 20 {
		look("half of it", tick, 0.06, 50_000, longest*49/100, longest*76/100)
	}
	for range 20 {
		look("CPUs have room", tick, 0.01, 50_000, 0, longest/2)
	}
	look("CPUs have room", tick, 0.01, 50_000, 0, time.Nanosecond)
	look("full again", tick, 0.9, 50_000, longest/2-1, longest/2+1)
	look("few turns", tick, 0.9, 900, 0, 0)
	look("the first of many", tick, 0.9, 50_000, 0, 0) // what was waited before is not known
	look("full again", tick, 0.9, 50_000, longest/2, longest/2)
	look("asleep for a minute", time.Minute, 0.001, 10, 0, 0)
	look("busy", tick, 0.9, 50_000, 0, 0)
	look("busy", tick, 0.9, 50_000, longest/2, longest/2)
	_ = file.Truncate(0)
	now, turns = now+tick, turns+5000
	if got := c.Look(now, turns); got != 0 {
		t.Errorf("a file without figures: %v", got)
	}
	look("figures again", tick, 0.9, 50_000, 0, 0)
	look("figures again", tick, 0.9, 50_000, longest/2, longest/2)
}

// burn has n threads compute on one CPU until the test ends.
func burn(t *testing.T, cpu, n int) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	t.Cleanup(func() { stop.Store(true); wg.Wait() })
	for range n {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with its CPU
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				t.Error(err)
			}
			for !stop.Load() {
			}
		})
	}
}

// Loops that share their CPU with threads that compute rest; a loop that is not told to never does. All is answered.
func TestRestsWhereCPUsAreFull(t *testing.T) {
	old := runtime.GOMAXPROCS(netpoll.Procs(2) + 4) // those that compute have a P each
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{cpu, cpu}, Coalesce: 100 * time.Microsecond}, echoFrames)
	never := newGroup(t, netpoll.Config{CPUs: []int{cpu}}, echoFrames)
	addrs := []string{listen(t, g), listen(t, never)}
	g.Start()
	never.Start()
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
	burn(t, cpu, 2)
	for _, addr := range addrs {
		newCrowd(t, 16, addr)
	}
	for end := time.Now().Add(3 * limit); ; time.Sleep(20 * time.Millisecond) {
		if stats(t, g.Loops()[0]).Rests+stats(t, g.Loops()[1]).Rests >= 100 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v and %+v: they do not rest", stats(t, g.Loops()[0]), stats(t, g.Loops()[1]))
		}
	}
	if n := stats(t, never.Loops()[0]).Rests; n != 0 {
		t.Errorf("a loop that is not to rest did so %d times", n)
	}
}

// Nothing that comes while a loop rests is slept over: neither bytes, nor Wake and Post, nor a freeze.
func TestNothingIsLostInARest(t *testing.T) {
	raw(t, 2)
	g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
	addr := listen(t, g)
	g.Start()
	for _, l := range g.Loops() {
		on(t, l, func() { l.ForceRest(300 * time.Microsecond) })
	}
	newCrowd(t, 8, addr)
	for range 300 {
		for _, l := range g.Loops() {
			on(t, l, func() {})
		}
	}
	for range 20 {
		mustFreeze(t, g)
		g.Thaw()
	}
	for _, l := range g.Loops() {
		if s := stats(t, l); s.Rests == 0 {
			t.Errorf("%+v: it did not rest", s)
		}
	}
}

func TestBadRest(t *testing.T) {
	for _, d := range []time.Duration{-1, netpoll.MaxCoalesce + 1} {
		_, err := netpoll.New(netpoll.Config{Coalesce: d}, func(*netpoll.Loop) netpoll.Handler { return &hooks{} })
		if err == nil || !strings.HasPrefix(err.Error(), "netpoll: ") {
			t.Errorf("%v: %v", d, err)
		}
	}
}
