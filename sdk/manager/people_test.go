package manager_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/gateway"
	"edged/relay"
	"edged/sdk/client"
	"edged/sdk/manager"
	"edged/wire"
)

// house is a Manager with two real gateways and clients.
type house struct {
	t         *testing.T
	m         *manager.Manager
	d         manager.Deliveries
	refused   chan uint64
	levels    chan int64 // of those who say something
	addresses []string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, refused: make(chan uint64, 16), levels: make(chan int64, 16)}
	h.m = manager.New(manager.Options{Handler: manager.Handler{
		Hello: func(e *manager.Event) {
			var hello pb.Hello
			_ = proto.Unmarshal(e.Payload, &hello)
			_ = e.Bind(hello.GetUser(), hello.GetDevice())
		},
		Data:    func(e *manager.Event) { h.levels <- level.Or(e.Session, -1) },
		Refused: func(e *manager.Event) { h.refused <- e.Ref },
		Acked:   h.d.Acked, Undelivered: h.d.Undelivered, Lost: h.d.Lost,
	}})
	lis := listen(t)
	served := make(chan error, 1)
	go func() { served <- h.m.Serve(lis) }()
	t.Cleanup(func() {
		stop(t, h.m)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		h.gateway(lis)
	}
	eventually(t, "both gateways", func() bool { return h.m.Stats().Gateways == 2 })
	return h
}

func (h *house) gateway(lis net.Listener) {
	h.t.Helper()
	cfg, managers := gateway.Default(), relay.Default()
	cfg.Reactors, managers.Addresses = 2, []string{lis.Addr().String()}
	g, err := gateway.New(gateway.Options{Config: cfg, Managers: managers, Version: "test", Files: 4096,
		Listeners: []gateway.Listener{{Name: "main", Address: "127.0.0.1:0", Kind: "tcp"}}})
	if err != nil {
		h.t.Fatal(err)
	}
	g.Start()
	h.addresses = append(h.addresses, g.Addresses()[0])
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			h.t.Error(err)
		}
	})
}

// guest is a client; heard is what came to it.
type guest struct {
	*client.Client
	heard chan string
}

// comes lets a device of a user in at a gateway. A deaf one acknowledges nothing.
func (h *house) comes(gateway int, user, device string, deaf bool) *guest {
	h.t.Helper()
	g := &guest{heard: make(chan string, 100)}
	o := client.Options{Addresses: []string{h.addresses[gateway]}, User: user, Device: device,
		OnData: func(b []byte) { g.heard <- "data " + string(b) }}
	if !deaf {
		o.OnPush = func(p client.Push) { g.heard <- "push " + string(p.Payload) }
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if g.Client, err = client.Dial(ctx, o); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(g.Close)
	return g
}

func (g *guest) hears(t *testing.T, want string) {
	t.Helper()
	if got := within(t, want, g.heard); got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// told fails the test unless an operation was told to both gateways.
func (h *house) told(gateways int, err error) {
	h.t.Helper()
	if gateways != 2 || err != nil {
		h.t.Errorf("told %d gateways, %v", gateways, err)
	}
}

// What the kit says of users, rooms and everyone is what real gateways do.
func TestPeople(t *testing.T) {
	h := newHouse(t)
	phone, desk := h.comes(0, "ann", "phone", false), h.comes(1, "ann", "desk", false)
	ben := h.comes(1, "ben", "phone", false)
	ann := manager.ToUser("ann")

	h.told(h.m.PushTo(ann, manager.Push{Payload: []byte("both")}))
	phone.hears(t, "push both")
	desk.hears(t, "push both")
	h.told(h.m.DataTo(manager.ToDevice("ann", "desk"), []byte("desk alone")))
	desk.hears(t, "data desk alone")

	h.told(h.m.JoinTo(ann, "kitchen"))
	h.told(h.m.JoinTo(manager.ToDevice("ben", "phone"), "kitchen"))
	h.told(h.m.LeaveTo(manager.ToDevice("ann", "desk"), "kitchen"))
	h.told(h.m.DataTo(manager.ToRoom("kitchen"), []byte("dinner")))
	h.told(h.m.PushTo(manager.ToEveryone(), manager.Push{Payload: []byte("end")}))
	phone.hears(t, "data dinner")
	ben.hears(t, "data dinner")
	for _, g := range []*guest{phone, desk, ben} { // the desk heard of no dinner
		g.hears(t, "push end")
	}

	h.told(h.m.ChangeTo(ann, level.Set(7)))
	h.told(h.m.DataTo(ann, []byte("go"))) // an answer to it comes with the new session
	for _, g := range []*guest{phone, desk} {
		g.hears(t, "data go")
		if err := g.Send([]byte("me")); err != nil {
			t.Error(err)
		}
		if n := within(t, "the message", h.levels); n != 7 {
			t.Errorf("level %d in the session, want 7", n)
		}
	}

	h.told(h.m.JoinTo(manager.ToUser("nobody"), "kitchen", 9))
	for range 2 {
		if r := within(t, "a refusal", h.refused); r != 9 {
			t.Errorf("refused %d, want 9", r)
		}
	}
	h.told(h.m.CloseTo(ann, wire.ByeReplaced, 0, "enough"))
	for _, g := range []*guest{phone, desk} {
		within(t, "the end", g.Done())
	}
	h.told(h.m.DataTo(manager.ToUser("ben"), []byte("still here")))
	ben.hears(t, "data still here")
}

// Deliveries and real gateways agree on what becomes of a push.
func TestOutcomes(t *testing.T) {
	h := newHouse(t)
	h.comes(0, "ann", "phone", true)
	desk := h.comes(1, "ann", "desk", false)
	h.comes(0, "eve", "phone", true)
	for _, c := range []struct {
		name  string
		to    manager.Target
		acked bool
		why   manager.LossReason
		by    string
	}{
		{"one of two", manager.ToUser("ann"), true, 0, "desk"},
		{"the one", manager.ToDevice("ann", "desk"), true, 0, "desk"},
		{"the deaf one", manager.ToDevice("ann", "phone"), false, manager.LossNoAck, "phone"},
		{"deaf altogether", manager.ToUser("eve"), false, manager.LossNoAck, "phone"},
		{"nobody", manager.ToUser("nobody"), false, manager.LossNotHere, ""},
		{"no such device", manager.ToDevice("ann", "watch"), false, manager.LossNotHere, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan manager.Outcome, 2)
			push := manager.Push{Payload: []byte(c.name), TTL: 300 * time.Millisecond}
			if err := h.d.PushTo(h.m, c.to, push, func(o manager.Outcome) { got <- o }); err != nil {
				t.Fatal(err)
			}
			if o := within(t, "the outcome", got); o.Acked != c.acked || o.Reason != c.why || o.Device != c.by {
				t.Errorf("%+v", o)
			}
		})
	}
	t.Cleanup(func() {
		if n := h.d.Pending(); n != 0 || len(desk.heard) != 2 {
			t.Errorf("%d pending; the desk heard %d pushes, want 2", n, len(desk.heard))
		}
	})
}
