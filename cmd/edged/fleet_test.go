package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/config"
	"edged/offline"
	"edged/redisconn"
	"edged/redisconn/redistest"
	"edged/sdk/client"
	"edged/sdk/manager"
)

// startManager serves a Manager that binds a link to the user/device in its HELLO and has it join the room "all".
func startManager(t *testing.T) (address string) {
	t.Helper()
	m := manager.New(manager.Options{ID: "test", Handler: manager.Handler{Hello: func(e *manager.Event) {
		user, device, _ := strings.Cut(string(e.Payload), "/")
		_ = e.Join("all")
		_ = e.Bind(user, device)
	}}})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = m.Serve(lis) }()
	t.Cleanup(func() {
		if err := m.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return lis.Addr().String()
}

// testGateway is a whole gateway with its windows.
type testGateway struct {
	*instance
	t      *testing.T
	socket string
	stop   func() // may be called before the test's end
}

// startGateway runs one until the test ends. Without addresses it has no Redis.
func startGateway(t *testing.T, id, manager string, exclusive bool, redis ...string) *testGateway {
	t.Helper()
	g := &testGateway{t: t, socket: filepath.Join(t.TempDir(), "admin.sock")}
	cfg := config.Default()
	cfg.Gateway.ID, cfg.Gateway.Reactors, cfg.Gateway.Capacity = id, 2, 100
	cfg.Listeners[0].Address = "127.0.0.1:0"
	cfg.Manager.Addresses = []string{manager}
	cfg.Admin.Listen = []string{"unix:" + g.socket}
	cfg.Redis.Addresses = redis
	cfg.Registry.Exclusive = exclusive
	cfg.Health.Interval = time.Second
	var err error
	if g.instance, err = newInstance(cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	g.stop = func() {
		once.Do(func() {
			if err := g.instance.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(g.stop)
	if len(redis) > 0 {
		eventually(t, "routes and bus", func() bool { s := g.people.status(); return s.Routes == "ok" && s.Bus == "ok" })
	}
	return g
}

// ctl is a command line to g.
func (g *testGateway) ctl(args ...string) (status int, out string) {
	var w tail
	status = run(append([]string{"ctl", "--socket", g.socket}, args...), &w, &w)
	return status, w.text.String()
}

// must is ctl that has to go well.
func (g *testGateway) must(args ...string) string {
	g.t.Helper()
	status, out := g.ctl(args...)
	if status != exitDone {
		g.t.Errorf("%q: status %d, %s", args, status, out)
	}
	return out
}

// phone is a client that writes down what it is pushed.
type phone struct {
	*client.Client
	got *tail
}

// call logs in at g as user/device.
func (g *testGateway) call(who string) *phone {
	g.t.Helper()
	p := &phone{got: newTail()}
	var err error
	p.Client, err = client.Dial(soon(g.t), client.Options{
		Addresses: g.gateway.Addresses(), Hello: []byte(who),
		OnPush: func(m client.Push) { fmt.Fprintf(p.got, "%s %d %s\n", m.Payload, m.Version, m.MsgID) },
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(p.Close)
	return p
}

// online waits until everybody finds g's users.
func (g *testGateway) online(users int) {
	g.t.Helper()
	eventually(g.t, "the users", func() bool {
		return g.gateway.Directory().Users() == users && (g.people.routes() == nil || g.people.routes().Stats().Waiting == 0)
	})
}

// TestFleet: what an operator pushes at one gateway reaches whom he names, wherever in the fleet they are.
func TestFleet(t *testing.T) {
	s, m := redistest.Start(t), startManager(t)
	g1, g2 := startGateway(t, "gw-1", m, false, s.Addr), startGateway(t, "gw-2", m, false, s.Addr)
	here, there, other := g1.call("42/phone"), g2.call("42/tablet"), g2.call("43/phone")
	g1.online(1)
	g2.online(2)
	if out := g1.must("push", "--user", "42", "--text", "to the user", "--ack", "required", "--msg-id", "m-1"); out != "pushed to user:42: 2 devices on gw-1, gw-2, msg_id m-1\n" {
		t.Error(out)
	}
	here.got.want(t, "to the user 0 m-1\n")
	there.got.want(t, "to the user 0 m-1\n")
	g2.must("push", "--device", "42/phone", "--text", "to the device")
	here.got.want(t, "to the device 0 \n")
	g2.must("push", "--room", "all", "--text", "to the room")
	g1.must("push", "--everyone", "--text", "to everyone")
	for _, p := range []*phone{here, there, other} {
		p.got.want(t, "to the room 0 \n")
		p.got.want(t, "to everyone 0 \n")
	}
	g2.must("push", "--link", other.LinkID(), "--text", "to the link")
	eventually(t, "the report of gw-2", func() bool {
		status, _ := g1.ctl("push", "--link", other.LinkID(), "--text", "from afar")
		return status == exitDone
	})
	other.got.want(t, "to the link 0 \n")
	other.got.want(t, "from afar 0 \n")
	eventually(t, "gw-2 to report how it listens", func() bool { return s.Do("HGET", "edged:gw:{gw-2}", "sharded") == "1" })
	if status, out := g1.ctl("push", "--user", "44", "--text", "x"); status != exitNot || !strings.Contains(out, "user 44 is not online") {
		t.Errorf("status %d, %s", status, out)
	}
	if out := g1.must("users", "43"); !strings.Contains(out, "gw-2") || !strings.Contains(out, other.LinkID()) {
		t.Error(out)
	}
	watch := newTail()
	go func() {
		watch.ended <- run([]string{"ctl", "--socket", g1.socket, "users", "--watch", "43", "--after", "0"}, watch, watch)
	}()
	watch.want(t, "online   43/phone  on gw-2\n")
	g2.stop()
	watch.want(t, "offline  43/phone  on gw-2\n")
	eventually(t, "the users of gw-2 to be offline", func() bool { return s.Do("EXISTS", "edged:route:{43}", "edged:lease:{gw-2}") == "0" })
	if out := g1.must("users", "42"); strings.Contains(out, "gw-2") || !strings.Contains(out, "gw-1 (here)") {
		t.Error(out)
	}
	g1.stop()
	if status := <-watch.ended; status != exitNot {
		t.Errorf("watch: status %d", status)
	}
}

// TestFleetExclusive: a user's device that logs in elsewhere loses its link here, with BYE 6.
func TestFleetExclusive(t *testing.T) {
	s, m := redistest.Start(t), startManager(t)
	g1, g2 := startGateway(t, "gw-1", m, true, s.Addr), startGateway(t, "gw-2", m, true, s.Addr)
	old := g1.call("42/phone")
	g1.online(1)
	g2.call("42/phone")
	select {
	case <-old.Done():
		if err := old.Err(); err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the old link lives on")
	}
	eventually(t, "the route", func() bool { return strings.HasPrefix(s.Do("HGET", "edged:route:{42}", "phone"), "gw-2 ") })
}

// TestFleetStored: who logs in gets what was stored for him, and what is published for somebody who has gone is noticed.
func TestFleetStored(t *testing.T) {
	s, m := redistest.Start(t), startManager(t)
	g := startGateway(t, "gw-1", m, false, s.Addr)
	redis := redisconn.New(redisconn.Config{Addresses: []string{s.Addr}}, slog.New(slog.DiscardHandler))
	defer redis.Close()
	log := offline.New(redis, offline.Default())
	eventually(t, "a connection", redis.Connected)
	for i, r := range log.Store(soon(t), []offline.Message{
		{User: "42", MsgID: "a", Payload: []byte("one"), Ack: batch.AckRequired}, {User: "42", MsgID: "b", Payload: []byte("two"), Ack: batch.AckRequired},
	}) {
		if r.Err != nil || r.Version != uint64(i+1) {
			t.Fatalf("%+v", r)
		}
	}
	p := g.call("42/phone")
	p.got.want(t, "one 1 a\ntwo 2 b\n")
	eventually(t, "it to be known", func() bool { return s.Do("HGET", "edged:sync:{42}", "phone") == "2" })
	s.Do("HSET", "edged:route:{43}", "phone", fmt.Sprintf("gw-1 %d 192.0.2.1:7000:9:9", g.gateway.Epoch()))
	push := batch.AppendPush(nil, batch.ToUser("43"), 0, batch.Push{Payload: []byte("x")})
	if n := s.Do("SPUBLISH", "edged:down:{gw-1}", string(push)); n != "1" {
		t.Fatalf("heard by %s", n)
	}
	eventually(t, "the stale route to go", func() bool { return s.Do("EXISTS", "edged:route:{43}") == "0" })
	_, body := get(t, g.socket, "/metrics")
	for _, line := range []string{
		`edged_bus_received_batches_total{channel="own"} 1`, `edged_inlet_batches_total{from="own"} 1`, "edged_stored_messages_pulled_total 2",
		"edged_strays_total 1", "edged_users 1",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	for _, name := range []string{"edged_pulled_messages_total", "edged_pushes_total", "edged_rooms", "edged_pushes_unacked", "edged_messages_held"} {
		if !strings.Contains(body, "\n"+name+"{") {
			t.Errorf("no %s", name)
		}
	}
	if out := g.must("status"); !strings.Contains(out, "1 user on 1 device") {
		t.Error(out)
	}
}

// TestFleetAlone: without Redis all of this works on one gateway.
func TestFleetAlone(t *testing.T) {
	g := startGateway(t, "gw-1", startManager(t), false)
	p := g.call("42/phone")
	g.must("push", "--user", "42", "--text", "to the user")
	g.must("push", "--room", "all", "--text", "to the room")
	g.must("push", "--everyone", "--text", "to everyone", "--ack", "sampled")
	g.must("push", "--link", p.LinkID(), "--text", "to the link")
	p.got.want(t, "to the user 0 \n")
	p.got.want(t, "to the room 0 \n")
	p.got.want(t, "to everyone 0 \n")
	p.got.want(t, "to the link 0 \n")
	if out := g.must("users", "--json"); out != `{"users":1,"devices":1}`+"\n" {
		t.Error(out)
	}
	if status, out := g.ctl("users", "--watch"); status != exitNot || !strings.Contains(out, "none is configured") {
		t.Errorf("status %d, %s", status, out)
	}
}
