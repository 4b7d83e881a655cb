package client

import (
	"fmt"
	"time"

	"edged/wire"
)

// readBuffer is what a link reads into; longer frames make it grow.
const readBuffer = 4 << 10

// read is the reader's goroutine.
func (l *link) read() {
	defer close(l.ended)
	defer l.hasten()
	l.in = make([]byte, 0, readBuffer)
	for l.err == nil {
		n, err := l.conn.Read(l.in[len(l.in):cap(l.in)])
		if n > 0 {
			l.heard.Store(int64(time.Since(l.start)))
			l.in = l.in[:len(l.in)+n]
			l.err = l.frames()
			l.c.save()
		}
		if err != nil && l.err == nil {
			l.err = fmt.Errorf("client: read: %w", err)
		}
	}
}

// frames handles the whole frames at hand and keeps what is left, with room for all of the next one.
func (l *link) frames() error {
	rest := l.in
	for {
		body, n, _ := wire.Split(rest, wire.MaxBody) // no head can announce more
		if n == 0 {
			break
		}
		rest = rest[n:]
		if err := l.frame(body); err != nil {
			return err
		}
	}
	need := readBuffer
	if len(rest) >= wire.HeadLen {
		need = max(need, wire.HeadLen+int(rest[0])<<8+int(rest[1]))
	}
	if cap(l.in) < need {
		l.in = append(make([]byte, 0, need), rest...)
	} else {
		l.in = l.in[:copy(l.in[:cap(l.in)], rest)]
	}
	return nil
}

// frame handles one body; an empty one is the answer to a heartbeat.
func (l *link) frame(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	if err := wire.CheckGateway(body); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	rest := body[1:]
	switch wire.Kind(body[0]) {
	case wire.KindWelcome:
		return l.greeted(rest)
	case wire.KindData:
		l.data(rest)
	case wire.KindPush:
		return l.push(rest)
	case wire.KindPing:
		l.scratch = wire.AppendPong(l.scratch[:0], wire.ParsePing(rest))
		return l.control(l.scratch)
	case wire.KindBye:
		b := wire.ParseBye(rest)
		return &ByeError{b.Reason, b.RetryAfter, string(b.Text)}
	}
	return nil
}

// greeted handles WELCOME.
func (l *link) greeted(rest []byte) error {
	w, err := wire.ParseWelcome(rest)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if !l.upAt.IsZero() {
		return fmt.Errorf("%w: second welcome", ErrProtocol)
	}
	l.upAt = time.Now()
	l.c.welcomed(string(w.LinkID))
	l.welcome <- w
	return nil
}

func (l *link) data(payload []byte) {
	l.c.count.received.Add(1)
	if l.c.calls.answered(payload) || l.c.o.OnData == nil {
		return
	}
	l.c.o.OnData(payload)
}

// control queues a frame that the gateway asked for.
func (l *link) control(frame []byte) error {
	if !l.c.out.putControl(frame) {
		return ErrStalled
	}
	return nil
}
