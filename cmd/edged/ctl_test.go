package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edged/admin"
)

// TestCtlPushUse: wrong use is told as such, before anybody is asked.
func TestCtlPushUse(t *testing.T) {
	for want, args := range map[string][]string{
		"a push needs one of --user, --device, --room, --everyone and --link":  {"--text", "x"},
		"a push needs one of --user, --device":                                 {"--user", "42", "--everyone", "--text", "x"},
		`"user:" is not user:NAME, device:USER/DEVICE, room:NAME, everyone or`: {"--user", "", "--text", "x"},
		`"device:42" is not user:NAME, device:USER/DEVICE`:                     {"--device", "42", "--text", "x"},
		"--text and --file exclude each other":                                 {"--everyone", "--text", "x", "--file", "y"},
		`ack: "maybe" is not none, required or sampled`:                        {"--everyone", "--text", "x", "--ack", "maybe"},
		"ttl_ms: -1s is not between":                                           {"--everyone", "--text", "x", "--ttl", "-1s"},
		"unknown command \"hello\"":                                            {"--everyone", "hello"},
		"unknown flag: --usr":                                                  {"--usr", "42"},
	} {
		var out bytes.Buffer
		status := run(append([]string{"ctl", "--socket", "/nowhere/admin.sock", "push"}, args...), &out, &out)
		if status != exitUsage || !strings.Contains(out.String(), want) {
			t.Errorf("%q: status %d, %s; want %s", args, status, &out, want)
		}
	}
	for _, args := range [][]string{{"users", "42", "43"}, {"users", "--after", "0"}, {"users", ""}} {
		var out bytes.Buffer
		if status := run(append([]string{"ctl", "--socket", "/nowhere/admin.sock"}, args...), &out, &out); status != exitUsage {
			t.Errorf("%q: status %d, %s", args, status, &out)
		}
	}
	var out bytes.Buffer
	for _, args := range [][]string{{"push", "--everyone", "--text", "x"}, {"users"}, {"users", "42"}, {"users", "--watch"}} {
		out.Reset()
		status := run(append([]string{"ctl", "--socket", "/nowhere/admin.sock"}, args...), &out, &out)
		if status != exitNot || !strings.Contains(out.String(), "no edged answers at /nowhere/admin.sock") {
			t.Errorf("%q: status %d, %s", args, status, &out)
		}
	}
	out.Reset()
	if status := run([]string{"ctl", "push", "--everyone", "--file", "/nowhere/file"}, &out, &out); status != exitNot || !strings.Contains(out.String(), "no such file") {
		t.Errorf("status %d, %s", status, &out)
	}
}

// TestCtlPush is the whole way from the command line to a gateway.
func TestCtlPush(t *testing.T) {
	p := startPeople(t, 1, peopleSettings())
	p.hub.login("42", "phone", 1)
	p.hub.login("42", "tablet", 2)
	ctl := p.window(t)
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte("from a file\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	const rest = ` "" ack=0 gzip=false ttl=0`
	for _, c := range []struct {
		args       []string
		out, order string
	}{
		{[]string{"--user", "42", "--text", "hello"}, "pushed to user:42: 2 devices on gw-1\n", "42 push hello" + rest},
		{[]string{"--device", "42/phone", "--file", file}, "pushed to device:42/phone: 1 device on gw-1\n", "42/phone push from a file\xff" + rest},
		{[]string{"--room", "live-1", "--text", ""}, "pushed to room:live-1 on gw-1\n", "#live-1 push " + rest},
		{[]string{"--everyone", "--text", "x", "--json"}, `{"gateways":["gw-1"],"devices":0}` + "\n", "* push x" + rest},
		{
			[]string{"--link", "192.0.2.1:7000:1:1", "--text", "x", "--ack", "required", "--msg-id", "m-1", "--gzip", "--ttl", "1m"},
			"pushed to link:192.0.2.1:7000:1:1 on gw-1, msg_id m-1\n", `1:1 push x "m-1" ack=1 gzip=true ttl=60000`,
		},
	} {
		status, out := ctl(append([]string{"push"}, c.args...)...)
		if status != exitDone || out != c.out {
			t.Errorf("%q: status %d, %q; want %q", c.args, status, out, c.out)
		}
		p.hub.wantItems(t, &p.hub.ordered, c.order)
	}
	for want, args := range map[string][]string{
		"user 43 is not online\n":   {"--user", "43", "--text", "x"},
		"is not a link ID":          {"--link", "x", "--text", "x"},
		"max_frame is 1000":         {"--everyone", "--text", strings.Repeat("x", 1000)},
		"payload: 1048577 bytes, n": {"--everyone", "--file", big(t)},
	} {
		if status, out := ctl(append([]string{"push"}, args...)...); status != exitNot || !strings.Contains(out, want) {
			t.Errorf("%.60q: status %d, %q; want %q", args, status, out, want)
		}
	}
}

func big(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(file, make([]byte, 2*admin.MaxPayload), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCtlPushStandardInput takes the message from there if nothing else is said.
func TestCtlPushStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = before; _ = r.Close() }()
	_, _ = w.WriteString("from a pipe")
	_ = w.Close()
	p := startPeople(t, 1, peopleSettings())
	if status, out := p.window(t)("push", "--everyone"); status != exitDone {
		t.Errorf("status %d, %s", status, out)
	}
	p.hub.wantItems(t, &p.hub.ordered, `* push from a pipe "" ack=0 gzip=false ttl=0`)
}

// TestCtlUsers asks one gateway about users of both.
func TestCtlUsers(t *testing.T) {
	_, a, b := pair(t, nil)
	a.hub.login("42", "phone", 1)
	b.hub.login("42", "tablet", 2)
	a.written(t)
	b.written(t)
	ctl := a.window(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "users    1\ndevices  1\n"},
		{[]string{"--json"}, `{"users":1,"devices":1}` + "\n"},
		{[]string{"42"}, "DEVICE  GATEWAY      LINK                EPOCH\n" +
			"phone   gw-1 (here)  192.0.2.1:7000:1:1  1152921504606846976\ntablet  gw-2         192.0.2.2:7000:2:1  2305843009213693952\n"},
		{[]string{"43"}, "user 43 is not online\n"},
		{[]string{"43", "--json"}, "[]\n"},
	} {
		if status, out := ctl(append([]string{"users"}, c.args...)...); status != exitDone || out != c.want {
			t.Errorf("users %q: status %d, %q; want %q", c.args, status, out, c.want)
		}
	}
	if status, out := ctl("push", "--user", "42", "--text", "x"); status != exitDone || out != "pushed to user:42: 2 devices on gw-1, gw-2\n" {
		t.Errorf("status %d, %q", status, out)
	}
	if status, out := ctl("status"); status != exitDone || !strings.Contains(out, "1 user on 1 device") || !strings.Contains(out, "\nroutes     ok\n") {
		t.Errorf("status %d, %s", status, out)
	}
}

// TestCtlWatch follows from an old event on, over a time without Redis, until the gateway leaves.
func TestCtlWatch(t *testing.T) {
	s, a, b := pair(t, nil)
	a.hub.login("42", "phone", 1)
	a.written(t)
	out := newTail()
	socket, window := a.open(t)
	go func() {
		out.ended <- run([]string{"ctl", "--socket", socket, "users", "--watch", "--after", "0"}, out, out)
	}()
	out.want(t, "online   42/phone  on gw-1")
	b.hub.login("43", "tablet", 1)
	out.want(t, "online   43/tablet  on gw-2")
	s.Pause()
	out.want(t, "no events for the time being: ")
	b.hub.logout("43", "tablet", 1)
	s.Continue()
	out.want(t, "offline  43/tablet  on gw-2")
	if err := window.Close(soon(t)); err != nil {
		t.Error(err)
	}
	out.want(t, "has ended the stream")
	select {
	case status := <-out.ended:
		if status != exitNot {
			t.Errorf("status %d", status)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
}
