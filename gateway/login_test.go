package gateway_test

import (
	"net"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/wire"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	o := options(m.address)
	o.Listeners[0].Name = "front"
	r := start(t, o)
	c := r.dial()

	open := m.opened()
	if at := millis(t, value(t, open, "opened_at")); time.Since(at).Abs() > time.Second {
		t.Errorf("opened_at %v is %v away", at, time.Since(at))
	}
	if got := value(t, open, "remote"); got != c.conn.LocalAddr().String() {
		t.Errorf("remote %s, not %s", got, c.conn.LocalAddr())
	}
	if got := value(t, open, "listener"); got != "front" {
		t.Errorf("listener %s", got)
	}
	id := value(t, open, "link")
	if want := string(wire.AppendLinkID(nil, r.Advertise(), open.Link.Index, open.Link.Uniq)); id != want {
		t.Errorf("link %s, not %s", id, want)
	}

	c.send(wire.KindHello, "ann")
	m.message(edgedpb.ClientMessage_HELLO, "ann")
	c.send(wire.KindHello, "ann again")
	m.message(edgedpb.ClientMessage_HELLO, "ann again")
	c.quiet(50 * time.Millisecond)

	m.send(bind(open.Link, "ann", "phone"))
	w := c.welcome()
	if string(w.LinkID) != id || w.Heartbeat != 25*time.Second || w.IdleTimeout != 30*time.Second || w.MaxFrame != 65535 {
		t.Errorf("welcome %+v", w)
	}
	if at := time.UnixMilli(int64(w.ServerTimeMs)); time.Since(at).Abs() > time.Second {
		t.Errorf("server time %v", at)
	}
	c.send(wire.KindData, "1")
	i := m.message(edgedpb.ClientMessage_DATA, "1")
	if value(t, i, "user") != "ann" || value(t, i, "device") != "phone" {
		t.Errorf("session %v", i.Session)
	}

	m.send(bind(open.Link, "bob", "desk"), data(open.Link, "behind"))
	c.expectData("behind") // and no second WELCOME before it
	c.send(wire.KindData, "2")
	i = m.message(edgedpb.ClientMessage_DATA, "2")
	if value(t, i, "user") != "bob" || value(t, i, "device") != "desk" || value(t, i, "link") != id {
		t.Errorf("session %v", i.Session)
	}
	if st := r.total(); st.Welcomed != 1 || st.Binds != 2 {
		t.Errorf("welcomed %d, binds %d", st.Welcomed, st.Binds)
	}
	_ = c.conn.Close()
	if e := m.ended(); e.Side != edgedpb.Closed_CLIENT || e.Reason != 0 {
		t.Errorf("closed %v", e)
	}
	r.balanced()
}

func TestBindBeforeHello(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	c := start(t, options(m.address)).dial()
	l := m.opened().Link
	m.send(data(l, "early"), bind(l, "u", "d"))
	c.expectData("early")
	c.welcome()
	c.send(wire.KindHello, "late")
	m.message(edgedpb.ClientMessage_HELLO, "late")
}

func TestFramesBeforeWelcome(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	r := start(t, options(m.address))
	for _, b := range [][]byte{wire.Append(nil, wire.KindData, []byte("x")), wire.AppendAck(nil, 1)} {
		c := r.dial()
		m.opened()
		c.write(b)
		c.bye(wire.ByeProtocol)
		if e := m.ended(); e.Side != edgedpb.Closed_CLIENT || e.Reason != uint32(wire.ByeProtocol) || e.Evidence == "" {
			t.Errorf("closed %v", e)
		}
	}
	r.balanced()
}

func TestNoLoginNeeded(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	o := options(m.address)
	o.Config.Login = "none"
	r := start(t, o)
	c := r.dial()
	w := c.welcome()
	open := m.opened()
	if string(w.LinkID) != value(t, open, "link") {
		t.Errorf("link %s and %s", w.LinkID, value(t, open, "link"))
	}
	c.send(wire.KindData, "free")
	m.message(edgedpb.ClientMessage_DATA, "free")
	m.send(bind(open.Link, "u", "d"), data(open.Link, "x"))
	c.expectData("x")
	c.send(wire.KindData, "mine")
	if i := m.message(edgedpb.ClientMessage_DATA, "mine"); value(t, i, "user") != "u" {
		t.Errorf("session %v", i.Session)
	}
}

func TestLoginTimeout(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	o := options(m.address)
	o.Config.LoginTimeout = 200 * time.Millisecond
	r := start(t, o)
	began := time.Now()
	c := r.dial()
	m.opened()
	c.send(wire.KindHello, "u")
	m.message(edgedpb.ClientMessage_HELLO, "u")
	c.bye(wire.ByeLoginTimeout)
	if d := time.Since(began); d < 200*time.Millisecond-early {
		t.Errorf("after %v", d)
	}
	if e := m.ended(); e.Side != edgedpb.Closed_GATEWAY || e.Reason != uint32(wire.ByeLoginTimeout) {
		t.Errorf("closed %v", e)
	}
}

func TestLoginTimeoutWithoutManager(t *testing.T) {
	t.Parallel()
	o := options(deadAddress(t))
	o.Config.LoginTimeout = 200 * time.Millisecond
	r := start(t, o)
	for range 2 {
		if b := r.dial().bye(wire.ByeNoManager); b.RetryAfter <= 0 || b.RetryAfter > 31*time.Second {
			t.Errorf("retry after %v", b.RetryAfter)
		}
	}
	if err := r.Ready(); err == nil {
		t.Error("ready without a Manager")
	}
	r.balanced()
}

func TestNoManagerConfigured(t *testing.T) {
	t.Parallel()
	o := options()
	o.Config.Login = "none"
	r := start(t, o)
	for _, k := range []wire.Kind{wire.KindData, wire.KindHello} {
		c := r.dial()
		c.welcome()
		c.beat()
		c.send(k, "x")
		if b := c.bye(wire.ByeNoManager); b.RetryAfter <= 0 {
			t.Errorf("retry after %v", b.RetryAfter)
		}
	}
	if err := r.Ready(); err != nil {
		t.Errorf("a gateway without Managers: %v", err)
	}
	r.balanced()
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	return lis.Addr().String()
}
