package nic_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"edged/nic"
)

// watching runs Watch in the namespace; each call of it is received from calls, and holds Watch up until then.
func (s *space) watching() (calls chan struct{}, stop func()) { return s.watchingBy(nic.Watch) }

// watchingBy does so with another Watch.
func (s *space) watchingBy(watch func(context.Context, func()) error) (calls chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	calls = make(chan struct{})
	ended := s.beside(func() {
		err := watch(ctx, func() {
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
			}
		})
		if err != nil {
			s.t.Error(err)
		}
	})
	stop = func() {
		s.t.Helper()
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			s.t.Fatalf("Watch goes on %v after its context", patience)
		}
	}
	return calls, stop
}

func (s *space) wantCall(calls <-chan struct{}, what string) {
	s.t.Helper()
	select {
	case <-calls:
	case <-time.After(patience):
		s.t.Fatalf("%s: no call within %v", what, patience)
	}
}

func TestWatch(t *testing.T) {
	s := newSpace(t)
	calls, stop := s.watching()
	defer stop()
	s.wantCall(calls, "start")
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"make", func() { s.veth("va", "pa") }},
		{"up", func() { s.up("va") }},
		{"carrier", func() { s.up("pa") }},
		{"no carrier", func() { s.down("pa") }},
		{"down", func() { s.down("va") }},
		{"rename", func() { s.rename("va", "vz") }},
		{"delete", func() { s.del("vz") }},
	} {
		step.do()
		s.wantCall(calls, step.what)
	}
}

// TestWatchQueues sees what Watch sees, and changed channels.
func TestWatchQueues(t *testing.T) {
	s := newSpace(t)
	s.queues("va", "vb")
	leaf, peer := s.leafOf("va"), s.leafOf("vb")
	calls, stop := s.watchingBy(nic.WatchQueues)
	defer stop()
	s.wantCall(calls, "start")
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"channels", func() {
			s.must("set channels", func() error { return nic.Host{}.SetChannels(t.Context(), leaf, nic.Counts{RX: 2, TX: 2}) })
		}},
		{"down", func() { s.down("va") }},
		{"channels of another", func() {
			s.must("set channels", func() error { return nic.Host{}.SetChannels(t.Context(), peer, nic.Counts{RX: 2, TX: 2}) })
		}},
		{"delete", func() { s.del("vb") }},
	} {
		step.do()
		s.wantCall(calls, step.what)
	}
}

// TestWatchOverrun lets the kernel's queue run over, so that the subscription breaks, and then looks for news.
func TestWatchOverrun(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	calls, stop := s.watching()
	defer stop()
	s.wantCall(calls, "start")
	l := s.link("va")
	for end := time.Now().Add(patience); s.overruns() == 0; { // Watch soon stands still in its next call
		s.must("flap", func() error {
			for range 500 {
				if err := errors.Join(netlink.LinkSetUp(l), netlink.LinkSetDown(l)); err != nil {
					return err
				}
			}
			return nil
		})
		if time.Now().After(end) {
			t.Fatalf("no overrun within %v", patience)
		}
	}
	s.wantCall(calls, "flapping")
	for quiet := false; !quiet; {
		select {
		case <-calls:
		case <-time.After(time.Second):
			quiet = true
		}
	}
	s.del("va")
	s.wantCall(calls, "after the new subscription")
}

// overruns counts what netlink sockets of the namespace have lost.
func (s *space) overruns() (n int) {
	s.t.Helper()
	s.must("read /proc/net/netlink", func() error {
		b, err := os.ReadFile("/proc/thread-self/net/netlink")
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 10 { // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
				lost, _ := strconv.Atoi(f[8]) // not in the line of names
				n += lost
			}
		}
		return err
	})
	return n
}

// feed is a subscription of a test's own.
type feed struct {
	subscribed atomic.Int32
	fail       func(n int32) error
	updates    chan netlink.LinkUpdate
}

func (f *feed) subscribe(done <-chan struct{}) (nic.Subscription, error) {
	if n := f.subscribed.Add(1); f.fail != nil {
		if err := f.fail(n); err != nil {
			return nil, err
		}
	}
	updates := make(chan netlink.LinkUpdate)
	f.updates = updates
	go func() {
		<-done
		close(updates)
	}()
	return updates, nil
}

func TestWatchCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var f feed
		var calls []time.Duration
		start := time.Now()
		ended := make(chan error)
		go func() {
			ended <- nic.WatchOf(ctx, func() { calls = append(calls, time.Since(start)) }, f.subscribe)
		}()
		synctest.Wait()
		for range 1000 { // one a millisecond, for a second
			f.updates <- netlink.LinkUpdate{}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		f.updates <- netlink.LinkUpdate{} // one alone
		time.Sleep(time.Minute)
		f.updates <- netlink.LinkUpdate{} // and one that is cut off by the end
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(calls) < 10 || len(calls) > 13 || calls[0] != 0 {
			t.Errorf("calls at %v", calls)
		}
		for i := 2; i < len(calls); i++ {
			if calls[i]-calls[i-1] < 100*time.Millisecond {
				t.Errorf("calls at %v", calls)
			}
		}
		if n := f.subscribed.Load(); n != 1 {
			t.Errorf("%d subscriptions", n)
		}
	})
}

func TestWatchSubscribesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := feed{fail: func(n int32) error {
			if n > 1 && n < 10 {
				return errDenied
			}
			return nil
		}}
		calls := 0
		ended := make(chan error)
		go func() { ended <- nic.WatchOf(ctx, func() { calls++ }, broken(&f)) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := f.subscribed.Load(); n != 10 || calls != 2 {
			t.Errorf("after a minute of refusals: %d subscriptions, %d calls", n, calls)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// broken makes the first subscription of f one that has ended already, as after ENOBUFS.
func broken(f *feed) func(done <-chan struct{}) (nic.Subscription, error) {
	return func(done <-chan struct{}) (nic.Subscription, error) {
		if f.subscribed.Load() > 0 {
			return f.subscribe(done)
		}
		f.subscribed.Add(1)
		updates := make(chan netlink.LinkUpdate)
		close(updates)
		return updates, nil
	}
}

func TestWatchRefused(t *testing.T) {
	f := feed{fail: func(int32) error { return errDenied }}
	err := nic.WatchOf(t.Context(), func() { t.Error("a call") }, f.subscribe)
	if !errors.Is(err, errDenied) {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := nic.WatchOf(ctx, func() { t.Error("a call") }, f.subscribe); err != nil {
		t.Errorf("ended before: %v", err)
	}
}
