package relay

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sendPatience is how long Freeze waits for a SendMsg under way, which usually takes microseconds. One that takes longer waits
// for a Manager that takes nothing, or whose credit was not read since Hold; the stream is broken off.
const sendPatience = 10 * time.Millisecond

// ErrHeld is what Deliver returns while the relay is held for a successor; nothing of the batch was delivered.
var ErrHeld = errors.New("relay: held for a successor")

// errOpen is why Freeze finds no state that a successor could go on from.
var errOpen = errors.New("relay: a turn is not committed")

// Hold has the receivers, the news of Managers and the Inlets deliver nothing more; what is being delivered when it is
// called ends whole, for which the shards must go on to call Next, and Commit. After nil, Pending of a Port turns false once its shard
// has taken what there is, but for EventRoom, which the successor tells anyway. After an error, which is that of ctx, Thaw
// must follow. Batches go on to be sent.
func (r *Relay) Hold(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return ErrStopped
	}
	r.held = true
	r.inlets.gate.shut()
	for _, s := range r.streams {
		s.news.shut()
	}
	if err := r.inlets.gate.wait(ctx); err != nil {
		return fmt.Errorf("hold the inlets: %w", err)
	}
	for _, s := range r.streams {
		if err := s.news.wait(ctx); err != nil {
			return fmt.Errorf("hold manager %s, shard %d: %w", s.address, s.port.shard, err)
		}
		s.recall() // the successor has the same epoll
	}
	return nil
}

// Freeze has the senders stand, after Hold, so that AppendState finds everything where it stays. The shards must stand as
// well, have flushed (a batch from Take that was not sent is nobody's), have taken every event and, with Options.Rings, have committed
// their last turn. A Manager that takes
// nothing is not waited for for long: its stream is broken off. After an error, which is that of ctx or about a turn that is not committed, Thaw must follow.
func (r *Relay) Freeze(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return ErrStopped
	}
	if !r.held {
		panic("relay: Freeze without Hold")
	}
	for _, s := range r.streams {
		s.sending.shut()
	}
	patience, cancel := context.WithTimeout(ctx, sendPatience)
	defer cancel()
	for _, s := range r.streams {
		if s.sending.wait(patience) != nil {
			s.breakOff()
		}
	}
	for _, s := range r.streams {
		if err := s.sending.wait(ctx); err != nil {
			return fmt.Errorf("freeze manager %s, shard %d: %w", s.address, s.port.shard, err)
		}
	}
	for _, p := range r.ports {
		if p.open() {
			return fmt.Errorf("%w: shard %d", errOpen, p.shard)
		}
	}
	for _, s := range r.streams {
		s.mu.Lock()
		s.collect(time.Now())
		s.drain()
		open := s.state.tickets.first != nil
		s.mu.Unlock()
		if open {
			return fmt.Errorf("%w: manager %s, shard %d", errOpen, s.address, s.port.shard)
		}
	}
	r.frozen = true
	return nil
}

// Thaw lets everything go on, after Hold or Freeze, or where one of them failed.
func (r *Relay) Thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return // Stop has broken everything off
	}
	r.held, r.frozen = false, false
	for _, s := range r.streams {
		s.sending.reopen()
		s.news.reopen()
		s.out.ring()
	}
	r.inlets.gate.reopen()
}

// breakOff ends the stream that is open, so that a SendMsg which waits for the Manager fails.
func (s *stream) breakOff() {
	s.mu.Lock()
	a := s.state.attempt
	s.mu.Unlock()
	if a != nil {
		a.cancel()
	}
}
