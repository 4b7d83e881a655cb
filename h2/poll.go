package h2

import "encoding/binary"

// Hold keeps the descriptor of a polled call open, so that an epoll can watch it, until Release. It returns false once the call is
// closed. That ends the connection all the same: who watches finds the end.
func (c *Call) Hold() (fd int, ok bool) {
	s := c.conn.(*polled)
	return s.fd, s.use()
}

// Release ends a Hold.
func (c *Call) Release() { c.conn.(*polled).leave() }

// Flush sends the answers that wait, if there are any. It never waits. Any goroutine may call it.
func (c *Call) Flush() { c.flush() }

// Progress is how far TrySend came.
type Progress int

// What TrySend returns.
const (
	Busy  Progress = iota // not begun: Send would have to wait for room or somebody who writes, or the call has ended
	Begun                 // FinishSend must follow
	Done                  // the message has reached the kernel as a whole
)

// TrySend is Send for who must not wait: only a message for which a frame and the windows have room is sent. It counts as the
// goroutine in Send.
func (c *Call) TrySend(message []byte) Progress {
	var prefix [prefixLen]byte
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	o := &c.out
	c.mu.Lock()
	n := int64(prefixLen + len(message))
	if c.end != nil || o.failed || o.writing || o.closed || len(o.answers) >= writeLen || n > min(o.stream, o.conn, int64(min(o.frame, writeLen))) {
		c.mu.Unlock()
		return Busy
	}
	o.begin()
	o.pack(prefix[:], message) // whole, by what was asked above
	c.mu.Unlock()
	written, err := c.conn.try(o.buf)
	c.mu.Lock()
	if err != nil || written < len(o.buf) {
		o.buf = o.buf[written:]
		c.mu.Unlock()
		return Begun
	}
	o.writing = false
	c.moved.Broadcast()
	more := len(o.answers) > 0
	c.mu.Unlock()
	if more {
		c.flush()
	}
	return Done
}

// FinishSend sends the rest of a message that TrySend has begun. It waits and returns as Send does.
func (c *Call) FinishSend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write()
}
