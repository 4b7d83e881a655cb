package netpoll_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
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

// judged is a judgement of how long to rest that is told what a thread did.
type judged struct {
	*testing.T
	c      *netpoll.Coalescing
	file   *os.File // the thread's schedstat
	now    time.Duration
	waited time.Duration
	turns  uint64
}

func newJudged(t *testing.T, longest time.Duration) *judged {
	file, err := os.Create(t.TempDir() + "/schedstat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &judged{T: t, file: file, c: netpoll.NewCoalescing(int(file.Fd()), longest), now: 1000 * time.Hour}
}

// look goes on by some time, for a share of which the thread waited for a CPU, in so many turns a second.
func (j *judged) look(what string, took time.Duration, share float64, rate int, least, most time.Duration) {
	j.Helper()
	j.now += took
	more := uint64(float64(rate) * took.Seconds())
	j.waited += time.Duration(share*float64(took)) + time.Duration(more)*3*time.Microsecond // of its wake-ups
	j.turns += more
	if _, err := j.file.WriteAt([]byte(fmt.Sprintf("1 %d 3\n", j.waited)), 0); err != nil {
		j.Fatal(err)
	}
	if got := j.c.Look(j.now, j.turns); got < least || got > most {
		j.Errorf("%s: %v, want %v to %v", what, got, least, most)
	}
}

// A loop rests while its thread has to wait for CPUs and it is woken often, and no longer.
func TestLook(t *testing.T) {
	const longest = 100 * time.Microsecond
	const tick = 50 * time.Millisecond
	j := newJudged(t, longest)
	j.look("the first look: few turns since the clock began", tick, 0.9, 50_000, 0, 0)
	j.look("nothing is known yet", tick, 0.9, 50_000, 0, 0)
	j.look("too early to look", tick/2, 0.9, 50_000, 0, 0)
	j.look("one look", tick/2, 0.9, 50_000, longest/2, longest/2)
	for range 10 {
		j.look("full", tick, 0.9, 50_000, longest/2, longest)
	}
	j.look("full for long", tick, 0.9, 50_000, longest*99/100, longest)
	j.look("half of it", tick, 0.06, 50_000, longest*74/100, longest*76/100)
	for range 20 {
		j.look("half of it", tick, 0.06, 50_000, longest*49/100, longest*76/100)
	}
	for range 20 {
		j.look("CPUs have room", tick, 0.01, 50_000, 0, longest/2)
	}
	j.look("CPUs have room", tick, 0.01, 50_000, 0, time.Nanosecond)
	j.look("full again", tick, 0.9, 50_000, longest/2-1, longest/2+1)
	j.look("few turns", tick, 0.9, 900, 0, 0)
	j.look("the first of many", tick, 0.9, 50_000, 0, 0) // what was waited before is not known
	j.look("full again", tick, 0.9, 50_000, longest/2, longest/2)
	j.look("asleep for a minute", time.Minute, 0.001, 10, 0, 0)
	j.look("busy", tick, 0.9, 50_000, 0, 0)
	j.look("busy", tick, 0.9, 50_000, longest/2, longest/2)
	_ = j.file.Truncate(0)
	j.now, j.turns = j.now+tick, j.turns+5000
	if got := j.c.Look(j.now, j.turns); got != 0 {
		t.Errorf("a file without figures: %v", got)
	}
	j.look("figures again", tick, 0.9, 50_000, 0, 0)
	j.look("figures again", tick, 0.9, 50_000, longest/2, longest/2)
}

// Rests that take much of the CPU are left, and tried again later.
func TestDearRests(t *testing.T) {
	const longest = 30 * time.Microsecond
	const tick = 50 * time.Millisecond
	j := newJudged(t, longest)
	full := func(what string, least, most time.Duration) {
		t.Helper()
		j.look(what, tick, 0.9, 50_000, least, most)
	}
	for range 20 {
		full("full", 0, longest)
	}
	full("not measured", longest*99/100, longest)
	if n := j.c.Rest(80, 9*time.Microsecond); n != 10 {
		t.Fatalf("%d of 80 rests are measured, want 10", n)
	}
	full("cheap", longest*99/100, longest)
	j.c.Rest(56, time.Millisecond)
	full("dear, but too few to tell", longest*99/100, longest)
	j.c.Rest(8, time.Millisecond)
	full("dear", 0, 0)
	for range 98 {
		full("dear for a while", 0, 0)
	}
	full("the last look without", 0, 0)
	full("tried again", longest*99/100, longest)
	j.c.Rest(80, 11*time.Microsecond)
	full("still dear", 0, 0)
	for range 99 {
		j.look("CPUs have room", tick, 0, 50_000, 0, 0)
	}
	j.look("not dear, nor wanted", tick, 0, 50_000, 0, time.Nanosecond)
	for range 10 {
		full("full again", 0, longest)
	}
	j.c.Rest(64, 10*time.Microsecond)
	full("a third of the longest", longest*99/100, longest)
}

// A loop rests while connections come in a storm, and not where each rest brings one: who connects one time after the other would
// wait for it each time.
func TestStorm(t *testing.T) {
	const tick = 50 * time.Millisecond
	var s netpoll.Storm
	accepted := uint64(0)
	// look goes on by a look with so many turns of so many connections each.
	look := func(what string, turns, each int, want bool) {
		t.Helper()
		rests := 0
		for range turns {
			accepted += uint64(each)
			if s.Due(accepted) {
				rests++
			}
			if s.Due(accepted) {
				t.Fatalf("%s: a second rest for the same connections", what)
			}
		}
		if want && rests != turns || !want && rests != 0 {
			t.Errorf("%s: %d rests in %d turns", what, rests, turns)
		}
		s.Look(tick, accepted)
	}
	s.Look(1000*time.Hour, 0)
	look("the first", 49, 1, false)
	look("too few", 49, 1, false)
	look("many", 50, 1, false)
	look("a storm", 25, 2, true)
	look("goes on", 20, 100, true)
	look("its end", 7, 1, true)
	look("quiet", 10, 1, false)
	look("many again", 100, 10, false)
	look("one time after the other", 100, 1, true)
	for range 101 {
		look("left for a while", 100, 10, false)
	}
	look("tried again", 100, 10, true)
	s.Look(time.Minute, accepted+59_999)
	accepted += 59_999
	look("many, but in a minute", 100, 10, false)
}

// A loop to which many connect rests and answers all; one that is not to rest never does.
func TestRestsInAStorm(t *testing.T) {
	raw(t, 2)
	g := newGroup(t, netpoll.Config{Coalesce: 30 * time.Microsecond}, echoFrames)
	never := newGroup(t, netpoll.Config{}, echoFrames)
	addrs := []string{listen(t, g), listen(t, never)}
	g.Start()
	never.Start()
	var stop atomic.Bool
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() { stop.Store(true); wg.Wait() })
	t.Cleanup(end)
	for _, addr := range addrs {
		for range 16 {
			wg.Go(func() {
				for !stop.Load() {
					if err := lookIn(addr); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	rests := func(g *netpoll.Group) (n uint64) {
		on(t, g.Loops()[0], func() { n = g.Loops()[0].StormRests() })
		return n
	}
	for begin := time.Now(); rests(g) < 100; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > 3*limit {
			t.Fatalf("%+v: it does not rest", stats(t, g.Loops()[0]))
		}
	}
	if n := rests(never); n != 0 {
		t.Errorf("a loop that is not to rest did so %d times", n)
	}
	end()
	for _, g := range []*netpoll.Group{g, never} {
		until(t, g.Loops()[0], "the end of all", func() bool { return g.Loops()[0].Stats().Conns == 0 })
	}
}

// lookIn connects, has a frame answered, and resets the connection.
func lookIn(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return err
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	frame := []byte{0, 1, 7}
	if err := errors.Join(c.SetDeadline(time.Now().Add(limit)), c.SetLinger(0)); err != nil {
		return err
	}
	if _, err := c.Write(frame); err != nil {
		return err
	}
	_, err = io.ReadFull(c, frame)
	return err
}

func TestThreadCPU(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, begin := netpoll.ThreadCPU(), time.Now()
	time.Sleep(20 * time.Millisecond)
	slept := netpoll.ThreadCPU() - before
	if all := time.Since(begin); slept < 0 || slept > all/2 {
		t.Errorf("%v of CPU in %v of sleep", slept, all)
	}
	for end := time.Now().Add(limit); netpoll.ThreadCPU()-before-slept < 5*time.Millisecond; {
		if time.Now().After(end) {
			t.Fatalf("no 5 ms of CPU in %v of computing", limit)
		}
	}
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
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{cpu, cpu}, Coalesce: netpoll.MaxCoalesce}, echoFrames)
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
