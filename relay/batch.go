package relay

import "sync/atomic"

const (
	// frameLen is what one HTTP/2 frame of gRPC carries: waiting batches are merged below it.
	frameLen = 16384
	// Sizes of fresh buffers. Small batches get small buffers, because the bound counts the
	// memory that a batch holds and not its bytes. Both lie above the 1 KiB below which gRPC's
	// mem.NewBuffer copies nothing but also never tells that it let go.
	smallCap = 4 << 10
	largeCap = 18 << 10
	// suffixLen is the most that seq and received take behind the items.
	suffixLen = 22
	// A buffer that grew beyond this is left to the garbage collector.
	keepCap = 64 << 10
)

// Batch is a buffer of encoded `items` fields of an Upstream. It has one owner at a time: the shard
// from Take (or from an Event's Lost) to Send, then the relay.
//
// Its bytes may be read by gRPC longer than by anybody else: after SendMsg returned they wait in
// the transport, and on a broken connection they may wait there for ever, because gRPC does not
// free what a closed stream still held. So refs counts the owner and every reference that gRPC
// has; only a batch with refs 1 may be written by its owner, only one with refs 0 is used again,
// and one that gRPC never lets go is left to the garbage collector. No bound depends on it.
type Batch struct {
	Items []byte // the shard appends here; what is in a lost batch must not be changed

	// Owned by the batch's owner.
	wire   []byte  // Items with seq and received behind them, in the same array
	home   *outlet // where it was sent, and returns to
	charge int     // bytes counted against the bound
	owned  bool    // refs counts the owner
	place  place   // in the ring of its outlet
	next   *Batch  // in a list or chain

	refs atomic.Int32
}

// own counts the owner.
func (b *Batch) own() {
	if !b.owned {
		b.owned = true
		b.refs.Add(1)
	}
}

// release ends the ownership: the batch is used again as soon as gRPC has let go of it.
func (b *Batch) release() {
	b.owned = false
	b.unref()
}

func (b *Batch) ref() { b.refs.Add(1) }

func (b *Batch) unref() {
	if b.refs.Add(-1) == 0 && b.home != nil {
		b.home.free.push(b)
	}
}

// sole says that nobody but the owner reads the batch.
func (b *Batch) sole() bool { return b.refs.Load() == 1 }

// Get is there for mem.BufferPool, which gRPC only puts into.
func (b *Batch) Get(int) *[]byte { panic("relay: a batch lends no buffers") }

// Put is gRPC's word that one of its references is gone.
func (b *Batch) Put(*[]byte) { b.unref() }

// list is a first-in-first-out list of batches for one goroutine.
type list struct {
	head, tail *Batch
	n          int
}

func (l *list) push(b *Batch) {
	b.next = nil
	if l.tail == nil {
		l.head = b
	} else {
		l.tail.next = b
	}
	l.tail = b
	l.n++
}

func (l *list) pop() *Batch {
	b := l.head
	if b == nil {
		return nil
	}
	l.head = b.next
	if l.head == nil {
		l.tail = nil
	}
	b.next = nil
	l.n--
	return b
}

// chain hands batches from any goroutines to whoever takes them all. Taking all at once is what
// keeps it this simple: a batch can never come back between a look at the head and the swap.
type chain struct{ head atomic.Pointer[Batch] }

func (c *chain) push(b *Batch) {
	for {
		old := c.head.Load()
		b.next = old
		if c.head.CompareAndSwap(old, b) {
			return
		}
	}
}

// take returns all batches, the last one first, linked by next.
func (c *chain) take() *Batch {
	if c.head.Load() == nil {
		return nil
	}
	return c.head.Swap(nil)
}

// takeInto appends all batches to l in the order in which they were pushed.
func (c *chain) takeInto(l *list) {
	var turned *Batch
	for b := c.take(); b != nil; {
		next := b.next
		b.next = turned
		turned, b = b, next
	}
	for turned != nil {
		next := turned.next
		l.push(turned)
		turned = next
	}
}
