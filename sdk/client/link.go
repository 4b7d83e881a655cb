package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"edged/wire"
)

// farewell bounds what is written once a link is ending.
const farewell = time.Second

// errReader says that the reader's own error tells why the link ended.
var errReader = errors.New("client: reader ended")

// link is one connection. Two goroutines share it: the life-cycle's, which writes and watches the time (run), and the
// reader (read), which run starts and oneLink waits for.
type link struct {
	c    *Client  // static
	conn net.Conn // static

	// Owned by the reader until it has closed ended.
	err     error // why it ended
	in      []byte
	tids    tids
	inflate inflater
	scratch []byte
	upAt    time.Time // WELCOME

	// Owned by the writer.
	out       []byte
	sent      time.Time     // when something was written last
	probed    time.Time     // when the gateway was first asked for a sign of life since it gave the last one
	heartbeat time.Duration // known from WELCOME on, like idle
	idle      time.Duration

	// Between the two.
	heard   atomic.Int64      // when something was read last, since start
	start   time.Time         // static
	hurry   atomic.Bool       // the reader has ended, or Close was called: no write may take longer than farewell
	welcome chan wire.Welcome // room for one; LinkID is not to be read
	ended   chan struct{}     // closed by the reader
}

func newLink(c *Client, conn net.Conn) *link {
	now := time.Now()
	return &link{c: c, conn: conn, start: now, sent: now, welcome: make(chan wire.Welcome, 1), ended: make(chan struct{})}
}

// run is the writer's side of a link, from HELLO to its end.
func (l *link) run(ctx context.Context, loginEnd time.Time) error {
	l.c.out.newLink()
	synced := l.c.record.newLink()
	go l.read()
	unhook := context.AfterFunc(ctx, l.hasten)
	defer unhook()
	if err := l.login(ctx, loginEnd, synced); err != nil {
		return err
	}
	timer := time.NewTimer(time.Until(l.due()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.leave()
		case <-l.ended:
			return l.refuse()
		case <-l.c.out.ready:
			if err := l.flush(true); err != nil {
				return err
			}
		case <-timer.C:
			if err := l.tick(time.Now()); err != nil {
				return err
			}
		}
		timer.Reset(time.Until(l.due()))
	}
}

// login says HELLO and waits for WELCOME.
func (l *link) login(ctx context.Context, end time.Time, synced uint64) error {
	if !l.c.o.NoHello {
		hello, err := l.c.o.hello(l.c.LinkID(), synced)
		if err != nil {
			return err
		}
		if err := l.write(wire.Append(nil, wire.KindHello, hello)); err != nil {
			return err
		}
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.leave()
		case <-l.ended:
			return l.refuse()
		case <-timer.C:
			return ErrLoginTimeout
		case <-l.c.out.ready:
			if err := l.flush(false); err != nil {
				return err
			}
		case w := <-l.welcome:
			l.heartbeat = firstOf(l.c.o.Heartbeat, w.Heartbeat, l.c.route.heartbeat, defaultHeartbeat)
			l.idle = firstOf(l.c.o.IdleTimeout, w.IdleTimeout, defaultIdle)
			l.c.out.welcome(w.MaxFrame)
			return nil
		}
	}
}

func firstOf(choices ...time.Duration) time.Duration {
	for _, d := range choices {
		if d > 0 {
			return d
		}
	}
	return 0
}

// flush writes what waits; the data too once the link is up.
func (l *link) flush(data bool) error {
	var dropped int
	l.out, dropped = l.c.out.take(l.out[:0], data)
	l.c.count.tooLong.Add(uint64(dropped))
	if len(l.out) == 0 {
		return nil
	}
	return l.write(l.out)
}

func (l *link) write(b []byte) error {
	limit := firstOf(l.idle, defaultIdle)
	_ = l.conn.SetWriteDeadline(time.Now().Add(limit))
	if l.hurry.Load() {
		_ = l.conn.SetWriteDeadline(time.Now().Add(farewell))
	}
	if _, err := l.conn.Write(b); err != nil {
		return l.broken(err)
	}
	l.sent = time.Now()
	return nil
}

// broken says why the link ended when a write failed. A BYE that came before tells more than a broken pipe, and when to come
// back: the reader, which may not have got to it yet, is given a moment.
func (l *link) broken(err error) error {
	moment := farewell
	if errors.Is(err, os.ErrDeadlineExceeded) {
		moment = time.Millisecond // the reader has ended, or has nothing to tell
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-l.ended:
		return errReader
	case <-timer.C:
	}
	return fmt.Errorf("client: write: %w", err)
}

// hasten lets no write take longer than farewell any more.
func (l *link) hasten() {
	l.hurry.Store(true)
	_ = l.conn.SetWriteDeadline(time.Now().Add(farewell))
}

func (l *link) lastHeard() time.Time { return l.start.Add(time.Duration(l.heard.Load())) }

// due is when tick has something to do, if nothing happens until then.
func (l *link) due() time.Time {
	at := l.sent.Add(l.heartbeat)
	heard := l.lastHeard()
	var silence time.Time
	if l.probed.After(heard) {
		silence = l.lostAt(heard)
	} else {
		silence = heard.Add(l.heartbeat)
	}
	if silence.Before(at) {
		return silence
	}
	return at
}

// lostAt is when the link counts as broken if nothing is heard; the gateway has a fair time to answer in any case.
func (l *link) lostAt(heard time.Time) time.Time {
	at := heard.Add(l.idle)
	if fair := l.probed.Add(max(l.idle-l.heartbeat, l.idle/8)); fair.After(at) {
		return fair
	}
	return at
}

// tick sends a heartbeat when nothing was sent for its interval, asks a gateway from which nothing was heard for as long,
// and gives up on one that does not answer.
func (l *link) tick(now time.Time) error {
	heard := l.lastHeard()
	asked := l.probed.After(heard)
	if asked && !now.Before(l.lostAt(heard)) {
		return ErrSilent
	}
	switch {
	case !now.Before(l.sent.Add(l.heartbeat)):
		l.c.count.heartbeats.Add(1)
		l.out = wire.AppendHeartbeat(l.out[:0])
	case !asked && !now.Before(heard.Add(l.heartbeat)):
		l.c.count.pings.Add(1)
		l.out = wire.AppendPing(l.out[:0], uint32(now.Sub(l.start)/time.Millisecond))
	default:
		return nil
	}
	if !asked {
		l.probed = now
	}
	return l.write(l.out)
}

// leave ends the link in order: all that waits, BYE, the end of our side, and the gateway's.
func (l *link) leave() error {
	up := l.heartbeat > 0
	l.hasten()
	l.out, _ = l.c.out.take(l.out[:0], up)
	l.out = wire.AppendBye(l.out, wire.ByeNormal, 0, "")
	if err := l.write(l.out); err != nil {
		return err
	}
	// Closing at once would reset the stream if anything is still unread, and the gateway might never see the last bytes.
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		timer := time.NewTimer(farewell)
		defer timer.Stop()
		select {
		case <-l.ended:
		case <-timer.C:
		}
	}
	return nil
}

// refuse tells a gateway that breaks the protocol why the link ends.
func (l *link) refuse() error {
	if errors.Is(l.err, ErrProtocol) {
		_ = l.write(wire.AppendBye(nil, wire.ByeProtocol, 0, ""))
	}
	return errReader
}
