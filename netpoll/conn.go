package netpoll

import "math"

// maxSlots leaves the highest slot numbers to what is no connection in an epoll's data.
const (
	maxSlots   = math.MaxUint32 - 1<<16
	wakeSlot   = math.MaxUint32
	watchSlot  = wakeSlot - 1<<8 // + number of the watch
	listenSlot = maxSlots        // + number of the listener
)

// flags of a connection's record. Life of a slot:
//
//	free > connecting (Dial) > open > closing (output left) > lingering (our side ended) > free
//	          |                  |       `--> free (peer gone, Linger over)
//	          |                  `----------> free (peer gone, Abort)
//	          `-----------------------------> free (refused, Close, Abort)
//
// Each way out of connecting and open passes by ended, while Handler.Closed is called. The values stand in states (state.go) and
// never change.
type flags uint16

const handlers = connecting | open | ended // the handler may ask about it

const (
	connecting flags = 1 << iota
	open             // the handler knows it
	closing          // closed by the handler, output not yet sent
	ended            // the handler is being told that it is over
	lingering        // our side is shut down; input is thrown away until the peer ends or Linger is over
	paused           // not read
	blocked          // the kernel is full: EPOLLOUT is armed
	held             // KernelBytes is exceeded: looked at again by time
	dirty            // in Loop.dirty
	resumed          // in Loop.resumed
	dialled          // by Dial, not accepted
	noted            // in Loop.noted
	gathering        // told of from so many bytes on: Gather
)

// conn is one slot's record: flat and without pointers, so that the garbage collector does not look at it and an idle
// connection is this and nothing else. Owned by the loop.
type conn struct {
	fd       int32
	gen      uint32 // of the present or, in a free slot, the next owner
	tag      uint32 // the handler's
	in       bufRef // input not used up
	out      bufRef // first and last buffer of the output
	outLast  bufRef
	pending  uint32 // bytes in the output buffers
	read     uint32 // bytes taken from the kernel, wrapping
	written  uint32 // bytes given to the kernel, wrapping
	acked    uint32 // of them, acknowledged by the peer when last looked
	progress uint32 // ms of CLOCK_MONOTONIC when output was last seen to move, or began
	flags    flags
	discard  uint16 // KiB thrown away while lingering
}

// slots is the loop's table of connections with its free list: LIFO, so that the warm records are used again.
type slots struct {
	conns []conn
	free  []uint32
	used  uint32 // slots that ever had an owner: the free list begins with these only
}

func newSlots(n int) slots { return slots{conns: make([]conn, n)} }

// take returns a slot for fd; ok is false when all are taken.
func (s *slots) take(fd int) (slot uint32, ok bool) {
	if k := len(s.free); k > 0 {
		slot = s.free[k-1]
		s.free = s.free[:k-1]
	} else if int(s.used) < len(s.conns) {
		slot = s.used
		s.used++
	} else {
		return 0, false
	}
	gen := s.conns[slot].gen
	if gen == 0 {
		gen = 1 // so that no Conn is 0
	}
	s.conns[slot] = conn{fd: int32(fd), gen: gen}
	return slot, true
}

func (s *slots) giveBack(slot uint32) {
	s.conns[slot] = conn{fd: -1, gen: s.conns[slot].gen + 1}
	s.free = append(s.free, slot)
}

// find returns the record that c names, nil when it is stale.
func (s *slots) find(c Conn) *conn {
	if i := c.slot(); i < s.used {
		if r := &s.conns[i]; r.gen == c.gen() && r.flags&(open|connecting|closing|ended|lingering) != 0 {
			return r
		}
	}
	return nil
}

// known returns the record that c names while the handler may ask about it: until its Closed returns.
func (s *slots) known(c Conn) *conn {
	if r := s.find(c); r != nil && r.flags&handlers != 0 {
		return r
	}
	return nil
}

// live returns the record that c names while the handler may use it.
func (s *slots) live(c Conn) *conn {
	if r := s.find(c); r != nil && r.flags&open != 0 {
		return r
	}
	return nil
}
