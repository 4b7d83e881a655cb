package h2

import (
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// stead is what others do in the receiver's stead at the server's end, where nobody may be receiving for long: the handler of a
// message is busy, or sends the answer and waits for the client's window.
type stead struct {
	mu      sync.Mutex    // held by who reads; guards Call.in and what follows
	partial []byte        // of a message that another one than the receiver has begun to receive
	seen    uint64        // turns as the last Attend saw them
	turns   atomic.Uint64 // calls of Recv
	wanted  atomic.Int32  // the receiver waits for mu
	starved atomic.Bool   // a sender waits for the window, and will have to read if the receiver leaves

	queued atomic.Int32 // messages in queue
	qmu    sync.Mutex   // taken after mu; guards what follows
	queue  [][]byte     // messages that another one has received, oldest first
	bytes  int          // in queue
}

// recvServer is Recv at the server's end.
func (c *Call) recvServer(dst []byte) ([]byte, error) {
	st := &c.stead
	st.turns.Add(1)
	if dst, ok := st.pop(dst); ok {
		return dst, nil
	}
	st.wanted.Add(1)
	st.mu.Lock()
	st.wanted.Add(-1)
	defer c.left()
	if dst, ok := st.pop(dst); ok {
		return dst, nil
	}
	if c.in.halved {
		return dst[:0], c.over()
	}
	dst = append(dst[:0], st.partial...)
	st.partial = nil
	c.credit(0) // what was not given in the receiver's stead
	return c.recv(dst)
}

// left lets go of stead.mu. A sender that relied on the receiver for its window has to look for it itself from then on.
func (c *Call) left() {
	c.stead.mu.Unlock()
	if c.stead.starved.Load() {
		c.mu.Lock()
		c.moved.Broadcast()
		c.mu.Unlock()
	}
}

func (st *stead) pop(dst []byte) ([]byte, bool) {
	if st.queued.Load() == 0 {
		return dst, false
	}
	st.qmu.Lock()
	defer st.qmu.Unlock()
	dst = append(dst[:0], st.queue[0]...)
	st.queue[0] = nil
	st.bytes -= len(dst)
	if st.queue = st.queue[1:]; len(st.queue) == 0 {
		st.queue = nil
	}
	st.queued.Add(-1)
	return dst, true
}

// push returns how many bytes are in the queue.
func (st *stead) push(b []byte) int {
	st.qmu.Lock()
	defer st.qmu.Unlock()
	st.queue = append(st.queue, b)
	st.bytes += len(b)
	st.queued.Add(1)
	return st.bytes
}

// over is how the call ended, or io.EOF if it is only the client that has said all.
func (c *Call) over() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return c.end
	}
	return io.EOF
}

// Attend does what an accepted call needs while nobody receives, because the receiver is busy with what it got, or because the client has
// said all: it answers PINGs, takes in the client's credit, and keeps what else has come for Recv, up to the window. It never waits,
// and does nothing unless nobody has received since the last time. It is for somebody who does so for all calls every now and
// then.
func (c *Call) Attend() {
	st := &c.stead
	if st.wanted.Load() > 0 || !st.mu.TryLock() {
		return // somebody receives
	}
	defer c.left()
	if turns := st.turns.Load(); st.seen != turns {
		st.seen = turns
		return
	}
	c.substitute(false)
	c.flush()
}

// awaitWindow is for a sender at the server's end that waits for the window. If nobody receives it does so until something has come, and
// returns true. c.mu is held, but meanwhile.
func (c *Call) awaitWindow() bool {
	st := &c.stead
	st.starved.Store(true)
	if st.wanted.Load() > 0 || !st.mu.TryLock() {
		return false // who receives finds it
	}
	defer st.mu.Unlock()
	for _, wait := range []bool{false, true} { // what is needed may have been read already
		c.mu.Unlock()
		c.substitute(wait)
		c.mu.Lock()
		if c.end != nil || c.out.stream > 0 && c.out.conn > 0 {
			break
		}
	}
	return true
}

// substitute receives what is there in the receiver's stead, after having waited for something if it is told to. stead.mu is
// held.
func (c *Call) substitute(wait bool) {
	in, st := &c.in, &c.stead
	in.substituted, in.polled, in.patient = true, true, wait
	var err error
	for err == nil {
		if in.halved {
			err = c.frame()
			continue
		}
		var b []byte
		held := 0
		if b, err = c.recv(st.partial); err == nil {
			held, st.partial = st.push(b), nil
		} else {
			st.partial = b
		}
		if held+len(st.partial) > c.options.Window+readLen { // credit comes before a frame is taken
			err = c.broken(http2.ErrCodeFlowControl, "more than the window of %d bytes", c.options.Window)
		}
		if err == io.EOF && in.halved {
			err = nil
		}
	}
	in.substituted, in.polled, in.patient, in.reads, in.short = false, false, false, 0, false
	c.waiting.Store(0) // the receiver does not
}
