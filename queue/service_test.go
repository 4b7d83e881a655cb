package queue_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"edged/queue"
	"edged/redisconn/redistest"
)

// TestWay: what is put in comes out at the gateways that have the user, once at each, with all that it was sent with.
func TestWay(t *testing.T) {
	t.Parallel()
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

// TestPoison: what can never be handled goes to edged:dead with all it had, and holds nobody up.
func TestPoison(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	s.Do("SET", "edged:log:{clash}", "text")
	s.Do("SET", "edged:route:{lost}", "text")
	l := start(t, []string{s.Addr}, func(c *queue.Config) { c.PayloadMax = payloadMax })
	var want []string
	reasons := make(map[string]uint64)
	note := func(r queue.Reason, detail string, texts ...string) {
		id := put(s, texts...)
		want = append(want, strings.Join(texts, "\n")+"\nreason\n"+r.String()+"\ndetail\n"+detail)
		reasons[r.String()]++
		put(s, "to", "user:42", "payload", id)
	}
	for _, p := range poison {
		var texts []string
		for _, f := range p.fields {
			texts = append(texts, f.Name, f.Value)
		}
		note(p.reason, p.detail, texts...)
	}
	note(queue.Clash, `to: "edged:log:{clash}" is no sorted set`, "to", "user:clash", "payload", "x", "offline", "1")
	note(queue.Clash, "to: read the routes of a user: WRONGTYPE", "to", "user:lost", "payload", "x")
	stored := put(s, "to", "user:lost", "payload", "kept", "offline", "1") // who is in no room that can be seen gets it later
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished == uint64(2*len(want)+1) })
	st := l.service.Stats()
	if !maps.Equal(nonzero(st.Reasons), reasons) || st.Outcomes["dead"] != uint64(len(want)) || st.Outcomes["stored"] != 1 || st.Outcomes["delivered"] != uint64(len(want)) {
		t.Errorf("reasons %v, want %v; outcomes %v", nonzero(st.Reasons), reasons, st.Outcomes)
	}
	eventually(t, "all others are heard", func() bool { return len(g.heard()) == len(want) })
	dead := s.Do("XRANGE", "edged:dead", "-", "+")
	for _, w := range want {
		if !strings.Contains(dead, w) {
			t.Errorf("edged:dead has no\n%.200q", w)
		}
	}
	if n, m := strings.Count(dead, "\nentry\n"), l.book.count("entry refused"); n != len(want) || m != len(reasons) {
		t.Errorf("%d entries, want %d; %d lines in the log, want %d", n, len(want), m, len(reasons))
	}
	if !strings.Contains(s.Do("ZRANGE", "edged:log:{lost}", "0", "-1"), stored) {
		t.Error("the message of a user whose routes clash is not stored")
	}
}

func nonzero(m map[string]uint64) map[string]uint64 {
	out := make(map[string]uint64)
	for k, n := range m {
		if n > 0 {
			out[k] = n
		}
	}
	return out
}

// TestExpired: the time to live counts from the entry's ID, by the clock of Redis.
func TestExpired(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	at := func(id string, texts ...string) { s.Do(append([]string{"XADD", "edged:in", id}, texts...)...) }
	ago := unixMS(s) - 10_000
	at("1-1", "to", "user:42", "payload", "very old", "ttl_ms", "1000")
	at(fmt.Sprint(ago, "-0"), "to", "user:42", "payload", "old", "ttl_ms", "5000")
	at(fmt.Sprint(ago, "-1"), "to", "user:42", "payload", "old and stored", "ttl_ms", "5000", "offline", "1")
	at(fmt.Sprint(ago, "-2"), "to", "room:r", "payload", "old and wanted", "ttl_ms", "60000")
	at(fmt.Sprint(ago, "-3"), "to", "user:42", "payload", "old, and for ever")
	at("99999999999999-0", "to", "room:r", "payload", "of the future", "ttl_ms", "1000")
	l := start(t, []string{s.Addr})
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished == 6 })
	if o := l.service.Stats().Outcomes; o["expired"] != 3 || o["delivered"] != 3 {
		t.Errorf("outcomes %v", o)
	}
	if got := s.Do("EXISTS", "edged:ver:{42}"); got != "0" {
		t.Error("an expired message took a version")
	}
	eventually(t, "all others are heard", func() bool { return len(g.heard()) == 3 })
	var ttl uint32
	for i, line := range g.heard() {
		if strings.Contains(line, "old and wanted") {
			ttl = g.items[i].Push.TTLMs
		}
	}
	if ttl > 50_000 || ttl < 20_000 {
		t.Errorf("the gateway is told %d ms", ttl)
	}
}

// unixMS is the server's clock.
func unixMS(s *redistest.Server) int64 {
	seconds, _, _ := strings.Cut(s.Do("TIME"), "\n")
	n, _ := strconv.ParseInt(seconds, 10, 64)
	return n * 1000
}

// TestRepeated: whoever sends a message twice, because he does not know whether it was taken, gets one version.
func TestRepeated(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	start(t, []string{s.Addr})
	for range 3 {
		put(s, "to", "user:42", "payload", "x", "offline", "1", "msg_id", "m")
	}
	put(s, "to", "user:42", "payload", "y", "offline", "1", "msg_id", "n")
	g.awaits("user:42 x v1 id=m", "user:42 x v1 id=m", "user:42 x v1 id=m", "user:42 y v2 id=n")
}

// TestRandom sends random messages in random numbers to processes that share the work, and holds what came, and the logs, against a
// naive twin: each message came to each gateway of its user, in order where it is versioned; the versions of a user have no hole.
func TestRandom(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := seeded(t)
	gateways := []*gateway{listen(t, s, "10.0.0.1:7000"), listen(t, s, "10.0.0.2:7000")}
	gateways[0].hold(only(s), "u0/a", "u1/a", "u2/a", "u2/b")
	gateways[1].hold(only(s), "u2/c", "u3/a")
	at := map[string][]int{"u0": {0}, "u1": {0}, "u2": {0, 1}, "u3": {1}, "u4": {}}
	small := func(c *queue.Config) { c.Batch, c.InFlight = 1+r.IntN(20), 20+r.IntN(100) }
	layers := []*layer{start(t, []string{s.Addr}, small), start(t, []string{s.Addr}, small)}

	want := make([]map[string]int, 2) // payload → 1
	for i := range want {
		want[i] = make(map[string]int)
	}
	stored := make(map[string][]string)
	const n = 2000
	for i := range n {
		user, payload := fmt.Sprint("u", r.IntN(5)), fmt.Sprint("p", i)
		texts := []string{"to", "user:" + user, "payload", payload}
		hears := at[user]
		switch r.IntN(4) {
		case 0:
			texts = []string{"to", "everyone", "payload", payload}
			hears = []int{0, 1}
		case 1:
		default:
			texts = append(texts, "offline", "1")
			stored[user] = append(stored[user], payload)
		}
		for _, g := range hears {
			want[g][payload] = 1
		}
		put(s, texts...)
	}
	eventually(t, "all is done", func() bool {
		return layers[0].service.Stats().Finished+layers[1].service.Stats().Finished == n
	})
	for k, g := range gateways {
		eventually(t, "all is heard", func() bool { return len(g.heard()) >= len(want[k]) })
		if got := g.payloads(); !maps.Equal(got, want[k]) {
			t.Errorf("%s heard %d messages, want %d", g.id, len(got), len(want[k]))
		}
	}
	for user, payloads := range stored {
		p, err := layers[0].log.Pull(soon(t), user, "d", 0, 0)
		if err != nil || len(p.Entries) != len(payloads) {
			t.Fatalf("%s has %d stored messages, %v, want %d", user, len(p.Entries), err, len(payloads))
		}
		seen := make(map[string]bool)
		for i, e := range p.Entries {
			if e.Version != uint64(i+1) || seen[string(e.Payload)] {
				t.Errorf("%s: version %d at %d, %s", user, e.Version, i, e.Payload)
			}
			seen[string(e.Payload)] = true
		}
	}
	for i, l := range layers {
		if l.service.Stats().Finished == 0 {
			t.Errorf("process %d has done nothing", i)
		}
	}
}

// TestOrder: one process publishes the messages for a user in their order, versions growing, however they lie in batches.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	var want []string
	for i := range 1500 {
		put(s, "to", "user:42", "payload", strings.Repeat("x", i%100), "offline", "1", "msg_id", fmt.Sprint(i))
		want = append(want, fmt.Sprintf("user:42 %s v%d id=%d", strings.Repeat("x", i%100), i+1, i))
	}
	start(t, []string{s.Addr}, func(c *queue.Config) { c.Batch = 37 })
	g.awaits(want...)
}

// TestInFlight: no more is read than the settings allow while nothing can be done.
func TestInFlight(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for range 100 {
		put(s, "to", "nobody", "payload", strings.Repeat("x", 1000))
	}
	s.Do("SET", "edged:dead", "text") // so that entries stay
	l := start(t, []string{s.Addr}, func(c *queue.Config) { c.Batch, c.InFlight = 10, 25 })
	eventually(t, "entries are held", func() bool { return l.service.Stats().Held == 25 })
	if err := l.service.Ready(); err == nil || !strings.Contains(err.Error(), "write edged:dead: WRONGTYPE") {
		t.Errorf("ready: %v", err)
	}
	eventually(t, "it is tried again", func() bool { return l.service.Stats().Retries > 75 })
	if st := l.service.Stats(); st.InFlight != 25 || st.Read != 25 || st.Bytes < 25_000 || st.Bytes > 40_000 {
		t.Errorf("%+v", st)
	}
	s.Do("DEL", "edged:dead")
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished == 100 && l.idle() })
	if n := s.Do("XLEN", "edged:dead"); n != "100" {
		t.Errorf("%s dead entries", n)
	}
	if err := l.service.Ready(); err != nil {
		t.Error(err)
	}
	l.stop()
	if l.service.Ready() == nil || l.service.Healthy() == nil {
		t.Error("a service that has ended is ready")
	}
}
