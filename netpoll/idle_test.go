package netpoll_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"edged/netpoll"
)

// A loop with silent connections takes no turn at all, while another loop's deadlines measure the time.
func TestIdleLoopSleeps(t *testing.T) {
	eachWait(t, func(t *testing.T) {
		l, addr := serve(t, netpoll.Config{}, echoFrames)
		for range 50 {
			c := dial(t, addr)
			mustWrite(t, c, appendFrame(nil, []byte("hello")))
			mustRead(t, c, 7)
		}
		waitIdle(t, l)
	})
}

// idleTurns are those that asking for the count causes: its own, and the raw waits before the loop lies down for good. Each
// of these lasts at most 10 ms, so that a loop which never did would take 20 turns and more in the time of waitIdle.
const idleTurns = 6

// waitIdle fails unless the loop stays asleep over a stretch of 200 ms, of which it grants it a few.
func waitIdle(t testing.TB, l *netpoll.Loop) {
	t.Helper()
	pass := newClock(t)
	var turns uint64
	for range 5 {
		before := stats(t, l).Wakeups
		pass(200 * time.Millisecond)
		if turns = stats(t, l).Wakeups - before; turns <= idleTurns {
			return
		}
	}
	t.Errorf("an idle loop took %d turns in 200 ms", turns)
}

// newClock returns a function that comes back after d, as the deadlines of a loop of its own say.
func newClock(t testing.TB) (pass func(d time.Duration)) {
	t.Helper()
	rung := make(chan struct{}, 1)
	due := time.Duration(-1)
	l, _ := serve(t, netpoll.Config{}, func(h *hooks) {
		h.turn = func(now time.Duration) time.Duration {
			if due >= 0 && now >= due {
				due = -1
				rung <- struct{}{}
			}
			if due < 0 {
				return -1
			}
			return due - now
		}
	})
	return func(d time.Duration) {
		t.Helper()
		on(t, l, func() { due = l.Now() + d })
		wait(t, rung, "the clock")
	}
}

// With few Ps a raw wait would keep the last one from everybody else.
func TestOtherGoroutinesRunWithOneP(t *testing.T) {
	old := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(old)
	g := newGroup(t, netpoll.Config{Loops: 3}, echoFrames)
	addr := listen(t, g)
	g.Start()
	for range 20 {
		c := dial(t, addr)
		for range 20 {
			mustWrite(t, c, appendFrame(nil, []byte("hello")))
			mustRead(t, c, 7)
		}
	}
}

// Garbage collections stop loops that sleep raw, and do not wait for their next event.
func TestCollectionsWhileLoopsSleep(t *testing.T) {
	raw(t, 4)
	g := newGroup(t, netpoll.Config{Loops: 4}, echoFrames)
	addr := listen(t, g)
	g.Start()
	c := dial(t, addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			mustWrite(t, c, appendFrame(nil, []byte("wake up")))
			mustRead(t, c, 9)
			runtime.GC()
		}
	}()
	wait(t, done, "50 collections")
}

const childEnv = "NETPOLL_TEST_CHILD"

// child runs the named test again in a process of its own with more environment.
func child(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=20s")
	cmd.Env = append(append(os.Environ(), childEnv+"=1", "GORACE=atexit_sleep_ms=0"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func isChild() bool { return os.Getenv(childEnv) != "" }

// Without asynchronous preemption a collection would wait for a raw sleeper for ever.
func TestAsyncPreemptOff(t *testing.T) {
	if !isChild() {
		child(t, "GODEBUG=asyncpreemptoff=1")
		return
	}
	raw(t, 2)
	g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
	addr := listen(t, g)
	g.Start()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5 {
			runtime.GC()
		}
	}()
	wait(t, done, "collections while the loops sleep")
	for _, l := range g.Loops() {
		waitIdle(t, l)
	}
	c := dial(t, addr)
	mustWrite(t, c, appendFrame(nil, nil))
	mustRead(t, c, 2)
}
