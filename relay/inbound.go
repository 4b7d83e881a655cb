package relay

import (
	"sync"
	"sync/atomic"
)

// inbound is a buffer for what a Manager sent. It goes from the receiver through the lane to the
// shard, whose next Next brings it back to the pool.
type inbound struct {
	b      []byte
	charge int      // bytes counted in the quota of the shard that has it
	binds  *binding // where it is counted, if it holds a bind
	part            // of which Downstream
}

func newBuffers() *sync.Pool {
	return &sync.Pool{New: func() any { return &inbound{b: make([]byte, 0, largeCap)} }}
}

// recycle ends the use of a buffer. It keeps what a usual batch needs; the giants are left to the garbage
// collector.
func recycle(pool *sync.Pool, in *inbound) {
	if in.binds != nil {
		in.binds.done.Add(1)
		in.binds = nil
	}
	in.part = part{slips: in.slips}
	if in.slips != nil {
		in.slips.Put(in)
		return
	}
	if cap(in.b) <= keepCap {
		in.b = in.b[:0]
		pool.Put(in)
	}
}

// quota bounds the bytes that wait for a shard: many receivers take, the shard gives back. Any
// amount fits while the bound is not reached, so that the largest message passes alone.
type quota struct {
	max     int64
	held    atomic.Int64
	waiting atomic.Int32
	freed   chan struct{} // one token: there may be room
}

func newQuota(max int) quota { return quota{max: int64(max), freed: make(chan struct{}, 1)} }

// take waits until there is room. It returns false only when it has to wait and done is closed.
func (q *quota) take(n int, done <-chan struct{}) bool {
	if !q.try(n) {
		q.waiting.Add(1)
		defer q.waiting.Add(-1)
		for !q.try(n) {
			select {
			case <-q.freed:
			case <-done:
				return false
			}
		}
		q.hint() // the token may have stood for more than this one needed
	}
	return true
}

func (q *quota) try(n int) bool {
	for {
		held := q.held.Load()
		if held >= q.max {
			return false
		}
		if q.held.CompareAndSwap(held, held+int64(n)) {
			return true
		}
	}
}

func (q *quota) give(n int) {
	if n == 0 {
		return
	}
	q.held.Add(-int64(n))
	q.hint()
}

func (q *quota) hint() {
	if q.waiting.Load() > 0 && q.held.Load() < q.max {
		select {
		case q.freed <- struct{}{}:
		default:
		}
	}
}
