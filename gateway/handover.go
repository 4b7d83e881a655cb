package gateway

import (
	"context"
	"errors"

	"edged/handover"
)

// Inheritance is what a gateway takes over from its predecessor: the links and all that belongs to them.
type Inheritance struct {
	// Sections are those of the predecessor's state (handover.Predecessor.State). They are not written to, and not looked at
	// after Start.
	Sections []handover.Section
	// Claim takes a descriptor that the state names (handover.Predecessor.Claim).
	Claim func(fd int) error
}

// Versions of the sections that this package writes and reads.
const (
	stateVersion = 1
	oldestState  = 1
)

// Formats returns what New reads of a predecessor's state.
func Formats() handover.Formats {
	return handover.Formats{
		{Kind: "gateway", Oldest: oldestState, Newest: stateVersion},
		{Kind: "shard", Oldest: oldestState, Newest: stateVersion},
	}
}

// Product returns the gateway as a handover.Upgrader drives it. The gateway must have been started.
func (g *Gateway) Product() handover.Product { return &product{g} }

// product is a gateway that is handed over.
type product struct{ g *Gateway }

func (p *product) Parts() []handover.Part { return nil }

func (p *product) Files() []handover.File { return nil }

func (p *product) Pause(context.Context) error { return errors.New("gateway: nothing to hand over yet") }

func (p *product) Freeze(context.Context) error { return errors.New("gateway: nothing to hand over yet") }

func (p *product) Thaw(bool) {}
