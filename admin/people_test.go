package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/admin"
)

func exampleDevices() []admin.Device {
	return []admin.Device{
		{Device: "tablet", Gateway: "gw-2", Epoch: "17740000000000000001", Link: "192.0.2.8:7000:16777216:3"},
		{Device: "phone", Gateway: "gw-1", Epoch: "1774", Link: "192.0.2.7:7000:231:23", Here: true},
	}
}

func TestUsers(t *testing.T) {
	b := startBoth(t, &folk{users: func(context.Context) (admin.Users, error) {
		return admin.Users{Users: 12, Devices: 14}, nil
	}}, admin.Limits{})
	b.ask(0, "GET", "/v1/users", "").want(t, 200, `{"users":12,"devices":14}`)
	if a := b.ask(0, "HEAD", "/v1/users", ""); a.code != 200 || a.body != "" {
		t.Errorf("HEAD: %+v", a)
	}
	u, err := dialled(t, b.Addresses()[1], token).Users(t.Context())
	if err != nil || u != (admin.Users{Users: 12, Devices: 14}) {
		t.Errorf("%+v, %v", u, err)
	}
}

// TestDevices: the user is what stands behind the last slash of the path, whatever that is.
func TestDevices(t *testing.T) {
	var got string
	answer := exampleDevices()
	b := startBoth(t, &folk{devices: func(_ context.Context, user string) ([]admin.Device, error) {
		got = user
		return answer, nil
	}}, admin.Limits{})
	for path, user := range map[string]string{
		"/v1/users/42": "42", "/v1/users/a%2Fb": "a/b", "/v1/users/a/b/": "a/b/", "/v1/users/..": "..", "/v1/users/a%20b%3F": "a b?", "/v1/users/%C3%A9": "é",
	} {
		a := b.ask(0, "GET", path, "")
		a.want(t, 200, `{"device":"phone","gateway":"gw-1","epoch":"1774","link":"192.0.2.7:7000:231:23","here":true}`)
		if got != user {
			t.Errorf("%s asks for %q", path, got)
		}
	}
	b.ask(0, "GET", "/v1/users/", "").want(t, 404, "there is no /v1/users/")
	b.ask(0, "GET", "/v1/users/%FF", "").want(t, 400, "is not a user")
	b.ask(0, "GET", "/v1/users/"+strings.Repeat("x", 5000), "").want(t, 400, "is not a user")
	b.ask(0, "POST", "/v1/users/42", "").want(t, 405, "takes GET, HEAD")
	c := dialled(t, b.Addresses()[0], "")
	for _, user := range []string{"42", "a/b", "..", ".", "?x=1#y", "é ü", "a%2Fb"} {
		devices, err := c.Devices(t.Context(), user)
		if err != nil || got != user || !reflect.DeepEqual(devices, answer) {
			t.Errorf("%q asks for %q: %+v, %v", user, got, devices, err)
		}
	}
	answer = nil
	a := b.ask(0, "GET", "/v1/users/42", "")
	a.want(t, 200, "[]\n")
	if devices, err := c.Devices(t.Context(), "42"); err != nil || len(devices) != 0 {
		t.Errorf("%+v, %v", devices, err)
	}
}

// TestManyDevices: a service that binds all its clients as one user is told whole.
func TestManyDevices(t *testing.T) {
	many := make([]admin.Device, 100_000)
	for i := range many {
		many[i] = admin.Device{Device: fmt.Sprint("device-", i), Gateway: "192.0.2.7:7000", Epoch: "1774000000000000000", Link: fmt.Sprint("192.0.2.7:7000:", i, ":1")}
	}
	b := startBoth(t, &folk{devices: func(context.Context, string) ([]admin.Device, error) { return many, nil }}, admin.Limits{})
	got, err := dialled(t, b.Addresses()[0], "").Devices(t.Context(), "service")
	if err != nil || !slices.Equal(got, many) {
		t.Errorf("%d devices, %v", len(got), err)
	}
}

func TestPeopleFail(t *testing.T) {
	no := errors.New("redis is not connected")
	b := startBoth(t, &folk{
		users:   func(context.Context) (admin.Users, error) { return admin.Users{}, no },
		devices: func(context.Context, string) ([]admin.Device, error) { return nil, no },
		presence: func(context.Context, string, time.Duration) ([]admin.PresenceEvent, string, error) {
			return nil, "", no
		},
	}, admin.Limits{})
	for _, path := range []string{"/v1/users", "/v1/users/42", "/v1/presence"} {
		b.ask(0, "GET", path, "").want(t, 503, `{"error":"redis is not connected"}`)
	}
	c := dialled(t, b.Addresses()[0], "")
	_, err := c.Users(t.Context())
	wantError(t, err, "edged at "+c.Name()+": redis is not connected")
	_, err = c.Devices(t.Context(), "42")
	wantError(t, err, "edged at "+c.Name()+": redis is not connected")
	err = c.Watch(t.Context(), admin.WatchRequest{}, func(admin.PresenceEvent) error { return nil })
	wantError(t, err, "edged at "+c.Name()+": redis is not connected")
}

// TestNoPeople: a daemon without links has none of the paths.
func TestNoPeople(t *testing.T) {
	b := startBoth(t, &source{}, admin.Limits{})
	for _, path := range []string{"/v1/push", "/v1/users", "/v1/users/42", "/v1/presence"} {
		b.ask(0, "GET", path, "").want(t, 404, "there is no "+path)
	}
	b.ask(0, "POST", "/v1/push", `{"to":"everyone","text":"x"}`).want(t, 404, "there is no /v1/push")
}

func TestPeopleTables(t *testing.T) {
	user := admin.Target{Kind: admin.ToUser, User: "42"}
	everyone := admin.Target{Kind: admin.ToEveryone}
	for want, write := range map[string]func(b *bytes.Buffer) error{
		"users    1,234\ndevices  0\n": func(b *bytes.Buffer) error { return admin.WriteUsers(b, admin.Users{Users: 1234}) },
		"user 4?2 is not online\n":     func(b *bytes.Buffer) error { return admin.WriteDevices(b, "4\n2", nil) },
		"DEVICE  GATEWAY      LINK                       EPOCH\n" +
			"phone   gw-1 (here)  192.0.2.7:7000:231:23      1774\n" +
			"tablet  gw-2         192.0.2.8:7000:16777216:3  17740000000000000001\n": func(b *bytes.Buffer) error {
			return admin.WriteDevices(b, "42", exampleDevices())
		},
		"pushed to user:42: 2 devices on gw-1, gw-2, msg_id m-1\ngateway gw-2 does not listen now: the push is lost there\n": func(b *bytes.Buffer) error {
			return admin.WritePushed(b, user, admin.Pushed{MsgID: "m-1", Gateways: []string{"gw-1", "gw-2"}, Unheard: []string{"gw-2"}, Devices: 2})
		},
		"pushed to everyone on 1 gateway\n": func(b *bytes.Buffer) error {
			return admin.WritePushed(b, everyone, admin.Pushed{Heard: 1})
		},
		"pushed to everyone on gw-1\n": func(b *bytes.Buffer) error {
			return admin.WritePushed(b, everyone, admin.Pushed{Gateways: []string{"gw-1"}})
		},
		"2026-03-02T13:02:03Z  offline  42/?phone  on gw-1\n": func(b *bytes.Buffer) error {
			at := time.Date(2026, 3, 2, 13, 2, 3, 5e8, time.UTC)
			return admin.WriteEvent(b, admin.PresenceEvent{At: at, Event: admin.EventOffline, User: "42", Device: "\x1bphone", Gateway: "gw-1"})
		},
		"no events for the time being: redis is away\n": func(b *bytes.Buffer) error {
			return admin.WriteEvent(b, admin.PresenceEvent{Error: "redis is away"})
		},
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil || b.String() != want {
			t.Errorf("%q, %v; want %q", b.String(), err, want)
		}
	}
}
