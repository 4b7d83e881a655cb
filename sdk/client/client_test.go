package client_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/client"
	"edged/wire"
)

func TestLoginAndTalk(t *testing.T) {
	unix := filepath.Join(t.TempDir(), "gate.sock")
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": unix} {
		t.Run(network, func(t *testing.T) {
			f, at := listen(t, network, address)
			if network == "unix" {
				at = "unix:" + at
			}
			l := newLog()
			o := options(f, l)
			o.Addresses, o.Dial, o.Synced = []string{at}, nil, func() uint64 { return 7 }
			done := make(chan *client.Client)
			go func() {
				c, err := client.Dial(context.Background(), o)
				if err != nil {
					t.Error(err)
				}
				done <- c
			}()
			p := f.accept()
			var h edgedpb.Hello
			if err := proto.Unmarshal(p.want(wire.KindHello), &h); err != nil {
				t.Fatal(err)
			}
			if h.User != "42" || h.Device != "phone" || h.Token != "secret" || h.SyncedVersion != 7 || h.Sdk == "" || h.Resume != "" {
				t.Errorf("hello %v", &h)
			}
			p.welcome()
			c := <-done
			if c.State() != client.Up || c.LinkID() != string(usual.LinkID) {
				t.Errorf("%v, %q", c.State(), c.LinkID())
			}
			if err := c.Send([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			if got := p.want(wire.KindData); string(got) != "ping" {
				t.Errorf("sent %q", got)
			}
			p.data("pong")
			l.want(t, "data pong")
			wantFarewell(t, c, p)
		})
	}
}

// wantFarewell closes a client and looks at what it still says.
func wantFarewell(t *testing.T, c *client.Client, p *peer) {
	t.Helper()
	_ = c.Send([]byte("last words"))
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	if got := p.want(wire.KindData); string(got) != "last words" {
		t.Errorf("sent %q", got)
	}
	if b := wire.ParseBye(p.want(wire.KindBye)); b.Reason != wire.ByeNormal {
		t.Errorf("bye %v", b.Reason)
	}
	p.wantEnd()
	_ = p.conn.Close()
	<-closed
	if err := c.Send(nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	if c.State() != client.Closed || c.Err() != nil {
		t.Errorf("%v, %v", c.State(), c.Err())
	}
}

func TestHelloOfTheApplication(t *testing.T) {
	f := newFake(t)
	o := options(f, newLog())
	o.Hello = []byte("alice phone")
	newClient(t, o)
	if got := f.accept().want(wire.KindHello); string(got) != "alice phone" {
		t.Errorf("hello %q", got)
	}
}

func TestNoHello(t *testing.T) {
	f := newFake(t)
	o := options(f, newLog())
	o.NoHello = true
	c := newClient(t, o)
	_ = c.Send([]byte("first"))
	p := f.accept()
	p.welcome()
	if got := p.want(wire.KindData); string(got) != "first" {
		t.Errorf("first frame %q", got)
	}
}

func TestFramesCutAnywhere(t *testing.T) {
	f := newFake(t)
	l := newLog()
	newClient(t, options(f, l))
	p := f.accept()
	p.want(wire.KindHello)
	big := strings.Repeat("x", wire.MaxRest)
	b := wire.AppendWelcome(nil, usual)
	b = wire.Append(b, wire.KindData, []byte("one"))
	b = wire.AppendHeartbeat(b)
	b = wire.Append(b, wire.KindData, []byte("two"))
	for i := range b {
		p.send(b[i : i+1])
	}
	p.send(append(wire.Append(nil, wire.KindData, []byte(big)), wire.Append(nil, wire.KindData, []byte("three"))...))
	l.want(t, "data one", "data two", "data "+big, "data three")
}

// Before WELCOME nothing but HELLO and PONG may be sent.
func TestNothingIsSentBeforeWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		_ = c.Send([]byte("early"))
		p := f.accept()
		p.want(wire.KindHello)
		p.send(wire.AppendPing(nil, 5))
		if v := wire.ParsePing(p.want(wire.KindPong)); v != 5 {
			t.Errorf("pong %d", v)
		}
		if body, err := p.next(10 * time.Second); err == nil {
			t.Errorf("sent %x before welcome", body)
		}
		p.welcome()
		if got := p.want(wire.KindData); string(got) != "early" {
			t.Errorf("sent %q", got)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		o.QueueBytes = 1000
		c := newClient(t, o)
		n := 0
		for ; n < 100; n++ {
			if err := c.Send(make([]byte, 97)); err != nil {
				if !errors.Is(err, client.ErrFull) {
					t.Fatal(err)
				}
				break
			}
		}
		if n != 10 {
			t.Errorf("%d frames of 100 bytes fit 1000", n)
		}
		p := f.welcomed()
		for range n {
			p.want(wire.KindData)
		}
		if err := c.Send(make([]byte, 5000)); err != nil { // one message always fits
			t.Error(err)
		}
		p.want(wire.KindData)
	})
}

func TestMaxFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		for _, n := range []int{99, 100, 50} { // the second is longer than what WELCOME will allow
			_ = c.Send(make([]byte, n))
		}
		p := f.accept()
		p.want(wire.KindHello)
		w := usual
		w.MaxFrame = 100
		p.send(wire.AppendWelcome(nil, w))
		if a, b := len(p.want(wire.KindData)), len(p.want(wire.KindData)); a != 99 || b != 50 {
			t.Errorf("frames with %d and %d bytes", a, b)
		}
		if err := c.Send(make([]byte, 100)); !errors.Is(err, client.ErrTooLong) {
			t.Errorf("Send: %v", err)
		}
		if s := c.Stats(); s.TooLong != 1 {
			t.Errorf("%+v", s)
		}
		if err := c.Send(make([]byte, wire.MaxBody)); !errors.Is(err, client.ErrTooLong) {
			t.Errorf("Send: %v", err)
		}
	})
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		p := f.welcomed()
		began := time.Now()
		for i := range 3 {
			p.wantHeartbeat()
			if at := time.Since(began); at != time.Duration(i+1)*25*time.Second {
				t.Errorf("heartbeat %d after %v", i, at)
			}
			p.send([]byte{0, 0})
		}
		// A link that talks and is answered needs none.
		for range 10 {
			time.Sleep(20 * time.Second)
			_ = c.Send([]byte("talk"))
			p.want(wire.KindData)
			p.data("answer")
		}
		if s := c.Stats(); s.Heartbeats != 3 || s.Pings != 0 || s.Links != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A client that only talks and is never answered asks, and is content with the answer.
func TestTalkerAsksForASign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		p := f.welcomed()
		go func() {
			for range 30 {
				time.Sleep(10 * time.Second)
				_ = c.Send([]byte("talk"))
			}
		}()
		for talks := 0; talks < 30; {
			body, err := p.next(wait)
			if err != nil || len(body) == 0 {
				t.Fatalf("got %x, %v", body, err)
			}
			if wire.Kind(body[0]) == wire.KindPing {
				p.send(wire.AppendPong(nil, wire.ParsePing(body[1:])))
			} else {
				talks++
			}
		}
		if s := c.Stats(); s.Links != 1 || s.Heartbeats != 0 || s.Pings < 9 || s.Pings > 12 {
			t.Errorf("%+v in 300 s", s)
		}
	})
}

func TestHalfOpenLinkIsGivenUp(t *testing.T) {
	for _, talks := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			c := newClient(t, options(f, newLog()))
			p := f.welcomed()
			began := time.Now()
			if talks {
				stop := make(chan struct{})
				t.Cleanup(func() { close(stop) })
				go func() {
					for {
						select {
						case <-time.After(time.Second):
							_ = c.Send([]byte("talk"))
						case <-stop:
							return
						}
					}
				}()
			}
			p.wantEnd() // reads, says nothing
			if at := time.Since(began); at < 30*time.Second || at > 32*time.Second {
				t.Errorf("given up after %v", at)
			}
			f.welcomed()
			if !errors.Is(c.Err(), client.ErrSilent) {
				t.Errorf("%v", c.Err())
			}
		})
	}
}

// A gateway that stops reading must not hang the client.
func TestGatewayThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		f.welcomed()
		_ = c.Send([]byte("nobody reads this"))
		began := time.Now()
		f.accept()
		if at := time.Since(began); at > time.Minute {
			t.Errorf("given up after %v", at)
		}
	})
}

func TestFloodOfPingsWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := newClient(t, options(f, newLog()))
		p := f.welcomed()
		for range 20_000 { // a PONG each would be 140 KB
			if _, err := p.conn.Write(wire.AppendPing(nil, 1)); err != nil {
				break
			}
		}
		f.accept()
		if !errors.Is(c.Err(), client.ErrStalled) {
			t.Errorf("%v", c.Err())
		}
	})
}

func TestOptions(t *testing.T) {
	good := client.Options{Addresses: []string{"gate:1"}}
	for name, set := range map[string]func(*client.Options){
		"no address":    func(o *client.Options) { o.Addresses = nil },
		"no port":       func(o *client.Options) { o.Addresses = []string{"gate"} },
		"no path":       func(o *client.Options) { o.Addresses = []string{"unix:"} },
		"negative":      func(o *client.Options) { o.Heartbeat = -1 },
		"hello":         func(o *client.Options) { o.Hello = make([]byte, wire.MaxBody) },
		"user":          func(o *client.Options) { o.User = "\xff" },
		"factor":        func(o *client.Options) { o.Backoff.Factor = 0.5 },
		"jitter":        func(o *client.Options) { o.Backoff.Jitter = 1.5 },
		"back-off ends": func(o *client.Options) { o.Backoff.Base, o.Backoff.Max = 2, 1 },
	} {
		o := good
		set(&o)
		if _, err := client.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Dial(ctx, client.Options{Addresses: []string{address}})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	f, at := listen(t, "tcp", "127.0.0.1:0")
	var wg sync.WaitGroup
	for i := range 20 {
		o := options(f, newLog())
		o.Addresses, o.Dial = []string{at}, nil
		wg.Go(func() {
			c, err := client.New(o)
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond)
			}
			c.Close()
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for open := true; open; {
		select {
		case c := <-f.conns:
			_, _ = c.Write(wire.AppendWelcome(nil, usual))
			_ = c.Close()
		case <-finished:
			open = false
		}
	}
	for end := time.Now().Add(wait); runtime.NumGoroutine() > before+1; { // the listener's
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}
