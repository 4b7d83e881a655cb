package gateway_test

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

// TestLinksGoOn hands links over that a Manager speaks with: name, session, user, rooms, and what comes next.
func TestLinksGoOn(t *testing.T) { eachWay(t, testLinksGoOn) }

func testLinksGoOn(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 2
	r := w.start(t, o)
	ann, bob := r.loginAs("ann/phone"), r.loginAs("bob/phone")
	silent := r.dial()
	silent.beat()
	m.send(joining(toUser("ann"), "den"), joining(toUser("bob"), "den"), setting(bob, "a.b", "c"))
	m.send(saying(toRoom("den"), "both"))
	ann.expectData("both")
	bob.expectData("both")
	before := r.total()

	seen := m.streamsSeen()
	next := r.succeed(o)
	if next.ID() != r.ID() || next.Epoch() != r.Epoch() || next.Advertise() != r.Advertise() || next.Addresses()[0] != r.Addresses()[0] {
		t.Errorf("%s %d at %s, and before %s %d at %s", next.ID(), next.Epoch(), next.Advertise(), r.ID(), r.Epoch(), r.Advertise())
	}
	m.again(seen + 1)
	for _, h := range m.hellos[seen:] {
		if !h.Resumed || h.Epoch != r.Epoch() {
			t.Errorf("hello %v", h)
		}
	}
	if n := next.Links(); n != 3 {
		t.Fatalf("%d links", n)
	}
	m.send(saying(toRoom("den"), "still"), saying(toUser("bob"), "you"))
	ann.expectData("still")
	bob.expectData("still")
	bob.expectData("you")
	bob.send(wire.KindData, "hello")
	up := m.until("what bob says", func(i *edgedpb.UpItem) bool { return string(i.GetMessage().GetPayload()) == "hello" })
	if s := up.Session.GetValues(); s["user"] != "bob" || s["a.b"] != "c" || s["link"] != bob.link || up.Link.Uniq != bob.ref().Uniq {
		t.Errorf("session %v", s)
	}
	silent.beat()
	silent.send(wire.KindHello, "eve/phone")
	if id := string(silent.welcome().LinkID); !strings.HasPrefix(id, r.Advertise()) {
		t.Errorf("link %s", id)
	}
	late := next.loginAs("zoe/phone")
	late.beat()
	if w.crash { // counters begin anew
		before = gateway.ShardStats{Counters: gateway.Counters{Opened: 0, Binds: 0, Heartbeats: 0}}
	}
	if after := next.total(); after.Opened != before.Opened+1 || after.Binds < before.Binds+2 || after.Heartbeats < before.Heartbeats {
		t.Errorf("counters: opened %d, binds %d, beats %d; before %d, %d, %d", after.Opened, after.Binds, after.Heartbeats, before.Opened, before.Binds, before.Heartbeats)
	}
	next.balanced()
}

func setting(c *client, key, value string) *edgedpb.DownItem {
	return &edgedpb.DownItem{
		Target: &edgedpb.DownItem_Link{Link: c.ref()},
		What:   &edgedpb.DownItem_Session{Session: &edgedpb.SessionPatch{Set: map[string]string{key: value}}},
	}
}

// TestHalfFrames: a frame whose beginning the old gateway has read becomes whole in the new one.
func TestHalfFrames(t *testing.T) { eachWay(t, testHalfFrames) }

func testHalfFrames(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	r := w.start(t, o)
	c := r.loginAs("ann/phone")
	frame := numbered(7, 300)
	c.write(frame[:100])
	c.write(nil)
	time.Sleep(sleepy)
	next := r.succeed(o)
	c.write(frame[100:])
	up := m.until("the frame", func(i *edgedpb.UpItem) bool { return i.GetMessage().GetKind() == edgedpb.ClientMessage_DATA })
	if p := up.GetMessage().Payload; len(p) != 304 || binary.BigEndian.Uint32(p) != 7 {
		t.Errorf("%d bytes", len(p))
	}
	next.balanced()
}

// TestPendingOutput: what the kernel had not taken goes out in its order, behind what it has.
func TestPendingOutput(t *testing.T) { eachWay(t, testPendingOutput) }

func testPendingOutput(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Slow = gateway.DefaultSlow()
	o.Slow.Bytes, o.Slow.Data = 256<<10, "refuse"
	r := w.start(t, o)
	c := r.loginAs("ann/phone")
	const n, size = 80, 60 << 10
	sent := 0
	for ; sent < n && r.sum().DataDropped == 0; sent++ {
		m.send(saying(toUser("ann"), strings.Repeat(string(rune('a'+sent%26)), size)))
		eventually(t, "it is carried out", func() bool { return r.itemsIn() >= uint64(sent+2) })
	}
	next := r.succeed(o)
	seen := m.streamsSeen()
	_ = seen
	for i := range sent - 1 {
		if got := c.expect(wire.KindData); len(got) != size || got[0] != byte('a'+i%26) || got[size-1] != got[0] {
			t.Fatalf("message %d: %d bytes of %q", i, len(got), got[0])
		}
	}
	c.beat()
	next.balanced()
}

func (r *rig) itemsIn() (n uint64) {
	st, err := r.Stats(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range st.Shards {
		n += s.ItemsIn
	}
	return n
}

// TestOtherKindsOfAddresses hands over links by IPv6 and by a unix socket.
func TestOtherKindsOfAddresses(t *testing.T) { eachWay(t, testOtherKindsOfAddresses) }

func testOtherKindsOfAddresses(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	path := filepath.Join(t.TempDir(), "s")
	o.Listeners = append(o.Listeners, o.Listeners[0], o.Listeners[0])
	o.Listeners[1].Name, o.Listeners[1].Address = "six", "[::1]:0"
	o.Listeners[2].Name, o.Listeners[2].Address = "path", "unix:"+path
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here: ", err)
	} else {
		_ = l.Close()
	}
	r := w.start(t, o)
	var old []*client
	for _, a := range r.Addresses() {
		old = append(old, dial(t, a))
		old[len(old)-1].beat()
	}
	seen := m.streamsSeen()
	next := r.succeed(o)
	m.again(seen)
	names := map[string]bool{}
	if w.crash { // nobody can tell whether a Unix socket went on
		old[2].eof()
		old = old[:2]
		m.until("its end", func(i *edgedpb.UpItem) bool { return i.GetClosed().GetEvidence() == "torn" })
		if n := next.sum().Ended[gateway.EndTorn]; n != 1 {
			t.Errorf("%d links are torn", n)
		}
	}
	for _, a := range next.Addresses() {
		old = append(old, dial(t, a))
	}
	for _, c := range old {
		c.send(wire.KindHello, "u/"+c.conn.LocalAddr().String()+c.conn.RemoteAddr().String())
		c.welcome()
		c.send(wire.KindData, "x")
		s := m.until("its word", func(i *edgedpb.UpItem) bool { return i.GetMessage().GetKind() == edgedpb.ClientMessage_DATA }).Session.GetValues()
		names[s["listener"]] = true
		if want := c.conn.LocalAddr().String(); s["listener"] != "path" && s["remote"] != want || s["listener"] == "path" && s["remote"] != "unix" {
			t.Errorf("session %v of %s", s, want)
		}
	}
	if len(names) != 3 {
		t.Errorf("listeners %v", names)
	}
	next.balanced()
}
