package relay

import (
	"time"

	"edged/batch"
)

// keeping says what becomes of a batch that was sent.
type keeping int

const (
	keepUnsure keeping = iota // nobody has said yet whether receipts will come: it is kept
	keepAll                   // it is kept until its receipt comes
	keepNone                  // no receipts: it is forgotten
)

// outbox is the sending half of a numbering: the batches that wait, and the numbered ones that were
// sent and lack a receipt. It is plain data under its stream's mutex, without goroutine or clock.
//
//	queue ──number──> kept: [ offered on this stream | to be repeated ] ──receipt──> forgotten
//	                        first              cursor
type outbox struct {
	forget func(*Batch) // told of each batch that is needed no more
	giveUp func(*Batch) // told of each batch that is handed back as lost

	queue  list
	kept   []entry // numbered first, first+1, …; those before the cursor were offered on this stream
	store  []entry // the array of kept from its start
	first  uint64
	cursor int
	keep   keeping
	freed  uint64 // where the last batch ends in the ring that was forgotten
}

// entry is a numbered batch.
type entry struct {
	b  *Batch    // nil: taken back; the number goes out without items, so that there is no hole
	at time.Time // when it was last offered
}

// offer is the next message of a stream.
type offer struct {
	b   *Batch // sealed, with a reference for the sender; nil: an empty batch
	seq uint64
	new bool // not a repeat
}

func newOutbox(forget, giveUp func(*Batch)) outbox {
	return outbox{forget: forget, giveUp: giveUp, first: 1}
}

// next gives out what has to be sent next on this stream, first the repeats, then what waits.
func (o *outbox) next(now time.Time, received uint64) (offer, bool) {
	fresh := o.cursor == len(o.kept)
	if fresh {
		b := o.merged()
		if b == nil {
			return offer{}, false
		}
		o.number(b)
	}
	e := &o.kept[o.cursor]
	seq := o.first + uint64(o.cursor)
	o.cursor++
	e.at = now
	if e.b != nil {
		e.b = seal(e.b, seq, received)
		e.b.ref()
	}
	return offer{b: e.b, seq: seq, new: fresh}, true
}

// number appends b to the kept ones. What receipts left free at the front of the array is used again,
// so that a steady flow does not allocate.
func (o *outbox) number(b *Batch) {
	if len(o.kept) == cap(o.kept) && len(o.kept) <= cap(o.store)/2 {
		moved := copy(o.store[:cap(o.store)], o.kept)
		clear(o.kept)
		o.kept = o.store[:moved]
	}
	grown := len(o.kept) == cap(o.kept)
	o.kept = append(o.kept, entry{b: b})
	if grown {
		o.store = o.kept
	}
}

// merged takes the oldest waiting batch and appends those behind it, as far as its buffer and a
// frame reach: what has waited costs one message instead of many.
func (o *outbox) merged() *Batch {
	b := o.queue.pop()
	if b == nil || !b.sole() {
		return b
	}
	limit := min(cap(b.Items), frameLen-1) - suffixLen
	for n := o.queue.head; n != nil && len(b.Items)+len(n.Items) <= limit; n = o.queue.head {
		b.Items = append(b.Items, n.Items...)
		if n.place.end > 0 {
			b.place = n.place
		}
		o.forget(o.queue.pop())
	}
	return b
}

// seal writes the numbers behind the items. Where gRPC still reads the batch, because it was sent
// on a stream that broke, a copy takes its place.
func seal(b *Batch, seq, received uint64) *Batch {
	if !b.sole() {
		c := &Batch{Items: make([]byte, 0, len(b.Items)+smallCap), home: b.home, charge: b.charge, place: b.place}
		c.Items = append(c.Items, b.Items...)
		c.own()
		b.charge = 0
		b.release()
		b = c
	}
	n := len(b.Items)
	b.wire = batch.AppendUpstreamSeq(b.Items, seq, received)
	b.Items = b.wire[:n]
	return b
}

// sent records that gRPC took the batch. Without receipts that is all that can be known.
func (o *outbox) sent(seq uint64) {
	if o.keep == keepNone {
		o.drop(seq)
	}
}

// receipt forgets all batches up to seq. It returns when the last of them was sent, zero if that is
// not known, and false if seq was never sent.
func (o *outbox) receipt(seq uint64) (at time.Time, ok bool) {
	if seq < o.first {
		return time.Time{}, true
	}
	// Everything in kept was sent at some time, if not on this stream.
	if seq >= o.first+uint64(len(o.kept)) {
		return time.Time{}, false
	}
	at = o.kept[seq-o.first].at
	o.drop(seq)
	return at, true
}

// drop forgets all batches up to seq.
func (o *outbox) drop(seq uint64) {
	if seq < o.first {
		return
	}
	n := int(seq - o.first + 1)
	for i := range o.kept[:n] {
		if b := o.kept[i].b; b != nil {
			o.freed = max(o.freed, b.place.end)
			o.forget(b)
		}
	}
	clear(o.kept[:n])
	o.kept = o.kept[n:]
	o.first += uint64(n)
	o.cursor = max(o.cursor-n, 0)
}

// settle says what becomes of sent batches from now on; those already sent follow it.
func (o *outbox) settle(k keeping) {
	o.keep = k
	if k == keepNone && o.cursor > 0 {
		o.drop(o.first + uint64(o.cursor) - 1)
	}
}

// rewind begins a new stream to the same Manager: all that lacks a receipt goes out again.
func (o *outbox) rewind() { o.cursor = 0 }

// whole says that a new stream will begin with number 1.
func (o *outbox) whole() bool { return o.first == 1 }

// takeBack returns all that lacks a receipt, in its order. The numbers stay: should the Manager come
// back, they go out empty.
func (o *outbox) takeBack() []*Batch {
	var lost []*Batch
	for i := range o.kept {
		if b := o.kept[i].b; b != nil {
			o.kept[i].b = nil
			lost = append(lost, b)
		}
	}
	for b := o.queue.pop(); b != nil; b = o.queue.pop() {
		lost = append(lost, b)
	}
	for _, b := range lost {
		o.giveUp(b)
	}
	return lost
}

// restart begins the numbering for another Manager. The batches must have been taken back.
func (o *outbox) restart() {
	o.kept, o.store, o.first, o.cursor, o.keep = nil, nil, 1, 0, keepUnsure
}
