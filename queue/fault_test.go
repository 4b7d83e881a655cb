package queue_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"edged/offline"
	"edged/queue"
	"edged/redisconn/redistest"

	"github.com/redis/rueidis"
)

// process runs a layer as a process of its own.
func process(t *testing.T, addrs []string, change ...func(*queue.Config)) *child {
	t.Helper()
	c := queue.Default()
	c.ClaimAfter, c.Batch, c.InFlight = time.Second, 50, 400
	for _, f := range change {
		f(&c)
	}
	settings, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return spawn(t, "layer", append([]string{string(settings)}, addrs...)...)
}

// checkLog proves that a user's log holds each of the payloads once, under versions without a hole.
func checkLog(t *testing.T, l *offline.Log, user string, payloads []string) {
	t.Helper()
	p, err := l.Pull(soon(t), user, "d", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for i, e := range p.Entries {
		got[string(e.Payload)]++
		if e.Version != uint64(i+1) {
			t.Errorf("%s: version %d at place %d", user, e.Version, i+1)
			break
		}
	}
	want := make(map[string]int)
	for _, p := range payloads {
		want[p]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s has %d different stored messages of %d, want %d", user, len(got), len(p.Entries), len(want))
	}
}

// TestKilled: processes that share the work are killed at random moments. Nothing is lost: each message came to the gateway at least
// once, each stored one is in the log once, versions have no hole.
func TestKilled(t *testing.T) {
	killed(t, redistest.Start(t))
}

func killed(t *testing.T, s *redistest.Server) {
	r := seeded(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "u0/a", "u1/a", "u2/a", "u3/a")
	client := dial(t, s.Addr)
	stored, sent := make(map[string][]string), make(map[string]int)
	add := func(n int) {
		first := len(sent)
		many(t, client, n, func(x rueidis.Builder, i int) rueidis.Completed {
			user, payload, offline := fmt.Sprint("u", r.IntN(4)), fmt.Sprint("p", first+i), "0"
			if r.IntN(3) > 0 {
				offline = "1"
				stored[user] = append(stored[user], payload)
			}
			sent[payload] = 1
			return x.Xadd().Key("edged:in").Id("*").FieldValue().FieldValue("to", "user:"+user).FieldValue("payload", payload).
				FieldValue("offline", offline).Build()
		})
	}
	rounds := 25
	if testing.Short() {
		rounds = 10
	}
	running := []*child{process(t, []string{s.Addr}), process(t, []string{s.Addr})}
	for range rounds {
		add(1 + r.IntN(3000))
		victim := r.IntN(len(running))
		time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		running[victim].kill()
		running[victim] = process(t, []string{s.Addr})
	}
	eventually(t, "the stream is done", func() bool { return s.Do("XLEN", "edged:in") == "0" })
	eventually(t, "all is heard", func() bool { return len(g.payloads()) >= len(sent) })
	for user, payloads := range stored {
		checkLog(t, offline.New(client, offline.Config{Count: 1_000_000, Age: time.Hour, Seen: time.Hour, SeenCount: 1 << 20}), user, payloads)
	}
	if n := s.Do("XLEN", "edged:dead"); n != "0" {
		t.Errorf("%s dead entries", n)
	}
	g.checkDoubles(t, sent)
}

// checkDoubles proves that what came more than once can be recognised, where it was stored, and counts the rest.
func (g *gateway) checkDoubles(t *testing.T, sent map[string]int) {
	t.Helper()
	versions, doubles := make(map[string]uint64), 0
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.items {
		d := &g.items[i]
		name := string(d.Push.Payload)
		if v, again := versions[name]; again {
			doubles++
			if v != d.Push.Version || v != 0 && len(d.Push.MsgID) == 0 {
				t.Errorf("%s came as version %d and %d", name, v, d.Push.Version)
			}
		}
		versions[name] = d.Push.Version
		if sent[name] == 0 {
			t.Errorf("%s was never sent", name)
		}
	}
	t.Logf("%d messages, %d of them twice", len(versions), doubles)
}

// TestRedisKilled: a Redis that writes each change to disk is killed while it works, again and again. What a writer was told is taken
// is not lost.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	r := seeded(t)
	layers := []*layer{start(t, []string{s.Addr}), start(t, []string{s.Addr})}
	w := queue.NewWriter(dial(t, s.Addr), queue.Default())
	var payloads []string
	for round := range 4 {
		for i := range 200 {
			m := queue.Message{Payload: []byte(fmt.Sprint("p", round, "-", i)), MsgID: fmt.Sprint("m", round, "-", i), Offline: true}
			m.To, _ = queue.ParseTo("user:u")
			eventually(t, "it is taken", func() bool { _, err := w.Write(soon(t), []queue.Message{m}); return err == nil })
			payloads = append(payloads, string(m.Payload))
			if i == 100 {
				time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
				s.Kill()
				time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
				s.Restart()
			}
		}
	}
	eventually(t, "the stream is done", func() bool { return s.Do("XLEN", "edged:in") == "0" })
	checkLog(t, layers[0].log, "u", payloads)
	for i, l := range layers {
		eventually(t, "it is ready", func() bool { return l.service.Ready() == nil })
		if st := l.service.Stats(); st.InFlight != 0 || st.Outcomes["dead"] != 0 {
			t.Errorf("process %d: %+v", i, st)
		}
	}
}

// TestRedisHangs: while Redis stands still nothing is lost, and the service says that it is not ready.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	l := start(t, []string{s.Addr})
	eventually(t, "it reads", func() bool { _, ok := l.stream.Backlog(); return ok })
	var payloads []string
	for i := range 3000 {
		payloads = append(payloads, fmt.Sprint("p", i))
		put(s, "to", "user:u", "payload", payloads[i], "offline", "1")
	}
	s.Pause()
	eventually(t, "it is not ready", func() bool { return l.service.Ready() != nil })
	s.Continue()
	eventually(t, "it goes on", func() bool { return l.service.Ready() == nil && l.idle() && s.Do("XLEN", "edged:in") == "0" })
	checkLog(t, l.log, "u", payloads)
	g.hold(only(s), "u/phone")
	eventually(t, "the gateway hears it", func() bool { // its subscription may have been lost too, and takes a while to be back
		put(s, "to", "user:u", "payload", "last")
		time.Sleep(50 * time.Millisecond)
		return g.payloads()["last"] > 0
	})
}

// TestStopped: a process that stands still longer than others wait loses its work to them, and does no harm when it goes on.
func TestStopped(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "u/phone")
	sleeper := process(t, []string{s.Addr}, func(c *queue.Config) { c.Batch, c.InFlight = 400, 400 })
	var payloads []string
	sent := make(map[string]int)
	add := func(n int) {
		for range n {
			p := fmt.Sprint("p", len(payloads))
			payloads = append(payloads, p)
			sent[p] = 1
			put(s, "to", "user:u", "payload", p, "offline", "1")
		}
	}
	add(500)
	if err := sleeper.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	add(500)
	other := start(t, []string{s.Addr}, func(c *queue.Config) { c.ClaimAfter = time.Second })
	eventually(t, "the other one does all", func() bool { return s.Do("XLEN", "edged:in") == "0" && other.idle() })
	if err := sleeper.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	add(500)
	eventually(t, "all is done", func() bool { return s.Do("XLEN", "edged:in") == "0" && len(g.payloads()) == len(payloads) })
	checkLog(t, other.log, "u", payloads)
	g.checkDoubles(t, sent)
	sleeper.end(os.Interrupt)
}

// TestFlushed: after FLUSHALL all goes on; what was taken before is gone with the rest.
func TestFlushed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	l := start(t, []string{s.Addr})
	for round := range 3 {
		for range 50 {
			put(s, "to", "user:u", "payload", "x", "offline", "1")
		}
		s.Do("FLUSHALL")
		g.hold(only(s), "u/phone")
		text := fmt.Sprint("after ", round)
		put(s, "to", "user:u", "payload", text)
		eventually(t, text, func() bool { return g.payloads()[text] == 1 })
		eventually(t, "it is ready", func() bool { return l.service.Ready() == nil && l.idle() && s.Do("XLEN", "edged:in") == "0" })
	}
}

// TestClashes: keys that other programs have taken are said, stop what needs them and nothing else, and are waited for.
func TestClashes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "u/phone")
	s.Do("SET", "edged:in", "text")
	l := start(t, []string{s.Addr})
	eventually(t, "it is said", func() bool {
		err := l.service.Ready()
		return err != nil && strings.Contains(err.Error(), "read edged:in: WRONGTYPE")
	})
	time.Sleep(600 * time.Millisecond) // some tries
	if n := l.book.count("entries cannot be read"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if l.stream.Err() == nil {
		t.Error("Keep finds nothing wrong")
	}
	s.Do("DEL", "edged:in")
	put(s, "to", "user:u", "payload", "one")
	g.awaits("user:u one")
	s.Do("DEL", "edged:in")
	s.Do("HSET", "edged:in", "a", "b") // while it works
	eventually(t, "it is said again", func() bool { return l.service.Ready() != nil })
	s.Do("DEL", "edged:in")
	put(s, "to", "user:u", "payload", "two")
	g.awaits("user:u one", "user:u two")
	eventually(t, "it is ready", func() bool { return l.service.Ready() == nil && l.stream.Err() == nil })
}

// TestShared: two processes share the work, and one that is told to stop leaves nothing behind.
func TestShared(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "u/phone")
	a, b := process(t, []string{s.Addr}, func(c *queue.Config) { c.Consumer = "a" }), process(t, []string{s.Addr}, func(c *queue.Config) { c.Consumer = "b" })
	eventually(t, "both are there", func() bool {
		return s.Do("EXISTS", "edged:in") == "1" && strings.Count(s.Do("XINFO", "CONSUMERS", "edged:in", "edged"), "name\n") == 2
	})
	for i := range 1000 {
		put(s, "to", "user:u", "payload", fmt.Sprint("p", i))
		if i == 500 {
			a.end(syscall.SIGTERM)
			if got := s.Do("XINFO", "CONSUMERS", "edged:in", "edged"); strings.Contains(got, "name\na\n") {
				t.Errorf("it is in the group still: %q", got)
			}
		}
	}
	eventually(t, "the stream is done", func() bool { return s.Do("XLEN", "edged:in") == "0" })
	eventually(t, "all is heard", func() bool { return len(g.heard()) >= 1000 })
	for p, n := range g.payloads() {
		if n != 1 {
			t.Errorf("%s came %d times", p, n)
		}
	}
	b.end(syscall.SIGTERM)
	if got := s.Do("XINFO", "CONSUMERS", "edged:in", "edged"); got != "" {
		t.Errorf("consumers are left: %q", got)
	}
}

// TestFixedName: a process that comes again under its name goes on where it ended, at once.
func TestFixedName(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "u/phone")
	named := func(c *queue.Config) { c.Consumer, c.ClaimAfter = "box-1", time.Hour }
	s.Do("SET", "edged:dead", "text")
	a := process(t, []string{s.Addr}, named)
	put(s, "to", "nobody", "payload", "x")
	put(s, "to", "user:u", "payload", "one")
	g.awaits("user:u one")
	eventually(t, "one is held", func() bool { return strings.HasPrefix(s.Do("XPENDING", "edged:in", "edged"), "1\n") })
	a.kill()
	s.Do("DEL", "edged:dead")
	process(t, []string{s.Addr}, named)
	eventually(t, "it is done", func() bool { return s.Do("XLEN", "edged:dead") == "1" && s.Do("XLEN", "edged:in") == "0" })
	if !slices.Equal(g.heard(), []string{"user:u one"}) {
		t.Errorf("heard %q", g.heard())
	}
}
