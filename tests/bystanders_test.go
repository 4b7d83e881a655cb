//go:build e2e

package tests

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/wire"
)

// crowd is a number of well-behaved links that go on echoing beside what a test does.
type crowd struct {
	t       *testing.T
	done    chan struct{}
	wg      sync.WaitGroup
	rounds  []atomic.Int64
	slowest atomic.Int64 // ns
	stalled atomic.Int64 // ns, the longest that this process itself was late

	mu   sync.Mutex
	errs []error // guarded by mu
}

// beside begins a crowd of n links, each with one message every interval or so. Its end must be asked for by stop.
func beside(t *testing.T, address string, n int, interval time.Duration) *crowd {
	t.Helper()
	b := &crowd{t: t, done: make(chan struct{}), rounds: make([]atomic.Int64, n)}
	for i := range n {
		c := dialIn(t, address, fmt.Sprintf("bystander-%d/phone", i))
		b.wg.Go(func() {
			if err := b.live(c, i, interval); err != nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.errs = append(b.errs, fmt.Errorf("bystander %d: %w", i, err))
			}
		})
	}
	b.wg.Go(b.watch)
	t.Cleanup(func() { b.end() })
	return b
}

// watch measures how late this process itself is: a machine that stands still for a second, as these do now and then, is not a
// gateway's doing.
func (b *crowd) watch() {
	const every = 20 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for before := time.Now(); ; {
		select {
		case <-b.done:
			return
		case <-tick.C:
		}
		now := time.Now()
		if late := int64(now.Sub(before) - every); late > b.stalled.Load() {
			b.stalled.Store(late)
		}
		before = now
	}
}

func (b *crowd) live(c *client, i int, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-b.done:
			return c.leave()
		case <-tick.C:
		}
		began := time.Now()
		payload := binary.BigEndian.AppendUint64([]byte("still here "), n<<16|uint64(i))
		if err := c.exchange(payload); err != nil {
			return err
		}
		took := int64(time.Since(began))
		for old := b.slowest.Load(); took > old && !b.slowest.CompareAndSwap(old, took); old = b.slowest.Load() {
		}
		b.rounds[i].Add(1)
	}
}

// leave says BYE and waits for the end of the stream.
func (c *client) leave() error {
	if err := c.write(wire.AppendBye(nil, wire.ByeNormal, 0, "")); err != nil {
		return err
	}
	if f, err := c.next(patience); err != io.EOF {
		return fmt.Errorf("%v, %v after our BYE, want the end of the stream", f.kind, err)
	}
	return nil
}

func (b *crowd) end() {
	select {
	case <-b.done:
	default:
		close(b.done)
	}
	b.wg.Wait()
}

// stop ends the crowd. No link may have noticed anything, and none may have waited longer than limit and the machine's own stall.
func (b *crowd) stop(limit time.Duration) {
	b.t.Helper()
	b.end()
	for _, err := range b.errs {
		b.t.Error(err)
	}
	least := b.rounds[0].Load()
	for i := range b.rounds {
		least = min(least, b.rounds[i].Load())
	}
	if least == 0 {
		b.t.Error("a bystander did not get a single message through")
	}
	slowest, stalled := time.Duration(b.slowest.Load()), time.Duration(b.stalled.Load())
	if slowest > limit+stalled {
		b.t.Errorf("a bystander waited %v for its echo, want at most %v, and %v for the machine", slowest, limit, stalled)
	}
	b.t.Logf("%d bystanders: at least %d rounds each, the slowest took %v, the machine stood still for %v", len(b.rounds), least, slowest, stalled)
}

// waitRound waits until every bystander has made another round.
func (b *crowd) waitRound() {
	b.t.Helper()
	for i := range b.rounds {
		before := b.rounds[i].Load()
		waitFor(b.t, fmt.Sprintf("bystander %d echoes", i), func() bool { return b.rounds[i].Load() > before || b.failed() })
	}
}

func (b *crowd) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.errs) > 0
}
