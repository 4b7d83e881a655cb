package relay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"edged/handover"
)

// Versions of the state that AppendState can write and New can read.
const (
	StateVersion uint16 = 2
	OldestState  uint16 = 1
)

// The state is a row of records (handover.Begin), one for each shard and each Manager that was ever configured since the
// numbering began. Version 2 of one, numbers without a length as binary.Uvarint:
//
//	shard, length of the address, address
//	1  flags, 1  keeping
//	length of the Manager's name, name
//	inbox: last, owed
//	outbox: first
//	since version 2: base; how many shards of a predecessor that died had carried out what may be repeated, and of each:
//	  shard, position, item
//	how many are kept, how many wait
//	each of these: length, items; a kept one of length 0 was taken back
//
// It also is what a Manager goes by that is no longer configured: should it be so again, it remembers our numbers.
// The version of a record is that of the state.

const (
	flagMet = 1 << iota
	flagNamed
	flagChanged
	flagLoose
	flagUp   // the shard was told EventUp, and no EventGone since
	flagGone // the shard was told EventGone, and no EventUp since
	flagsAll = 1<<iota - 1
)

// StateSize is how many bytes AppendState would add about now. Any goroutine may call it.
func (r *Relay) StateSize() (n int) {
	for _, s := range r.streams {
		n += len(s.address) + 256 + int(s.out.bytes.Load())
		if s.keeper.ring != nil {
			n += 16 * len(r.ports) // before
		}
	}
	return n + 256*len(r.absent)
}

// AppendState adds to b what a successor's relay needs to go on (Inheritance), in a version from OldestState to
// StateVersion. It is called between Freeze and Thaw, allocates nothing but b's growth, and changes nothing.
func (r *Relay) AppendState(b []byte, version uint16) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if version < OldestState || version > StateVersion {
		return b, fmt.Errorf("relay: state of version %d was asked for", version)
	}
	if !r.frozen {
		return b, errors.New("relay: not frozen")
	}
	for _, p := range r.ports {
		if n := p.lane.Len(); n > 0 {
			return b, fmt.Errorf("relay: shard %d has left %d events", p.shard, n)
		}
	}
	for _, s := range r.streams {
		b = s.appendState(b, version)
	}
	for i := range r.absent {
		b = r.absent[i].append(b, version)
	}
	return b, nil
}

func (s *stream) appendState(b []byte, version uint16) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.state.outbox
	b, start := handover.Begin(b, version)
	h := s.head()
	b = h.append(b, version)
	b = s.state.before.append(b, version)
	b = binary.AppendUvarint(b, uint64(len(o.kept)))
	b = binary.AppendUvarint(b, uint64(o.queue.n))
	for i := range o.kept {
		b = appendItems(b, o.kept[i].b)
	}
	for w := o.queue.head; w != nil; w = w.next {
		b = appendItems(b, w)
	}
	handover.End(b, start)
	return b
}

func appendItems(b []byte, from *Batch) []byte {
	if from == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(from.Items)))
	return append(b, from.Items...)
}

// head is what a state tells of a stream beside its batches.
type head struct {
	shard    int
	address  string
	up, gone bool
	peer     peer
	keep     keeping
	last     uint64
	loose    bool
	owed     int
	first    uint64
	base     uint64
}

// head returns what holds of the stream now. The mutex is held, and the sender stands.
func (s *stream) head() head {
	h := s.core()
	// The sender gives retry.gone up when the Manager goes down again, not when it comes back.
	h.up = s.out.up.Load()
	h.gone = s.retry.gone && !h.up
	return h
}

// core is head without what the sender alone knows. The mutex is held.
func (s *stream) core() head {
	return head{
		shard: s.port.shard, address: s.address,
		peer: s.state.peer, keep: s.state.outbox.keep, first: s.state.outbox.first,
		last: s.state.inbox.last, loose: s.state.inbox.loose, owed: s.state.inbox.owed, base: s.state.inbox.base,
	}
}

func (h *head) flags() (f byte) {
	for i, set := range [...]bool{h.peer.met, h.peer.named, h.peer.changed, h.loose, h.up, h.gone} {
		if set {
			f |= 1 << i
		}
	}
	return f
}

func (h *head) append(b []byte, version uint16) []byte {
	b = binary.AppendUvarint(b, uint64(h.shard))
	b = binary.AppendUvarint(b, uint64(len(h.address)))
	b = append(b, h.address...)
	b = append(b, h.flags(), byte(h.keep))
	b = binary.AppendUvarint(b, uint64(len(h.peer.id)))
	b = append(b, h.peer.id...)
	b = binary.AppendUvarint(b, h.last)
	b = binary.AppendUvarint(b, uint64(h.owed))
	b = binary.AppendUvarint(b, h.first)
	if version >= 2 {
		b = binary.AppendUvarint(b, h.base)
	}
	return b
}

// absent is a Manager of the state that is not configured. Its batches went to the shard: their numbers are left.
type absent struct {
	head
	kept int
}

func (a *absent) append(b []byte, version uint16) []byte {
	b, start := handover.Begin(b, version)
	b = a.head.append(b, version)
	b = (*before)(nil).append(b, version)
	b = binary.AppendUvarint(b, uint64(a.kept))
	b = append(b, make([]byte, 1+a.kept)...)
	handover.End(b, start)
	return b
}
