package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/handover"
	"edged/netpoll"
	"edged/relay"
)

// Inheritance is what a gateway takes over from its predecessor: the links and all that belongs to them.
type Inheritance struct {
	// Sections are those of the predecessor's state (handover.Predecessor.State). They are not written to, and not looked at
	// after New.
	Sections []handover.Section
	// Claim takes a descriptor that the state names (handover.Predecessor.Claim).
	Claim func(fd int) error

	revival *revival // the predecessor crashed: Revive
}

// Formats returns what New reads of a predecessor's state.
func Formats() handover.Formats {
	return handover.Formats{
		{Kind: "gateway", Oldest: oldestState, Newest: stateVersion},
		{Kind: "shard", Oldest: oldestState, Newest: stateVersion},
		{Kind: "netpoll", Oldest: netpoll.OldestState, Newest: netpoll.StateVersion},
		{Kind: "relay", Oldest: relay.OldestState, Newest: relay.StateVersion},
	}
}

// Product returns the gateway as a handover.Upgrader drives it. The gateway must have been started. Between Pause and Thaw, or
// for ever where the hand-over succeeds, Drain, Undrain, Shed and Stop wait.
func (g *Gateway) Product() handover.Product { return &product{g: g} }

// product is a gateway that is handed over.
type product struct {
	g *Gateway

	// Of the hand-over that is under way.
	locked  bool // life is this one's
	held    bool // the relay is
	retired bool // what was written down counts no more
	stale   bool // some links are not their users' any more, and not ended yet
	used    [maxListeners + 1]bool
}

// sizeWithin is how long the shards may take to say how much they have. It is a guess that may be wrong.
const sizeWithin = time.Second

// Parts asks the shards how much there will be to write.
func (p *product) Parts() []handover.Part {
	g := p.g
	shards, loops := make([]int, len(g.shards)), make([]int, len(g.shards))
	for i, n := range g.sizes() {
		shards[i], loops[i] = n.shard, n.loop
	}
	parts := []handover.Part{
		{Name: "gateway", Oldest: oldestState, Version: stateVersion, Expect: 64 << 10,
			Append: func(b []byte, _ uint16) ([]byte, error) { return g.appendState(b, &p.used), nil }},
		{Name: "relay", Oldest: relay.OldestState, Version: relay.StateVersion, Expect: g.relay.StateSize(), Append: g.relay.AppendState},
	}
	for i, s := range g.shards {
		parts = append(parts,
			handover.Part{Name: fmt.Sprintf("netpoll/%d", i), Oldest: netpoll.OldestState, Version: netpoll.StateVersion, Expect: loops[i],
				Append: func(b []byte, version uint16) ([]byte, error) { return s.loop.AppendState(b, version), nil }},
			handover.Part{Name: fmt.Sprintf("shard/%d", i), Oldest: oldestState, Version: stateVersion, Expect: shards[i],
				Append: func(b []byte, _ uint16) ([]byte, error) { return s.appendState(b, p.stale), nil }})
	}
	return parts
}

type stateSize struct{ shard, loop int }

func (g *Gateway) sizes() []stateSize {
	ctx, cancel := context.WithTimeout(context.Background(), sizeWithin)
	defer cancel()
	sizes := make([]stateSize, len(g.shards))
	answers := make(chan func(), len(g.shards))
	g.onShards(ctx, func(s *shard) {
		n := stateSize{s.stateSize(), s.loop.StateBytes()}
		answers <- func() { sizes[s.number] = n }
	})
	for {
		select {
		case f := <-answers:
			f()
		default:
			return sizes
		}
	}
}

// Files returns none: every descriptor that the state names is open over an exec.
func (p *product) Files() []handover.File { return nil }

var errStopped = errors.New("gateway: it does not run")

// Pause takes the steps of life, and stops accepting.
func (p *product) Pause(ctx context.Context) error {
	g := p.g
	if err := untilTrue(ctx, g.life.TryLock); err != nil {
		return fmt.Errorf("gateway: a drain or stop is being begun: %w", err)
	}
	p.locked = true
	if !g.life.started || g.life.stopped {
		return errStopped
	}
	return g.group.Pause(ctx)
}

// Freeze has the shards carry out what has come from Managers, and then everything stand still.
func (p *product) Freeze(ctx context.Context) error {
	g := p.g
	p.held = true
	if err := g.relay.Hold(ctx); err != nil {
		return err
	}
	if err := g.group.Freeze(ctx); err != nil {
		return err
	}
	if err := g.relay.Freeze(ctx); err != nil {
		return err
	}
	p.takeStock()
	if g.kept != nil {
		g.kept.Memory.Retire()
		p.retired = true
	}
	return nil
}

// takeStock finds out what the sections have to tell that follows from all shards together. They stand still.
func (p *product) takeStock() {
	g, bounds := p.g, 0
	p.used = [maxListeners + 1]bool{}
	for _, s := range g.shards {
		s.links.Each(0, s.links.Cap(), func(_, _ uint32, l *link) {
			p.used[l.listener] = true
			if l.flags&bound != 0 {
				bounds++
			}
		})
	}
	p.stale = bounds != g.directory.Devices()
}

// Thaw lets everything go on.
func (p *product) Thaw(touched bool) {
	g := p.g
	if p.retired {
		g.kept.Memory.Unretire()
	}
	if touched {
		g.group.CheckFlows(handover.CheckFlow)
	}
	if p.held {
		g.relay.Thaw()
	}
	g.group.Thaw()
	if p.locked {
		g.life.Unlock()
	}
	p.held, p.locked, p.retired = false, false, false
}
