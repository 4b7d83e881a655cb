package health

import (
	"context"

	"edged/nic"
)

// Source is what is needed of the box's interfaces. All but Watch is called from one goroutine; see package nic for the
// meaning of each.
type Source interface {
	Resolve(names []string) (nic.Set, error)
	Read(index int, name string) (nic.Counters, error)
	Watch(ctx context.Context, changed func()) error
	Close() error
}

// box is the Source of this box.
type box struct{ *nic.Reader }

func openBox() (Source, error) {
	r, err := nic.NewReader()
	if err != nil {
		return nil, err
	}
	return box{r}, nil
}

func (box) Resolve(names []string) (nic.Set, error)         { return nic.Resolve(names) }
func (box) Watch(ctx context.Context, changed func()) error { return nic.Watch(ctx, changed) }
