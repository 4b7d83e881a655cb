package gateway_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/bus"
	"edged/wire"
)

func TestUserWithThreeDevices(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 3
	r := start(t, o)
	var all []*client
	for i := range 6 { // two reactors have two of them at least
		all = append(all, r.loginAs(fmt.Sprint("ann/", i)))
	}
	other := r.loginAs("bob/0")
	for n := range 50 {
		word := fmt.Sprint(n)
		m.send(saying(toUser("ann"), "all "+word), saying(toDevice("ann", "2"), "one "+word), data(all[2].ref(), "link "+word))
	}
	for n := range 50 {
		for i, c := range all {
			c.expectData(fmt.Sprint("all ", n))
			if i == 2 {
				c.expectData(fmt.Sprint("one ", n))
				c.expectData(fmt.Sprint("link ", n))
			}
		}
	}
	m.send(saying(toUser("bob"), "only"))
	other.expectData("only")
	if n := r.Directory().Users(); n != 2 {
		t.Errorf("%d users", n)
	}
	if n := r.Directory().Devices(); n != 7 {
		t.Errorf("%d devices", n)
	}
}

// TestNewLinkOfADevice: the old one is closed first, and its end takes nothing from the new one.
func TestNewLinkOfADevice(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 2
	r := start(t, o)
	old := r.loginAs("ann/phone")
	for n := range 20 {
		c := r.loginAs("ann/phone")
		old.bye(wire.ByeReplaced)
		e := m.until("the end", func(i *edgedpb.UpItem) bool { return i.GetClosed() != nil }).GetClosed()
		if e.Side != edgedpb.Closed_GATEWAY || e.Reason != uint32(wire.ByeReplaced) {
			t.Fatalf("closed %v", e)
		}
		m.send(saying(toDevice("ann", "phone"), fmt.Sprint(n)))
		c.expectData(fmt.Sprint(n))
		old = c
	}
	if at, ok := r.Directory().Link([]byte("ann"), []byte("phone")); !ok || string(r.AppendLinkID(nil, at)) != old.link {
		t.Errorf("the directory says %+v", at)
	}
	if n := r.sum().Replaced; n != 20 {
		t.Errorf("%d replaced", n)
	}
	r.balanced()
}

// TestRacingLogins: of a hundred at once one is left, and it is the one that messages reach.
func TestRacingLogins(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 4
	r := start(t, o)
	const n = 100
	all := make([]*client, n)
	for i := range all {
		all[i] = r.dial()
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.write(hello("ann/phone")) })
	}
	wg.Wait()
	eventually(t, "all logins are through", func() bool { st := r.total(); return st.Welcomed == n && st.Links == 1 })
	m.send(saying(toUser("ann"), "you"))
	left := 0
	for _, c := range all {
		c.welcome()
		switch body, err := c.next(patience); {
		case err != nil:
			t.Fatal(err)
		case wire.Kind(body[0]) == wire.KindBye:
			if why := wire.ParseBye(body[1:]).Reason; why != wire.ByeReplaced {
				t.Errorf("BYE %v", why)
			}
			if _, err := c.next(patience); err != io.EOF {
				t.Errorf("behind the BYE: %v", err)
			}
		case string(body[1:]) == "you":
			left++
		}
	}
	if left != 1 || r.sum().Replaced != n-1 || r.Directory().Devices() != 1 {
		t.Errorf("%d are left, %d were replaced, %d are listed", left, r.sum().Replaced, r.Directory().Devices())
	}
	r.balanced()
}

func hello(name string) []byte { return wire.Append(nil, wire.KindHello, []byte(name)) }

// TestSecondBind: the link is the new user's, without a second WELCOME; what it was not given the first time it keeps.
func TestSecondBind(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	c := r.loginAs("ann/phone")
	m.send(bind(c.ref(), "ann", "phone"), saying(toDevice("ann", "phone"), "same"),
		bind(c.ref(), "ann", "desk"), saying(toDevice("ann", "desk"), "other device"), withRef(1, saying(toDevice("ann", "phone"), "gone")),
		bind(c.ref(), "bob", "phone"), saying(toUser("bob"), "other user"), withRef(2, saying(toUser("ann"), "gone")),
		withRef(3, bind(c.ref(), strings.Repeat("x", 5000), "phone")), saying(toUser("bob"), "still bob"))
	for _, want := range []string{"same", "other device", "other user", "still bob"} {
		c.expectData(want)
	}
	for ref, code := range map[uint64]edgedpb.Refused_Code{1: edgedpb.Refused_NOT_HERE} {
		m.until("the first refusal", func(i *edgedpb.UpItem) bool { return i.GetRefused().GetRef() == ref && i.GetRefused().Code == code })
	}
	m.refused(2, edgedpb.Refused_NOT_HERE)
	m.refused(3, edgedpb.Refused_SESSION_FULL)
	c.send(wire.KindData, "x")
	if i := m.message(edgedpb.ClientMessage_DATA, "x"); value(t, i, "user") != "bob" || value(t, i, "device") != "phone" {
		t.Errorf("session %v", i.Session)
	}
	_ = c.conn.Close()
	eventually(t, "nobody is listed", func() bool { return r.Directory().Devices() == 0 })
}

// TestBoundToNobody: a user without a name is logged in and not listed.
func TestBoundToNobody(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	r := start(t, options(m.address))
	a, b := r.loginAs(""), r.loginAs("")
	m.send(data(a.ref(), "a"), data(b.ref(), "b"), saying(toAll(), "all"))
	a.expectData("a")
	b.expectData("b")
	a.expectData("all")
	if n := r.Directory().Devices(); n != 0 {
		t.Errorf("%d are listed", n)
	}
}

// TestNobodyHere: what is for a user who is not here comes back once, and is told of where Redis brought it.
func TestNobodyHere(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 3
	strays := make(chan string, 10)
	o.NotHere = func(user, device []byte) { strays <- fmt.Sprintf("%s/%s %v", user, device, device == nil) }
	r := start(t, o)
	c := r.loginAs("ann/phone")
	m.send(withRef(7, saying(toUser("eve"), "x")), withRef(8, saying(toDevice("ann", "desk"), "x")),
		pushing(toUser("eve"), required("m1", "x")), saying(toUser("ann"), "end"))
	c.expectData("end")
	got := map[uint64]int{}
	for range 2 {
		i := m.until("a refusal", func(i *edgedpb.UpItem) bool { return i.GetRefused() != nil || i.GetUndelivered() != nil })
		if x := i.GetRefused(); x != nil && x.Code == edgedpb.Refused_NOT_HERE && i.Link == nil {
			got[x.Ref]++
		}
	}
	if rep := m.reports(1)[0]; rep.id != "m1" || rep.loss != edgedpb.Loss_NOT_HERE || rep.link != [2]uint32{} {
		t.Errorf("report %+v", rep)
	}
	if got[7] != 1 || got[8] != 1 {
		t.Errorf("refused %v", got)
	}
	r.publish(bus.FromOwn, pushing(toUser("eve"), required("m2", "x")), saying(toDevice("ann", "desk"), "x"), saying(toUser("ann"), "by Redis"))
	c.expectData("by Redis")
	for _, want := range []string{"eve/ true", "ann/desk false"} {
		select {
		case s := <-strays:
			if s != want {
				t.Errorf("told of %q, not %q", s, want)
			}
		case <-time.After(patience):
			t.Fatalf("not told of %q", want)
		}
	}
	m.none(20 * time.Millisecond)
	if st := r.sum(); st.BusItems != 3 || st.BusNotHere != 2 {
		t.Errorf("%d items by the bus, %d for nobody", st.BusItems, st.BusNotHere)
	}
}

func TestEvict(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors = 2
	r := start(t, o)
	a, b := r.loginAs("ann/phone"), r.loginAs("bob/phone")
	for _, id := range []string{"", "nonsense", "192.0.2.1:1:0:1", strings.Replace(a.link, ":", ":9", 1), r.Advertise() + ":4294967295:1"} {
		if r.Evict(id) {
			t.Errorf("%q is not of this gateway", id)
		}
	}
	if !r.Evict(a.link) {
		t.Errorf("%q is of this gateway", a.link)
	}
	a.bye(wire.ByeReplaced)
	if !r.Evict(a.link) { // it is gone, which is as good
		t.Errorf("%q is of this gateway", a.link)
	}
	m.send(saying(toUser("bob"), "here"))
	b.expectData("here")
	if n := r.sum().Replaced; n != 1 {
		t.Errorf("%d replaced", n)
	}
}
