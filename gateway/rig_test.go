package gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"edged/gateway"
	"edged/relay"
	"edged/wire"
)

// patience bounds every wait for something that has to happen.
const patience = 5 * time.Second

// rig is a running gateway on loopback.
type rig struct {
	*gateway.Gateway
	t    *testing.T
	gone bool // handed over
	way  way
}

// options are a gateway's with these Managers, one reactor, and nothing that happens by itself within a test.
func options(managers ...string) gateway.Options {
	o := gateway.Options{
		Config:    gateway.Default(),
		Listeners: []gateway.Listener{gateway.DefaultListener()},
		Managers:  relay.Default(),
		Version:   "test",
		Files:     20000,
		Log:       slog.New(slog.DiscardHandler),
	}
	o.Config.Reactors = 1
	o.Config.Capacity = 1000
	o.Listeners[0].Address = "127.0.0.1:0"
	o.Managers.Addresses = managers
	o.Managers.Grace = 300 * time.Millisecond
	return o
}

// What it has is written down and looked at after each turn.
func start(t *testing.T, o gateway.Options) *rig {
	t.Helper()
	return startAs(t, kept(t, o))
}

func startAs(t *testing.T, o gateway.Options) *rig {
	t.Helper()
	if err := o.Config.Validate(); err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Gateway: g, t: t}
	if o.Keep != nil {
		g.WatchKept(t.Errorf)
	}
	g.Start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) stop() {
	if r.gone {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = r.Stop(ctx)
}

// total is the sum over the shards; a gateway that does not answer fails the test.
func (r *rig) total() (sum gateway.ShardStats) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := r.Stats(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range st.Shards {
		sum.Opened += s.Opened
		sum.Restored += s.Restored
		sum.Unkept += s.Unkept
		sum.Keep.Links += s.Keep.Links
		sum.Keep.Deposit.Added += s.Keep.Deposit.Added
		sum.Links += s.Links
		sum.Waiting += s.Waiting
		sum.Sessions += s.Sessions
		sum.Deadlines += s.Deadlines
		sum.Welcomed += s.Welcomed
		sum.Binds += s.Binds
		sum.Heartbeats += s.Heartbeats
		sum.UnknownAcks += s.UnknownAcks
		sum.Stalls += s.Stalls
		sum.Throttles += s.Throttles
		sum.Moved += s.Moved
		for i, n := range s.Ended {
			sum.Ended[i] += n
		}
		for i, n := range s.Refused {
			sum.Refused[i] += n
		}
		for i, n := range s.Refusals {
			sum.Refusals[i] += n
		}
		for i, n := range s.Undelivered {
			sum.Undelivered[i] += n
		}
		for i, n := range s.Dropped {
			sum.Dropped[i] += n
		}
		for i, n := range s.FramesIn {
			sum.FramesIn[i] += n
		}
	}
	return sum
}

// balanced fails the test unless every link that was opened is there or has ended for one reason, and holds what a link
// holds. It waits for what is just on its way: a connection that has ended before it was accepted becomes a link for a moment.
func (r *rig) balanced() {
	r.t.Helper()
	var st gateway.ShardStats
	ended := uint64(0)
	fits := func() bool {
		st, ended = r.total(), 0
		for _, n := range st.Ended {
			ended += n
		}
		return ended+uint64(st.Links) == st.Opened+st.Restored && st.Sessions <= st.Links && st.Deadlines == st.Links && r.Links() == st.Links
	}
	for end := time.Now().Add(time.Second); !fits(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Errorf("opened %d, ended %d, links %d (the gateway says %d), sessions %d, deadlines %d",
				st.Opened, ended, st.Links, r.Links(), st.Sessions, st.Deadlines)
			return
		}
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// client is a raw connection that speaks frames.
type client struct {
	t    *testing.T
	conn net.Conn
	in   []byte
	buf  [64 << 10]byte
	link string
}

func (r *rig) dial() *client {
	r.t.Helper()
	return dial(r.t, r.Addresses()[0])
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, conn: conn}
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) send(k wire.Kind, rest string) {
	c.t.Helper()
	c.write(wire.Append(nil, k, []byte(rest)))
}

// next returns the next frame's body, empty for a heartbeat's answer; err is io.EOF at the stream's end.
func (c *client) next(limit time.Duration) ([]byte, error) {
	for {
		body, n, err := wire.Split(c.in, wire.MaxBody)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			c.in = c.in[n:]
			return body, wire.CheckGateway(body)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(limit))
		got, err := c.conn.Read(c.buf[:])
		if err != nil {
			return nil, err
		}
		c.in = append(c.in[:len(c.in):len(c.in)], c.buf[:got]...)
	}
}

// expect returns the rest of the next frame, which has to be of kind k.
func (c *client) expect(k wire.Kind) []byte {
	c.t.Helper()
	body, err := c.next(patience)
	if err != nil {
		c.t.Fatalf("waiting for %v: %v", k, err)
	}
	if len(body) == 0 || wire.Kind(body[0]) != k {
		c.t.Fatalf("frame % x, not %v", head(body), k)
	}
	return body[1:]
}

func (c *client) expectData(want string) {
	c.t.Helper()
	if got := c.expect(wire.KindData); string(got) != want {
		c.t.Fatalf("DATA %q, not %q", head(got), want)
	}
}

// beat sends a heartbeat and waits for its answer.
func (c *client) beat() {
	c.t.Helper()
	c.write(wire.AppendHeartbeat(nil))
	if body, err := c.next(patience); err != nil || len(body) != 0 {
		c.t.Fatalf("instead of a heartbeat's answer: % x, %v", head(body), err)
	}
}

// bye expects a BYE of that reason and the stream's end behind it.
func (c *client) bye(want wire.Reason) wire.Bye {
	c.t.Helper()
	b := wire.ParseBye(bytes.Clone(c.expect(wire.KindBye)))
	if b.Reason != want {
		c.t.Fatalf("BYE %v (%s), not %v", b.Reason, b.Text, want)
	}
	c.eof()
	return b
}

func (c *client) eof() {
	c.t.Helper()
	if body, err := c.next(patience); err != io.EOF {
		c.t.Fatalf("instead of the stream's end: % x, %v", head(body), err)
	}
}

// quiet fails the test if anything comes within d.
func (c *client) quiet(d time.Duration) {
	c.t.Helper()
	if body, err := c.next(d); err == nil {
		c.t.Fatalf("unexpected frame % x", head(body))
	} else if e, ok := err.(net.Error); !ok || !e.Timeout() {
		c.t.Fatalf("unexpected end: %v", err)
	}
}

func (c *client) welcome() wire.Welcome {
	c.t.Helper()
	w, err := wire.ParseWelcome(c.expect(wire.KindWelcome))
	if err != nil {
		c.t.Fatal(err)
	}
	return w
}

func head(b []byte) []byte { return b[:min(len(b), 40)] }
