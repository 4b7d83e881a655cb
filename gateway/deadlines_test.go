package gateway_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

// quick are options with short limits; those that a test is not about stay long.
func quick(managers ...string) gateway.Options {
	o := options(managers...)
	o.Config.Heartbeat = 100 * time.Millisecond
	return o
}

// early is by how much a link may be ended before its time by the client's clock: the gateway reads its own once a turn, and what comes
// in a turn counts from that turn's beginning, which a busy machine may hold up in the middle.
const early = 100 * time.Millisecond

func TestSilentLink(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := quick(m.address)
	o.Config.IdleTimeout = time.Second // many times what a busy machine keeps the beating one from its CPU
	r := start(t, o)
	began := time.Now()
	c, beating := r.dial(), r.dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.bye(wire.ByeIdle)
		if d := time.Since(began); d < time.Second-early || d > 4*time.Second {
			t.Errorf("closed after %v", d)
		}
	}()
	for time.Since(began) < 2500*time.Millisecond {
		beating.beat()
		time.Sleep(100 * time.Millisecond)
	}
	<-done
	r.balanced()
	if st := r.total(); st.Links != 1 || st.Ended[wire.ByeIdle] != 1 {
		t.Errorf("links %d, ended %v", st.Links, st.Ended)
	}
}

// TestDrip sends a byte of an unfinished frame from time to time: it keeps the link alive, but not beyond frame_timeout.
func TestDrip(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := quick(m.address)
	o.Config.IdleTimeout = time.Second
	o.Config.FrameTimeout = 2 * time.Second
	r := start(t, o)
	c := r.dial()
	began := time.Now()
	c.write([]byte{0, 100})
	go func() {
		for range 60 {
			time.Sleep(100 * time.Millisecond)
			if _, err := c.conn.Write([]byte{1}); err != nil {
				return
			}
		}
	}()
	b := c.expect(wire.KindBye)
	if d := time.Since(began); d < 2*time.Second-early || d > 5*time.Second {
		t.Errorf("closed after %v", d)
	}
	if r := wire.ParseBye(b).Reason; r != wire.ByeIdle {
		t.Errorf("BYE %v", r)
	}
	m.opened()
	if e := m.ended(); e.Evidence != "frame not finished in time" {
		t.Errorf("closed %v", e)
	}
}

// TestWholeFramesBetweenUnfinishedOnes: each frame has the limit for itself.
func TestWholeFramesBetweenUnfinishedOnes(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Config.FrameTimeout = 300 * time.Millisecond
	r := start(t, o)
	c := r.dial()
	c.write([]byte{0}) // half a heartbeat
	for range 6 {
		time.Sleep(120 * time.Millisecond)
		c.write([]byte{0, 0}) // the other half, and half of the next
		if body, err := c.next(patience); err != nil || len(body) != 0 {
			t.Fatalf("% x, %v", body, err)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := quick(m.address)
	o.Config.IdleTimeout = time.Second
	o.Listeners[0].PingInterval = 200 * time.Millisecond
	o.Listeners = append(o.Listeners, gateway.Listener{Name: "quiet", Address: "127.0.0.1:0", Kind: "tcp"})
	r := start(t, o)
	quiet := dial(t, r.Addresses()[1])
	c := r.dial()
	c.quiet(300 * time.Millisecond) // not before WELCOME
	began := time.Now()             // always before what the gateway counts from
	c.send(wire.KindHello, "u")
	c.welcome()
	for range 3 {
		v := wire.ParsePing(c.expect(wire.KindPing))
		if d := time.Since(began); d < 200*time.Millisecond-early {
			t.Errorf("PING after %v", d)
		}
		began = time.Now()
		c.write(wire.AppendPong(nil, v))
	}
	for range 5 { // any byte puts it off
		time.Sleep(100 * time.Millisecond)
		began = time.Now()
		c.beat()
	}
	// Without an answer it goes on asking, until the link is idle.
	for range 3 {
		c.expect(wire.KindPing)
	}
	for {
		body, err := c.next(patience)
		if err != nil {
			t.Fatal(err)
		}
		if wire.Kind(body[0]) == wire.KindBye {
			break
		}
	}
	if d := time.Since(began); d < time.Second-early {
		t.Errorf("closed after %v", d)
	}
	quiet.bye(wire.ByeIdle)
}

// TestSlowConsumer has clients that heartbeat and read nothing.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		fill     bool // until the kernel takes no more
		more     int  // bytes of DATA
		evidence string
	}{
		{"waits in the kernel", false, 8 << 10, "output without progress"},
		{"waits in the gateway", true, 20 << 10, "output without progress"},
		{"over the bound", true, 100 << 10, "output over its bound"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := serve(t, "", "", bindAll)
			o := quick(m.address)
			o.Config.WriteTimeout = 500 * time.Millisecond
			r := start(t, o)
			c := narrow(t, r.Addresses()[0])
			l := m.opened().Link
			c.send(wire.KindHello, "u")
			m.message(edgedpb.ClientMessage_HELLO, "u")
			began := time.Now()
			for tt.fill && !r.blocked() {
				m.send(data(l, string(make([]byte, 2000))))
				time.Sleep(time.Millisecond / 4)
			}
			for sent := 0; sent < tt.more; sent += 2000 {
				m.send(data(l, string(make([]byte, 2000))))
			}
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(50 * time.Millisecond):
						_, _ = c.conn.Write(wire.AppendHeartbeat(nil))
					}
				}
			}()
			e := m.ended()
			if e.Side != edgedpb.Closed_GATEWAY || e.Reason != uint32(wire.ByeSlow) {
				t.Errorf("closed %v", e)
			}
			d := time.Since(began)
			if e.Evidence != tt.evidence {
				t.Errorf("closed with %q", e.Evidence)
			}
			if e.Evidence == "output without progress" && (d < 490*time.Millisecond || d > 2500*time.Millisecond) {
				t.Errorf("closed after %v", d)
			}
			r.balanced()
		})
	}
}

// blocked says whether the kernel has refused output.
func (r *rig) blocked() bool {
	st, err := r.Stats(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	l := st.Shards[0].Loop
	return l.Blocked+l.Held > 0
}

// narrow dials with the smallest receive buffer that the kernel gives.
func narrow(t *testing.T, address string) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)
		})
	}}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, conn: conn}
}

// TestResetInTheMiddleOfAWrite: the network takes the link away while a Manager writes to it.
func TestResetInTheMiddleOfAWrite(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))
	for range 20 {
		c := narrow(t, r.Addresses()[0])
		l := m.opened().Link
		burst := make([]*edgedpb.DownItem, 100)
		for i := range burst {
			burst[i] = data(l, string(make([]byte, 8000)))
		}
		_ = c.conn.(*net.TCPConn).SetLinger(0)
		go func() { _ = c.conn.Close() }()
		m.send(burst...)
		m.ended()
	}
	m.none(50 * time.Millisecond)
	r.balanced()
}
