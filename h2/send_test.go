package h2

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// cutConn takes some writes whole and then none. During each write a PING asks for an answer.
type cutConn struct {
	net.Conn
	call *Call
	left int
	got  int
}

func (c *cutConn) Write(p []byte) (int, error) {
	c.call.mu.Lock()
	c.call.answer(http2.FramePing, http2.FlagPingAck, 0, 1, 2)
	c.call.mu.Unlock()
	if c.left == 0 {
		return 0, errors.New("cut")
	}
	c.left--
	c.got += len(p)
	return len(p), nil
}

func (c *cutConn) try(p []byte) (int, error) { return c.Write(p) }

// Send returns an error only if the peer cannot get the message: not when an answer behind it is lost.
func TestSendTellsOfTheMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	tcp, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	for left, want := range []error{io.EOF, nil} {
		c, err := newCall(tcp, Options{Window: firstWindow, MaxMessage: 1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		conn := &cutConn{Conn: tcp, call: c, left: left}
		c.conn = conn
		if err := c.Send(make([]byte, 100)); err != want {
			t.Errorf("%d writes succeed: %v, want %v", left, err, want)
		}
		if whole := headLen + prefixLen + 100; want == nil && conn.got != whole {
			t.Errorf("the peer got %d bytes, want %d", conn.got, whole)
		}
		if err := c.Send(make([]byte, 100)); err != io.EOF {
			t.Errorf("%d writes succeed: the next one returns %v", left, err)
		}
	}
}
