package relay

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"edged/handover"
)

// keeper is a stream's part of what outlives the process: the marks in the ring, and the note, which says what stands in a state
// as well (head), but that an inbox's last is what all shards have carried out and committed. Both are written before what
// follows from them: a mark before the first byte of the number goes out, a receipt before it does, and a note before what it
// makes superfluous is released.
//
// While the shard has not committed that it knows of another Manager, or of one that is gone, the note stays as it was and
// nothing goes out nor comes in: a crash finds the old Manager and all that was for it in the ring.
type keeper struct {
	// Static after New.
	ring   *handover.Ring // nil: nothing is kept, and nothing else of this is used
	out    *outlet
	stream int    // its number: shard × Managers + Manager
	tail   []byte // what the note has behind it: records of Managers that are not configured

	finished atomic.Int32 // tickets that ended since the last look
	wanted   atomic.Int32 // with so many the sender is to be told

	// Guarded by stream.mu.
	noted    essence // of the note
	released uint64
	note     []byte // used again
	want     int32  // wanted
}

// essence is what changes in a note.
type essence struct {
	peer              peer
	keep              keeping
	loose             bool
	first, done, base uint64
	freed             uint64
}

// ended counts a ticket, and tells the sender when a receipt begins to be owed or is due.
func (k *keeper) ended() {
	if k.finished.Add(1) >= k.wanted.Load() {
		k.out.ring()
	}
}

// want is set by the sender before its last look, so that what ends meanwhile is found by that. The mutex is held.
func (s *stream) want(now time.Time) {
	k := &s.keeper
	if k.ring == nil {
		return
	}
	n := int32(1)
	if owed := s.state.inbox.owed; owed > 0 || s.attended(now) {
		n = int32(max(receiptBatches-owed, 1))
	}
	if n != k.want {
		k.want = n
		k.wanted.Store(n)
	}
}

// mark notes a batch's number in the ring.
func (k *keeper) mark(b *Batch, seq uint64) {
	if k.ring != nil && b != nil && b.place.end > 0 {
		k.ring.SetMark(b.place.at, seq)
	}
}

// tidy brings the note up to date and releases what is needed no more. It returns false while the shard has not committed the
// news of another Manager. The mutex is held.
func (s *stream) tidy() (ready bool) {
	k := &s.keeper
	if k.ring == nil {
		return true
	}
	if s.out.shut.Load() != 0 {
		return false
	}
	o := &s.state.outbox
	o.freed = max(o.freed, s.out.kept.dropped.Load())
	in := &s.state.inbox
	if now := (essence{s.state.peer, o.keep, in.loose, o.first, in.done, in.base, o.freed}); now != k.noted {
		s.putNote()
		k.noted = now
	}
	if o.freed > k.released {
		k.released = o.freed
		k.ring.Release(k.released)
		s.out.offerRoom()
	}
	return true
}

// writeDown sees to it that what is about to be sent is known to a successor. The mutex is held.
func (s *stream) writeDown(o offer) {
	if s.keeper.ring == nil {
		return
	}
	if o.new {
		s.keeper.mark(o.b, o.seq)
		if o.b.place.end == 0 {
			s.keeper.noted = essence{} // the note alone knows the number
		}
	}
	s.tidy()
}

// took records that a batch is the shards', or came once more. The mutex is held.
func (s *stream) took(seq uint64, now time.Time) (tell bool) {
	in := &s.state.inbox
	if s.keeper.ring == nil {
		return in.took(seq, now)
	}
	s.collect(now)
	return seq != 0 && seq <= in.done && in.did(seq, now)
}

// follow prepares the splitter for a batch. The mutex is held.
func (s *stream) follow(seq uint64) {
	if s.keeper.ring == nil || seq == 0 {
		return
	}
	t := s.issueTicket(seq)
	if b := s.state.before; b != nil && t.position > b.top {
		s.state.before = nil
	}
	s.split.ticket, s.split.before = t, s.state.before
}

// followed says that the shards have all of the batch.
func (s *stream) followed() {
	if t := s.split.ticket; t != nil {
		s.split.ticket, s.split.before = nil, nil
		t.end()
	}
}

// awaitCommit waits until tidy returns true; false: the relay is killed.
func (s *stream) awaitCommit() bool {
	for {
		select {
		case <-s.out.kept.committed:
		case <-s.life.kill.Done():
			return false
		}
		s.mu.Lock()
		ready := s.tidy()
		s.mu.Unlock()
		if ready {
			return true
		}
	}
}

// before is how far each shard of a predecessor had carried out what came by a stream.
type before struct {
	shards []carried
	top    uint64 // the highest position of them
}

// append writes down what load reads.
func (b *before) append(to []byte, version uint16) []byte {
	if version < 2 {
		return to
	}
	if b == nil {
		return append(to, 0)
	}
	to = binary.AppendUvarint(to, uint64(len(b.shards)))
	for i, c := range b.shards {
		to = binary.AppendUvarint(to, uint64(i))
		to = binary.AppendUvarint(to, c.position)
		to = binary.AppendUvarint(to, uint64(c.index))
	}
	return to
}

func (r *reader) before(version uint16) (out []Carried) {
	if version < 2 {
		return nil
	}
	for range r.number("carried", maxShards) {
		var c Carried
		c.Shard = int(r.number("carried shard", maxShards-1))
		c.Seq = r.number("carried position", math.MaxUint64)
		c.Index = uint32(r.number("carried item", math.MaxUint32))
		out = append(out, c)
	}
	return out
}

// carry notes how far a predecessor's shard had carried out what came. The stream has not begun yet.
func (s *stream) carry(c Carried) {
	if s.keeper.ring == nil {
		return
	}
	ports := s.split.ports
	if s.state.before == nil {
		s.state.before = &before{shards: make([]carried, len(ports))}
	}
	b := s.state.before
	b.shards[c.Shard] = carried{position: c.Seq, index: c.Index}
	b.top = max(b.top, c.Seq)
	ports[c.Shard].turn.carry(s.keeper.stream, c.Seq, c.Index)
}

// disown forgets what is being carried out under numbers that begin anew.
func (st *state) disown() {
	st.tickets.disown()
	if st.before != nil {
		st.inbox.base = max(st.inbox.base, st.before.top)
		st.before = nil
	}
}
