package netpoll_test

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

// pair returns the two ends of a connection, which do not block.
func pair(t *testing.T) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd) // one may be closed
		}
	})
	return fds[0], fds[1]
}

// A loop tells what is watched as long as there is something to read, on its thread, and serves its connections meanwhile.
func TestWatch(t *testing.T) {
	const numbers = 3
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var ours, theirs [numbers]int
	var told, got [numbers]atomic.Int64
	var greedy atomic.Bool
	g := newGroup(t, netpoll.Config{Ready: func(l *netpoll.Loop, number int) {
		l.Stats() // the thread's own
		told[number].Add(1)
		if !greedy.Load() {
			return
		}
		var b [7]byte // less than there may be: it is told again
		n, err := unix.Read(ours[number], b[:])
		if err != nil && err != unix.EAGAIN {
			t.Errorf("read: %v", err)
		}
		got[number].Add(int64(max(n, 0)))
	}}, echoFrames)
	addr := listen(t, g)
	g.Start()
	l := g.Loops()[0]
	for i := range numbers {
		ours[i], theirs[i] = pair(t)
		if err := l.Watch(i, ours[i]); err != nil {
			t.Fatal(err)
		}
	}
	crowd := newCrowd(t, 4, addr)
	greedy.Store(true)
	var sent [numbers]int64
	for range 200 {
		i := random.IntN(numbers)
		n, err := unix.Write(theirs[i], make([]byte, 1+random.IntN(60)))
		if err != nil {
			t.Fatal(err)
		}
		sent[i] += int64(n)
	}
	for i := range numbers {
		until(t, l, "all that was sent", func() bool { return got[i].Load() == sent[i] })
	}

	greedy.Store(false)
	before := told[1].Load()
	if _, err := unix.Write(theirs[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	until(t, l, "to be told again and again of what nobody reads", func() bool { return told[1].Load() > before+3 })
	l.Unwatch(ours[1])
	on(t, l, func() { before = told[1].Load() })
	time.Sleep(20 * time.Millisecond)
	on(t, l, func() {
		if n := told[1].Load(); n > before+1 { // the turn in which it was unwatched may have had it
			t.Errorf("told %d times after Unwatch", n-before)
		}
	})
	if err := l.Watch(1, ours[1]); err != nil {
		t.Errorf("watch it again: %v", err)
	}
	if err := l.Watch(2, ours[1]); !errors.Is(err, unix.EEXIST) {
		t.Errorf("watch what is watched: %v", err)
	}
	if err := l.Watch(2, -1); !errors.Is(err, unix.EBADF) {
		t.Errorf("watch what is no descriptor: %v", err)
	}
	_ = unix.Close(theirs[0])
	before = told[0].Load()
	until(t, l, "to be told of the end", func() bool { return told[0].Load() > before })
	crowd.end()
	g.Stop()
	if err := l.Watch(0, ours[0]); !errors.Is(err, netpoll.ErrStopped) {
		t.Errorf("watch after the end: %v", err)
	}
	l.Unwatch(ours[0]) // does nothing
}

func TestWatchWithoutReady(t *testing.T) {
	for _, cfg := range []netpoll.Config{{}, {Ready: func(*netpoll.Loop, int) {}}} {
		l := newGroup(t, cfg, echoFrames).Loops()[0]
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			number := 0
			if cfg.Ready != nil {
				number = netpoll.MaxWatches
			}
			_ = l.Watch(number, 0)
		}()
	}
}
