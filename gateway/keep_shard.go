package gateway

import (
	"time"

	"edged/handover"
	"edged/linkpool"
)

// The head of a shard's records. Version 1, hot bytes: version (u16), layout (4 × u32), uniq of each place's first link (u32).
// Its cold bytes are records as in the section "shard": recordShard, recordManager without what is held, recordKnown,
// recordLeaving without the names. What is missing in them lies in blobs, and is put behind them by Revive.
//
// Counters are not written down. Those of a process that crashed would go back a little, which nobody can tell from a new
// beginning with all they had; so they begin anew.

// headMarks says whether the head has to be written.
type headMarks struct {
	written  bool
	wall     int64
	drain    drain
	managers uint32 // managers.version
	leaving  leavingMarks
}

type leavingMarks struct {
	active  bool
	started linkpool.Millis
	within  time.Duration
	gone    int
}

// writeShard writes what the shard has beside its links, as far as it has changed.
func (k *keeping) writeShard() {
	s := k.s
	d := &s.shed
	marks := headMarks{true, s.wall, s.drain, s.managers.version, leavingMarks{d.active, d.started, d.within, d.gone}}
	if marks != k.head {
		k.head = marks
		k.writeHead()
	}
	for i := range s.managers.list {
		m, x := &s.managers.list[i], &k.written.held[i]
		if m.kept != len(m.held) || x.n != m.kept || x.short {
			k.put(x, m.held, m.kept)
			m.kept = len(m.held)
		}
	}
	if begin := first(d.names); begin != k.leaving {
		k.leaving = begin
		k.cold = d.appendNames(k.cold[:0])
		k.put(&k.written.shed, k.cold, 0)
	}
	if s.number == 0 {
		if draining := s.g.draining.Load(); draining != k.draining || k.written.own.n == 0 {
			k.draining = draining
			k.cold = s.g.appendSelf(k.cold[:0], nil)
			k.put(&k.written.own, k.cold, 0)
		}
	}
	k.writeCasts()
}

// first tells lists of names apart that are made once and not changed.
func first(names []linkName) *linkName {
	if len(names) == 0 {
		return nil
	}
	return &names[0]
}

func (k *keeping) writeHead() {
	s := k.s
	k.hot = u32(k.all.layout.append(u16(k.hot[:0], keepVersion)), s.links.Start())
	b := s.appendHead(k.cold[:0])
	for i := range s.managers.list {
		b = record(b, recordManager, func(b []byte) []byte { return u64(s.managers.list[i].appendState(b, s.g.managerAddresses[i]), 0) })
	}
	b = record(b, recordKnown, func(b []byte) []byte {
		for i := range s.managers.list {
			b = u16(b, s.managers.list[i].known)
		}
		return b
	})
	if s.shed.active {
		b = record(b, recordLeaving, s.shed.appendHead)
	}
	k.cold = b
	if !k.records.PutAll(headAt, k.hot, k.cold) {
		s.count.Unkept++
		k.head = headMarks{}
	}
}

// carried notes how far the shard has carried out what came by a stream of the relay.
func (k *keeping) carried(stream int, seq uint64, index uint32) {
	k.hot = u32(u64(k.hot[:0], seq), index)
	k.records.Put(k.all.layout.carriedAt()+stream, k.hot)
}

// keptHead is a shard's head, read.
type keptHead struct {
	layout keepLayout
	start  uint32
	cold   []byte
}

// readKeptHead proves no more than that it is one.
func readKeptHead(r *handover.Records, g handover.Geometry) (h keptHead, ok bool) {
	hot, cold, err := r.Get(headAt, nil, nil)
	in := input{rest: hot}
	version := in.u16()
	h = keptHead{parseLayout(&in), in.u32(), cold}
	return h, err == nil && !in.bad && version >= oldestKeep && version <= keepVersion && h.layout.possible(g)
}
