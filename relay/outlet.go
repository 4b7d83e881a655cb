package relay

import (
	"sync/atomic"

	"edged/h2"
	"edged/lane"
)

const (
	maxHeld   = 4096 // batches that wait or are kept
	spareKept = 64   // empty buffers of one size that stay with the shard
)

// outlet is the shard's end of one stream: where its batches go in, how many of them are held, and
// the buffers that come back.
type outlet struct {
	// Static after construction.
	port     *Port
	number   int // of the Manager
	maxBytes int64
	stream   *stream // nil in tests

	// Owned by the shard's thread.
	returned     *Batch // buffers that came back, not yet sorted by size
	small, large list   // empty buffers; those in large have room for a whole frame
	last         int    // bytes of the last batch: the next one gets a buffer of that size

	// Shared by the shard's thread and the stream.
	queue   chain        // sent by the shard, not yet seen by the sender
	free    chain        // buffers that come back
	bytes   atomic.Int64 // of buffers in the queue and in the outbox
	batches atomic.Int64
	lost    atomic.Uint64 // batches given up, for the statistics
	wanted  atomic.Bool   // Take returned nil: the shard wants EventRoom
	up      atomic.Bool
	// shut counts the events with lost batches that the shard has not seen yet. Until it has, what
	// it sends is still meant for the Manager that is gone, so the queue is not drained: Next
	// adds those batches to the lost ones.
	shut atomic.Int32

	// The sender sleeps on bell after it became drowsy and looked at everything once more; whoever
	// has news for it wakes it. So a ring costs one load while it is awake.
	nap  atomic.Int32
	bell *lane.Bell

	owing atomic.Pointer[h2.Call] // by which something came in this turn: its peer may want an answer

	kept *kept // in the ring, what is sent; nil: there is none
}

func newOutlet(p *Port, number, maxBytes int) (*outlet, error) {
	bell, err := lane.NewBell()
	if err != nil {
		return nil, err
	}
	return &outlet{port: p, number: number, maxBytes: int64(maxBytes), bell: bell}, nil
}

// ring wakes the sender. Any goroutine may call it.
func (o *outlet) ring() {
	for {
		nap, next := o.nap.Load(), napAwake
		switch nap {
		case napAwake, napRung:
			return
		case napLent:
			next = napRung
		}
		if o.nap.CompareAndSwap(nap, next) {
			if nap == napAsleep {
				o.bell.Ring()
			}
			return
		}
	}
}

// sleeps says that nobody has woken the sender.
func (o *outlet) sleeps() bool { return o.nap.Load() != napAwake }

// news tells the sender that there is something to send, or sends it.
func (o *outlet) news() {
	if o.stream == nil || !o.stream.sendHere() {
		o.ring()
	}
}

// full says that the bound is reached.
func (o *outlet) full() bool {
	return o.bytes.Load() >= o.maxBytes || o.batches.Load() >= maxHeld || o.kept.low()
}

// roomy says that so much has left that the shard may go on. It lies below the bound, so that a
// shard does not stop and go with every batch.
func (o *outlet) roomy() bool {
	return o.bytes.Load() <= o.maxBytes/4*3 && o.batches.Load() <= maxHeld/4*3 && o.kept.roomy()
}

// take returns an empty batch, or nil beyond the bound.
func (o *outlet) take() *Batch {
	if o.full() {
		o.wanted.Store(true)
		// What left before wanted was set told nobody.
		if !o.roomy() {
			return nil
		}
		o.wanted.Store(false)
	}
	b := o.blank()
	b.own()
	return b
}

// blank finds a buffer of the size that the last batch needed.
func (o *outlet) blank() *Batch {
	fit, size := &o.small, smallCap
	if o.last > smallCap/2 {
		fit, size = &o.large, largeCap
	}
	// A few steps bound the time that a single Take may take.
	for range 16 {
		if fit.n > 0 {
			break
		}
		if o.returned == nil {
			if o.returned = o.free.take(); o.returned == nil {
				break
			}
		}
		b := o.returned
		o.returned = b.next
		o.spare(b)
	}
	if b := fit.pop(); b != nil {
		return b
	}
	return &Batch{Items: make([]byte, 0, size), home: o}
}

// spare puts an empty buffer where blank finds it. One that grew out of its size is left to the
// garbage collector: blank asks for the other size from then on.
func (o *outlet) spare(b *Batch) {
	var l *list
	switch n := cap(b.Items); {
	case n >= smallCap && n < 2*smallCap:
		l = &o.small
	case n >= frameLen && n <= keepCap:
		l = &o.large
	default:
		return
	}
	if l.n < spareKept {
		b.Items, b.wire = b.Items[:0], nil
		l.push(b)
	}
}

// send takes b over from the shard. An empty batch only gives its buffer back.
func (o *outlet) send(b *Batch) {
	if b == nil {
		return
	}
	b.own()
	b.home = o
	if len(b.Items) == 0 {
		b.release()
		return
	}
	o.last = len(b.Items)
	b.charge = cap(b.Items)
	o.bytes.Add(int64(b.charge))
	o.batches.Add(1)
	if o.kept != nil {
		o.keepFresh(b)
		return
	}
	o.queue.push(b)
	o.news()
}

// discharge takes a batch out of the bound, and tells the shard when it waits for that.
func (o *outlet) discharge(b *Batch) {
	o.bytes.Add(-int64(b.charge))
	o.batches.Add(-1)
	b.charge = 0
	o.offerRoom()
}

// offerRoom tells a shard that waits for room when there is some.
func (o *outlet) offerRoom() {
	if o.wanted.Load() && o.roomy() && o.wanted.CompareAndSwap(true, false) {
		o.port.room.Or(1 << o.number)
		o.port.wake()
	}
}

// forget ends the relay's hold on a batch that needs it no more.
func (o *outlet) forget(b *Batch) {
	o.discharge(b)
	b.release()
}

// giveUp makes a lost batch the shard's. gRPC may still read what stands behind the items: an
// append by the shard must not land there.
func (o *outlet) giveUp(b *Batch) {
	o.discharge(b)
	o.lost.Add(1)
	b.Items = b.Items[:len(b.Items):len(b.Items)]
	b.place = place{}
}

// reopen is called when the shard sees an event with lost batches: what it sent before belongs to them.
func (o *outlet) reopen(lost []*Batch) []*Batch {
	var late list
	o.queue.takeInto(&late)
	for b := late.pop(); b != nil; b = late.pop() {
		o.giveUp(b)
		lost = append(lost, b)
	}
	if o.kept != nil {
		return o.reopenLater(lost)
	}
	o.shut.Add(-1)
	o.ring()
	return lost
}

// trim drops the empty buffers.
func (o *outlet) trim() {
	o.small, o.large, o.returned = list{}, list{}, nil
	o.free.take()
}
