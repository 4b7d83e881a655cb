//go:build e2e

package tests

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/wire"
)

// linkID is PROTOCOL.md 1.3.
var linkID = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):(\d+):(0|[1-9]\d*):(0|[1-9]\d*)$`)

// transports are the listeners that every client test may run over.
func transports(t *testing.T) map[string]string {
	return map[string]string{
		"tcp4": `address = "127.0.0.1:0"`,
		"tcp6": `address = "[::1]:0"`,
		"unix": fmt.Sprintf("address = %q", "unix:"+filepath.Join(t.TempDir(), "links.sock")),
	}
}

// TestWay is one link's whole life, with a Manager of generated code, over each kind of listener.
func TestWay(t *testing.T) {
	t.Parallel()
	for name, listener := range transports(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlain(t, nil)
			g := start(t, setup{managers: []string{p.address}, listeners: []string{"name = \"front\"\n" + listener}})
			c := dial(t, g.address())
			began := time.Now()
			w := must(c.login("ann/phone"))(t)
			checkWelcome(t, g, w, name)
			opened := p.opened(c.link)
			checkSession(t, c, opened.GetSession().GetValues(), began, name)
			check(t, c.exchange([]byte("over the top")))
			said := p.data("over the top").GetSession().GetValues()
			if said["user"] != "ann" || said["device"] != "phone" || said["link"] != c.link {
				t.Errorf("the message carries %v", said)
			}
			pushes(t, p, c, opened.GetLink())
			byeAndClosed(t, p, c, opened.GetLink())
			g.balanced()
		})
	}
}

func checkWelcome(t *testing.T, g *gateway, w wire.Welcome, transport string) {
	t.Helper()
	id := string(w.LinkID)
	if !linkID.MatchString(id) || !strings.HasPrefix(id, g.advertise+":") {
		t.Errorf("link ID %q is not of the form, or not under %s", id, g.advertise)
	}
	if transport == "tcp6" && !strings.HasPrefix(id, "[::1]:") {
		t.Errorf("link ID %q of an IPv6 listener", id)
	}
	if w.Heartbeat != 25*time.Second || w.IdleTimeout != 30*time.Second || w.MaxFrame != 65535 {
		t.Errorf("WELCOME says heartbeat %v, idle timeout %v, max frame %d", w.Heartbeat, w.IdleTimeout, w.MaxFrame)
	}
	if off := time.Since(time.UnixMilli(int64(w.ServerTimeMs))).Abs(); off > patience {
		t.Errorf("WELCOME's server time is off by %v", off)
	}
}

func checkSession(t *testing.T, c *client, s map[string]string, began time.Time, transport string) {
	t.Helper()
	remote := "unix"
	if transport != "unix" {
		remote = c.conn.LocalAddr().String()
	}
	if s["remote"] != remote || s["listener"] != "front" || s["link"] != c.link {
		t.Errorf("the session says %v, want remote %s and listener front", s, remote)
	}
	ms, err := strconv.ParseInt(s["opened_at"], 10, 64)
	if off := time.UnixMilli(ms).Sub(began).Abs(); err != nil || off > patience {
		t.Errorf("opened_at is %q, %v from when it was", s["opened_at"], off)
	}
	if len(s) != 4 {
		t.Errorf("a fresh session is %v, want four keys", s)
	}
}

// pushes checks the numbers and stamps of PUSH frames.
func pushes(t *testing.T, p *plain, c *client, l *edgedpb.LinkRef) {
	t.Helper()
	p.send(pushItem(l, &edgedpb.Push{Payload: []byte("first")}),
		pushItem(l, &edgedpb.Push{Payload: []byte("second"), MsgId: "m-2", Version: 7}))
	for tid, want := range []string{"first", "second"} {
		got, err := wire.ParsePush(c.want(wire.KindPush))
		check(t, err)
		if got.TID != uint32(tid) || string(got.Payload) != want {
			t.Errorf("PUSH %d %q, want %d %q", got.TID, got.Payload, tid, want)
		}
		if stamped := got.Flags&wire.FlagStamped != 0; stamped != (tid == 1) || stamped && (string(got.MsgID) != "m-2" || got.Version != 7) {
			t.Errorf("PUSH %d has flags %b, version %d and msg_id %q", tid, got.Flags, got.Version, got.MsgID)
		}
	}
}

// byeAndClosed has the Manager end the link, which must be told to both sides once.
func byeAndClosed(t *testing.T, p *plain, c *client, l *edgedpb.LinkRef) {
	t.Helper()
	p.send(closeItem(l, &edgedpb.Close{Reason: 6, RetryAfterMs: 1234, Text: "elsewhere"}))
	b := c.wantBye(wire.ByeReplaced)
	if b.RetryAfter != 1234*time.Millisecond || string(b.Text) != "elsewhere" {
		t.Errorf("BYE says %v %q", b.RetryAfter, b.Text)
	}
	isClosed := func(it *edgedpb.UpItem) bool {
		return it.GetClosed() != nil && it.GetLink().GetIndex() == l.GetIndex() && it.GetLink().GetUniq() == l.GetUniq()
	}
	closed := p.await("closed", isClosed).GetClosed()
	if closed.GetReason() != 6 || closed.GetSide() != edgedpb.Closed_MANAGER {
		t.Errorf("closed says %v", closed)
	}
	p.send(withRef(99, dataItem(l, nil)))
	p.wantRefused(99, edgedpb.Refused_STALE_LINK) // also the marker behind which no second closed can come
	if n := len(p.items.all(isClosed)); n != 1 {
		t.Errorf("closed was told %d times", n)
	}
}

// TestWayOfKit is the same exchange with the Go kit and its receipts.
func TestWayOfKit(t *testing.T) {
	t.Parallel()
	for name, listener := range transports(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			links := make(chan manager.Link, 1)
			ids := make(chan string, 1)
			h := echoHandler()
			hello := h.Hello
			h.Hello = func(e *manager.Event) {
				links <- e.Link
				ids <- e.Session.Text("link")
				hello(e)
			}
			k := newKit(t, h)
			g := start(t, setup{gateway: "reactors = 2", managers: []string{k.address}, listeners: []string{listener}})
			c := dialIn(t, g.address(), "bob/desk")
			l, id := <-links, <-ids
			if id != c.link || l.String() != c.link {
				t.Errorf("the link is %s by WELCOME, %s by the session, %s by the kit", c.link, id, l)
			}
			check(t, c.exchange([]byte("there and back")))
			check(t, k.m.Push(l, manager.Push{Payload: []byte("by the way")}))
			if p, err := wire.ParsePush(c.want(wire.KindPush)); err != nil || string(p.Payload) != "by the way" {
				t.Errorf("PUSH %q, %v", p.Payload, err)
			}
			g.waitMetric("edged_manager_lane_batches", 0) // every receipt has come
			check(t, c.leave())
			g.waitMetric("edged_links_closed_total", 1, "reason", "client_bye")
			g.balanced()
		})
	}
}

// TestSession is what a Manager may write, and what the next owner of a place must not see.
func TestSession(t *testing.T) {
	t.Parallel()
	p := newPlain(t, nil)
	g := start(t, setup{managers: []string{p.address}})
	c := dialIn(t, g.address(), "ann/phone")
	l := p.opened(c.link).GetLink()
	p.send(
		patchItem(l, map[string]string{"auth.level": "3", "x.y": "z"}),
		withRef(1, patchItem(l, map[string]string{"a.ok": "1", "user": "root"})),
		withRef(2, patchItem(l, map[string]string{"a.big": strings.Repeat("x", 4096)})),
		withRef(3, patchItem(l, nil, "link")),
		withRef(4, toLink(l)),
		patchItem(l, map[string]string{"b.c": "d"}, "x.y"),
		dataItem(l, []byte("go")),
	)
	p.wantRefused(1, edgedpb.Refused_SESSION_KEY)
	p.wantRefused(2, edgedpb.Refused_SESSION_FULL)
	p.wantRefused(3, edgedpb.Refused_SESSION_KEY)
	p.wantRefused(4, edgedpb.Refused_INVALID)
	c.want(wire.KindData)
	check(t, c.exchange([]byte("with a new session")))
	s := p.data("with a new session").GetSession().GetValues()
	if s["auth.level"] != "3" || s["b.c"] != "d" || s["user"] != "ann" || len(s) != 8 {
		t.Errorf("the message carries %v", s)
	}
	check(t, c.leave())

	next := dialIn(t, g.address(), "eve/desk")
	again := p.opened(next.link)
	if again.GetLink().GetIndex() != l.GetIndex() || again.GetLink().GetUniq() != l.GetUniq()+1 {
		t.Errorf("the next link is %v after %v, want the same place and uniq + 1", again.GetLink(), l)
	}
	if s := again.GetSession().GetValues(); len(s) != 4 || s["auth.level"] != "" {
		t.Errorf("a new link begins with %v", s)
	}
	p.send(
		withRef(5, dataItem(l, []byte("not for eve"))),
		pushItem(l, &edgedpb.Push{Payload: []byte("not for eve"), MsgId: "gone", Ack: edgedpb.Push_REQUIRED}),
		dataItem(again.GetLink(), []byte("for eve")),
	)
	if got := next.want(wire.KindData); string(got) != "for eve" {
		t.Errorf("the next owner of the place got %q", got)
	}
	p.wantRefused(5, edgedpb.Refused_STALE_LINK)
	lost := p.await("undelivered", func(it *edgedpb.UpItem) bool { return it.GetUndelivered() != nil }).GetUndelivered().GetLosses()
	if len(lost) != 1 || lost[0].GetMsgId() != "gone" || lost[0].GetReason() != edgedpb.Loss_STALE_LINK {
		t.Errorf("undelivered says %v", lost)
	}
}

// TestLoginNone welcomes without a Manager, PINGs who is silent, and answers PINGs.
func TestLoginNone(t *testing.T) {
	t.Parallel()
	g := start(t, setup{gateway: `login = "none"`, listeners: []string{"address = \"127.0.0.1:0\"\nping_interval = \"300ms\""}})
	c := dial(t, g.address())
	c.want(wire.KindWelcome)
	check(t, c.write(wire.AppendPing(nil, 0xfeedbeef)))
	if v := wire.ParsePing(c.want(wire.KindPong)); v != 0xfeedbeef {
		t.Errorf("PONG %x", v)
	}
	began := time.Now()
	ping := c.want(wire.KindPing)
	if silent := time.Since(began); silent < 250*time.Millisecond {
		t.Errorf("PING after %v of silence, want 300ms", silent)
	}
	check(t, c.write(wire.AppendPong(nil, wire.ParsePing(ping))))
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.want(0)
	check(t, c.send(wire.KindData, []byte("to whom?")))
	c.wantBye(wire.ByeNoManager)
	g.waitMetric("edged_links_closed_total", 1, "reason", "no_manager")
}
