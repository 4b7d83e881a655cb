package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"edged/batch"
	"edged/handover"
)

// Inheritance is what a relay goes on with.
type Inheritance struct {
	Version uint16 // of State
	State   []byte // of the predecessor's AppendState; empty: nothing is known. New keeps nothing of it
	Resumed bool   // the links are those of the predecessor, which the Managers are told

	// Carried is, after a crash, how far the shards had carried out what came: what Port.Carried told of the turns that were
	// committed. What of that is repeated is left out. The Ports tell it again, for the next memory.
	Carried []Carried
}

// Carried is one stream's and shard's part of Inheritance.Carried.
type Carried struct {
	Shard   int    // which had carried it out
	From    int    // the shard of the stream by which it came
	Address string // and the stream's Manager
	Seq     uint64
	Index   uint32
}

// ErrState is what New's error wraps if it cannot load a state. To go on without it would mix up the numbers that the
// Managers remember.
var ErrState = errors.New("relay: not the state of a relay")

// record is one record of a state. Items are the state's own; nil: taken back.
type record struct {
	head
	before        []Carried // Shard, Seq and Index of each
	kept, waiting [][]byte
}

// streamKey names a stream over the change of a configuration.
type streamKey struct {
	shard   int
	address string
}

// inherit loads a state: each stream goes on where it stood. What waits for Managers that are not configured any more, or
// could not be reached while they were the only one, becomes the shards' orphans.
func (r *Relay) inherit(from *Inheritance) error {
	if from == nil || len(from.State) == 0 && len(from.Carried) == 0 {
		return nil
	}
	streams := make(map[streamKey]*stream)
	for _, s := range r.streams {
		streams[streamKey{s.port.shard, s.address}] = s
	}
	if err := r.inheritCarried(from.Carried, streams); err != nil || len(from.State) == 0 {
		return err
	}
	if from.Version < OldestState || from.Version > StateVersion {
		return fmt.Errorf("%w: version %d", ErrState, from.Version)
	}
	records, err := parseState(from.State, len(r.ports))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	now := time.Now()
	for i := range records {
		rec := &records[i]
		s := streams[streamKey{rec.shard, rec.address}]
		if s == nil || rec.gone && !s.alone {
			r.orphan(rec)
		}
		if s != nil {
			s.load(rec, now)
			continue
		}
		rec.up, rec.gone = false, false
		r.absent = append(r.absent, absent{rec.head, len(rec.kept)})
	}
	for _, p := range r.ports {
		p.room.Store(1<<len(p.outlets) - 1) // who waits for room looks again
	}
	return nil
}

// orphan gives what lacks a receipt to the shard. The numbers stay.
func (r *Relay) orphan(rec *record) {
	for i, items := range rec.kept {
		if items != nil {
			r.orphans[rec.shard] = append(r.orphans[rec.shard], copyOf(items))
			rec.kept[i] = nil
		}
	}
	for _, items := range rec.waiting {
		r.orphans[rec.shard] = append(r.orphans[rec.shard], copyOf(items))
	}
	rec.waiting = nil
}

func copyOf(items []byte) *Batch {
	return &Batch{Items: append(make([]byte, 0, len(items)+suffixLen), items...)}
}

// load has a stream go on where a record says. It has not begun yet.
func (s *stream) load(rec *record, now time.Time) {
	s.out.up.Store(rec.up)
	s.retry.gone = rec.gone
	s.state.peer = rec.peer
	s.state.inbox = inbox{last: rec.last, done: rec.last, base: rec.base, loose: rec.loose, owed: rec.owed, since: now}
	for _, c := range rec.before {
		s.carry(c)
	}
	o := &s.state.outbox
	o.first, o.keep = rec.first, rec.keep
	for i, items := range rec.kept {
		b := s.out.adopt(items)
		o.number(b)
		s.keeper.mark(b, rec.first+uint64(i))
	}
	for _, items := range rec.waiting {
		o.queue.push(s.out.adopt(items))
	}
	s.noteKept()
}

// adopt makes a batch of items that a predecessor's outlet held; nil of nil.
func (o *outlet) adopt(items []byte) *Batch {
	if items == nil {
		return nil
	}
	b := copyOf(items)
	b.own()
	b.home, b.charge = o, cap(b.Items)
	o.bytes.Add(int64(b.charge))
	o.batches.Add(1)
	if o.kept != nil {
		o.kept.put(b)
	}
	return b
}

// Orphans returns the batches of a shard that a predecessor left for Managers which are not configured any more, in their
// order, of each Manager one after the other. They are the shard's, to be routed anew as an Event's Lost is. A second call
// returns none. It comes before Start, or on the shard's thread.
func (r *Relay) Orphans(shard int) []*Batch {
	out := r.orphans[shard]
	r.orphans[shard] = nil
	return out
}

// parseState reads all records and believes nothing.
func parseState(b []byte, shards int) (records []record, err error) {
	seen := make(map[streamKey]bool)
	for len(b) > 0 {
		var raw handover.Record
		if raw, b, err = handover.Next(b); err != nil {
			return nil, err
		}
		if raw.Version < OldestState || raw.Version > StateVersion {
			return nil, fmt.Errorf("a record of version %d", raw.Version)
		}
		var rec record
		if rec, err = parseRecord(raw.Body, raw.Version); err != nil {
			return nil, fmt.Errorf("record %d: %w", len(records), err)
		}
		key := streamKey{rec.shard, rec.address}
		switch {
		case rec.shard >= shards:
			return nil, fmt.Errorf("there is no shard %d of %d", rec.shard, shards)
		case slices.ContainsFunc(rec.before, func(c Carried) bool { return c.Shard >= shards }):
			return nil, fmt.Errorf("there are fewer shards than had carried something out")
		case seen[key]:
			return nil, fmt.Errorf("shard %d has manager %q twice", rec.shard, rec.address)
		}
		seen[key] = true
		records = append(records, rec)
	}
	return records, nil
}

// reader takes a record apart. After the first thing that cannot be, bad stays set and all else is zero.
type reader struct {
	b   []byte
	bad string
}

func (r *reader) fail(what string) {
	if r.bad == "" {
		r.bad, r.b = what, nil
	}
}

// number reads one of at most max.
func (r *reader) number(what string, max uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > max {
		r.fail(what)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(what string) []byte {
	n := r.number(what, uint64(len(r.b)))
	if n > uint64(len(r.b)) {
		r.fail(what)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// octet reads one byte of at most max.
func (r *reader) octet(what string, max byte) byte {
	if len(r.b) == 0 || r.b[0] > max {
		r.fail(what)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func parseRecord(b []byte, version uint16) (rec record, err error) {
	r := &reader{b: b}
	rec.head = r.head(version)
	rec.before = r.before(version)
	kept := r.number("kept", uint64(len(r.b)))
	waiting := r.number("waiting", uint64(len(r.b)))
	if kept > math.MaxUint64-rec.first {
		r.fail("first")
	}
	for range kept {
		rec.kept = append(rec.kept, r.items())
	}
	for range waiting {
		items := r.items()
		if items == nil {
			r.fail("an empty batch that waits")
		}
		rec.waiting = append(rec.waiting, items)
		if r.bad != "" {
			break
		}
	}
	if len(r.b) > 0 {
		r.fail("bytes behind it")
	}
	if r.bad != "" {
		return record{}, fmt.Errorf("%s cannot be", r.bad)
	}
	return rec, nil
}

func (r *reader) head(version uint16) (h head) {
	h.shard = int(r.number("shard", maxShards-1))
	h.address = string(r.bytes("address"))
	if err := checkAddress(h.address); err != nil {
		r.fail("address")
	}
	f := r.octet("flags", flagsAll)
	h.peer.met, h.peer.named, h.peer.changed = f&flagMet != 0, f&flagNamed != 0, f&flagChanged != 0
	h.loose, h.up, h.gone = f&flagLoose != 0, f&flagUp != 0, f&flagGone != 0
	h.keep = keeping(r.octet("keeping", byte(keepNone)))
	h.peer.id = string(r.bytes("name"))
	h.last = r.number("last", math.MaxUint64)
	h.owed = int(r.number("owed", math.MaxInt32))
	h.first = r.number("first", math.MaxUint64)
	if version >= 2 {
		h.base = r.number("base", math.MaxUint64)
	}
	switch {
	case (h.peer.named || h.peer.changed) && !h.peer.met, !h.peer.named && h.peer.id != "":
		r.fail("manager's name")
	case h.up && h.gone:
		r.fail("flags")
	case h.first == 0:
		r.fail("first")
	}
	return h
}

// items reads a batch, nil if it is empty, all of whose fields must be items as they can be sent.
func (r *reader) items() []byte {
	b := r.bytes("batch")
	if len(b) == 0 {
		return nil
	}
	var parsed batch.UpItem
	items, n := batch.UpItems(b), 0
	for {
		item, raw, ok := items.Next()
		if !ok {
			break
		}
		n += len(raw)
		if batch.ParseUpItem(item, &parsed) != nil {
			r.fail("item")
			return nil
		}
	}
	if n != len(b) {
		r.fail("batch")
		return nil
	}
	return b
}
