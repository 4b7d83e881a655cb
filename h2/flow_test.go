package h2_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"edged/h2"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// model is a peer that keeps the books of flow control as RFC 9113 tells it, and gives credit as it likes.
type model struct {
	*peer
	rnd                   *rand.Rand
	conn, stream, initial int64
	frame                 uint32

	mu    sync.Mutex // guards the numbers above and what follows
	got   []byte
	acks  int   // that are missing
	slack int64 // by which windows shrank that may not know it yet
	over  bool
}

// step changes a window or a setting. What is granted counts once it is written; a smaller frame once it is
// acknowledged, so frames only grow here.
func (m *model) step() error {
	switch m.rnd.IntN(6) {
	case 0:
		v := uint32(m.rnd.IntN(100000))
		m.stream += int64(v) - m.initial
		m.initial = int64(v)
		m.acks++
		return m.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: v})
	case 1:
		m.frame = max(m.frame, 16384+uint32(m.rnd.IntN(50000)))
		m.acks++
		return m.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: m.frame})
	case 2, 3:
		n := 1 + m.rnd.IntN(60000)
		m.conn += int64(n)
		return m.fr.WriteWindowUpdate(0, uint32(n))
	}
	n := 1 + m.rnd.IntN(60000)
	m.stream += int64(n)
	return m.fr.WriteWindowUpdate(1, uint32(n))
}

// book records what came. Until the acknowledgement of a smaller window the old one counts, which slack makes up for.
func (m *model) book(f http2.Frame) (over bool, err error) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if m.acks--; m.acks == 0 {
			m.slack = 0
		}
	case *http2.DataFrame:
		n := int64(len(f.Data()))
		m.conn -= n
		m.stream -= n
		if m.conn < 0 || m.stream+m.slack < 0 || uint32(n) > m.frame {
			return false, fmt.Errorf("%d bytes leave windows of %d and %d with %d of slack, frames are %d", n, m.conn, m.stream, m.slack, m.frame)
		}
		m.got = append(m.got, f.Data()...)
		return f.StreamEnded(), nil
	}
	return false, nil
}

// run plays until the other side has said all.
func (m *model) run() error {
	for i := 0; ; i++ {
		m.mu.Lock()
		before := m.stream
		err := m.step()
		m.slack += max(before-m.stream, 0)
		over := m.over
		m.mu.Unlock()
		if err != nil || over {
			return err
		}
		time.Sleep(time.Duration(m.rnd.IntN(500)) * time.Microsecond) // so that it uses some of what it got
	}
}

func (m *model) listen() error {
	for {
		f, err := m.fr.ReadFrame()
		m.mu.Lock()
		over := false
		if err == nil {
			over, err = m.book(f)
		}
		m.over = over || err != nil
		m.mu.Unlock()
		if over || err != nil {
			return err
		}
	}
}

// Whatever the peer grants and sets, not a byte is sent beyond it, and every message arrives.
func TestWindowModel(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { within(t, "the model", func() { playModel(t, seed) }) })
	}
}

func playModel(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	var want []byte
	var sent [][]byte
	for i := range 60 {
		body := pattern(i, rnd.IntN(1+rnd.IntN(80000)))
		sent = append(sent, body)
		want = append(want, message(string(body))...)
	}
	c := script(t, options(), func(p *peer) error {
		m := &model{peer: p, rnd: rand.New(rand.NewPCG(seed, 4)), conn: 65535, stream: 65535, initial: 65535, frame: 16384}
		p.fr.SetMaxReadFrameSize(1 << 20)
		if err := p.ok(); err != nil {
			return err
		}
		listened := make(chan error, 1)
		go func() { listened <- m.listen() }()
		err := m.run()
		if err := errors.Join(err, <-listened); err != nil {
			return err
		}
		if !bytes.Equal(m.got, want) {
			return fmt.Errorf("%d bytes came of %d, or others", len(m.got), len(want))
		}
		return p.trailers("grpc-status", "0")
	})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Recv(nil)
		ended <- err
	}()
	for i, b := range sent {
		if err := c.Send(b); err != nil {
			t.Errorf("send %d: %v", i, err)
			break
		}
	}
	if err := c.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

// Credit comes in time for a peer that never sends beyond its window, and in large steps.
func TestCredit(t *testing.T) {
	o := options()
	o.Window = 65535
	const total, body = 4 << 20, 1 << 20
	c := script(t, o, func(p *peer) error {
		if err := p.ok(); err != nil {
			return err
		}
		conn, stream, updates := int64(65535), int64(65535), 0
		rest := []byte{}
		for range total / body {
			rest = append(rest, message(string(make([]byte, body)))...)
		}
		for len(rest) > 0 {
			if n := min(16384, conn, stream, int64(len(rest))); n > 0 {
				if err := p.fr.WriteData(1, false, rest[:n]); err != nil {
					return err
				}
				rest, conn, stream = rest[n:], conn-n, stream-n
				continue
			}
			f, err := p.fr.ReadFrame()
			if err != nil {
				return err
			}
			if u, ok := f.(*http2.WindowUpdateFrame); ok {
				updates++
				if u.StreamID == 0 {
					conn += int64(u.Increment)
				} else {
					stream += int64(u.Increment)
				}
				if conn > 65535 || stream > 65535 {
					return fmt.Errorf("windows of %d and %d", conn, stream)
				}
			}
		}
		if most := 2*total/(65535/2) + 4; updates > most {
			return fmt.Errorf("%d updates, more than %d", updates, most)
		}
		return p.trailers("grpc-status", "0")
	})
	within(t, "the messages", func() {
		if got, err := drain(c); err != io.EOF || len(got) != total/body {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}

// Neither a window nor a full socket keeps a waiting Send when the call ends.
func TestSendIsFreed(t *testing.T) {
	for _, window := range []uint32{0, 1 << 30} {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("window %d, closed %v", window, closes), func(t *testing.T) {
				full := make(chan struct{})
				c := script(t, options(), func(p *peer) error {
					if window > 0 {
						_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
						_ = p.fr.WriteWindowUpdate(0, window)
					}
					if err := p.ok(); err != nil {
						return err
					}
					<-full
					return nil
				})
				received := make(chan error, 1)
				go func() {
					_, err := c.Recv(nil)
					received <- err
				}()
				time.AfterFunc(50*time.Millisecond, func() {
					if closes {
						c.Close()
					}
					close(full)
				})
				within(t, "Send", func() {
					var err error
					for b := make([]byte, 1<<20); err == nil; {
						err = c.Send(b)
					}
					if end := <-received; closes && (status.Code(err) != codes.Canceled || status.Code(end) != codes.Canceled) ||
						!closes && (err != io.EOF || status.Code(end) != codes.Unavailable) {
						t.Errorf("send: %v, receive: %v", err, end)
					}
				})
			})
		}
	}
}

// Messages come although our own side is stuck in a full socket, and PINGs are answered once it is not.
func TestAnswersBehindFullSocket(t *testing.T) {
	c := script(t, options(), func(p *peer) error {
		_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		_ = p.fr.WriteWindowUpdate(0, 1<<30)
		if err := p.ok(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond) // the socket fills up
		for i := range 50 {
			if err := p.fr.WritePing(false, [8]byte{byte(i)}); err != nil {
				return err
			}
			if err := p.fr.WriteData(1, false, message("x")); err != nil {
				return err
			}
		}
		for n := 0; n < 50; {
			f, err := p.fr.ReadFrame()
			if err != nil {
				return err
			}
			if f, ok := f.(*http2.PingFrame); ok {
				if !f.IsAck() || f.Data[0] != byte(n) {
					return fmt.Errorf("%v instead of answer %d", f, n)
				}
				n++
			}
		}
		return p.trailers("grpc-status", "0")
	})
	go func() {
		for b := make([]byte, 1<<20); c.Send(b) == nil; {
		}
	}()
	within(t, "the answers", func() {
		if got, err := drain(c); err != io.EOF || len(got) != 50 {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}

// A peer that asks and asks and does not read is let go; until then it costs a bounded number of bytes.
func TestAsksAndDoesNotRead(t *testing.T) {
	c := script(t, options(), func(p *peer) error {
		if err := p.ok(); err != nil {
			return err
		}
		ping := []byte("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678")
		many := append(bytes.Repeat(ping, 4000), "\x00\x00\x06\x00\x00\x00\x00\x00\x01"...)
		many = append(many, message("x")...)
		for {
			if _, err := p.Write(many); err != nil {
				return nil
			}
		}
	})
	within(t, "the end", func() {
		_, err := drain(c)
		if status.Code(err) != codes.ResourceExhausted && status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	o := options()
	o.KeepAlive, o.KeepAliveTimeout = 20*time.Millisecond, 100*time.Millisecond
	t.Run("silent", func(t *testing.T) {
		c := script(t, o, func(p *peer) error { return p.untilClosed() })
		within(t, "the end", func() {
			_, err := c.Recv(nil)
			if status.Code(err) != codes.Unavailable || textOf(err) != `connection error: desc = "keepalive ping failed to receive ACK within timeout"` {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("answers", func(t *testing.T) {
		c := script(t, o, func(p *peer) error {
			for n := 0; n < 5; {
				f, err := p.fr.ReadFrame()
				if err != nil {
					return err
				}
				if f, ok := f.(*http2.PingFrame); ok {
					n++
					if err := p.fr.WritePing(true, f.Data); err != nil {
						return err
					}
				}
			}
			return p.head(true, ":status", "200", "content-type", "application/grpc", "grpc-status", "0")
		})
		within(t, "the end", func() {
			if _, err := c.Recv(nil); err != io.EOF {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("nobody listens", func(t *testing.T) {
		c := script(t, o, func(p *peer) error {
			if err := p.ok(); err != nil {
				return err
			}
			return p.fr.WriteData(1, false, message("x"))
		})
		time.Sleep(300 * time.Millisecond)
		if b, err := c.Recv(nil); err != nil || string(b) != "x" {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

// mirror sends back what it gets: DATA becomes messages, credit becomes credit.
func mirror(p *peer) error {
	err := errors.Join(
		p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}),
		p.fr.WriteWindowUpdate(0, 1<<30),
		p.ok(),
	)
	if err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for {
		n, err := p.Read(b)
		if err != nil {
			return nil
		}
		if _, err := p.Write(b[:n]); err != nil {
			return nil
		}
	}
}

func TestAllocations(t *testing.T) { tripsAllocateNothing(t, script(t, options(), mirror)) }

// tripsAllocateNothing has messages of several sizes come back over a call, whose peer may be in this process too.
func tripsAllocateNothing(t *testing.T, c *h2.Call) {
	t.Helper()
	for _, size := range []int{0, 200, 12000, 40000} {
		body := make([]byte, size)
		var b []byte
		trip := func() {
			err := c.Send(body)
			if err == nil {
				b, err = c.Recv(b)
			}
			if err != nil || len(b) != size {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
		}
		for range 100 {
			trip()
		}
		if n := testing.AllocsPerRun(500, trip); n > 0 {
			t.Errorf("%d bytes: %v allocations", size, n)
		}
	}
}

// Whatever bytes come, a call ends with an error or goes on within its bounds.
func FuzzRecv(f *testing.F) {
	ok := "\x00\x00\x14\x01\x04\x00\x00\x00\x01\x88\x0f\x10\x10application/grpc"
	f.Add([]byte(ok + "\x00\x00\x06\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01x"))
	f.Add([]byte(ok + "\x00\x00\x00\x00\x08\x00\x00\x00\x01"))
	f.Add([]byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00" + ok + "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"))
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x08"))
	f.Add([]byte("\x00\x00\x05\x01\x29\x00\x00\x00\x01\x04abcd\x00\x00\x00\x09\x04\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := options()
		o.MaxMessage = 1000
		c := script(t, o, func(p *peer) error {
			_, _ = p.Write(b)
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			return p.untilClosed()
		})
		got, err := drain(c)
		for _, m := range got {
			if len(m) > o.MaxMessage || len(m) > len(b) {
				t.Errorf("a message of %d bytes out of %d", len(m), len(b))
			}
		}
		if _, ok := status.FromError(err); !ok && err != io.EOF {
			t.Errorf("no status: %v", err)
		}
		c.Close()
	})
}
