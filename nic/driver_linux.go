package nic

import (
	"context"
	"syscall"
)

// kernelDriver is the Driver of the calling thread's network namespace.
type kernelDriver struct{}

func (kernelDriver) Ask(context.Context, Leaf) (Answers, error) { return Answers{}, nil }

func (kernelDriver) Stats(context.Context, Leaf) ([]QueueStats, error) {
	return nil, syscall.EOPNOTSUPP
}

func (kernelDriver) SetChannels(context.Context, Leaf, Counts) error { return syscall.EOPNOTSUPP }

func (kernelDriver) SetRings(context.Context, Leaf, int, int) error { return syscall.EOPNOTSUPP }

func (kernelDriver) SetCoalesce(context.Context, Leaf, Coalesce) error { return syscall.EOPNOTSUPP }

func (kernelDriver) SetFeature(context.Context, Leaf, string, bool) error { return syscall.EOPNOTSUPP }
