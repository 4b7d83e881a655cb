//go:build e2e

package tests

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edged/wire"
)

// client is a client of the gateway on one connection. One goroutine may read while others write.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	link string // its link ID, after login

	wrote atomic.Int64 // bytes
	read  int          // bytes; the reader's
}

// frame is one frame of the gateway; kind 0 is the heartbeat's answer.
type frame struct {
	kind wire.Kind
	rest []byte
}

// connect opens a connection to a listener as the ready line names it.
func connect(address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	return net.DialTimeout(network, address, patience)
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	c := must(newClient(address))(t)
	c.t = t
	t.Cleanup(c.close)
	return c
}

// newClient is dial for goroutines that are not the test's: close is theirs.
func newClient(address string) (*client, error) {
	conn, err := connect(address)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// write sends bytes as they are.
func (c *client) write(b []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	n, err := c.conn.Write(b)
	c.wrote.Add(int64(n))
	return err
}

func (c *client) send(k wire.Kind, rest []byte) error { return c.write(wire.Append(nil, k, rest)) }

// next reads one frame, and checks that a gateway may send such a one.
func (c *client) next(limit time.Duration) (frame, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return frame{}, err
	}
	var head [wire.HeadLen]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return frame{}, err
	}
	body := make([]byte, int(head[0])<<8|int(head[1]))
	if _, err := io.ReadFull(c.r, body); err != nil {
		return frame{}, fmt.Errorf("in a frame of %d bytes: %w", len(body), errors.Join(err, io.ErrUnexpectedEOF))
	}
	c.read += len(head) + len(body)
	if len(body) == 0 {
		return frame{}, nil
	}
	if err := wire.CheckGateway(body); err != nil {
		return frame{}, fmt.Errorf("a %v frame of the gateway: %w", wire.Kind(body[0]), err)
	}
	return frame{wire.Kind(body[0]), body[1:]}, nil
}

// expect reads one frame, which must be of kind k.
func (c *client) expect(k wire.Kind) ([]byte, error) {
	f, err := c.next(patience)
	switch {
	case err != nil:
		return nil, fmt.Errorf("while waiting for %v: %w", k, err)
	case f.kind == wire.KindBye && k != wire.KindBye:
		b := wire.ParseBye(f.rest)
		return nil, fmt.Errorf("BYE %v %q instead of %v", b.Reason, b.Text, k)
	case f.kind != k:
		return nil, fmt.Errorf("%v of %d bytes instead of %v", f.kind, len(f.rest), k)
	}
	return f.rest, nil
}

// exchange sends DATA and waits for its echo.
func (c *client) exchange(payload []byte) error {
	if err := c.send(wire.KindData, payload); err != nil {
		return err
	}
	got, err := c.expect(wire.KindData)
	if err == nil && string(got) != string(payload) {
		err = fmt.Errorf("%d bytes came back changed, as %d", len(payload), len(got))
	}
	return err
}

// login says hello as a device of a user and waits for the WELCOME.
func (c *client) login(who string) (w wire.Welcome, err error) {
	if err := c.send(wire.KindHello, []byte(who)); err != nil {
		return w, err
	}
	rest, err := c.expect(wire.KindWelcome)
	if err != nil {
		return w, err
	}
	if w, err = wire.ParseWelcome(rest); err == nil {
		c.link = string(w.LinkID)
	}
	return w, err
}

// dialIn is dial and login.
func dialIn(t *testing.T, address, who string) *client {
	t.Helper()
	c := dial(t, address)
	must(c.login(who))(t)
	return c
}

// dialNarrow is dialIn with a receive buffer of a few KiB, so that little goes out to a client that does not read. It must be
// set before the connection is made: a window once offered is not taken back.
func dialNarrow(t *testing.T, address, who string) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		called := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
		return errors.Join(called, err)
	}}
	conn := must(d.Dial("tcp", address))(t)
	c := &client{t: t, conn: conn, r: bufio.NewReaderSize(conn, 1<<10)}
	t.Cleanup(c.close)
	must(c.login(who))(t)
	return c
}

// want is expect in the test's own goroutine.
func (c *client) want(k wire.Kind) []byte {
	c.t.Helper()
	return must(c.expect(k))(c.t)
}

// wantBye reads up to a BYE for that reason and the end of the stream behind it.
func (c *client) wantBye(r wire.Reason) wire.Bye {
	c.t.Helper()
	b, err := c.readToBye()
	check(c.t, err)
	if b.Reason != r {
		c.t.Fatalf("BYE %v %q, want %v", b.Reason, b.Text, r)
	}
	return b
}

// readToBye reads up to a BYE and the end of the stream behind it.
func (c *client) readToBye() (wire.Bye, error) {
	for {
		f, err := c.next(patience)
		if err != nil {
			return wire.Bye{}, fmt.Errorf("instead of a BYE: %w", err)
		}
		if f.kind != wire.KindBye {
			continue
		}
		b := wire.ParseBye(f.rest)
		if _, err := c.next(patience); err != io.EOF {
			return b, fmt.Errorf("after BYE %v: %v, want the end of the stream", b.Reason, err)
		}
		return b, nil
	}
}
