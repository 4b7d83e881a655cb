package nictest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"

	"edged/nic"
)

// Kernel is a nic.Kernel that tells what it was given.
type Kernel struct {
	All     []nic.Link
	Default []int
}

// Links implements nic.Kernel.
func (k *Kernel) Links() ([]nic.Link, error) { return slices.Clone(k.All), nil }

// DefaultRoutes implements nic.Kernel.
func (k *Kernel) DefaultRoutes() ([]int, error) { return slices.Clone(k.Default), nil }

// Driver is a nic.Driver that tells what it was given and keeps what it is told to set. Its fields are the test's until the
// first call.
type Driver struct {
	Known   map[string]nic.Answers // by the interface's name; one that is missing is gone
	Counted map[string][]nic.QueueStats
	Fail    map[string]syscall.Errno // by the question, nic.AskChannels and so on: what its writer answers instead

	mu   sync.Mutex
	sets []string
}

// Sets returns what was set, in that order: "channels of eth0 = {RX:0 TX:0 Other:1 Combined:8}".
func (d *Driver) Sets() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sets)
}

// Ask implements nic.Driver.
func (d *Driver) Ask(ctx context.Context, leaf nic.Leaf) (nic.Answers, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nic.Answers{}, err
	}
	a, ok := d.Known[leaf.Name]
	if !ok {
		return nic.Answers{}, nic.ErrGone
	}
	a.Features, a.Refused = slices.Clone(a.Features), maps.Clone(a.Refused)
	return a, nil
}

// Stats implements nic.Driver.
func (d *Driver) Stats(_ context.Context, leaf nic.Leaf) ([]nic.QueueStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.Counted[leaf.Name]; ok {
		return slices.Clone(s), nil
	}
	return nil, syscall.EOPNOTSUPP
}

// set keeps a change that may be made.
func (d *Driver) set(leaf nic.Leaf, question string, value any, change func(*nic.Answers)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	what := question + " of " + leaf.Name
	a, ok := d.Known[leaf.Name]
	errno := d.Fail[question]
	if errno == 0 && !ok {
		errno = syscall.ENODEV
	}
	if errno == 0 {
		errno = a.Refused[question]
	}
	if errno != 0 {
		return &nic.SetError{What: what, Want: fmt.Sprintf("%+v", value), Errno: errno}
	}
	change(&a)
	d.Known[leaf.Name] = a
	d.sets = append(d.sets, fmt.Sprintf("%s = %+v", what, value))
	return nil
}

// SetChannels implements nic.Driver.
func (d *Driver) SetChannels(_ context.Context, leaf nic.Leaf, want nic.Counts) error {
	return d.set(leaf, nic.AskChannels, want, func(a *nic.Answers) { a.Channels.Now = want })
}

// SetRings implements nic.Driver.
func (d *Driver) SetRings(_ context.Context, leaf nic.Leaf, rx, tx int) error {
	return d.set(leaf, nic.AskRings, [2]int{rx, tx}, func(a *nic.Answers) {
		if rx > 0 {
			a.Rings.RX = rx
		}
		if tx > 0 {
			a.Rings.TX = tx
		}
	})
}

// SetCoalesce implements nic.Driver.
func (d *Driver) SetCoalesce(_ context.Context, leaf nic.Leaf, want nic.Coalesce) error {
	return d.set(leaf, nic.AskCoalesce, want, func(a *nic.Answers) {
		c := &a.Coalesce
		number := func(field nic.CoalesceField, to *int, v int) {
			if want.Has&field != 0 {
				*to = v
			}
		}
		number(nic.RXUsecs, &c.RXUsecs, want.RXUsecs)
		number(nic.RXFrames, &c.RXFrames, want.RXFrames)
		number(nic.TXUsecs, &c.TXUsecs, want.TXUsecs)
		number(nic.TXFrames, &c.TXFrames, want.TXFrames)
		if want.Has&nic.AdaptiveRX != 0 {
			c.AdaptiveRX = want.AdaptiveRX
		}
		if want.Has&nic.AdaptiveTX != 0 {
			c.AdaptiveTX = want.AdaptiveTX
		}
	})
}

// SetFeature implements nic.Driver.
func (d *Driver) SetFeature(_ context.Context, leaf nic.Leaf, name string, on bool) error {
	return d.set(leaf, nic.AskFeatures, fmt.Sprint(name, " ", on), func(a *nic.Answers) {
		features := slices.Clone(a.Features)
		for i := range features {
			if features[i].Name == name {
				features[i].On = on
			}
		}
		a.Features = features
	})
}
