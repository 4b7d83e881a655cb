package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/registry"
)

func TestParseRoute(t *testing.T) {
	for _, c := range []struct {
		value string
		want  registry.Route
	}{
		{"gw 1 192.0.2.1:7000:231:23", registry.Route{Gateway: "gw", Epoch: 1, Link: "192.0.2.1:7000:231:23"}},
		{"[::1]:7000 18446744073709551615 [::1]:7000:0:0", registry.Route{Gateway: "[::1]:7000", Epoch: 1<<64 - 1, Link: "[::1]:7000:0:0"}},
		{value: ""},
		{value: "gw"},
		{value: "gw 1"},
		{value: "gw 1 "},
		{value: " 1 l"},
		{value: "gw  l"},
		{value: "gw x l"},
		{value: "gw -1 l"},
		{value: "gw 01 l"},
		{value: "gw +1 l"},
		{value: "gw 18446744073709551616 l"},
		{value: "gw 1 l l"},
		{value: "gw 1 " + strings.Repeat("l", 2000)},
	} {
		got, err := registry.ParseRoute(c.value)
		if got != c.want || (err == nil) != (c.want.Gateway != "") {
			t.Errorf("%.40q gives %+v, %v; want %+v", c.value, got, err, c.want)
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	f.Add("192.0.2.1:7000 17 192.0.2.1:7000:231:23")
	f.Add("gw 01 l")
	f.Fuzz(func(t *testing.T, value string) {
		r, err := registry.ParseRoute(value)
		if err == nil && fmt.Sprintf("%s %d %s", r.Gateway, r.Epoch, r.Link) != value {
			t.Errorf("%q is read as %+v", value, r)
		}
	})
}

// TestLookupRubbish finds what another program put where routes belong: it is nobody, costs no other user anything, and is gone.
func TestLookupRubbish(t *testing.T) {
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	g.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return g.Routes.Stats().Written == 1 && g.idle() })
	for i, value := range []string{"", "rubbish", "a b c", "nobody 5 l", gw1 + " 4 " + g.link(1, 1), gw1 + " 05 l", strings.Repeat("x", 5000)} {
		s.Do("HSET", "edged:route:{42}", fmt.Sprint("bad", i), value)
	}
	s.Do("SET", "edged:route:{43}", "not a hash")
	r := reader(t, standalone(s))
	found := r.LookupAll(soon(t), []string{"43", "42", "nobody"})
	if found[0].Err == nil || found[2].Err != nil || len(found[2].Routes) != 0 {
		t.Errorf("%+v", found)
	}
	want := []registry.Route{{Device: "phone", Gateway: gw1, Epoch: 5, Link: g.link(1, 1)}}
	if found[1].Err != nil || !slices.Equal(found[1].Routes, want) {
		t.Errorf("42 is at %+v, want %+v", found[1], want)
	}
	if n := s.Do("HLEN", "edged:route:{42}"); n != "1" {
		t.Errorf("%s fields are left", n)
	}
	if r.LookupAll(soon(t), nil) == nil {
		t.Error("no users, no slice")
	}
	// A login of the user whose key is not ours is refused and counted, and the next one is written.
	g.login("43", "phone", 2, 1)
	g.login("44", "phone", 3, 1)
	eventually(t, "both to be dealt with", func() bool {
		stats := g.Routes.Stats()
		return stats.Refused > 0 && stats.Waiting == 0 && routeOf(s, "44", "phone") == g.value(3, 1)
	})
}

// TestLookupBrokenLease has other things where leases belong: a lease that is none ends with the next renewal.
func TestLookupBrokenLease(t *testing.T) {
	s := redistest.Start(t)
	key := "edged:lease:{" + gw1 + "}"
	r := reader(t, standalone(s))
	for _, rubbish := range [][]string{
		{"SADD", key, "x"}, {"SET", key, "rubbish"}, {"SET", key, "18446744073709551615"}, {"SET", key, "99999999999999999999999", "PX", "100000"},
	} {
		s.Do("FLUSHALL")
		s.Do(rubbish...)
		g := start(t, standalone(s), gw1, 5, config())
		g.login("42", "phone", 1, 1)
		eventually(t, "the lease over "+rubbish[2], func() bool { return g.hasLease(s) })
		eventually(t, "the route", func() bool { return whereIs(t, r, "42")["phone"] == g.link(1, 1) })
		s.Do("DEL", key)
		s.Do(rubbish...)
		eventually(t, "the lease over "+rubbish[2]+" again", func() bool { return g.hasLease(s) })
		eventually(t, "the route", func() bool { return whereIs(t, r, "42")["phone"] == g.link(1, 1) })
		g.Routes.Stop(soon(t))
	}
}

// TestLookupWithoutRedis wants an error and not the word that everybody is offline.
func TestLookupWithoutRedis(t *testing.T) {
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	g.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return g.Routes.Stats().Written == 1 && g.idle() })
	r := reader(t, standalone(s))
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if routes, err := r.Lookup(ctx, "42"); err == nil {
		t.Errorf("%v while Redis hangs", routes)
	}
	s.Continue()
	eventually(t, "the route", func() bool { return whereIs(t, r, "42")["phone"] == g.link(1, 1) })
	s.Kill()
	if routes, err := r.Lookup(soon(t), "42"); err == nil {
		t.Errorf("%v while Redis is dead", routes)
	}
	if _, _, err := r.Events(soon(t), "0", 1, time.Millisecond); err == nil {
		t.Error("events while Redis is dead")
	}
}

// TestEvents reads on from where it was, leaves out what is no event, and hears what comes while it waits.
func TestEvents(t *testing.T) {
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	r := reader(t, standalone(s))
	if events, next, err := r.Events(soon(t), "0", 10, time.Millisecond); len(events) != 0 || next != "0" || err != nil {
		t.Errorf("%v, %s, %v of an empty stream", events, next, err)
	}
	s.Do("XADD", "edged:presence", "*", "event", "online")
	s.Do("XADD", "edged:presence", "*", "event", "sideways", "user", "u", "device", "d", "gateway", "g", "epoch", "1", "uniq", "1")
	_, next, err := r.Events(soon(t), "0", 10, time.Second)
	if err != nil || next == "0" {
		t.Fatalf("%s, %v", next, err)
	}
	heard := make(chan []registry.Event, 1)
	go func() {
		events, _, _ := r.Events(soon(t), next, 10, limit/2)
		heard <- events
	}()
	g.login("", "a device with spaces \n and more", 3, 4294967295)
	var events []registry.Event
	select {
	case events = <-heard:
	case <-time.After(limit):
		t.Fatal("nothing is heard")
	}
	want := registry.Event{
		ID: events[0].ID, Name: registry.Name{Device: "a device with spaces \n and more"}, Online: true, Gateway: gw1, Epoch: 5, Uniq: 4294967295,
	}
	if len(events) != 1 || events[0] != want {
		t.Errorf("%+v, want %+v", events, want)
	}
}

// TestEventsFromNow begins behind what is kept, and from then on misses nothing, whatever comes between two calls.
func TestEventsFromNow(t *testing.T) {
	s := redistest.Start(t)
	r := reader(t, standalone(s))
	if events, next, err := r.Events(soon(t), "$", 10, time.Millisecond); len(events) != 0 || next != "0" || err != nil {
		t.Errorf("%v, %s, %v of an empty stream", events, next, err)
	}
	g := start(t, standalone(s), gw1, 5, config())
	g.login("41", "phone", 1, 1)
	eventually(t, "the first event", func() bool { return s.Do("XLEN", "edged:presence") == "1" })
	events, next, err := r.Events(soon(t), "$", 10, time.Millisecond)
	if len(events) != 0 || err != nil {
		t.Fatalf("%v, %v", events, err)
	}
	before := time.Now()
	g.login("42", "phone", 2, 1)
	eventually(t, "the second event", func() bool { return s.Do("XLEN", "edged:presence") == "2" })
	events, next, err = r.Events(soon(t), next, 10, limit/2)
	if err != nil || len(events) != 1 || events[0].User != "42" || events[0].ID != next {
		t.Fatalf("%v, %s, %v", events, next, err)
	}
	if at := events[0].At(); at.Before(before.Add(-time.Minute)) || at.After(before.Add(limit)) {
		t.Errorf("%s happened at %v, not about %v", next, at, before)
	}
	if at := (&registry.Event{ID: "none"}).At(); !at.IsZero() {
		t.Errorf("an event without ID happened at %v", at)
	}
}

// TestEventsRefused has another program's key where events belong: routes are written none the less.
func TestEventsRefused(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "edged:presence", "not a stream")
	g := start(t, standalone(s), gw1, 5, config())
	g.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return g.idle() && routeOf(s, "42", "phone") == g.value(1, 1) })
	r := reader(t, standalone(s))
	if _, _, err := r.Events(soon(t), "0", 1, time.Millisecond); err == nil {
		t.Error("no error")
	}
}

// TestEventsTrimmed bounds the stream.
func TestEventsTrimmed(t *testing.T) {
	s := redistest.Start(t)
	c := config()
	c.Events = 100
	g := start(t, standalone(s), gw1, 5, c)
	for i := range 3000 {
		g.login(fmt.Sprint("u", i), "phone", uint32(i), 1)
	}
	eventually(t, "the routes", func() bool { return g.Routes.Stats().Written == 3000 && g.idle() })
	eventually(t, "few events", func() bool { return len(s.Do("XLEN", "edged:presence")) == 3 })
}
