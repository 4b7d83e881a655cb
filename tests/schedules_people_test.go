//go:build e2e

package tests

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edged/wire"
)

// rough is how bad the weather is for those who come to a gateway.
type rough struct {
	mu     sync.Mutex
	bad    int    // guarded by mu: reasons for which a link may be refused or broken now
	change uint64 // guarded by mu: of bad
}

// set begins or ends one reason.
func (r *rough) set(bad bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad--; bad {
		r.bad += 2
	}
	r.change++
}

// now returns a mark for since.
func (r *rough) now() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change
}

// since says whether it was bad at any time since the mark.
func (r *rough) since(mark uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad > 0 || r.change != mark
}

// walkers come to a gateway, say something, and leave in one of several ways. Only in rough weather may that fail.
type walkers struct {
	address string
	weather *rough
	work    sync.WaitGroup

	came, excused atomic.Int64

	mu    sync.Mutex
	wrong []string // guarded by mu
}

// walk lets one come and leave.
func (w *walkers) walk(who string, way int) {
	mark := w.weather.now()
	if err := visitor(w.address, who, way); err == nil {
		w.came.Add(1)
	} else if w.weather.since(mark) || strings.HasPrefix(err.Error(), "BYE overloaded") { // the Manager is far behind
		w.excused.Add(1)
	} else {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.wrong) < 10 {
			w.wrong = append(w.wrong, fmt.Sprintf("%s: %v", who, err))
		}
	}
}

// stroll lets one come after the other until ctx ends.
func (w *walkers) stroll(ctx context.Context) {
	w.work.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			w.walk(fmt.Sprintf("visitor-%d", n), n)
			pause(5 * time.Millisecond)
		}
	})
}

// crowd lets many come at a time.
func (w *walkers) crowd(name string, n int) {
	for i := range n {
		w.work.Go(func() { w.walk(fmt.Sprintf("%s-%d", name, i), i) })
	}
}

func (w *walkers) check(t *testing.T) {
	t.Helper()
	w.work.Wait()
	for _, s := range w.wrong {
		t.Error(s)
	}
}

// visitor logs in, has an answer, and leaves by a BYE, by the end of the connection, or by its reset.
func visitor(address, who string, way int) error {
	c, err := newClient(address)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.login(who + " x"); err != nil {
		return err
	}
	if err := c.send(wire.KindData, []byte("hello")); err != nil {
		return err
	}
	if f, err := c.next(patience); err != nil || f.kind != wire.KindData || string(f.rest) != who+": hello" {
		return fmt.Errorf("instead of an answer: %v %q, %w", f.kind, f.rest, err)
	}
	switch way % 3 {
	case 0:
		return c.write(wire.AppendBye(nil, wire.ByeNormal, 0, ""))
	case 1:
		return c.conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}

// roomer is a link in the room, which must hear each cast once and in its order for as long as it lives.
type roomer struct {
	c    *client
	done chan struct{}

	heard atomic.Uint64 // number of the last cast
	ended error         // why it ended; nil: it was to; static when done is closed
	wrong error         // static when done is closed
}

func listen(t *testing.T, address, who string) *roomer {
	t.Helper()
	l := &roomer{c: dialIn(t, address, who+" x"), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.wrong = l.live()
	}()
	go l.beat()
	return l
}

// beat says now and then that the client is there.
func (l *roomer) beat() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
			_ = l.c.write(wire.AppendHeartbeat(nil)) // the reader finds out why not
		}
	}
}

// live reads until the link ends; what is returned is not that.
func (l *roomer) live() error {
	for {
		f, err := l.c.next(time.Hour)
		if err == nil && f.kind == wire.KindBye {
			err = fmt.Errorf("BYE %v", wire.ParseBye(f.rest).Reason)
		}
		if err != nil {
			l.ended = err
			return nil
		}
		if f.kind != wire.KindData {
			continue
		}
		n := binary.BigEndian.Uint64(f.rest)
		if last := l.heard.Load(); last > 0 && n != last+1 {
			return fmt.Errorf("cast %d came, %d was next", n, last+1)
		}
		l.heard.Store(n)
	}
}

// here says whether the link lives.
func (l *roomer) here() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// between returns a time from least to most.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)+1))
}
