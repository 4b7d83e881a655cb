package relay

import (
	"fmt"
	"math/bits"
	"sync"

	"edged/handover"
)

// turn is what a Port notes of a shard's open turn. It is owned by the shard's thread.
type turn struct {
	handed  []*ticket // of the events that Next returned
	touched uint64    // a bit for each outlet that has something to commit
	carried []carried // by stream
	changed []int     // streams
	slips   sync.Pool // of *inbound without a buffer, which casts have
}

// carried is how far a shard has carried out what came by one stream.
type carried struct {
	position uint64
	index    uint32 // of an item
	changed  bool   // since Port.Carried told it
}

// covers says that an item was carried out.
func (c carried) covers(position uint64, index uint32) bool {
	return position < c.position || position == c.position && index <= c.index
}

// keep prepares a Port for rings.
func (p *Port) keep(o *Options) error {
	for _, out := range p.outlets {
		if a := o.Config.Addresses[out.number]; len(a) > handover.NoteBytes/2 {
			return fmt.Errorf("relay: the manager's address of %d bytes is too long to be kept", len(a))
		}
		k, err := newKept(o.Rings(p.shard, out.number))
		if err != nil {
			return err
		}
		out.kept = k
	}
	p.turn = &turn{carried: make([]carried, o.Shards*len(p.outlets))}
	p.turn.slips.New = func() any { return &inbound{part: part{slips: &p.turn.slips}} }
	return nil
}

// take notes that an event was handed out.
func (t *turn) take(in *inbound) {
	t.handed = append(t.handed, in.ticket)
	t.carry(in.ticket.stream, in.ticket.position, in.index)
	in.ticket = nil
}

func (t *turn) carry(stream int, position uint64, index uint32) {
	c := &t.carried[stream]
	if !c.changed {
		t.changed = append(t.changed, stream)
	}
	*c = carried{position, index, true}
}

// Carried tells what the shard has to write down of its turn before it commits that, with Options.Rings: how far it has carried
// out what came by each stream. stream is the shard of the stream times Managers, plus the Manager; seq counts the Manager's
// batches, over all Managers that ever answered there; index is the last item's in that batch, counted from 0. Only what has
// changed since the last call is told.
func (p *Port) Carried(each func(stream int, seq uint64, index uint32)) {
	if p.turn == nil {
		return
	}
	for _, i := range p.turn.changed {
		c := &p.turn.carried[i]
		c.changed = false
		each(i, c.position, c.index)
	}
	p.turn.changed = p.turn.changed[:0]
}

// Commit says that the shard's turn is committed: a crash from now on leaves it as it is. The events that Next returned are
// carried out, and what was sent goes out. Without Options.Rings it does nothing.
func (p *Port) Commit() {
	t := p.turn
	if t == nil {
		return
	}
	for i, ticket := range t.handed {
		ticket.end()
		t.handed[i] = nil
	}
	t.handed = t.handed[:0]
	for set := t.touched; set != 0; set &= set - 1 {
		p.outlets[bits.TrailingZeros64(set)].commit()
	}
	t.touched = 0
	p.answer()
}

// open says that the shard did something that it has not committed.
func (p *Port) open() bool {
	return p.turn != nil && (len(p.turn.handed) > 0 || p.turn.touched != 0)
}
