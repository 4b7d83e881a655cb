package relay_test

import (
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"edged/relay"

	"golang.org/x/sys/unix"
)

// lentVariable has the streams of these tests lend their work to the shards' threads.
const lentVariable = "EDGED_TEST_RELAY_LENT"

// All that holds for a relay holds for one whose shards read and write the sockets.
func TestLentAsWell(t *testing.T) {
	if os.Getenv(lentVariable) != "" {
		return // this is the run with lending
	}
	args := []string{"-test.timeout=5m"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), lentVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// watcher plays the part of the shards' threads that concerns Watch.
type watcher struct {
	t     testing.TB
	ep    int
	relay atomic.Pointer[relay.Relay]
	end   atomic.Bool
	done  sync.WaitGroup
}

// lend has a relay's streams lend their work, if these tests do. The relay that is made then is to be told to start.
func lend(t testing.TB, o *relay.Options) (start func(r *relay.Relay)) {
	if os.Getenv(lentVariable) == "" || o.Watch != nil {
		return func(*relay.Relay) {}
	}
	w := newWatcher(t)
	o.Watch, o.Unwatch = w.watch, w.unwatch
	return func(r *relay.Relay) { w.relay.Store(r) }
}

func newWatcher(t testing.TB) *watcher {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, ep: ep}
	w.done.Go(w.run)
	t.Cleanup(func() {
		w.end.Store(true)
		w.done.Wait()
		_ = unix.Close(ep)
	})
	return w
}

// A stream whose socket cannot be watched ends, and is tried again.
func TestWatchFails(t *testing.T) {
	m := newManager(t, "m")
	w := newWatcher(t)
	var tries atomic.Int32
	g := newGateway(t, setup{addresses: []string{start(t, m).address}, change: func(o *relay.Options) {
		o.Unwatch = func(_, fd int) { _ = unix.EpollCtl(w.ep, unix.EPOLL_CTL_DEL, fd, nil) }
		o.Watch = func(shard, number, fd int) error {
			if tries.Add(1) <= 2 {
				return unix.ENOSPC // fs.epoll.max_user_watches
			}
			return w.watch(shard, number, fd)
		}
	}})
	w.relay.Store(g.relay)
	g.want(0, relay.EventUp)
	g.send(0, 0, "a")
	same(t, m.untilPayloads(0, 1), []string{"a"})
	// What was sent may have arrived by the first stream, before it ended.
	g.until(0, 0, "the third stream", func(s relay.StreamStats) bool {
		return s.KeptBatches == 0 && s.Streams == 3 && s.State == relay.StateUp
	})
	g.relay.Port(0).Ready(1) // there is no such Manager
}

func (w *watcher) watch(shard, number, fd int) error {
	return unix.EpollCtl(w.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(shard), Pad: int32(number)})
}

func (w *watcher) unwatch(_, fd int) {
	if err := unix.EpollCtl(w.ep, unix.EPOLL_CTL_DEL, fd, nil); err != nil && !w.end.Load() { // then it is closed
		w.t.Errorf("descriptor %d was not watched: %v", fd, err)
	}
}

func (w *watcher) run() {
	events := make([]unix.EpollEvent, 8)
	for !w.end.Load() {
		n, err := unix.EpollWait(w.ep, events, 5)
		if err != nil && err != unix.EINTR {
			w.t.Errorf("epoll: %v", err)
			return
		}
		for _, e := range events[:max(n, 0)] {
			if r := w.relay.Load(); r != nil {
				r.Port(int(e.Fd)).Ready(int(e.Pad))
				r.Port(int(e.Fd)).Flush()
			}
		}
	}
}
