package client_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/sdk/client"
)

// usualAnswer is what DESIGN gives for the dispatch service.
const usualAnswer = `{"addresses":[{"address":"203.0.113.7:7000","slb":"sh-1"},{"address":"[2001:db8::7]:7000","slb":"sh-2"}],"ttl_s":30,` +
	`"backoff":{"base_ms":1000,"max_ms":300000,"factor":1.8,"jitter":0.3},"heartbeat_ms":25000,"stale":false,"degraded":false}`

func usualList() client.List {
	return client.List{
		Addresses: []client.Address{{Address: "203.0.113.7:7000", SLB: "sh-1"}, {Address: "[2001:db8::7]:7000", SLB: "sh-2"}},
		TTL:       30 * time.Second,
		Backoff:   client.Backoff{Base: time.Second, Max: 5 * time.Minute, Factor: 1.8, Jitter: 0.3},
		Heartbeat: 25 * time.Second,
	}
}

func TestParseList(t *testing.T) {
	const isJSON, isText = "application/json", "text/plain; charset=utf-8"
	one := func(change func(*client.List)) client.List {
		l := client.List{Addresses: []client.Address{{Address: "a:1"}}, TTL: 30 * time.Second}
		if change != nil {
			change(&l)
		}
		return l
	}
	for name, tc := range map[string]struct {
		kind, body string
		want       client.List
	}{
		"the design's":        {isJSON, usualAnswer, usualList()},
		"guessed to be text":  {isText, " \n" + usualAnswer + "\n", usualList()},
		"without a type":      {"", usualAnswer, usualList()},
		"text":                {isText, "203.0.113.7:7000\r\n\n [2001:db8::7]:7000", client.List{Addresses: []client.Address{{Address: "203.0.113.7:7000"}, {Address: "[2001:db8::7]:7000"}}, TTL: 30 * time.Second}},
		"only addresses":      {isJSON, `{"addresses":[{"address":"a:1"}]}`, one(nil)},
		"unknown keys":        {isJSON, `{"addresses":[{"address":"a:1","weight":{}}],"next":[1]}`, one(nil)},
		"doubles":             {isJSON, `{"addresses":[{"address":"a:1"},{"address":"a:1","slb":"x"}]}`, one(nil)},
		"one without a port":  {isJSON, `{"addresses":[{"address":"b"},{"address":"a:1"},{"address":""}]}`, one(nil)},
		"a path":              {isJSON, `{"addresses":[{"address":"unix:/run/x"},{"address":"a:1"}]}`, one(nil)},
		"odd hosts and ports": {isText, ":1\na:0\na:65536\na:-1\na:http\na b:1\na\x00:1\na/b:1\nhäuser:1\na:1", one(nil)},
		"a long name":         {isText, strings.Repeat("x", 300) + ":1\na:1", one(nil)},
		"flags":               {isJSON, `{"addresses":[{"address":"a:1"}],"stale":true,"degraded":true}`, one(func(l *client.List) { l.Stale, l.Degraded = true, true })},
		"a short TTL":         {isJSON, `{"addresses":[{"address":"a:1"}],"ttl_s":0.01}`, one(func(l *client.List) { l.TTL = time.Second })},
		"a fraction":          {isJSON, `{"addresses":[{"address":"a:1"}],"ttl_s":1.5}`, one(func(l *client.List) { l.TTL = 1500 * time.Millisecond })},
		"a long TTL":          {isJSON, `{"addresses":[{"address":"a:1"}],"ttl_s":1e300}`, one(func(l *client.List) { l.TTL = 24 * time.Hour })},
		"a TTL below 0":       {isJSON, `{"addresses":[{"address":"a:1"}],"ttl_s":-5}`, one(nil)},
		"back-off of nonsense": {isJSON, `{"addresses":[{"address":"a:1"}],"heartbeat_ms":-1,
			"backoff":{"base_ms":-1,"max_ms":1e18,"factor":0.5,"jitter":2}}`, one(nil)},
		"part of a back-off": {isJSON, `{"addresses":[{"address":"a:1"}],"backoff":{"base_ms":250,"factor":3}}`,
			one(func(l *client.List) { l.Backoff = client.Backoff{Base: 250 * time.Millisecond, Factor: 3} })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := client.ParseList(tc.kind, []byte(tc.body))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, tc.want)
			}
		})
	}
}

func TestParseListErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		kind, body, want string
		empty            bool
	}{
		"nothing":        {"application/json", "", "not JSON", false},
		"a page":         {"text/html", "<html>log in</html>", `not JSON: content type "text/html"`, false},
		"half of it":     {"application/json", usualAnswer[:50], "unexpected end of JSON", false},
		"two of it":      {"application/json", usualAnswer + usualAnswer, "invalid character", false},
		"another shape":  {"application/json", `{"addresses":["a:1"]}`, "cannot unmarshal string", false},
		"no list":        {"application/json", `{}`, "no address in the answer", true},
		"an empty list":  {"application/json", `{"addresses":[],"ttl_s":30}`, "no address in the answer", true},
		"an empty text":  {"text/plain", "\n\n", "no address in the answer", true},
		"only bad ones":  {"application/json", `{"addresses":[{"address":"gate"},{"address":"x"}]}`, "address gate: missing port", true},
		"words":          {"text/plain", "come back later\n", "address come back later: missing port", true},
		"a long address": {"text/plain", strings.Repeat("x", 3000), "an address of 3000 bytes", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.ParseList(tc.kind, []byte(tc.body))
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, client.ErrNoAddress) != tc.empty {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestListIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&b, "host-%d:7000\n", i)
	}
	l, err := client.ParseList("text/plain", []byte(b.String()))
	if err != nil || len(l.Addresses) != 4096 || l.Addresses[4095].Address != "host-4095:7000" {
		t.Errorf("%d addresses, %v", len(l.Addresses), err)
	}
}

func TestBackoffOr(t *testing.T) {
	local := client.Backoff{Base: time.Second, Max: time.Minute, Factor: 2, Jitter: 0.5}
	for name, tc := range map[string]struct{ of, want client.Backoff }{
		"nothing":      {client.Backoff{}, local},
		"all":          {client.Backoff{Base: 2, Max: 3, Factor: 4, Jitter: 1}, client.Backoff{Base: 2, Max: 3, Factor: 4, Jitter: 1}},
		"less jitter":  {client.Backoff{Jitter: 0.3}, local},
		"a small most": {client.Backoff{Max: time.Millisecond}, client.Backoff{Base: time.Second, Max: time.Second, Factor: 2, Jitter: 0.5}},
	} {
		if got := tc.of.Or(local); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// FuzzParseList: whatever the service says, a list is one that a client can walk.
func FuzzParseList(f *testing.F) {
	for _, kind := range []string{"application/json", "text/plain", "", "text/plain; charset"} {
		for _, body := range []string{usualAnswer, "a:1\nb:2", `{"addresses":[{"address":"a:1"}],"ttl_s":1e999}`, `{"addresses":[{"address":"[::1%eth0]:1"}]}`} {
			f.Add(kind, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		l, err := client.ParseList(kind, body)
		if err != nil {
			if !reflect.DeepEqual(l, client.List{}) {
				t.Errorf("%v and %+v", err, l)
			}
			return
		}
		seen := map[string]bool{}
		for _, a := range l.Addresses {
			if seen[a.Address] {
				t.Errorf("%q twice", a.Address)
			}
			seen[a.Address] = true
			c, err := client.New(client.Options{Addresses: []string{a.Address}, Dial: nobody})
			if err != nil {
				t.Fatalf("%q: %v", a.Address, err)
			}
			c.Close()
		}
		b := l.Backoff
		if len(seen) == 0 || l.TTL < time.Second || l.TTL > 24*time.Hour || l.Heartbeat < 0 ||
			b.Base < 0 || b.Max < 0 || b.Jitter < 0 || b.Jitter > 1 || b.Factor != 0 && b.Factor < 1 {
			t.Errorf("%+v", l)
		}
		if again, err := client.ParseList(kind, body); err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("read again: %+v, %v", again, err)
		}
	})
}
