package manager

import "sync/atomic"

// Stats is what a Manager has counted since New. A gauge says so.
type Stats struct {
	Gateways int // gauge: with a stream now
	Streams  int // gauge

	BatchesIn, ItemsIn, BytesIn    uint64
	BatchesOut, ItemsOut, BytesOut uint64 // repeated batches count again

	Receipts  uint64 // batches sent that held nothing but a receipt
	Repeats   uint64 // received batches that were dropped because they had been taken in before
	Resent    uint64 // batches sent again on a new stream
	Holes     uint64 // streams ended for a hole in seq
	Garbage   uint64 // streams ended for bytes that are no batch
	Panics    uint64 // of handlers
	Unknown   uint64 // received items that tell nothing this version knows
	Gone      uint64 // operations refused with ErrGone
	Full      uint64 // operations refused with ErrFull
	Discarded uint64 // batches without a receipt, or never sent, of epochs that are over
	Unkept    uint64 // batches given up for a gateway that never gave a receipt
	Deferred  uint64 // received batches that had to wait because too much waited for the gateway
	NoTag     uint64 // calls answered with CodeUnknownTag
	Malformed uint64 // calls answered with CodeMalformed
}

type counters struct {
	batchesIn, itemsIn, bytesIn, batchesOut, itemsOut, bytesOut  atomic.Uint64
	receipts, repeats, resent, holes, garbage, panics, unknown   atomic.Uint64
	gone, full, discarded, unkept, deferred, noTag, malformedMsg atomic.Uint64
}

// Stats returns the counters. They are read one by one while others count.
func (m *Manager) Stats() Stats {
	c := &m.count
	s := Stats{
		BatchesIn: c.batchesIn.Load(), ItemsIn: c.itemsIn.Load(), BytesIn: c.bytesIn.Load(),
		BatchesOut: c.batchesOut.Load(), ItemsOut: c.itemsOut.Load(), BytesOut: c.bytesOut.Load(),
		Receipts: c.receipts.Load(), Repeats: c.repeats.Load(), Resent: c.resent.Load(),
		Holes: c.holes.Load(), Garbage: c.garbage.Load(), Panics: c.panics.Load(), Unknown: c.unknown.Load(),
		Gone: c.gone.Load(), Full: c.full.Load(), Discarded: c.discarded.Load(), Unkept: c.unkept.Load(),
		Deferred: c.deferred.Load(), NoTag: c.noTag.Load(), Malformed: c.malformedMsg.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.gateways {
		n := int(e.up.Load())
		s.Streams += n
		if n > 0 {
			s.Gateways++
		}
	}
	return s
}
