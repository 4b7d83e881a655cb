package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/handover"
	"edged/wire"
)

// TestRefusedHandOvers: a configuration that the links could not live with is refused in one sentence, and the old gateway
// goes on as if nothing had happened.
func TestRefusedHandOvers(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Config.Reactors, o.Config.ID = 2, "west"
	r := start(t, o)
	c := r.loginAs("ann/phone")
	half := numbered(3, 100)
	c.write(half[:10])
	for _, tt := range []struct {
		change func(*gateway.Options)
		want   string
	}{
		{func(o *gateway.Options) { o.Config.Reactors = 3 }, "[gateway] reactors is 3 and was 2: links know their reactor; restart to change it"},
		{func(o *gateway.Options) { o.Config.Capacity = 999 }, "[gateway] capacity is 999 and was 1000: "},
		{func(o *gateway.Options) { o.Config.ID = "east" }, `[gateway] id is "east" and was "west": `},
		{func(o *gateway.Options) { o.Config.Advertise = "192.0.2.1:7" }, `[gateway] advertise is "192.0.2.1:7" and was "` + r.Advertise()},
		{func(o *gateway.Options) {
			for i := range 255 {
				o.Listeners[0].Name = "main"
				o.Listeners = append(o.Listeners, gateway.Listener{Name: fmt.Sprint("l", i), Address: "127.0.0.1:0", Kind: "tcp"})
			}
			o.Listeners = o.Listeners[1:]
		}, "[[listener]]: there are more than 255 together"},
		{func(o *gateway.Options) { // who refuses must not forget a listener: in one process, its file would be closed twice
			o.Listeners = append(o.Listeners, gateway.Listener{Name: "away", Address: "192.0.2.1:1", Kind: "tcp"})
		}, `gateway: listener "away": `},
	} {
		p := o
		p.Listeners = append([]gateway.Listener(nil), o.Listeners...)
		tt.change(&p)
		_, err := r.trySucceed(p, nil)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%v, not %s", err, tt.want)
		}
		c.again(half)
	}
	m.until("what was begun before", func(i *edgedpb.UpItem) bool { return i.GetMessage().GetKind() == edgedpb.ClientMessage_DATA })
	r.dial().beat()
	m.send(saying(toUser("ann"), "still here"))
	c.expectData("still here")
	r.balanced()
}

// again finishes a frame that was begun, and begins it once more.
func (c *client) again(frame []byte) {
	c.t.Helper()
	c.write(frame[10:])
	c.beat()
	c.write(frame[:10])
}

// TestFailedHandOversUnderLoad: everybody goes on talking while successors are refused or what follows fails at any step.
func TestFailedHandOversUnderLoad(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newChat(t)
	o := options(c.serve(0), c.serve(1))
	o.Config.Reactors = 2
	r := start(t, o)
	var links []*client
	for i := range 8 {
		links = append(links, r.loginAs(fmt.Sprint("user", i)))
	}
	c.begin(r, links, seed)
	p := r.Product()
	for step := range 12 {
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		p.Parts()
		if step%4 > 0 {
			if err := p.Pause(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if step%4 > 1 {
			if step == 7 {
				cancel() // its time is over at once
			}
			if err := p.Freeze(ctx); err != nil && step != 7 {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		p.Thaw(step%4 > 2)
		cancel()
	}
	c.finish(r)
}

// TestListenersChange: one stays under its port, one moves, one goes and one comes; links of each live on.
func TestListenersChange(t *testing.T) { eachWay(t, testListenersChange) }

func testListenersChange(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	o.Listeners = nil
	for _, name := range []string{"stays", "moves", "goes", "renamed"} {
		o.Listeners = append(o.Listeners, gateway.Listener{Name: name, Address: freeAddress(t), Kind: "tcp"})
	}
	r := w.start(t, o)
	var links []*client
	for _, a := range r.Addresses() {
		links = append(links, dial(t, a))
		links[len(links)-1].beat()
	}
	was := r.Addresses()
	p := o
	p.Listeners = []gateway.Listener{
		{Name: "comes", Address: freeAddress(t), Kind: "tcp"},
		{Name: "new name", Address: o.Listeners[3].Address, Kind: "tcp"},
		{Name: "moves", Address: freeAddress(t), Kind: "tcp"},
		o.Listeners[0],
	}
	next := r.succeed(p).succeed(p)
	for i, a := range next.Addresses() {
		if a != p.Listeners[i].Address {
			t.Errorf("listener %s is at %s", p.Listeners[i].Name, a)
		}
		links = append(links, dial(t, a))
		links[len(links)-1].beat()
	}
	for _, a := range []string{was[1], was[2]} {
		// The processes that the socket was inherited from stand still here and hold it; what comes is of no use.
		if conn, err := net.Dial("tcp", a); err == nil {
			_ = conn.Close()
		}
	}
	for i, want := range []string{"stays", "moves", "goes", "renamed", "comes", "new name", "moves", "stays"} {
		links[i].send(wire.KindHello, fmt.Sprint("u/", i))
		links[i].welcome()
		links[i].send(wire.KindData, want)
		up := m.until(want, func(u *edgedpb.UpItem) bool { return string(u.GetMessage().GetPayload()) == want })
		if s := up.Session.GetValues(); s["listener"] != want {
			t.Errorf("link %d came by %q, not %q", i, s["listener"], want)
		}
	}
	if next.Links() != 8 {
		t.Errorf("%d links", next.Links())
	}
	next.balanced()
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestListenersAreClosedWhileDraining: a successor of a gateway that drains does not listen, and Undrain finds the addresses.
func TestListenersAreClosedWhileDraining(t *testing.T) {
	eachWay(t, testListenersAreClosedWhileDraining)
}

func testListenersAreClosedWhileDraining(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	r := w.start(t, o)
	c := r.loginAs("ann/phone")
	r.Drain(time.Hour)
	next := r.succeed(o)
	if conn, err := net.Dial("tcp", r.Addresses()[0]); err == nil {
		_ = conn.Close()
		t.Error("it listens")
	}
	if err := next.Undrain(); err != nil {
		t.Fatal(err)
	}
	if next.Addresses()[0] != r.Addresses()[0] {
		t.Errorf("it listens at %s, not %s", next.Addresses()[0], r.Addresses()[0])
	}
	next.loginAs("bob/phone").beat()
	c.beat()
}

// TestPassedSocketsCross: sockets that a supervisor passed are the successor's too.
func TestPassedSocketsCross(t *testing.T) { eachWay(t, testPassedSocketsCross) }

func testPassedSocketsCross(t *testing.T, w way) {
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	t.Cleanup(func() { _ = f.Close() })
	o.Listeners[0].Address = "systemd:main"
	o.Passed = map[string][]int{"main": {int(f.Fd())}}
	r := w.start(t, o)
	dial(t, address).beat()
	p := o
	if !w.crash { // a supervisor passes them again
		p.Passed = nil
	}
	next := r.succeed(p)
	dial(t, address).beat()
	next.Drain(0)
	eventually(t, "it is empty", func() bool { return next.Links() == 0 })
	if err := next.Undrain(); err != nil {
		t.Fatal(err)
	}
	dial(t, address).beat()
}

// TestManagersChange: links and what is on its way to a Manager that is configured no more go to another one.
func TestManagersChange(t *testing.T) { eachWay(t, testManagersChange) }

func testManagersChange(t *testing.T, w way) {
	b := newBackend(t)
	old, stays := b.run("old", ""), b.run("stays", "")
	o := options(old.address, stays.address)
	o.Config.Reactors, o.Managers.Grace = 2, time.Minute
	r := w.start(t, o)
	var links []*client
	for range 12 {
		links = append(links, r.login())
	}
	n := uint32(0)
	say := func(times int) {
		for range times {
			for _, c := range links {
				c.numbered(n, 50)
			}
			n++
		}
	}
	say(100)
	eventually(t, "both have work", func() bool { return b.count("old") > 0 && b.count("stays") > 0 })
	old.kill()
	say(100)
	time.Sleep(sleepy)
	fresh := b.run("new", "")
	o.Managers.Addresses = []string{fresh.address, stays.address}
	next := r.succeed(o)
	say(100)
	eventually(t, "all has arrived", func() bool { return b.complete(links, n) })
	o.Managers.Addresses = []string{stays.address}
	next = next.succeed(o)
	say(100)
	eventually(t, "all has arrived at one", func() bool { return b.complete(links, n) })
	if b.count("new") == 0 {
		t.Error("the new Manager got nothing")
	}
	if !w.crash { // without rings nothing is known of the numbers that Managers remember
		o.Managers.Addresses = nil
		next = next.succeed(o)
	}
	for _, c := range links {
		c.beat()
	}
	o.Managers.Addresses = []string{fresh.address}
	next = next.succeed(o)
	say(50)
	eventually(t, "all has arrived at the last", func() bool { return b.complete(links, n) })
	b.check()
	next.balanced()
}

// TestDamagedLinks: what is wrong with the record of one link ends that link, with a counted reason, and no other one.
func TestDamagedLinks(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindNames)
	o := options(m.address)
	r := start(t, o)
	var links []*client
	for i := range 8 {
		links = append(links, r.loginAs(fmt.Sprint("user", i, "/phone")))
	}
	m.send(joining(toUser("user3"), "den"), joining(toUser("user4"), "den"))
	m.send(saying(toRoom("den"), "x"))
	links[4].expectData("x")
	seen := m.streamsSeen()
	next, err := r.trySucceed(o, func(sections []handover.Section) {
		for i := range sections {
			if s := &sections[i]; s.Kind() == "shard" {
				s.Bytes = spoilLink(t, s.Bytes, 3)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m.again(seen)
	links[3].expectData("x")
	links[3].bye(wire.ByeOverloaded)
	m.until("its end is told", func(i *edgedpb.UpItem) bool { return i.GetClosed() != nil && i.Link.Uniq == links[3].ref().Uniq })
	m.send(saying(toRoom("den"), "y"))
	links[4].expectData("y")
	for i, c := range links {
		if i != 3 {
			c.beat()
		}
	}
	if st := next.total(); st.Ended[gateway.EndDamaged] != 1 || st.Links != 7 {
		t.Errorf("%d links, ended %v", st.Links, st.Ended)
	}
	if n := next.Directory().Devices(); n != 7 {
		t.Errorf("%d devices", n)
	}
	next.balanced()
}

// spoilLink changes a byte in the record of the link in that place.
func spoilLink(t *testing.T, section []byte, place byte) []byte {
	t.Helper()
	b := append([]byte(nil), section...)
	for rest := b; len(rest) > 0; {
		r, next, err := handover.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if rest = next; r.Body[0] == 4 && r.Body[1] == place {
			r.Body[1+16] ^= 1 << 5 // it would be latent
			return b
		}
	}
	t.Fatal("no such link")
	return nil
}
