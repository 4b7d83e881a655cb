package nic

import (
	"context"
	"syscall"
)

// SetError says that the kernel did not take a setting. errors.Is finds its Errno.
type SetError struct {
	What   string        // "channels of eth0"
	Want   string        // the value, as it was written
	Errno  syscall.Errno // 0: it was taken, and reads back as Got
	Detail string        // the kernel's own words; mostly empty
	Got    string
}

// Error implements error.
func (e *SetError) Error() string {
	switch {
	case e.Errno == 0:
		return e.What + ": wrote " + e.Want + ", reads back " + e.Got
	case e.Detail != "":
		return e.What + ": write " + e.Want + ": " + e.Errno.Error() + " (" + e.Detail + ")"
	}
	return e.What + ": write " + e.Want + ": " + e.Errno.Error()
}

// Unwrap returns Errno, nil where it is 0.
func (e *SetError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// SetChannels changes the numbers of a device's channels; those of which Max is 0 stay. It resets the device, which may send
// and receive nothing for a second, and gives it other interrupts: Map again. The error is a *SetError, as of all that follow.
func (h Host) SetChannels(ctx context.Context, leaf Leaf, want Counts) error {
	return h.driver().SetChannels(ctx, leaf, want)
}

// SetRings changes the number of descriptors of each queue, where it is not 0. It resets most devices, as SetChannels does.
func (h Host) SetRings(ctx context.Context, leaf Leaf, rx, tx int) error {
	return h.driver().SetRings(ctx, leaf, rx, tx)
}

// SetCoalesce changes the fields in want.Has.
func (h Host) SetCoalesce(ctx context.Context, leaf Leaf, want Coalesce) error {
	return h.driver().SetCoalesce(ctx, leaf, want)
}

// SetFeature turns an offload on or off.
func (h Host) SetFeature(ctx context.Context, leaf Leaf, name string, on bool) error {
	return h.driver().SetFeature(ctx, leaf, name, on)
}

// SetAffinity says which CPUs may handle an interrupt. EIO: this one cannot be moved.
func (h Host) SetAffinity(irq int, cpus []int) error { return &SetError{Errno: syscall.ENOSYS} }

// SetRPS gives the packets of an RX queue to other CPUs; none turns it off.
func (h Host) SetRPS(leaf Leaf, queue int, cpus []int) error { return &SetError{Errno: syscall.ENOSYS} }

// SetFlows sets how many flows the RFS table of an RX queue holds; 0 turns it off.
func (h Host) SetFlows(leaf Leaf, queue, flows int) error { return &SetError{Errno: syscall.ENOSYS} }

// SetXPS says which CPUs send through a TX queue; none turns it off.
func (h Host) SetXPS(leaf Leaf, queue int, cpus []int) error { return &SetError{Errno: syscall.ENOSYS} }
