package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"edged/batch"
)

// NoManager is the number of the Manager in events that come from an Inlet.
const NoManager = -1

// What Deliver returns.
var (
	// ErrGarbage: the bytes are no Downstream; nothing of them was delivered.
	ErrGarbage = errors.New("relay: no batch")
	// ErrBusy: a shard had no room in time; what it did not take is dropped and counted.
	ErrBusy = errors.New("relay: no room in a shard's lane")
	// ErrStopped: the relay was stopped.
	ErrStopped = errors.New("relay: stopped")
)

// Inlet is a way in for batches that no stream of a Manager brings: from Redis, or from an operator.
// Relay.NewInlet makes one.
type Inlet struct {
	// Static after construction.
	stop    context.Context
	buffers *sync.Pool
	gate    *gate // of all Inlets

	// mu is held by Deliver, so that Stop can wait for the one under way. It guards:
	mu     sync.Mutex
	closed bool
	split  splitter
	wait   time.Duration      // of the delivery under way
	timer  context.Context    // it waits until this ends; nil until it has to wait
	end    context.CancelFunc // of timer

	received                      flow
	garbage, left, dropped, short atomic.Uint64
}

// inlets is the list of all of them.
type inlets struct {
	mu   sync.Mutex // guards list
	list []*Inlet
	gate gate // the deliveries
}

// NewInlet opens a way in. Without links the items that are for single links are left out and counted: they
// concern a Manager's own links only. What is for no shard goes to one, another for each inlet. It may be
// called at any time; an Inlet needs no end.
func (r *Relay) NewInlet(links bool) *Inlet {
	r.inlets.mu.Lock()
	defer r.inlets.mu.Unlock()
	i := &Inlet{
		stop: r.life.stop, buffers: r.buffers, gate: &r.inlets.gate, closed: r.life.stop.Err() != nil,
		split: newSplitter(r, len(r.inlets.list)%len(r.ports), NoManager),
	}
	i.split.links = links
	i.split.waiting = i.waiting
	r.inlets.list = append(r.inlets.list, i)
	return i
}

// Deliver brings the items of b, the encoding of a Downstream, to the shards; its hello and its numbers are
// ignored. It copies b. It waits for room in the shards' lanes for at most wait in all. Then, with ErrBusy,
// each shard that had no room lacks the rest of its items; those who had room got theirs. While the relay is held for a
// successor it waits as well, and then returns ErrHeld: the caller has the whole batch delivered by the successor. One
// goroutine at a time should call it, and none that a shard waits for.
func (i *Inlet) Deliver(b []byte, wait time.Duration) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return ErrStopped
	}
	if _, err := batch.ParseDownstream(b); err != nil {
		i.garbage.Add(1)
		return ErrGarbage
	}
	in := i.buffers.Get().(*inbound)
	in.b = append(in.b[:0], b...)
	i.wait = wait
	defer i.endWait()
	if !i.gate.enter(i.waiting) {
		recycle(i.buffers, in)
		if i.stop.Err() != nil {
			return ErrStopped
		}
		return ErrHeld
	}
	n, ok := i.split.deliver(in, batch.DownItems(in.b))
	i.gate.leave()
	i.received.add(n, len(b))
	i.left.Add(uint64(i.split.left))
	if ok {
		return nil
	}
	i.dropped.Add(uint64(i.split.dropped))
	if i.stop.Err() != nil {
		return ErrStopped
	}
	i.short.Add(1)
	return ErrBusy
}

// waiting is asked for when there is no room, so that a delivery that finds some needs neither clock nor timer.
func (i *Inlet) waiting() <-chan struct{} {
	if i.timer == nil {
		i.timer, i.end = context.WithTimeout(i.stop, i.wait)
	}
	return i.timer.Done()
}

// endWait ends the wait of a delivery that has waited.
func (i *Inlet) endWait() {
	if i.timer != nil {
		i.end()
		i.timer = nil
	}
}

// close ends all inlets, and the deliveries under way. Before it the inlets' stop must have ended.
func (l *inlets) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.list {
		i.mu.Lock()
		i.closed = true
		i.mu.Unlock()
	}
}

func (l *inlets) stats() []InletStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []InletStats
	for _, i := range l.list {
		out = append(out, InletStats{
			Received: i.received.read(), Garbage: i.garbage.Load(), LinkItems: i.left.Load(),
			Dropped: i.dropped.Load(), Busy: i.short.Load(),
		})
	}
	return out
}
