package queue_test

import (
	"testing"

	"edged/redisconn/redistest"
)

// TestWay: what is put in comes out at the gateways that have the user, once at each, with all that it was sent with.
func TestWay(t *testing.T) {
	s := redistest.Start(t)
	a, b := listen(t, s, "10.0.0.1:7000"), listen(t, s, "10.0.0.2:7000")
	a.hold(only(s), "42/phone", "42/tablet")
	b.hold(only(s), "42/web", "43/web")
	l := start(t, []string{s.Addr})

	put(s, "to", "user:42", "payload", "one", "offline", "1", "msg_id", "m1")
	a.awaits("user:42 one v1 id=m1")
	b.awaits("user:42 one v1 id=m1")
	put(s, "to", "device:42/tablet", "payload", "two", "ack", "sampled", "ttl_ms", "60000", "color", "red")
	put(s, "to", "user:43", "payload", "", "gzip", "0")
	required := put(s, "to", "user:42", "payload", "three", "ack", "required", "gzip", "1")
	stored := put(s, "to", "user:42", "payload", "four", "offline", "1", "ack", "none")
	a.awaits("user:42 one v1 id=m1", "device:42/tablet two ack=2 ttl", "user:42 three id="+required+" ack=1", "user:42 four v2 id="+stored)
	b.awaits("user:42 one v1 id=m1", "user:43  plain", "user:42 three id="+required+" ack=1", "user:42 four v2 id="+stored)
	put(s, "to", "room:live-1", "payload", "five")
	put(s, "to", "everyone", "payload", "six", "msg_id", "m6")
	eventually(t, "rooms", func() bool { return len(a.heard()) == 6 && len(b.heard()) == 6 })
	for _, g := range []*gateway{a, b} {
		if got := g.heard()[4:]; got[0] != "room:live-1 five" || got[1] != "everyone six id=m6" {
			t.Errorf("%s heard %q", g.id, got)
		}
	}
	put(s, "to", "user:44", "payload", "x")
	put(s, "to", "user:44", "payload", "y", "offline", "1")
	put(s, "to", "device:42/fridge", "payload", "z")
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished == 10 && l.idle() })
	st := l.service.Stats()
	if o := st.Outcomes; o["delivered"] != 7 || o["stored"] != 1 || o["nobody"] != 2 || o["dead"] != 0 || o["expired"] != 0 {
		t.Errorf("outcomes %v", o)
	}
	eventually(t, "the stream is empty", func() bool { return s.Do("XLEN", "edged:in") == "0" })
}
