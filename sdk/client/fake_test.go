package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/sdk/client"
	"edged/wire"
)

// wait bounds every wait for something that should happen. In a synctest bubble it passes at once.
const wait = 2 * time.Minute

// fake is a gateway that a test drives by hand, one link at a time.
type fake struct {
	t     testing.TB
	conns chan net.Conn
	down  sync.Once
	gone  chan struct{}
}

// newFake makes a gateway whose links are net.Pipes, so that time in a synctest bubble can pass.
func newFake(t testing.TB) *fake {
	return &fake{t: t, conns: make(chan net.Conn), gone: make(chan struct{})}
}

func (f *fake) dial(ctx context.Context, _, address string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case f.conns <- far:
		return near, nil
	case <-f.gone:
		return nil, errors.New("nobody at " + address)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// leave lets further dials fail.
func (f *fake) leave() { f.down.Do(func() { close(f.gone) }) }

// listen makes a gateway on a real socket.
func listen(t testing.TB, network, address string) (*fake, string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case f.conns <- c:
			case <-f.gone:
				_ = c.Close()
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close(); f.leave(); <-done })
	return f, l.Addr().String()
}

// peer is the gateway's side of one link.
type peer struct {
	t    testing.TB
	conn net.Conn
}

// accept waits for the next link.
func (f *fake) accept() *peer {
	f.t.Helper()
	select {
	case c := <-f.conns:
		f.t.Cleanup(func() { _ = c.Close() })
		return &peer{f.t, c}
	case <-time.After(wait):
		f.t.Fatal("no link came")
		return nil
	}
}

// welcomed waits for the next link and lets it in.
func (f *fake) welcomed() *peer {
	f.t.Helper()
	p := f.accept()
	p.want(wire.KindHello)
	p.welcome()
	return p
}

var usual = wire.Welcome{LinkID: []byte("192.0.2.7:8000:231:23"), Heartbeat: 25 * time.Second, IdleTimeout: 30 * time.Second, MaxFrame: 65535}

func (p *peer) welcome() { p.t.Helper(); p.send(wire.AppendWelcome(nil, usual)) }

func (p *peer) send(b []byte) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(wait))
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

func (p *peer) data(payload string) {
	p.t.Helper()
	p.send(wire.Append(nil, wire.KindData, []byte(payload)))
}

// next reads a frame within the limit: its body, or why there is none.
func (p *peer) next(limit time.Duration) ([]byte, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(limit))
	head := make([]byte, wire.HeadLen)
	if _, err := io.ReadFull(p.conn, head); err != nil {
		return nil, err
	}
	body := make([]byte, int(head[0])<<8|int(head[1]))
	_, err := io.ReadFull(p.conn, body)
	return body, err
}

// want reads a frame of that kind and returns its rest.
func (p *peer) want(k wire.Kind) []byte {
	p.t.Helper()
	body, err := p.next(wait)
	if err != nil {
		p.t.Fatalf("want %v: %v", k, err)
	}
	if len(body) == 0 || wire.Kind(body[0]) != k {
		p.t.Fatalf("want %v, got %x", k, body)
	}
	if err := wire.CheckClient(body); err != nil {
		p.t.Fatalf("%v: %v", k, err)
	}
	return body[1:]
}

func (p *peer) wantHeartbeat() {
	p.t.Helper()
	if body, err := p.next(wait); err != nil || len(body) != 0 {
		p.t.Fatalf("want a heartbeat, got %x, %v", body, err)
	}
}

// wantEnd reads what may still come until the client has ended the link.
func (p *peer) wantEnd() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(wait))
	if _, err := io.Copy(io.Discard, p.conn); err != nil {
		p.t.Fatalf("want the end: %v", err)
	}
}

func (p *peer) bye(r wire.Reason, after time.Duration, text string) {
	p.t.Helper()
	p.send(wire.AppendBye(nil, r, after, text))
	_ = p.conn.Close()
}

// log gathers what callbacks are told.
type log struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newLog() *log { return &log{more: make(chan struct{}, 1000)} }

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	l.mu.Unlock()
	l.more <- struct{}{}
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "; ")
}

// want waits until so many lines have come and compares them all.
func (l *log) want(t testing.TB, lines ...string) {
	t.Helper()
	limit := time.After(wait)
	for {
		l.mu.Lock()
		n := len(l.lines)
		l.mu.Unlock()
		if n >= len(lines) {
			break
		}
		select {
		case <-l.more:
		case <-limit:
			t.Fatalf("got %q, want %q", l, lines)
		}
	}
	if got := l.String(); got != strings.Join(lines, "; ") {
		t.Fatalf("got %q, want %q", got, lines)
	}
}

// options are those of a client of f whose callbacks write into the log.
func options(f *fake, l *log) client.Options {
	return client.Options{
		Addresses: []string{"gate:1"}, User: "42", Device: "phone", Token: "secret", Dial: f.dial,
		OnData:  func(b []byte) { l.add("data %s", b) },
		OnPush:  func(p client.Push) { l.add("push %d %s", p.TID, p.Payload) },
		OnState: func(s client.State, err error) {},
	}
}

func newClient(t testing.TB, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func wantDone(t testing.TB, c *client.Client) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(wait):
		t.Fatal("the client is not done")
	}
}
