package queue_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"edged/queue"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// TestOutOfMemory: while Redis has no room, what is to be stored waits, in its order, and what is not goes on; writers are told to
// come again.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	l := start(t, []string{s.Addr})
	put(s, "to", "user:43", "payload", "first", "offline", "1")
	eventually(t, "it works", func() bool { return l.service.Stats().Finished == 1 })
	s.Do("ACL", "SETUSER", "default", "-xreadgroup")
	payloads := []string{"first"}
	for i := range 20 {
		payloads = append(payloads, fmt.Sprint("p", i))
		put(s, "to", "user:43", "payload", payloads[i+1], "offline", "1")
		put(s, "to", "user:42", "payload", fmt.Sprint("live ", i))
	}
	s.Do("CONFIG", "SET", "maxmemory", "1")
	s.Do("ACL", "SETUSER", "default", "+xreadgroup")
	w := queue.NewWriter(l.client, queue.Default())
	if _, err := w.Write(soon(t), []queue.Message{{Payload: []byte("x")}}); err == nil || !strings.Contains(err.Error(), "write edged:in: OOM") {
		t.Errorf("error %v", err)
	}
	eventually(t, "it says why", func() bool { err := l.service.Ready(); return err != nil && strings.Contains(err.Error(), "OOM") })
	eventually(t, "the others are heard", func() bool { return len(g.heard()) == 20 })
	s.Do("CONFIG", "SET", "maxmemory", "0")
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished == 41 && l.service.Ready() == nil })
	checkLog(t, l.log, "43", payloads)
}

// TestRights: what our user of Redis may not do is said, and done when he may.
func TestRights(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"xreadgroup", "xack", "hgetall", "evalsha"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			g := listen(t, s, "10.0.0.1:7000")
			g.hold(only(s), "42/phone")
			s.Do("ACL", "SETUSER", "edged", "on", ">secret", "~*", "&*", "+@all", "-"+command)
			client := redisconn.New(redisconn.Config{Addresses: []string{s.Addr}, Username: "edged", Password: "secret"}, slog.New(slog.DiscardHandler))
			t.Cleanup(client.Close)
			eventually(t, "a connection", client.Connected)
			l := run(t, client, queue.Default())
			put(s, "to", "user:42", "payload", "x", "offline", "1", "msg_id", "m")
			eventually(t, "it is said", func() bool {
				err := l.service.Ready()
				return err != nil && strings.Contains(err.Error(), "NOPERM")
			})
			s.Do("ACL", "SETUSER", "edged", "+"+command)
			eventually(t, "all is done", func() bool { return l.service.Stats().Finished == 1 && l.service.Ready() == nil && l.idle() })
			eventually(t, "it is heard", func() bool { return len(g.heard()) > 0 }) // by another connection
			if got := g.payloads()["x"]; got != 1 {
				t.Errorf("it came %d times", got)
			}
		})
	}
}

// TestFailover: a replica takes over, and all goes on.
func TestFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	client := redisconn.New(redisconn.Config{Addresses: s.Addrs(), Sentinel: redistest.MasterName}, slog.New(slog.DiscardHandler))
	t.Cleanup(client.Close)
	eventually(t, "a connection", client.Connected)
	l := run(t, client, queue.Default())
	w := queue.NewWriter(client, queue.Default())
	var payloads []string
	for i := range 100 {
		m := queue.Message{Payload: []byte(fmt.Sprint("p", i)), MsgID: fmt.Sprint(i), Offline: true}
		m.To, _ = queue.ParseTo("user:u")
		if i == 50 {
			eventually(t, "half is done", func() bool { return l.service.Stats().Finished == 50 && l.idle() })
			s.Failover()
		}
		eventually(t, "it is taken", func() bool { _, err := w.Write(soon(t), []queue.Message{m}); return err == nil })
		payloads = append(payloads, string(m.Payload))
	}
	eventually(t, "all is done", func() bool { return l.service.Ready() == nil && l.idle() && s.Master().Do("XLEN", "edged:in") == "0" })
	checkLog(t, l.log, "u", payloads)
}

// TestLarge: payloads as large as can be are read in such numbers that they have room.
func TestLarge(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := listen(t, s, "10.0.0.1:7000")
	g.hold(only(s), "42/phone")
	client := dial(t, s.Addr)
	w := queue.NewWriter(client, queue.Default())
	to, _ := queue.ParseTo("user:42")
	const n = 150
	for i := range n {
		payload := make([]byte, 1<<20)
		copy(payload, fmt.Sprint(i))
		if _, err := w.Write(soon(t), []queue.Message{{To: to, Payload: payload}}); err != nil {
			t.Fatal(err)
		}
	}
	l := start(t, []string{s.Addr}, func(c *queue.Config) { c.PayloadMax = 1 << 20 })
	most := 0
	eventually(t, "all is done", func() bool {
		st := l.service.Stats()
		most = max(most, st.Bytes)
		return st.Finished == n
	})
	if most > 65<<20 { // the bound, and one entry
		t.Errorf("%d bytes in flight", most)
	}
	eventually(t, "all is heard", func() bool { return len(g.payloads()) == n })
}
