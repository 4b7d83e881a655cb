package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edged/admin"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]admin.Target{
		"user:42":                      {Kind: admin.ToUser, User: "42"},
		"user:a:b/c d":                 {Kind: admin.ToUser, User: "a:b/c d"},
		"user: ":                       {Kind: admin.ToUser, User: " "},
		"device:42/phone":              {Kind: admin.ToDevice, User: "42", Device: "phone"},
		"device:42/phone/2":            {Kind: admin.ToDevice, User: "42", Device: "phone/2"},
		"device:é/ü":                   {Kind: admin.ToDevice, User: "é", Device: "ü"},
		"room:live-1":                  {Kind: admin.ToRoom, Room: "live-1"},
		"everyone":                     {Kind: admin.ToEveryone},
		"link:192.0.2.7:8000:231:23":   {Kind: admin.ToLink, Link: "192.0.2.7:8000:231:23"},
		"link:[2001:db8::7]:8000:23:0": {Kind: admin.ToLink, Link: "[2001:db8::7]:8000:23:0"},
	} {
		got, err := admin.ParseTarget(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q is %+v (%s), %v; want %+v", text, got, got, err, want)
		}
	}
	for _, text := range []string{
		"", ":", "42", "user", "user:", "users:42", "User:42", "device:", "device:42", "device:/phone", "device:42/", "room:", "room",
		"everyone:", "everyone:x", "everybody", "link:", " user:42", "user:\xff", "user:" + strings.Repeat("x", 4092),
	} {
		if got, err := admin.ParseTarget(text); err == nil || !strings.HasPrefix(err.Error(), "to: ") || got != (admin.Target{}) {
			t.Errorf("%.40q is %+v, %v", text, got, err)
		}
	}
}

func TestPushRequests(t *testing.T) {
	var got *admin.PushRequest
	b := startBoth(t, &folk{push: func(_ context.Context, r admin.PushRequest) (admin.Pushed, error) {
		got = &r
		return admin.Pushed{MsgID: r.MsgID, Gateways: []string{"gw-1"}, Devices: 2}, nil
	}}, admin.Limits{})
	user := admin.Target{Kind: admin.ToUser, User: "42"}
	for _, c := range []struct {
		body string
		want *admin.PushRequest // nil: refused with 400 and the text
		text string
	}{
		{`{"to":"user:42","text":"hello"}`, &admin.PushRequest{To: user, Payload: []byte("hello")}, `{"gateways":["gw-1"],"devices":2}`},
		{
			` {"to":"device:42/phone","payload":"AP8=","msg_id":"m-1","ack":"required","gzip":true,"ttl_ms":30000}` + "\n",
			&admin.PushRequest{
				To: admin.Target{Kind: admin.ToDevice, User: "42", Device: "phone"}, Payload: []byte{0, 255}, MsgID: "m-1", Ack: "required",
				Gzip: true, TTL: 30 * time.Second,
			},
			`"msg_id":"m-1"`,
		},
		{`{"to":"user:42","text":""}`, &admin.PushRequest{To: user, Payload: []byte{}}, ""},
		{`{"to":"user:42","payload":""}`, &admin.PushRequest{To: user, Payload: []byte{}}, ""},
		{`{"to":"user:42","text":"x","payload":null,"ack":"none"}`, &admin.PushRequest{To: user, Payload: []byte("x"), Ack: "none"}, ""},
		{`{"to":"user:42","text":"<é> 😀"}`, &admin.PushRequest{To: user, Payload: []byte("<é> 😀")}, ""},
		{`{"to":"user:42","text":"x","ttl_ms":4294967295}`, &admin.PushRequest{To: user, Payload: []byte("x"), TTL: 4294967295 * time.Millisecond}, ""},
		{"", nil, "the body is not a JSON object"},
		{"null", nil, "the body is not a JSON object"},
		{"[]", nil, "the body is not a JSON object"},
		{`"user:42"`, nil, "the body is not a JSON object"},
		{"hello", nil, "the body is not JSON"},
		{`{"to":"user:42","text":"x"`, nil, "the body is not JSON"},
		{`{"to":"user:42","text":"x"} {}`, nil, "the body is not JSON"},
		{"{\"to\":\"user:42\",\"text\":\"\xff\"}", nil, "the body is not UTF-8"},
		{`{}`, nil, "a push needs text or payload"},
		{`{"to":"user:42"}`, nil, "a push needs text or payload"},
		{`{"text":"x"}`, nil, `to: \"\" is not user:NAME`},
		{`{"to":"42","text":"x"}`, nil, `to: \"42\" is not user:NAME, device:USER/DEVICE, room:NAME, everyone or link:ID`},
		{`{"to":"user:42","text":"x","payload":"eA=="}`, nil, "text and payload exclude each other"},
		{`{"to":"user:42","payload":"%"}`, nil, "payload: not base64"},
		{`{"to":"user:42","text":5}`, nil, "text: a number does not fit there"},
		{`{"to":["user:42"],"text":"x"}`, nil, "to: an array does not fit there"},
		{`{"to":"user:42","text":"x","ack":"maybe"}`, nil, `ack: \"maybe\" is not none, required or sampled`},
		{`{"to":"user:42","text":"x","acks":"none"}`, nil, `unknown field \"acks\": a push takes to, text, payload, msg_id, ack, gzip and ttl_ms`},
		{`{"to":"user:42","text":"x","ttl_ms":-1}`, nil, "ttl_ms: -1 is not between 0 and 4294967295"},
		{`{"to":"user:42","text":"x","ttl_ms":4294967296}`, nil, "ttl_ms: 4294967296 is not between"},
		{`{"to":"user:42","text":"x","ttl_ms":9223372036854775807}`, nil, "ttl_ms: 9223372036854775807 is not between"},
		{`{"to":"user:42","text":"x","ttl_ms":"30s"}`, nil, "ttl_ms: a string does not fit there"},
		{`{"to":"user:42","text":"x","msg_id":"` + strings.Repeat("x", 256) + `"}`, nil, "msg_id: not UTF-8 of at most 255 bytes"},
		{`{"to":"user:42","text":"` + strings.Repeat("x", admin.MaxPayload+1) + `"}`, nil, "payload: 1048577 bytes, not 1048576 at most"},
	} {
		t.Run(c.body[:min(len(c.body), 50)], func(t *testing.T) {
			got = nil
			a := b.ask(1, "POST", "/v1/push", c.body, "Authorization: Bearer "+token)
			if c.want == nil {
				a.want(t, 400, c.text)
				if got != nil {
					t.Errorf("pushed all the same: %+v", *got)
				}
				return
			}
			a.want(t, 200, c.text)
			if got == nil || !reflect.DeepEqual(*got, *c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestPushBound: a whole payload fits in either form, and a request that is far too long is not read to its end.
func TestPushBound(t *testing.T) {
	var got int
	b := startBoth(t, &folk{push: func(_ context.Context, r admin.PushRequest) (admin.Pushed, error) {
		got = len(r.Payload)
		return admin.Pushed{}, nil
	}}, admin.Limits{})
	text := strings.Repeat("x", admin.MaxPayload)
	b.ask(0, "POST", "/v1/push", `{"to":"everyone","text":"`+text+`"}`).want(t, 200, `"gateways":[]`)
	r := admin.PushRequest{To: admin.Target{Kind: admin.ToEveryone}, Payload: bytes.Repeat([]byte{255}, admin.MaxPayload)}
	if _, err := dialled(t, b.Addresses()[0], "").Push(t.Context(), r); err != nil || got != admin.MaxPayload {
		t.Errorf("%d bytes, %v", got, err)
	}
	b.ask(0, "POST", "/v1/push", `{"to":"everyone","text":"`+text+text+`"}`).want(t, 413, "more than 2097152 bytes")
}

func TestPushNeedsTheToken(t *testing.T) {
	b := startBoth(t, &folk{}, admin.Limits{})
	for _, p := range [][2]string{{"POST", "/v1/push"}, {"GET", "/v1/users"}, {"GET", "/v1/users/42"}, {"GET", "/v1/presence"}} {
		b.ask(1, p[0], p[1], "").want(t, 401, "a token is needed here")
	}
}

// TestPushRefusals: each kind of no has its status and its words.
func TestPushRefusals(t *testing.T) {
	var err error
	b := startBoth(t, &folk{push: func(context.Context, admin.PushRequest) (admin.Pushed, error) { return admin.Pushed{}, err }}, admin.Limits{})
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{&admin.NotOnlineError{Who: "user 42"}, 404, `{"error":"user 42 is not online"}`},
		{&admin.InvalidError{Reason: "link: malformed"}, 400, `{"error":"link: malformed"}`},
		{errors.New("redis is not connected"), 503, `{"error":"redis is not connected"}`},
		{errors.Join(errors.New("a"), &admin.NotOnlineError{Who: "b"}), 404, "b is not online"},
	} {
		err = c.err
		b.ask(0, "POST", "/v1/push", `{"to":"user:42","text":"x"}`).want(t, c.code, c.want)
		r := admin.PushRequest{To: admin.Target{Kind: admin.ToUser, User: "42"}}
		if _, err := dialled(t, b.Addresses()[0], "").Push(t.Context(), r); err == nil || !strings.HasPrefix(err.Error(), "edged at ") {
			t.Errorf("the client says %v", err)
		}
	}
}

// TestPushOutlivesItsClient: an order that was given is carried out.
func TestPushOutlivesItsClient(t *testing.T) {
	inside, done := make(chan struct{}), make(chan error, 1)
	leave := make(chan struct{})
	b := startBoth(t, &folk{push: func(ctx context.Context, _ admin.PushRequest) (admin.Pushed, error) {
		close(inside)
		<-leave
		done <- ctx.Err()
		return admin.Pushed{}, nil
	}}, admin.Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-inside; cancel() }()
	r := admin.PushRequest{To: admin.Target{Kind: admin.ToEveryone}}
	if _, err := dialled(t, b.Addresses()[0], "").Push(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("the client says %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("the order was taken back: %v", err)
	}
}

// TestPushesHang: however many come, few wait for a Source that hangs, and all are told.
func TestPushesHang(t *testing.T) {
	leave := make(chan struct{})
	src := &folk{push: func(context.Context, admin.PushRequest) (admin.Pushed, error) { <-leave; return admin.Pushed{}, nil }}
	b := startBoth(t, src, admin.Limits{Source: quick})
	var busy atomic.Int32
	ended := make(chan struct{})
	for range 2 * admin.MaxAsking {
		go func() {
			defer func() { ended <- struct{}{} }()
			r := admin.PushRequest{To: admin.Target{Kind: admin.ToEveryone}}
			c, err := admin.Dial(b.Addresses()[0], "")
			if err == nil {
				_, err = c.Push(context.Background(), r)
			}
			if err != nil && strings.Contains(err.Error(), "Push has not answered for") {
				busy.Add(1)
			}
		}()
	}
	for range 2 * admin.MaxAsking {
		<-ended
	}
	if n := busy.Load(); n != 2*admin.MaxAsking {
		t.Errorf("%d were told, want %d", n, 2*admin.MaxAsking)
	}
	if n := src.most.Load(); n != admin.MaxAsking {
		t.Errorf("%d goroutines in the source, want %d", n, admin.MaxAsking)
	}
	close(leave)
	eventually(t, func() bool { return src.inside.Load() == 0 })
	b.ask(0, "POST", "/v1/push", `{"to":"everyone","text":"x"}`).want(t, 200, "")
}

func TestPushPanics(t *testing.T) {
	b := startBoth(t, &folk{push: func(context.Context, admin.PushRequest) (admin.Pushed, error) { panic("lost my links") }}, admin.Limits{})
	for range 2 * admin.MaxAsking {
		b.ask(0, "POST", "/v1/push", `{"to":"everyone","text":"x"}`).want(t, 500, "Push panicked: lost my links")
	}
}

func TestClientRefusesABadPush(t *testing.T) {
	c := dialled(t, sock(t), "") // nobody is there: it must not come to that
	user := admin.Target{Kind: admin.ToUser, User: "42"}
	for want, r := range map[string]admin.PushRequest{
		"to: ":     {},
		"to: \"u":  {To: admin.Target{Kind: admin.ToUser}},
		"to: no ":  {To: admin.Target{Kind: admin.ToDevice, User: "4/2", Device: "phone"}},
		"to: no t": {To: admin.Target{Kind: admin.ToUser, User: "42", Room: "r"}},
		"ack: ":    {To: user, Ack: "maybe"},
		"ttl_ms: ": {To: user, TTL: time.Microsecond},
		"msg_id: ": {To: user, MsgID: "\xff"},
	} {
		if _, err := c.Push(t.Context(), r); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
	}
}

func FuzzPush(f *testing.F) {
	for _, s := range []string{
		`{"to":"user:42","text":"hello"}`, `{"to":"device:42/phone","payload":"AP8=","msg_id":"m","ack":"sampled","gzip":true,"ttl_ms":1}`,
		`{"to":"everyone","payload":""}`, `{"to":"link:[::1]:1:2:3","text":"\ud800"}`, "null", `{"to":1}`, `{"TO":"room:r","Text":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := admin.ParsePush(b)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("%+v was taken: %v", r, err)
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := admin.ParsePush(out)
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %s and then %+v, %v", r, out, again, err)
		}
	})
}
