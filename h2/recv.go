package h2

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Recv waits for the next message and returns it in dst's array, or in a larger one; what dst holds is lost. At the end of
// the call it returns io.EOF if the peer says that all went well, else a gRPC status; the same again each time. One
// goroutine may be in Recv.
func (c *Call) Recv(dst []byte) ([]byte, error) {
	if c.server {
		return c.recvServer(dst)
	}
	for dst = dst[:0]; ; {
		var err error
		if dst, err = c.recv(dst); err != errEmpty {
			return dst, err
		}
		c.flush()
		if err := c.conn.(*polled).awaitInput(); err != nil {
			return dst, c.cut(err)
		}
	}
}

// Poll is Recv for Options.Polled that never waits (Recv does, and keeps a thread meanwhile). If whole is false nothing is left of
// what it has read at once, and the message that has begun to come is to be given to the next Poll: when the socket can be read, and
// not before, as it may be in this moment. What the peer is to be answered goes out with the next message, or by Flush.
func (c *Call) Poll(dst []byte) (_ []byte, whole bool, err error) {
	dst, err = c.recv(dst)
	if err == errEmpty {
		return dst, false, nil
	}
	return dst, err == nil, err
}

func (c *Call) recv(dst []byte) ([]byte, error) {
	in := &c.in
	for {
		switch {
		case in.left > 0:
			if in.r == in.w {
				if err := c.fill(); err != nil {
					return dst, err
				}
			}
			var whole bool
			var err error
			if dst, whole, err = c.take(dst); whole || err != nil {
				return dst, err
			}
		case in.pad > 0:
			if err := c.skip(); err != nil {
				return dst, err
			}
		case in.last && c.server:
			return dst, c.half()
		case in.last:
			return dst, c.finish(status.Error(codes.Internal, "server closed the stream without sending trailers"), false)
		default:
			if err := c.frame(); err != nil {
				return dst, err
			}
		}
	}
}

// take moves what is there of a DATA frame to the message. whole says that the message is.
func (c *Call) take(dst []byte) (_ []byte, whole bool, err error) {
	in := &c.in
	p := in.buf[in.r:min(in.w, in.r+in.left)]
	if in.have < prefixLen {
		n := copy(in.prefix[in.have:], p)
		in.have += n
		in.used(n)
		if in.have < prefixLen {
			return dst, false, nil
		}
		if in.need, err = c.announced(); err != nil {
			return dst, false, err
		}
		dst = slices.Grow(dst, min(in.need, growAtOnce))
		p = p[n:]
	}
	n := min(in.need, len(p))
	dst = append(dst, p[:n]...)
	in.used(n)
	if in.need -= n; in.need > 0 {
		return dst, false, nil
	}
	in.have = 0
	return dst, true, nil
}

func (in *reader) used(n int) {
	in.r += n
	in.left -= n
}

// announced judges the prefix of a message and returns its length.
func (c *Call) announced() (int, error) {
	in := &c.in
	n := binary.BigEndian.Uint32(in.prefix[1:])
	switch form := in.prefix[0]; {
	case form == 1 && in.packing == "":
		return 0, c.refuse(http2.ErrCodeCancel, codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	case form == 1:
		return 0, c.refuse(http2.ErrCodeCancel, codes.Internal, "grpc: Decompressor is not installed for grpc-encoding %q", in.packing)
	case form != 0:
		return 0, c.refuse(http2.ErrCodeCancel, codes.Internal, "grpc: received unexpected payload format %d", form)
	case uint64(n) > uint64(c.options.MaxMessage):
		return 0, c.refuse(http2.ErrCodeCancel, codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, c.options.MaxMessage)
	}
	return int(n), nil
}

// skip reads padding away.
func (c *Call) skip() error {
	in := &c.in
	if in.r == in.w {
		if err := c.fill(); err != nil {
			return err
		}
	}
	n := min(in.pad, in.w-in.r)
	in.r += n
	in.pad -= n
	return nil
}

// ahead returns the next n bytes, n at most a frame with its head, without taking them.
func (c *Call) ahead(n int) ([]byte, error) {
	in := &c.in
	for in.w-in.r < n {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	return in.buf[in.r : in.r+n], nil
}

// fill reads more, behind what is there. It is the one place where the receiver waits, and answers go out before.
func (c *Call) fill() error {
	in := &c.in
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w]) // usually nothing is left
		in.r = 0
	}
	if err := c.settle(); err != nil {
		return err
	}
	if in.polled && (in.short || in.reads == pollReads) {
		in.reads, in.short = 0, false // what has come meanwhile the next Poll finds
		c.waiting.Store(in.readAt)
		return errEmpty
	}
	now := c.now()
	if now-in.countedAt > time.Second {
		in.countedAt, in.futile = now, 0
	}
	in.readAt = int64(now) | 1 // 0 means nobody
	c.waiting.Store(in.readAt)
	room := in.buf[in.w:]
	read := c.conn.Read
	if in.substituted && !in.patient {
		read = c.conn.(*pooled).tryRead
	}
	in.patient = false
	n, err := read(room)
	if err == errEmpty {
		in.reads = 0
		return err
	}
	c.waiting.Store(0)
	in.w += n
	if n > 0 || err == nil {
		if in.polled {
			in.reads, in.short = in.reads+1, n < len(room)
		}
		return nil
	}
	return c.cut(err)
}

// settle looks at the other half's state: the call may have ended, and answers may wait.
func (c *Call) settle() error {
	c.mu.Lock()
	end, waiting, over := c.end, len(c.out.answers) > 0, c.out.overflow
	if c.out.moved {
		// Servers ask for a PING and give credit with each message that they get.
		c.in.futile, c.out.moved = 0, false
	}
	c.mu.Unlock()
	switch {
	case end != nil:
		return end
	case over:
		return c.refuse(http2.ErrCodeEnhanceYourCalm, codes.ResourceExhausted, "h2: the peer asks and does not read")
	case waiting && (!c.in.polled || c.in.patient):
		c.flush()
	}
	return nil
}

// cut says how the call ended, now that the connection did.
func (c *Call) cut(err error) error {
	text := c.reading() + err.Error()
	if a := &c.in.away; a.told {
		return c.finish(status.Errorf(codes.Unavailable, "closing transport due to: %v, received prior goaway: %v", lostText(text), a), false)
	}
	return c.finish(lost(text), false)
}

// reading is what an error of the connection was met at.
func (c *Call) reading() string {
	peer := "server"
	if c.server {
		peer = "client"
	}
	if c.in.first {
		return "error reading " + peer + " preface: "
	}
	return "error reading from " + peer + ": "
}

// refuse ends the call because of what the peer sent.
func (c *Call) refuse(code http2.ErrCode, of codes.Code, format string, args ...any) error {
	err := status.Errorf(of, format, args...)
	c.abort(code, err)
	return c.finish(err, true) // it may have ended before, by Close
}
