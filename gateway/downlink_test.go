package gateway_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/wire"
)

// welcomed opens a link at m, logs it in, and returns both ends of it.
func welcomed(r *rig, m *plain) (*client, *edgedpb.LinkRef) {
	r.t.Helper()
	c := r.dial()
	l := m.opened().Link
	c.send(wire.KindHello, "u")
	m.message(edgedpb.ClientMessage_HELLO, "u")
	c.welcome()
	return c, l
}

func TestPushes(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))
	c, l := welcomed(r, m)
	tests := []struct {
		push  *edgedpb.Push
		flags wire.Flags
	}{
		{&edgedpb.Push{Payload: []byte("plain")}, 0},
		{&edgedpb.Push{Payload: []byte("named"), MsgId: "m1"}, wire.FlagStamped},
		{&edgedpb.Push{Payload: []byte("versioned"), Version: 1<<63 - 1}, wire.FlagStamped},
		{&edgedpb.Push{Payload: []byte("both"), MsgId: strings.Repeat("m", 255), Version: 1 << 63}, wire.FlagStamped},
		{&edgedpb.Push{MsgId: "sampled", Ack: edgedpb.Push_SAMPLED}, wire.FlagStamped},
		{&edgedpb.Push{}, 0},
	}
	var items []*edgedpb.DownItem
	for _, tt := range tests {
		items = append(items, push(l, tt.push), data(l, "between"))
	}
	m.send(items...)
	for i, tt := range tests {
		p, err := wire.ParsePush(c.expect(wire.KindPush))
		if err != nil {
			t.Fatal(err)
		}
		if p.TID != uint32(i) || p.Flags != tt.flags || p.Version != tt.push.Version ||
			string(p.MsgID) != tt.push.MsgId || !bytes.Equal(p.Payload, tt.push.Payload) {
			t.Errorf("push %d: %+v", i, p)
		}
		c.expectData("between")
	}
}

// TestRefusals: what cannot be carried out comes back, by the rules of PROTOCOL.md 2.3, and the good items around it are
// carried out.
func TestRefusals(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Config.MaxFrame = 1000
	r := start(t, o)
	c, l := welcomed(r, m)
	stale := &edgedpb.LinkRef{Index: l.Index, Uniq: l.Uniq - 1}
	nowhere := &edgedpb.LinkRef{Index: 0xffffffff, Uniq: 1}
	user := &edgedpb.DownItem{Target: &edgedpb.DownItem_User{User: "nobody"}, What: &edgedpb.DownItem_Data{Data: []byte("x")}}
	empty := &edgedpb.DownItem{Target: &edgedpb.DownItem_Room{Room: "empty"},
		What: &edgedpb.DownItem_Push{Push: &edgedpb.Push{MsgId: "all", Ack: edgedpb.Push_REQUIRED}}}
	join := to(l)
	join.What = &edgedpb.DownItem_Join{Join: ""}
	all := &edgedpb.DownItem{Target: &edgedpb.DownItem_Everyone{Everyone: &edgedpb.Everyone{}},
		What: &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{User: "u"}}}
	users := &edgedpb.DownItem{Target: &edgedpb.DownItem_User{User: "u"}, What: &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{User: "u"}}}
	required := func(l *edgedpb.LinkRef, id string, n int) *edgedpb.DownItem {
		return push(l, &edgedpb.Push{MsgId: id, Ack: edgedpb.Push_REQUIRED, Payload: make([]byte, n)})
	}
	big := string(make([]byte, 1000))
	tests := []struct {
		name string
		item *edgedpb.DownItem
		code edgedpb.Refused_Code
		loss edgedpb.Loss_Reason // of a push that wants an acknowledgement
	}{
		{"stale data", data(stale, "x"), edgedpb.Refused_STALE_LINK, 0},
		{"stale bind", bind(stale, "u", "d"), edgedpb.Refused_STALE_LINK, 0},
		{"stale patch", patch(stale, map[string]string{"a.b": "c"}), edgedpb.Refused_STALE_LINK, 0},
		{"stale close", closing(stale, &edgedpb.Close{}), edgedpb.Refused_STALE_LINK, 0},
		{"stale push", push(stale, &edgedpb.Push{}), edgedpb.Refused_STALE_LINK, 0},
		{"stale required", required(stale, "s", 1), 0, edgedpb.Loss_STALE_LINK},
		{"no such shard", data(nowhere, "x"), edgedpb.Refused_STALE_LINK, 0},
		{"large data", data(l, big), edgedpb.Refused_TOO_LARGE, 0},
		{"large push", push(l, &edgedpb.Push{Payload: []byte(big)}), edgedpb.Refused_TOO_LARGE, 0},
		{"large by its stamp", push(l, &edgedpb.Push{Payload: []byte(big)[:990], MsgId: "stamp"}), edgedpb.Refused_TOO_LARGE, 0},
		{"long msg_id", push(l, &edgedpb.Push{MsgId: big[:256]}), edgedpb.Refused_INVALID, 0},
		{"key of the gateway", patch(l, map[string]string{"a.b": "c", "user": "root"}), edgedpb.Refused_SESSION_KEY, 0},
		{"delete such a key", patch(l, nil, "link"), edgedpb.Refused_SESSION_KEY, 0},
		{"full", patch(l, map[string]string{"a.b": strings.Repeat("x", 4096)}), edgedpb.Refused_SESSION_FULL, 0},
		{"full by bind", bind(l, strings.Repeat("u", 5000), "d"), edgedpb.Refused_SESSION_FULL, 0},
		{"to a user", user, edgedpb.Refused_NOT_HERE, 0},
		{"to an empty room", empty, 0, edgedpb.Loss_NOT_HERE},
		{"join nameless", join, edgedpb.Refused_INVALID, 0},
		{"bind everyone", all, edgedpb.Refused_INVALID, 0},
		{"bind a user", users, edgedpb.Refused_INVALID, 0},
		{"unknown ack mode", push(l, &edgedpb.Push{Ack: 9}), edgedpb.Refused_INVALID, 0},
		{"no operation", to(l), edgedpb.Refused_INVALID, 0},
		{"no target", &edgedpb.DownItem{What: &edgedpb.DownItem_Data{}}, edgedpb.Refused_INVALID, 0},
	}
	for i, tt := range tests {
		ref := uint64(i) + 1<<40
		m.send(data(l, "before"), withRef(ref, tt.item), data(l, "behind"))
		c.expectData("before")
		c.expectData("behind")
		if tt.loss != 0 {
			m.undelivered(tt.item.GetPush().MsgId, tt.loss)
		} else {
			m.refused(ref, tt.code)
		}
	}
	before := r.total()
	for _, tt := range tests {
		if tt.loss == 0 {
			m.send(withRef(0, tt.item))
		}
	}
	m.send(data(l, "end"))
	c.expectData("end")
	m.none(20 * time.Millisecond)
	after := r.total()
	for code := range after.Refusals {
		if after.Refusals[code] < before.Refusals[code] || code > 0 && after.Refusals[code] == before.Refusals[code] {
			t.Errorf("refusals %v: %d, then %d", batch.Code(code), before.Refusals[code], after.Refusals[code])
		}
	}
	if n := after.Undelivered; n[batch.LossStaleLink] != 1 || n[batch.LossNotHere] != 1 {
		t.Errorf("undelivered %v", n)
	}
	c.send(wire.KindData, "now")
	if i := m.message(edgedpb.ClientMessage_DATA, "now"); i.Session.Values["a.b"] != "" || value(t, i, "user") != "u" {
		t.Errorf("session %v", i.Session) // refused as a whole
	}
}

func TestGarbageAmongGoodItems(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))
	c, l := welcomed(r, m)
	bad := patch(l, map[string]string{"a.b": "c"})
	bad.What = &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{}}
	// A field that generated code keeps as unknown and the gateway reads: a user that is not UTF-8.
	bad.ProtoReflect().SetUnknown([]byte{9<<3 | 2, 3, 1<<3 | 2, 1, 0xff})
	m.send(data(l, "one"), bad, data(l, "two"))
	c.expectData("one")
	c.expectData("two")
	if st := r.total(); st.Dropped[0] != 1 {
		t.Errorf("dropped %v", st.Dropped)
	}
}

func TestClosedByTheManager(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Config.MaxFrame = 100
	r := start(t, o)
	tests := []struct {
		close  edgedpb.Close
		reason wire.Reason
		text   string
	}{
		{edgedpb.Close{}, wire.ByeKicked, ""},
		{edgedpb.Close{Reason: 4, Text: "wrong password"}, wire.ByeLoginFailed, "wrong password"},
		{edgedpb.Close{Reason: 6, RetryAfterMs: 1234}, wire.ByeReplaced, ""},
		{edgedpb.Close{Reason: 12}, wire.ByeNoManager, ""},
		{edgedpb.Close{Reason: 13}, wire.ByeKicked, ""},
		{edgedpb.Close{Reason: 1<<32 - 1}, wire.ByeKicked, ""},
		{edgedpb.Close{Reason: 1, Text: strings.Repeat("ä", 200)}, wire.ByeNormal, strings.Repeat("ä", 47)},
	}
	for i := range tests {
		tt := &tests[i]
		c, l := welcomed(r, m)
		m.send(data(l, "last"), closing(l, &tt.close), withRef(1, data(l, "too late")))
		c.expectData("last")
		b := c.bye(tt.reason)
		if string(b.Text) != tt.text || b.RetryAfter != time.Duration(tt.close.RetryAfterMs)*time.Millisecond {
			t.Errorf("%v: BYE %+v", &tt.close, b)
		}
		if e := m.ended(); e.Side != edgedpb.Closed_MANAGER || e.Reason != uint32(tt.reason) {
			t.Errorf("%v: closed %v", &tt.close, e)
		}
		m.refused(1, edgedpb.Refused_STALE_LINK)
	}
	r.balanced()
}

// TestNextOwnerOfThePlace: what was meant for a link never reaches the one behind it, nor does its session.
func TestNextOwnerOfThePlace(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))
	a, first := welcomed(r, m)
	m.send(patch(first, map[string]string{"secret.of": "a"}), data(first, "set"))
	a.expectData("set")
	_ = a.conn.Close()
	m.ended()
	b, second := welcomed(r, m)
	if second.Index != first.Index || second.Uniq != first.Uniq+1 {
		t.Fatalf("links %v and %v", first, second)
	}
	m.send(withRef(5, data(first, "for a")),
		push(first, &edgedpb.Push{MsgId: "for-a", Ack: edgedpb.Push_REQUIRED}), data(second, "for b"))
	b.expectData("for b")
	m.refused(5, edgedpb.Refused_STALE_LINK)
	m.undelivered("for-a", edgedpb.Loss_STALE_LINK)
	b.send(wire.KindData, "x")
	if i := m.message(edgedpb.ClientMessage_DATA, "x"); i.Session.Values["secret.of"] != "" {
		t.Errorf("session %v", i.Session)
	}
}

// TestPatchThenMessage: a client that answers to what came after a patch speaks with the new session.
func TestPatchThenMessage(t *testing.T) {
	t.Parallel()
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))
	c, l := welcomed(r, m)
	for n := range rounds {
		want := fmt.Sprint(n)
		set := map[string]string{"a.n": want, fmt.Sprintf("a.k%d", n%7): strings.Repeat("v", n%50)}
		if n%3 == 0 {
			m.send(patch(l, set, fmt.Sprintf("a.k%d", (n+3)%7)), data(l, want))
		} else {
			m.send(patch(l, set))
			m.send(data(l, want))
		}
		c.expectData(want)
		c.send(wire.KindData, want)
		i := m.message(edgedpb.ClientMessage_DATA, want)
		if got := value(t, i, "a.n"); got != want {
			t.Fatalf("message %s with a.n = %s", want, got)
		}
	}
}
