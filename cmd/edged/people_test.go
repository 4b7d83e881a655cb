package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/admin"
	"edged/batch"
	"edged/dispatch"
	"edged/redisconn"
	"edged/redisconn/redistest"
	"edged/registry"
)

// TestPeopleAlone: without Redis a gateway pushes to its own links and knows its own users.
func TestPeopleAlone(t *testing.T) {
	p := startPeople(t, 1, peopleSettings())
	p.hub.login("42", "phone", 5)
	p.hub.login("42", "tablet", 6)
	here := []string{"gw-1"}
	p.want(t, message("user:42"), admin.Pushed{Gateways: here, Devices: 2})
	p.want(t, message("device:42/phone"), admin.Pushed{Gateways: here, Devices: 1})
	p.want(t, message("room:live-1"), admin.Pushed{Gateways: here})
	p.want(t, message("everyone"), admin.Pushed{Gateways: here})
	p.want(t, message("link:192.0.2.1:7000:5:1"), admin.Pushed{Gateways: here})
	const rest = ` push hello "" ack=0 gzip=false ttl=0`
	p.hub.wantItems(t, &p.hub.ordered, "42"+rest, "42/phone"+rest, "#live-1"+rest, "*"+rest, "5:1"+rest)
	for to, want := range map[string]string{
		"user:43": "user 43 is not online", "device:42/watch": "device watch of user 42 is not online",
		"link:192.0.2.9:7000:5:1": "the gateway at 192.0.2.9:7000 is not online",
	} {
		if _, err := p.Push(soon(t), message(to)); err == nil || err.Error() != want || !errors.As(err, new(*admin.NotOnlineError)) {
			t.Errorf("%s: %v, want %s", to, err, want)
		}
	}
	devices, err := p.Devices(soon(t), "42")
	slices.SortFunc(devices, func(a, b admin.Device) int { return strings.Compare(a.Device, b.Device) })
	want := []admin.Device{
		{Device: "phone", Gateway: "gw-1", Epoch: fmt.Sprint(uint64(1) << 60), Link: "192.0.2.1:7000:5:1", Here: true},
		{Device: "tablet", Gateway: "gw-1", Epoch: fmt.Sprint(uint64(1) << 60), Link: "192.0.2.1:7000:6:1", Here: true},
	}
	if err != nil || !slices.Equal(devices, want) {
		t.Errorf("%+v, %v; want %+v", devices, err, want)
	}
	if u, err := p.Users(soon(t)); err != nil || u != (admin.Users{Users: 1, Devices: 2}) {
		t.Errorf("%+v, %v", u, err)
	}
	if _, _, err := p.Presence(soon(t), "$", 0); err == nil || !strings.Contains(err.Error(), "none is configured") {
		t.Errorf("presence: %v", err)
	}
	if s := p.status(); *s != (admin.PeopleStatus{Users: 1, Devices: 2, Routes: "off", Bus: "off"}) || p.sharded() {
		t.Errorf("%+v", s)
	}
	p.hub.busy = errors.New("the lanes are full")
	if _, err := p.Push(soon(t), message("user:42")); !errors.Is(err, p.hub.busy) {
		t.Errorf("a full gateway: %v", err)
	}
}

// TestPushForms: what a request says stands in the item, and what no link could take is refused.
func TestPushForms(t *testing.T) {
	p := startPeople(t, 1, peopleSettings())
	r := message("everyone")
	r.MsgID, r.Ack, r.Gzip, r.TTL = "m-1", admin.AckSampled, true, 30*time.Second
	p.want(t, r, admin.Pushed{MsgID: "m-1", Gateways: []string{"gw-1"}})
	p.hub.wantItems(t, &p.hub.ordered, `* push hello "m-1" ack=2 gzip=true ttl=30000`)
	r.MsgID, r.Ack, r.Gzip, r.TTL = "", admin.AckRequired, false, 0
	seen := map[string]bool{}
	for range 3 {
		done, err := p.Push(soon(t), r)
		if err != nil || !strings.HasPrefix(done.MsgID, "push-") || seen[done.MsgID] {
			t.Fatalf("%+v, %v", done, err)
		}
		seen[done.MsgID] = true
		p.hub.wantItems(t, &p.hub.ordered, fmt.Sprintf(`* push hello %q ack=1 gzip=false ttl=0`, done.MsgID))
	}
	var bad *admin.InvalidError
	for _, to := range []string{"link:x", "link:192.0.2.1:7000:5", "link:192.0.2.1:7000:05:1", "link:192.0.2.1:7000:5:4294967296"} {
		if _, err := p.Push(soon(t), message(to)); !errors.As(err, &bad) || !strings.Contains(err.Error(), "is not a link ID") {
			t.Errorf("%s: %v", to, err)
		}
	}
	r = message("everyone")
	for _, c := range []struct {
		bytes int
		msgID string
		gzip  bool
		ok    bool
	}{
		{1000 - 6, "", false, true}, {1000 - 5, "", false, false}, {1000 - 6 - 9 - 3, "m-1", false, true}, {1000 - 6 - 9 - 2, "m-1", false, false},
		{2000, "", true, true}, // its links find out
	} {
		r.Payload, r.MsgID, r.Gzip = make([]byte, c.bytes), c.msgID, c.gzip
		_, err := p.Push(soon(t), r)
		if (err == nil) != c.ok || err != nil && (!errors.As(err, &bad) || !strings.Contains(err.Error(), "max_frame is 1000")) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestPushFleet: a push goes once to each gateway where its user is, and to no other.
func TestPushFleet(t *testing.T) {
	s, a, b := pair(t, nil)
	c := startPeople(t, 3, peopleSettings(s.Addr))
	a.hub.login("42", "phone", 1)
	b.hub.login("42", "tablet", 2)
	b.hub.login("42", "watch", 3)
	c.hub.login("43", "phone", 4)
	for _, p := range []*testPeople{a, b, c} {
		p.written(t)
	}
	const rest = ` push hello "" ack=0 gzip=false ttl=0`
	a.want(t, message("user:42"), admin.Pushed{Gateways: []string{"gw-1", "gw-2"}, Devices: 3})
	a.hub.wantItems(t, &a.hub.ordered, "42"+rest)
	b.hub.wantItems(t, &b.hub.heard, "own: 42"+rest)
	c.want(t, message("device:42/watch"), admin.Pushed{Gateways: []string{"gw-2"}, Devices: 1})
	b.hub.wantItems(t, &b.hub.heard, "own: 42/watch"+rest)
	b.want(t, message("everyone"), admin.Pushed{Heard: 3})
	c.want(t, message("room:live-1"), admin.Pushed{Heard: 3})
	for _, p := range []*testPeople{a, b, c} {
		// Two publishers: nothing orders them.
		p.hub.wantItems(t, &p.hub.heard, "all: *"+rest, "all: #live-1"+rest)
	}
	if _, err := a.Push(soon(t), message("user:44")); err == nil || err.Error() != "user 44 is not online" {
		t.Errorf("%v", err)
	}
	if _, err := a.Push(soon(t), message("device:42/car")); err == nil || err.Error() != "device car of user 42 is not online" {
		t.Errorf("%v", err)
	}
	devices, err := b.Devices(soon(t), "42")
	var places []string
	for _, d := range devices {
		places = append(places, fmt.Sprint(d.Device, " ", d.Gateway, " ", d.Epoch, " ", d.Link, " ", d.Here))
	}
	slices.Sort(places)
	want := []string{
		"phone gw-1 1152921504606846976 192.0.2.1:7000:1:1 false", "tablet gw-2 2305843009213693952 192.0.2.2:7000:2:1 true",
		"watch gw-2 2305843009213693952 192.0.2.2:7000:3:1 true",
	}
	if err != nil || !slices.Equal(places, want) {
		t.Errorf("%q, %v; want %q", places, err, want)
	}
	if devices, err := b.Devices(soon(t), "44"); err != nil || len(devices) != 0 {
		t.Errorf("%+v, %v", devices, err)
	}
	b.hub.logout("42", "tablet", 2) // of itself a gateway knows before Redis does
	if devices, err := b.Devices(soon(t), "42"); err != nil || len(devices) != 2 {
		t.Errorf("%+v, %v", devices, err)
	}
	if !a.sharded() {
		t.Error("not sharded, although the server is")
	}
}

// TestPushLinkElsewhere finds the gateway by the address that its reports tell.
func TestPushLinkElsewhere(t *testing.T) {
	s, a, b := pair(t, nil)
	client := redisconn.New(redisconn.Config{Addresses: []string{s.Addr}}, slog.New(slog.DiscardHandler))
	defer client.Close()
	r := dispatch.NewReporter(client, b.hub.id, time.Second, nil)
	defer r.Stop(context.Background())
	to := message("link:192.0.2.2:7000:5:1")
	if _, err := a.Push(soon(t), to); err == nil || err.Error() != "the gateway at 192.0.2.2:7000 is not online" {
		t.Errorf("%v", err)
	}
	r.Now(dispatch.Report{Address: b.hub.address, State: dispatch.StateUp, Availability: 1, Raw: 1})
	eventually(t, "the report", func() bool { _, err := a.gatewayAt(soon(t), b.hub.address); return err == nil })
	a.want(t, to, admin.Pushed{Gateways: []string{"gw-2"}})
	b.hub.wantItems(t, &b.hub.heard, `own: 5:1 push hello "" ack=0 gzip=false ttl=0`)
}

// TestPushUnheard: a gateway that does not listen is named, and one alone is an error.
func TestPushUnheard(t *testing.T) {
	_, a, b := pair(t, nil)
	a.hub.login("42", "phone", 1)
	b.hub.login("42", "tablet", 2)
	b.hub.login("43", "phone", 3)
	a.written(t)
	b.written(t)
	b.subscriber.Stop()
	// Redis sees the end of a connection a little later.
	eventually(t, "the loss to be told", func() bool {
		_, err := a.Push(soon(t), message("user:43"))
		return err != nil && err.Error() == "gateway gw-2 does not hear Redis now"
	})
	a.want(t, message("user:42"), admin.Pushed{Gateways: []string{"gw-1", "gw-2"}, Unheard: []string{"gw-2"}, Devices: 2})
	eventually(t, "one gateway to hear", func() bool {
		done, err := a.Push(soon(t), message("everyone"))
		return err == nil && done.Heard == 1
	})
	a.subscriber.Stop()
	eventually(t, "nobody to listen", func() bool {
		_, err := b.Push(soon(t), message("everyone"))
		return err != nil && err.Error() == "no gateway hears Redis now"
	})
}

// TestPeopleWithoutAnswer: while Redis hangs or is dead there is an error in time, and afterwards all is as it was.
func TestPeopleWithoutAnswer(t *testing.T) {
	s, a, b := pair(t, nil)
	a.hub.login("42", "phone", 1)
	b.hub.login("43", "phone", 1)
	a.written(t)
	b.written(t)
	refused := func(what string) {
		t.Helper()
		for _, to := range []string{"user:43", "user:42", "everyone", "link:192.0.2.2:7000:5:1"} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			_, err := a.Push(ctx, message(to))
			cancel()
			if err == nil || errors.As(err, new(*admin.NotOnlineError)) || errors.As(err, new(*admin.InvalidError)) {
				t.Errorf("%s, %s: %v", what, to, err)
			}
		}
		if _, err := a.Devices(soon(t), "43"); err == nil {
			t.Errorf("%s: a user is known", what)
		}
		if _, _, err := a.Presence(soon(t), "0", time.Millisecond); err == nil {
			t.Errorf("%s: presence is known", what)
		}
	}
	s.Pause()
	refused("hangs")
	s.Continue()
	eventually(t, "an answer", func() bool { _, err := a.Push(soon(t), message("user:43")); return err == nil })
	s.Kill()
	refused("is dead")
	eventually(t, "the loss to be told", func() bool {
		s := a.status()
		return strings.HasPrefix(s.Routes, "failing: ") && strings.HasPrefix(s.Bus, "not heard: ")
	})
	s.Restart()
	eventually(t, "all to be well", func() bool { s := a.status(); return s.Routes == "ok" && s.Bus == "ok" })
	b.hub.take(&b.hub.heard)
	eventually(t, "an answer", func() bool { _, err := a.Push(soon(t), message("user:43")); return err == nil })
	b.hub.wantItems(t, &b.hub.heard, `own: 43 push hello "" ack=0 gzip=false ttl=0`)
}

// TestExclusive: a login elsewhere closes the link here, with BYE 6.
func TestExclusive(t *testing.T) {
	_, a, b := pair(t, func(c *peopleConfig) { c.Registry.Exclusive = true })
	a.hub.login("42", "phone", 7)
	a.written(t)
	b.hub.login("42", "phone", 8)
	a.hub.wantItems(t, &a.hub.heard, "own: 7:1 close 6")
	if n := b.count.told.Load(); n != 1 {
		t.Errorf("%d told", n)
	}
	// What the resync finds is told to the gateway itself.
	b.evicted("42", "phone", registry.Route{Gateway: "gw-2", Link: "192.0.2.2:7000:8:1"})
	b.hub.wantItems(t, &b.hub.evicted, "192.0.2.2:7000:8:1")
	b.evicted("42", "phone", registry.Route{Gateway: "gw-1", Link: "nonsense"})
	if n := b.count.untold.Load(); n != 1 {
		t.Errorf("%d untold", n)
	}
}

// TestStrays: a route of this gateway for a user who is not here is gone after the first message that came by it.
func TestStrays(t *testing.T) {
	s, a, b := pair(t, nil)
	b.hub.login("42", "phone", 1)
	b.written(t)
	stale := func(device string) string { return s.Do("HGET", "edged:route:{42}", device) }
	for _, device := range []string{"tablet", "watch"} {
		s.Do("HSET", "edged:route:{42}", device, fmt.Sprintf("gw-1 %d 192.0.2.1:7000:9:9", a.hub.epoch))
	}
	a.notHere([]byte("42"), []byte("tablet"))
	eventually(t, "the route of a device to go", func() bool { return stale("tablet") == "" })
	if stale("watch") == "" {
		t.Error("another one went too")
	}
	a.notHere([]byte("42"), nil)
	eventually(t, "the routes of the user to go", func() bool { return stale("watch") == "" })
	if stale("phone") == "" {
		t.Error("another gateway's went too")
	}
	if n := a.count.strays.Load(); n != 2 {
		t.Errorf("%d strays", n)
	}
}

// TestStraysNeverWait: however many come while Redis hangs.
func TestStraysNeverWait(t *testing.T) {
	s := redistest.Start(t)
	p := startPeople(t, 1, peopleSettings(s.Addr))
	s.Pause()
	defer s.Continue()
	for i := range 3 * maxStrays {
		p.notHere(fmt.Append(nil, "u", i), nil)
	}
	if n := p.count.strays.Load() + p.count.strayLost.Load(); n != 3*maxStrays || p.count.strayLost.Load() == 0 {
		t.Errorf("%d counted, %d lost", n, p.count.strayLost.Load())
	}
	alone := startPeople(t, 2, peopleSettings())
	for range 2 * maxStrays {
		alone.notHere([]byte("42"), nil) // nobody takes them, and nobody minds
	}
}

// TestPeopleStop: a gateway that leaves takes its users out of Redis, and one that cannot leaves in time all the same.
func TestPeopleStop(t *testing.T) {
	s, a, b := pair(t, nil)
	a.hub.login("42", "phone", 1)
	a.written(t)
	if s.Do("EXISTS", "edged:route:{42}", "edged:lease:{gw-1}") != "2" {
		t.Fatal("no route, or no lease")
	}
	a.stop(soon(t))
	if n := s.Do("EXISTS", "edged:route:{42}", "edged:lease:{gw-1}"); n != "0" {
		t.Errorf("%s of route and lease are left", n)
	}
	if _, err := a.Push(soon(t), message("everyone")); err == nil {
		t.Error("pushed after the end")
	}
	s.Pause()
	defer s.Continue()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	b.stop(ctx)
	if d := time.Since(begin); d > patience/2 {
		t.Errorf("took %v", d)
	}
	never := newPeople(peopleSettings(s.Addr), slog.New(slog.DiscardHandler))
	never.stop(ctx) // of a process that did not come to join
}

// TestPeopleMetrics: every number has its name, and they form a scrape.
func TestPeopleMetrics(t *testing.T) {
	_, a, b := pair(t, nil)
	a.hub.login("42", "phone", 1)
	a.written(t)
	a.hub.wantItems(t, &a.hub.routed, "42/phone")
	b.want(t, message("user:42"), admin.Pushed{Gateways: []string{"gw-1"}, Devices: 1})
	a.hub.wantItems(t, &a.hub.heard, `own: 42 push hello "" ack=0 gzip=false ttl=0`)
	for p, want := range map[*testPeople][]string{
		a: {
			"edged_users 1", "edged_devices 1", "edged_lease_held 1", "edged_routes_written_total 1", "edged_routes_waiting 0", `edged_bus_up{channel="own"} 1`,
			`edged_bus_received_batches_total{channel="own"} 1`, `edged_bus_received_batches_total{channel="all"} 0`, "edged_strays_total 0",
			"edged_stored_messages_pulled_total 0", "edged_evictions_total 0",
		},
		b: {`edged_operator_pushes_total{to="user"} 1`, `edged_operator_pushes_total{to="link"} 0`, "edged_bus_published_batches_total 1", "edged_bus_unheard_batches_total 0"},
	} {
		socket, _ := p.open(t)
		status, body := get(t, socket, "/metrics")
		for _, line := range want {
			if status != 200 || !strings.Contains(body, "\n"+line+"\n") {
				t.Errorf("%s: %d, no %s", p.hub.id, status, line)
			}
		}
	}
	socket, _ := startPeople(t, 3, peopleSettings()).open(t)
	if status, body := get(t, socket, "/metrics"); status != 200 || !strings.Contains(body, "\nedged_users 0\n") || strings.Contains(body, "edged_lease") {
		t.Errorf("without Redis: %d\n%s", status, body)
	}
}

// TestTold names the batches of this file, so that a mistake in them is not taken for one of people.
func TestTold(t *testing.T) {
	b := batch.AppendClose(nil, batch.ToLink(batch.Link{Index: 1, Uniq: 2}), 0, batch.Close{Reason: 6})
	b = batch.AppendJoin(b, batch.ToUser("42"), 0, "r")
	if got := told(b); !slices.Equal(got, []string{"1:2 close 6", "42 join"}) {
		t.Errorf("%q", got)
	}
}
