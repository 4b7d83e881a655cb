package relay

import (
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"

	"edged/h2"
	"edged/lane"
)

// EventKind says what an Event tells the shard.
type EventKind byte

// The kinds of events.
const (
	EventItems EventKind = iota + 1 // items for this shard
	EventUp                         // the Manager can be reached, for the first time or again after EventGone
	EventNew                        // another Manager process answers: announce the links again, then route Lost again
	EventGone                       // the Manager could not be reached for its grace: route Lost elsewhere
	EventRoom                       // Take returned nil, and has a batch again
	EventCast                       // an item for a room or everyone, of which every shard gets one
)

// String returns the kind's name for logs and tests.
func (k EventKind) String() string {
	switch k {
	case EventItems:
		return "items"
	case EventUp:
		return "up"
	case EventNew:
		return "new"
	case EventGone:
		return "gone"
	case EventRoom:
		return "room"
	case EventCast:
		return "cast"
	}
	return "unknown"
}

// Event is news for a shard.
type Event struct {
	Kind    EventKind
	Manager int // NoManager: from an Inlet
	// Items holds the `items` fields of a Downstream for this shard, other fields perhaps between
	// them (batch.DownItems skips those). It is valid until the next Next.
	Items []byte
	// Lost holds, in their order, all batches that lack a receipt and those that were never sent.
	// They belong to the shard, which reads them, sends them or drops them, but must not change
	// their items. With a single Manager EventGone has none: there they wait.
	Lost []*Batch

	// Cast is what Options.Cast made of the item. All shards get the same value.
	Cast any

	from   *inbound // Items lies in it
	charge int      // bytes of Cast counted in the quota
	shut   bool     // the outlet waits for the shard to see this
}

// Port is a shard's end of all its streams. Its methods are for the shard's thread alone.
type Port struct {
	// Static after construction.
	shard   int
	outlets []*outlet
	wakeUp  func(shard int)
	done    <-chan struct{} // the relay is being killed
	buffers *sync.Pool      // of *inbound

	lane  *lane.Lane[Event]
	quota quota         // bytes in the lane
	room  atomic.Uint64 // a bit for each Manager that has room again
	owing atomic.Uint64 // a bit for each Manager that may have to be answered

	// Owned by the shard's thread: what is given back after the last event.
	last   *inbound // its items lie in it
	charge int      // of its cast

	turn *turn // with Options.Rings, else nil
}

// laneSlots bounds the events that wait for a shard; their bytes are bounded by the quota.
const laneSlots = 1024

func newPort(shard int, o *Options, done <-chan struct{}, buffers *sync.Pool) (*Port, error) {
	p := &Port{shard: shard, wakeUp: o.Wake, done: done, buffers: buffers, quota: newQuota(o.Config.Buffer)}
	p.lane = lane.New[Event](laneSlots, p.wake)
	for m := range o.Config.Addresses {
		out, err := newOutlet(p, m, o.Config.Buffer)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.outlets = append(p.outlets, out)
	}
	if o.Rings != nil {
		if err := p.keep(o); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

// close frees the descriptors, once no sender lives.
func (p *Port) close() error {
	var errs []error
	for _, o := range p.outlets {
		errs = append(errs, o.bell.Close())
	}
	return errors.Join(errs...)
}

func (p *Port) wake() {
	if p.wakeUp != nil {
		p.wakeUp(p.shard)
	}
}

// Managers returns how many Managers are configured; they are numbered from 0.
func (p *Port) Managers() int { return len(p.outlets) }

// Up says whether Manager m answers, or is not away for longer than its grace.
func (p *Port) Up(m int) bool { return p.outlets[m].up.Load() }

// Take returns an empty batch to fill and Send. It returns nil when as much as Config.Buffer allows, or the ring,
// waits for Manager m or lacks its receipt; EventRoom comes when that has changed. For the ring's sake there should be one
// batch for each Manager at a time, of at most 16 KiB or with one item.
func (p *Port) Take(m int) *Batch { return p.outlets[m].take() }

// Send takes b over and has it sent to Manager m, after all that was sent there before. It is
// legal at any time: while the Manager is away batches wait. An empty batch is only given back.
// With Options.Rings it goes out after Commit, and one that Take did not give out may find no room in the ring:
// it is sent like the others, but would be lost in a crash.
func (p *Port) Send(m int, b *Batch) { p.outlets[m].send(b) }

// Held is how many bytes of buffers wait for Manager m or lack its receipt.
func (p *Port) Held(m int) int { return int(p.outlets[m].bytes.Load()) }

// Trim drops the empty buffers that are kept for the next batches: for a time in which little is going on.
func (p *Port) Trim() {
	for _, o := range p.outlets {
		o.trim()
	}
}

// Pending says whether Next has an event.
func (p *Port) Pending() bool { return p.room.Load() != 0 || p.lane.Len() > 0 }

// Next returns the next event. What the one before it lent is gone.
func (p *Port) Next() (Event, bool) {
	if p.last != nil {
		p.giveBack(p.last)
		p.last = nil
	}
	p.quota.give(p.charge)
	p.charge = 0
	if m, ok := p.nextRoom(); ok {
		return Event{Kind: EventRoom, Manager: m}, true
	}
	e, ok := p.lane.Pop()
	if !ok {
		return Event{}, false
	}
	p.last, p.charge = e.from, e.charge
	if e.from != nil && e.from.ticket != nil {
		p.turn.take(e.from)
	}
	if e.shut {
		e.Lost = p.outlets[e.Manager].reopen(e.Lost)
	}
	return e, true
}

func (p *Port) nextRoom() (m int, ok bool) {
	set := p.room.Load()
	if set == 0 {
		return 0, false
	}
	m = bits.TrailingZeros64(set)
	p.room.And(^(uint64(1) << m))
	return m, true
}

func (p *Port) giveBack(in *inbound) {
	p.quota.give(in.charge)
	recycle(p.buffers, in)
}

// tell brings an event to the shard; it waits while the lane is full.
func (p *Port) tell(e Event) bool { return p.lane.PushWait(p.done, e) }

// itemsEvent says that a Manager has sent what is in a buffer.
func itemsEvent(manager int, in *inbound) Event {
	in.charge = cap(in.b)
	return Event{Kind: EventItems, Manager: manager, Items: in.b, from: in}
}

// castEvent says that a shard gets a value that stands for bytes. slip is nil, or which part of a batch it is.
func castEvent(manager int, v any, slip *inbound, bytes int) Event {
	return Event{Kind: EventCast, Manager: manager, Cast: v, from: slip, charge: bytes}
}

// push brings an event to the shard that is counted with so many bytes in the quota. It waits for room as long as the channel is open
// that waiting returns, which is asked only when there is none at once; then it returns false.
func (p *Port) push(e Event, bytes int, waiting func() <-chan struct{}) bool {
	if !p.quota.try(bytes) && !p.quota.take(bytes, waiting()) {
		return false
	}
	if p.lane.Push(e) || p.lane.PushWait(waiting(), e) {
		return true
	}
	p.quota.give(bytes)
	return false
}

// tryPush is push without waiting.
func (p *Port) tryPush(e Event, bytes int) bool {
	if !p.quota.try(bytes) {
		return false
	}
	if p.lane.Push(e) {
		return true
	}
	p.quota.give(bytes)
	return false
}

// owe notes that something came by a call of an outlet.
func (p *Port) owe(o *outlet, c *h2.Call) {
	o.owing.Store(c)
	p.owing.Or(1 << o.number)
}

// Flush ends a turn: it sends what Managers have to be answered beside batches, which went out with those if there were any. With
// Options.Rings Commit does it.
func (p *Port) Flush() {
	if p.turn == nil {
		p.answer()
	}
}

func (p *Port) answer() {
	if p.owing.Load() == 0 {
		return
	}
	for set := p.owing.Swap(0); set != 0; set &= set - 1 {
		if c := p.outlets[bits.TrailingZeros64(set)].owing.Swap(nil); c != nil {
			c.Flush()
		}
	}
}

// Ready says that what a stream to Manager m watches can be read (Options.Watch). It takes in what has come, for Next to return.
func (p *Port) Ready(m int) {
	if m < len(p.outlets) { // a predecessor may have had more Managers
		p.outlets[m].stream.readHere()
	}
}
