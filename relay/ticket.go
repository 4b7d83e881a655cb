package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

// ticket stands for a numbered Downstream until all shards that got a part of it have committed the turns in which they carried
// that out. Only then it is receipted. One of which a part could not be delivered, because the relay is being killed, never ends.
type ticket struct {
	left atomic.Int32 // parts, and the receiver while it delivers

	keeper *keeper // static

	// Static while it is issued.
	stream   int // shard × Managers + Manager
	seq      uint64
	position uint64 // of seq, over all numberings

	next *ticket // of the stream's, under its mutex
}

// part says which part of a Downstream an event brings.
type part struct {
	ticket *ticket    // nil: nobody asks
	index  uint32     // of the last item, in the Downstream
	slips  *sync.Pool // where a slip without a buffer goes back to
}

// end takes one off. Any thread may call it.
func (t *ticket) end() {
	k := t.keeper // it may be issued again as soon as it has ended
	if t.left.Add(-1) == 0 {
		k.ended()
	}
}

// tickets are those of a stream that were issued, in order, under its mutex.
type tickets struct {
	first, last *ticket
	free        *ticket
}

// issue returns the ticket of the next batch, held by the receiver.
func (q *tickets) issue(k *keeper) *ticket {
	t := q.free
	if t == nil {
		t = &ticket{keeper: k}
	} else {
		q.free, t.next = t.next, nil
	}
	t.left.Store(1)
	if q.last == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
	return t
}

// collect takes the next one off that has ended, with none before that has not.
func (q *tickets) collect() (seq uint64, ok bool) {
	t := q.first
	if t == nil || t.left.Load() != 0 {
		return 0, false
	}
	if q.first = t.next; q.first == nil {
		q.last = nil
	}
	q.free, t.next = t, q.free
	return t.seq, true
}

// disown forgets those that are issued: their numbers count no more. They are never used again, for shards may still have them.
func (q *tickets) disown() { q.first, q.last = nil, nil }

// issueTicket begins to follow a batch that is taken in. The mutex is held.
func (s *stream) issueTicket(seq uint64) *ticket {
	in := &s.state.inbox
	in.number(seq)
	t := s.state.tickets.issue(&s.keeper)
	t.stream, t.seq, t.position = s.keeper.stream, seq, in.position(seq)
	return t
}

// collect finds out what has been carried out. The mutex is held.
func (s *stream) collect(now time.Time) {
	k := &s.keeper
	if k.ring == nil || k.finished.Load() == 0 {
		return
	}
	k.finished.Store(0) // before the look at the tickets: who ends one after that counts from 0
	since := now
	if at := s.state.alarmAt; !at.IsZero() {
		since = earlier(now, at.Add(-receiptDelay)) // nobody was told when it was carried out: after the alarm was set
	}
	for {
		seq, ok := s.state.tickets.collect()
		if !ok {
			return
		}
		s.state.inbox.did(seq, since)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
