package relay

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// State says how far a stream is.
type State int32

// The states of a stream.
const (
	StateDown    State = iota // no connection
	StateWaiting              // a stream is open; the Manager has not said yet that it is the same
	StateUp                   // batches flow
	StateStopped              // Stop has ended it
)

// String returns the state's name as metrics and logs show it.
func (s State) String() string {
	switch s {
	case StateDown:
		return "down"
	case StateWaiting:
		return "waiting"
	case StateUp:
		return "up"
	case StateStopped:
		return "stopped"
	}
	return "unknown"
}

// Stats is what the relay has counted since New.
type Stats struct {
	Streams []StreamStats // shard by shard, in each Manager by Manager
	Lanes   []int         // events that wait for each shard: batches, casts and news of Managers
	Inlets  []InletStats  // in the order of NewInlet
}

// InletStats is one Inlet's part of Stats.
type InletStats struct {
	Received  Flow
	Garbage   uint64 // batches that were none
	LinkItems uint64 // items for links that were left out
	Dropped   uint64 // items that found no room in time, once for each shard that lacks one
	Busy      uint64 // batches of which something was dropped
}

// Flow counts one direction of a stream. Bytes are those of the messages, before HTTP/2.
type Flow struct {
	Batches, Items, Bytes uint64
}

// StreamStats is one stream's part of Stats.
type StreamStats struct {
	Shard, Manager int
	Address        string
	ManagerID      string // as it named itself; empty before that
	State          State
	Reachable      bool // what Port.Up says

	Sent, Received Flow
	Streams        uint64 // opened; all but the first are reconnects
	Again          uint64 // batches sent once more on a new stream
	Repeated       uint64 // batches of the Manager that were dropped as taken before
	Holes          uint64 // streams ended because a number was missing
	Garbage        uint64 // streams ended because of bytes or numbers that cannot be
	TooLarge       uint64 // streams ended because of a message over 4 MiB
	Renewed        uint64 // times that another Manager process answered
	Gone           uint64 // times that the Manager was away for longer than its grace
	Lost           uint64 // batches handed back to the shard to be routed again
	Unkept         uint64 // batches that found no room in the ring: a crash loses them
	Done           uint64 // items of repeated batches that a predecessor had carried out, once for each shard

	HeldBatches, HeldBytes int64 // wait or lack a receipt; the bytes are those of their buffers
	KeptBatches            int64 // of these, sent and without a receipt

	ItemsPerBatch Histogram // of batches sent
	ReceiptMicros Histogram // from sending to the receipt
}

// Histogram counts values in powers of two: Buckets[i] those of bit length i, that is below 1<<i and
// not below 1<<(i-1); the last one also all larger values.
type Histogram struct {
	Count, Sum uint64
	Buckets    [32]uint64
}

type histogram struct {
	sum     atomic.Uint64
	buckets [32]atomic.Uint64
}

func (h *histogram) add(v uint64) {
	h.sum.Add(v)
	h.buckets[min(bits.Len64(v), len(h.buckets)-1)].Add(1)
}

func (h *histogram) read() (out Histogram) {
	out.Sum = h.sum.Load()
	for i := range h.buckets {
		out.Buckets[i] = h.buckets[i].Load()
		out.Count += out.Buckets[i]
	}
	return out
}

type flow struct {
	batches, items, bytes atomic.Uint64
}

func (f *flow) add(items, bytes int) {
	f.batches.Add(1)
	f.items.Add(uint64(items))
	f.bytes.Add(uint64(bytes))
}

func (f *flow) read() Flow {
	return Flow{Batches: f.batches.Load(), Items: f.items.Load(), Bytes: f.bytes.Load()}
}

// counters are a stream's; its two goroutines add, anybody reads.
type counters struct {
	state          atomic.Int32
	sent, received flow
	itemsPerBatch  histogram
	receiptMicros  histogram

	streams, again, repeated, holes, garbage, tooLarge, renewed, gone, done atomic.Uint64
	kept                                                                    atomic.Int64
}

func (c *counters) receipted(sentAt, now time.Time) {
	if !sentAt.IsZero() {
		c.receiptMicros.add(uint64(max(now.Sub(sentAt), 0).Microseconds()))
	}
}

func (s *stream) stats() StreamStats {
	c := &s.count
	s.mu.Lock()
	id := s.state.peer.id
	s.mu.Unlock()
	return StreamStats{
		Shard: s.port.shard, Manager: s.out.number, Address: s.address, ManagerID: id,
		State: State(c.state.Load()), Reachable: s.out.up.Load(),
		Sent: c.sent.read(), Received: c.received.read(),
		Streams: c.streams.Load(), Again: c.again.Load(), Repeated: c.repeated.Load(),
		Holes: c.holes.Load(), Garbage: c.garbage.Load(), TooLarge: c.tooLarge.Load(),
		Renewed: c.renewed.Load(), Gone: c.gone.Load(), Lost: s.out.lost.Load(),
		Unkept: s.out.unkept(), Done: c.done.Load(),
		HeldBatches: s.out.batches.Load(), HeldBytes: s.out.bytes.Load(), KeptBatches: c.kept.Load(),
		ItemsPerBatch: c.itemsPerBatch.read(), ReceiptMicros: c.receiptMicros.read(),
	}
}
