package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/bus"
	"edged/wire"
)

func TestRooms(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	a, b, c := r.loginAs("ann/1"), r.loginAs("ann/2"), r.loginAs("bob/1")
	m.send(joining(to(a.ref()), "x"), saying(toRoom("x"), "1"), joining(to(a.ref()), "x"), joining(toUser("ann"), "x"), saying(toRoom("x"), "2"),
		joining(toRoom("x"), "y"), joining(to(c.ref()), "y"), saying(toRoom("y"), "3"),
		leaving(to(a.ref()), "y"), leaving(to(a.ref()), "nowhere"), saying(toRoom("y"), "4"), leaving(toAll(), "y"),
		withRef(5, saying(toRoom("y"), "nobody")), saying(toAll(), "end"))
	for _, x := range []struct {
		*client
		gets string
	}{{a, "1 2 3 end"}, {b, "2 3 4 end"}, {c, "3 4 end"}} {
		for _, want := range strings.Fields(x.gets) {
			x.expectData(want)
		}
	}
	m.until("the refusal", func(i *edgedpb.UpItem) bool {
		return i.GetRefused().GetRef() == 5 && i.GetRefused().Code == edgedpb.Refused_NOT_HERE && i.Link == nil
	})
	if st := r.sum(); st.Joins != 5 || st.Leaves != 3 || st.Rooms != 1 || st.Memberships != 2 {
		t.Errorf("%d joined, %d left, %d rooms with %d members", st.Joins, st.Leaves, st.Rooms, st.Memberships)
	}
	_ = a.conn.Close()
	_ = b.conn.Close()
	eventually(t, "rooms end with their links", func() bool { st := r.sum(); return st.Rooms == 0 && st.Memberships == 0 })
}

// TestEveryone is every link that has had its WELCOME.
func TestEveryone(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	stranger := r.dial()
	l := m.opened().Link
	m.send(withRef(1, saying(toAll(), "nobody")))
	m.refused(1, edgedpb.Refused_NOT_HERE)
	a := r.loginAs("ann/1")
	m.send(joining(to(l), "x"), joining(to(a.ref()), "x"), saying(toAll(), "all"), saying(toRoom("x"), "room"), data(l, "link"))
	a.expectData("all")
	a.expectData("room")
	stranger.expectData("link")
	m.send(bind(l, "eve", "1"), saying(toRoom("x"), "both"))
	stranger.welcome()
	stranger.expectData("both")
	a.expectData("both")
}

// TestRoomOverReactors: each member gets each message once and in order, whatever its reactor; what is for nobody comes back
// once, and a cast is counted once.
func TestRoomOverReactors(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 4
	r := start(t, o)
	all := make([]*client, 40)
	for i := range all {
		all[i] = r.loginAs(fmt.Sprint("u/", i))
		m.send(joining(to(all[i].ref()), "x"))
	}
	eventually(t, "all are in", func() bool { return r.sum().Memberships == len(all) })
	const n = 100
	for k := range n {
		m.send(saying(toRoom("x"), fmt.Sprint("d", k)), pushing(toAll(), &edgedpb.Push{Payload: fmt.Append(nil, "p", k)}))
	}
	for _, c := range all {
		for k := range n {
			c.expectData(fmt.Sprint("d", k))
			if p := c.expectPush(fmt.Sprint("p", k)); p.TID != uint32(k) || p.Flags != 0 {
				t.Fatalf("push %+v", p)
			}
		}
	}
	m.send(withRef(9, saying(toRoom("empty"), "x")))
	m.until("the refusal", func(i *edgedpb.UpItem) bool { return i.GetRefused().GetRef() == 9 })
	m.none(20 * time.Millisecond)
	if st := r.sum(); st.Casts != 2*n+1 || st.CastDeliveries != 2*n*uint64(len(all)) {
		t.Errorf("%d casts, %d deliveries", st.Casts, st.CastDeliveries)
	}
}

// TestOperationsOnRooms: what can be done to a link can be done to a room, but for a bind.
func TestOperationsOnRooms(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.MaxFrame = 1000
	r := start(t, o)
	a, b, c := r.loginAs("ann/1"), r.loginAs("bob/1"), r.loginAs("eve/1")
	m.send(joining(to(a.ref()), "x"), joining(to(b.ref()), "x"))
	set := toRoom("x")
	set.What = patch(nil, map[string]string{"a.k": "v"}).What
	m.send(set, saying(toRoom("x"), "set"))
	for _, x := range []*client{a, b} {
		x.expectData("set")
		x.send(wire.KindData, "say")
		i := m.until("the message", func(i *edgedpb.UpItem) bool { return string(i.GetMessage().GetPayload()) == "say" })
		if value(t, i, "a.k") != "v" {
			t.Errorf("session %v", i.Session)
		}
	}
	big := string(make([]byte, 1000))
	bad := []struct {
		item *edgedpb.DownItem
		code edgedpb.Refused_Code
	}{
		{saying(toRoom("x"), big), edgedpb.Refused_TOO_LARGE},
		{pushing(toAll(), &edgedpb.Push{Payload: []byte(big)}), edgedpb.Refused_TOO_LARGE},
		{pushing(toRoom("x"), &edgedpb.Push{Payload: []byte("x"), Version: 5}), edgedpb.Refused_INVALID},
		{pushing(toRoom("x"), &edgedpb.Push{Payload: []byte("x"), PackageId: 5}), edgedpb.Refused_INVALID},
		{pushing(toRoom("x"), &edgedpb.Push{Payload: []byte("x"), Ack: 7}), edgedpb.Refused_INVALID},
		{toRoom("x"), edgedpb.Refused_INVALID},
	}
	for i, x := range bad {
		m.send(withRef(uint64(i)+10, x.item))
		m.refused(uint64(i)+10, x.code)
	}
	m.send(pushing(toRoom("x"), required("large", big)), pushing(toRoom("x"), required("", "x")))
	m.undelivered("large", edgedpb.Loss_TOO_LARGE)
	m.undelivered("", edgedpb.Loss_REASON_UNSPECIFIED)
	m.send(ending(toRoom("x"), uint32(wire.ByeDraining)), withRef(3, saying(toRoom("x"), "late")), saying(toAll(), "left"))
	a.bye(wire.ByeDraining)
	b.bye(wire.ByeDraining)
	c.expectData("left")
	m.until("the refusal", func(i *edgedpb.UpItem) bool { return i.GetRefused().GetRef() == 3 })
	r.balanced()
}

// TestPushToRoom: each link acknowledges for itself; what asks for nothing has no stamp.
func TestPushToRoom(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	a, b := r.loginAs("ann/1"), r.loginAs("bob/1")
	m.send(joining(toAll(), "x"), pushing(to(a.ref()), &edgedpb.Push{}),
		pushing(toRoom("x"), &edgedpb.Push{MsgId: "none", Payload: []byte("0")}), pushing(toRoom("x"), required("req", "1")))
	a.expectPush("")
	for i, c := range []*client{b, a} {
		if p := c.expectPush("0"); p.Flags != 0 || p.TID != uint32(i) {
			t.Errorf("push %+v", p)
		}
		if p := c.expectPush("1"); p.Flags != wire.FlagAck|wire.FlagStamped || string(p.MsgID) != "req" || p.TID != uint32(i)+1 {
			t.Errorf("push %+v", p)
		}
	}
	a.ack(2)
	if rep := m.reports(1)[0]; !rep.acked || rep.id != "req" || rep.link[0] != a.ref().Index {
		t.Errorf("report %+v", rep)
	}
	_ = b.conn.Close()
	if rep := m.reports(1)[0]; rep.acked || rep.id != "req" || rep.loss != edgedpb.Loss_LINK_CLOSED || rep.link[0] != b.ref().Index {
		t.Errorf("report %+v", rep)
	}
	m.noReports(20 * time.Millisecond)
}

// TestRoomsByRedis: both channels bring casts; what is for a link comes by the gateway's own alone.
func TestRoomsByRedis(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 2
	r := start(t, o)
	a, b := r.loginAs("ann/1"), r.loginAs("bob/1")
	r.publish(bus.FromOwn, joining(toUser("ann"), "x"), joining(to(b.ref()), "x"))
	r.publish(bus.FromAll, saying(toRoom("x"), "all"), data(a.ref(), "not for this channel"), saying(toRoom("nobody"), "x"), pushing(toAll(), required("m", "p")))
	for _, c := range []*client{a, b} {
		c.expectData("all")
		c.expectPush("p")
		c.ack(0)
	}
	if reps := m.reports(2); !reps[0].acked || !reps[1].acked || reps[0].link == reps[1].link {
		t.Errorf("reports %+v", reps)
	}
	m.none(20 * time.Millisecond)
	if st := r.sum(); st.BusItems != 5 || st.BusNotHere != 1 || st.Casts != 3 {
		t.Errorf("%d items, %d for nobody, %d casts", st.BusItems, st.BusNotHere, st.Casts)
	}
}
