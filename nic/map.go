package nic

import "context"

// Map returns what is known of leaf's queues. What the box does not tell is missing in the Device and is no error; an error
// says that the interface is gone (ErrGone) or that ctx ended.
func (h Host) Map(ctx context.Context, leaf Leaf) (Device, error) {
	a, err := h.driver().Ask(ctx, leaf)
	if err != nil {
		return Device{}, err
	}
	return Device{
		Name: leaf.Name, Index: leaf.Index, Driver: a.Driver, Bus: a.Bus, SpeedMbit: leaf.SpeedMbit, Node: -1,
		Channels: a.Channels, Rings: a.Rings, Coalesce: a.Coalesce, Features: a.Features, RSSTable: a.RSSTable,
		Why: "not implemented", Refused: a.Refused,
	}, nil
}

// QueueStats returns the counters of leaf's queues, RX before TX, each ordered by index: equal shares are the sign of a hash
// that spreads well. The error is EOPNOTSUPP where the driver counts no queues, as those of veth and loopback.
func (h Host) QueueStats(ctx context.Context, leaf Leaf) ([]QueueStats, error) {
	return h.driver().Stats(ctx, leaf)
}
