package relay

import (
	"fmt"
	"sync/atomic"

	"edged/handover"
)

// With Options.Rings a shard's turn is one step, of which a crash leaves all or nothing. What it sends goes to the Manager's
// ring, in memory that outlives the process, and to the sender only when the turn is committed:
//
//	Send > ring, fresh ──Commit──> queue ──number, mark──> Manager ──receipt, note──> released
//
// A ring holds items alone, one batch behind the other. An entry with a mark ends the batch of that number, which all entries
// since the mark before belong to; what stands behind the last mark was never sent. An entry without bytes says that all before
// it was handed back to the shard: it becomes valid with the turn in which the shard did something about that.
const (
	// MinRingBytes is the least that handover.Geometry.RingBytes may be for a ring of the relay. It should be more than
	// Config.Buffer, or the shards stop reading before that is reached.
	MinRingBytes = 1 << 20

	entryMost  = 16 << 10                                                // items in one entry
	entryCosts = 64                                                      // what it takes beside them, at most
	batchMost  = 160 << 10                                               // a batch with one item as large as a setting allows
	ringSpare  = batchMost/entryMost*entryCosts + entryMost + entryCosts // is never filled: the waste where the ring begins anew
	ringLow    = batchMost + 2*ringSpare                                 // with less Take gives out nothing
	ringRoomy  = 2 * ringLow                                             // with that it does again
)

// place is where a batch lies in its outlet's ring: its last entry begins at at and ends at end. Without end it is not there.
type place struct{ at, end uint64 }

// kept is an outlet's end of its ring.
type kept struct {
	ring *handover.Ring // static

	// Owned by the shard's thread.
	fresh  list   // sent in the open turn
	barred bool   // it says that all before it was handed back, or there is none
	barAt  uint64 // where that one ends
	news   int32  // events with lost batches that were taken in the open turn

	// Shared by the shard's thread and the stream.
	dropped   atomic.Uint64 // up to here all was handed back for good
	committed chan struct{} // one token: such an event is committed
	missed    atomic.Uint64 // batches for which there was no room, for the statistics
}

func newKept(ring *handover.Ring) (*kept, error) {
	if free := ring.Free(); free < MinRingBytes-entryCosts {
		return nil, fmt.Errorf("relay: a ring has room for %d bytes, not %d", free, MinRingBytes)
	}
	return &kept{ring: ring, barred: true, committed: make(chan struct{}, 1)}, nil
}

// low says that a batch might find no room.
func (k *kept) low() bool { return k != nil && k.ring.Free() < ringLow }

func (k *kept) roomy() bool { return k == nil || k.ring.Free() >= ringRoomy }

// put writes a batch into the ring. What was not taken with Take may find no room: a crash then loses it.
func (k *kept) put(b *Batch) {
	b.place = place{}
	n := len(b.Items)
	if k.ring.Free() < n+n/entryMost*entryCosts+ringSpare {
		k.missed.Add(1)
		return
	}
	for left := b.Items; len(left) > 0; {
		piece := left[:min(len(left), entryMost)]
		left = left[len(piece):]
		b.place.at, b.place.end = k.append(piece)
	}
	k.barred = false
}

// bar says in the ring that all in it was handed back to the shard.
func (k *kept) bar() {
	if !k.barred {
		_, k.barAt = k.append(nil)
		k.barred = true
	}
}

// append cannot find the ring full: ringSpare is more than it needs beside the items, and what bar needs as well.
func (k *kept) append(piece []byte) (at, end uint64) {
	at, end, ok := k.ring.Append(piece)
	if !ok {
		panic(fmt.Sprintf("relay: no room for %d bytes in a ring with %d", len(piece), k.ring.Free()))
	}
	return at, end
}

// keepFresh keeps a batch that the shard sends in the open turn.
func (o *outlet) keepFresh(b *Batch) {
	o.kept.put(b)
	o.kept.fresh.push(b)
	o.port.turn.touched |= 1 << o.number
}

// reopenLater is reopen in a turn that a crash may undo: the sender hears of it from commit.
func (o *outlet) reopenLater(lost []*Batch) []*Batch {
	k := o.kept
	for b := k.fresh.pop(); b != nil; b = k.fresh.pop() {
		o.giveUp(b)
		lost = append(lost, b)
	}
	k.bar()
	k.news++
	o.port.turn.touched |= 1 << o.number
	return lost
}

// commit gives the sender what the shard did in its turn.
func (o *outlet) commit() {
	k := o.kept
	for b := k.fresh.pop(); b != nil; b = k.fresh.pop() {
		o.queue.push(b)
	}
	if n := k.news; n > 0 {
		k.news = 0
		k.dropped.Store(k.barAt)
		o.shut.Add(-n)
		select {
		case k.committed <- struct{}{}:
		default:
		}
	}
	o.news()
}

func (o *outlet) unkept() uint64 {
	if o.kept == nil {
		return 0
	}
	return o.kept.missed.Load()
}
