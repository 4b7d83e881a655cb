package relay

import (
	"context"
	"sync"
	"sync/atomic"
)

// gate is what goroutines pass before work that must not be under way while a successor takes over. While it is open that
// costs an addition before and one behind.
//
//	open ──shut──> shut, some are inside ──the last one leaves──> nobody is inside
//	  ^──────────────────────────reopen──────────────────────────────────'
type gate struct {
	word  atomic.Int32  // how many are inside, or look whether they may; and gateShut
	empty chan struct{} // one token: somebody left a gate that is shut

	mu     sync.Mutex    // guards opened
	opened chan struct{} // closed when the gate opens again
}

const gateShut = 1 << 30

func (g *gate) prepare() { g.empty = make(chan struct{}, 1) }

// enter goes in, to leave afterwards. At a gate that is shut it waits as long as the channel is open that waiting returns,
// then it returns false.
func (g *gate) enter(waiting func() <-chan struct{}) bool {
	for g.word.Add(1)&gateShut != 0 {
		g.leave()
		opened := g.whenOpened()
		if opened == nil {
			continue
		}
		select {
		case <-opened:
		case <-waiting():
			return false
		}
	}
	return true
}

// tryEnter goes in, to leave afterwards, if the gate is open.
func (g *gate) tryEnter() bool {
	if g.word.Add(1)&gateShut != 0 {
		g.leave()
		return false
	}
	return true
}

// whenOpened returns what is closed when the gate opens, nil if it is open.
func (g *gate) whenOpened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.word.Load()&gateShut == 0 {
		return nil
	}
	return g.opened
}

func (g *gate) leave() {
	if g.word.Add(-1) == gateShut {
		select {
		case g.empty <- struct{}{}:
		default: // the token for a look at the word lies there already
		}
	}
}

// shut lets nobody in any more. Those inside go on.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.word.Load()&gateShut == 0 {
		g.opened = make(chan struct{})
		g.word.Or(gateShut)
	}
}

// wait returns when nobody is inside a gate that is shut, or with an error when ctx ends. One goroutine at a time may call it.
func (g *gate) wait(ctx context.Context) error {
	for g.word.Load() != gateShut {
		select {
		case <-g.empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.word.Load()&gateShut != 0 {
		g.word.And(^int32(gateShut))
		close(g.opened)
	}
}
