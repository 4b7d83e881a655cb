package h2

import (
	"encoding/binary"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Send writes a message; it has reached the kernel as a whole if, and only if, Send returns nil. It waits while the peer's
// windows or the socket are full. After the call ended it returns io.EOF, and Recv knows why; only if it was this side that
// ended it does it return that reason. One goroutine may be in Send or CloseSend.
func (c *Call) Send(message []byte) error {
	var prefix [prefixLen]byte
	if uint64(len(message)) > 1<<32-1 {
		return status.Errorf(codes.ResourceExhausted, "h2: a message of %d bytes", len(message))
	}
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.out.closed && c.server:
		return c.failure()
	case c.out.closed:
		panic("h2: Send after CloseSend")
	}
	head := prefix[:]
	for len(head)+len(message) > 0 {
		if err := c.turn(); err != nil {
			return err
		}
		head, message = c.out.pack(head, message)
		if err := c.write(); err != nil {
			return err
		}
	}
	return nil
}

// CloseSend says that no message follows. It returns as Send does.
func (c *Call) CloseSend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.closed {
		return nil
	}
	c.out.closed = true
	for c.out.writing && c.end == nil {
		c.moved.Wait()
	}
	if c.end != nil || c.out.failed {
		return c.failure()
	}
	c.out.begin()
	c.out.buf = appendHead(c.out.buf, 0, http2.FrameData, http2.FlagDataEndStream, streamID)
	return c.write()
}

// turn waits until a byte of a message may be written, and nobody else writes. The mutex is held, but while it waits.
func (c *Call) turn() error {
	for c.end == nil && !c.out.failed && (c.out.writing || c.out.stream <= 0 || c.out.conn <= 0) {
		if c.server && !c.out.writing && c.awaitWindow() {
			continue
		}
		c.moved.Wait()
	}
	if c.server {
		c.stead.starved.Store(false)
	}
	if c.end != nil || c.out.failed {
		return c.failure()
	}
	c.out.begin()
	return nil
}

// failure is why nothing can be written. The mutex is held.
func (c *Call) failure() error {
	if c.end == nil {
		return io.EOF // the receiver finds out
	}
	return c.ended()
}

// begin takes the socket for what answers there are, and for what is appended to buf.
func (o *writer) begin() {
	o.writing = true
	o.buf = append(o.buf[:0], o.answers...)
	o.answers = o.answers[:0]
}

// pack appends frames with what comes first of prefix and message, as far as the windows and one write reach, and returns
// what is left.
func (o *writer) pack(prefix, message []byte) ([]byte, []byte) {
	for len(o.buf) < writeLen {
		n := int(min(int64(len(prefix)+len(message)), int64(min(o.frame, writeLen)), o.stream, o.conn))
		if n <= 0 {
			break
		}
		o.moved = true
		o.stream -= int64(n)
		o.conn -= int64(n)
		o.buf = appendHead(o.buf, n, http2.FrameData, 0, streamID)
		k := min(n, len(prefix))
		o.buf = append(o.buf, prefix[:k]...)
		o.buf = append(o.buf, message[:n-k]...)
		prefix, message = prefix[k:], message[n-k:]
	}
	return prefix, message
}

// write writes buf and the answers that come meanwhile, and waits for the socket where it must. An error means that buf was
// not written as a whole. The mutex is held, but during the writing.
func (c *Call) write() error {
	failed := false
	for first := true; ; first = false {
		buf := c.out.buf
		c.mu.Unlock()
		_, err := c.conn.Write(buf)
		c.mu.Lock()
		if err != nil {
			// What the peer said before still can be read, and tells more.
			c.out.failed = true
			failed = failed || first
		}
		if c.out.failed || len(c.out.answers) == 0 {
			break
		}
		c.out.begin()
	}
	c.out.writing = false
	c.moved.Broadcast()
	if failed {
		return c.failure()
	}
	return nil
}

// flush writes the answers, unless somebody writes already, who will do it. It never waits for the peer: what the socket
// does not take at once is left to a goroutine that ends with it.
func (c *Call) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out.answers) > 0 && !c.out.writing && !c.out.failed {
		c.out.begin()
		c.mu.Unlock()
		n, err := c.conn.try(c.out.buf)
		c.mu.Lock()
		short := err == nil && n < len(c.out.buf)
		if short && c.end == nil { // so that nobody waits for the goroutines yet
			c.out.buf = c.out.buf[n:]
			c.flusher.Go(c.finishWrite)
			return
		}
		c.out.writing, c.out.failed = false, c.out.failed || short || err != nil
		c.moved.Broadcast()
	}
}

// finishWrite writes what a full socket left of buf.
func (c *Call) finishWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.write() // the receiver finds out
}

// answer appends a frame of numbers to the answers. The mutex is held.
func (c *Call) answer(t http2.FrameType, flags http2.Flags, id uint32, numbers ...uint32) {
	o := &c.out
	o.answers = appendHead(o.answers, 4*len(numbers), t, flags, id)
	for _, n := range numbers {
		o.answers = binary.BigEndian.AppendUint32(o.answers, n)
	}
	o.overflow = o.overflow || len(o.answers) > maxAnswers
}

// appendHead appends the head of a frame (RFC 9113, section 4.1).
func appendHead(b []byte, n int, t http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(b, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}
