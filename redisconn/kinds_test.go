package redisconn_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"edged/redisconn"
	"edged/redisconn/redistest"
)

// TestKinds is what must hold with every kind of Redis.
func TestKinds(t *testing.T) {
	t.Parallel()
	kinds := []struct {
		name  string
		start func(t *testing.T) redisconn.Config
	}{
		{"standalone", func(t *testing.T) redisconn.Config { return at(redistest.Start(t).Addr) }},
		{"cluster", func(t *testing.T) redisconn.Config { return at(redistest.StartCluster(t, 3).Addrs()...) }},
		{"sentinel", func(t *testing.T) redisconn.Config {
			return redisconn.Config{Addresses: redistest.StartSentinel(t).Addrs(), Sentinel: redistest.MasterName}
		}},
		{"tls", func(t *testing.T) redisconn.Config {
			s := redistest.StartTLS(t)
			return redisconn.Config{Addresses: []string{s.Addr}, TLS: true, CA: s.CA, Cert: s.Cert, Key: s.Key}
		}},
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			cl, log := connect(t, k.start(t))
			for _, c := range []struct {
				name string
				test func(*testing.T, *redisconn.Client)
			}{{"do", testDo}, {"multi", testMulti}, {"error", testServerError}, {"blocking", testBlocking}, {"receive", testReceive}, {"many", testMany}} {
				t.Run(c.name, func(t *testing.T) { c.test(t, cl) })
			}
			if log.count("redis is there") != 1 || log.count("\n") != 1 {
				t.Errorf("log:\n%s", log.text.String())
			}
		})
	}
}

func testDo(t *testing.T, cl *redisconn.Client) {
	for i := range 50 { // over all nodes
		key := fmt.Sprintf("do-%d", i)
		if err := set(cl, key, key); err != nil {
			t.Fatal(err)
		}
		if got := get(t, cl, key); got != key {
			t.Errorf("%s is %q", key, got)
		}
	}
}

func testMulti(t *testing.T, cl *redisconn.Client) {
	rs := cl.DoMulti(context.Background(), func(b rueidis.Builder) rueidis.Commands {
		var c rueidis.Commands
		for i := range 20 {
			c = append(c, b.Set().Key(fmt.Sprintf("multi-%d", i)).Value("v").Build())
		}
		return append(c, b.Hget().Key("multi-3").Field("f").Build(), b.Get().Key("multi-19").Build())
	})
	if len(rs) != 22 {
		t.Fatalf("%d results", len(rs))
	}
	for i, r := range rs {
		if wrongType := i == 20; (r.Error() != nil) != wrongType {
			t.Errorf("result %d: %v", i, r.Error())
		}
	}
	if v, _ := rs[21].ToString(); v != "v" {
		t.Errorf("the last is %q", v)
	}
	if rs := cl.DoMulti(context.Background(), func(rueidis.Builder) rueidis.Commands { return nil }); len(rs) != 0 {
		t.Errorf("%d results of no command", len(rs))
	}
	if !cl.Connected() {
		t.Error("an error that the server sent counts as a lost connection")
	}
}

func testServerError(t *testing.T, cl *redisconn.Client) {
	err := cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed { return b.Get().Key("none").Build() }).Error()
	if !rueidis.IsRedisNil(err) {
		t.Errorf("an absent key: %v", err)
	}
	err = cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed { return b.Arbitrary("NOSUCH").Build() }).Error()
	if _, ok := rueidis.IsRedisErr(err); !ok {
		t.Errorf("an unknown command: %v", err)
	}
	if !cl.Connected() || cl.Err() != nil {
		t.Errorf("an error that the server sent counts as a lost connection: %v", cl.Err())
	}
}

// testBlocking: a command that blocks holds up no other.
func testBlocking(t *testing.T, cl *redisconn.Client) {
	popped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		popped <- cl.Do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Blpop().Key("list").Timeout(20).Build() }).Error()
	}()
	for range 20 {
		if err := set(cl, "blocking", "v"); err != nil {
			t.Error(err)
		}
	}
	err := cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed { return b.Rpush().Key("list").Element("x").Build() }).Error()
	if err != nil {
		t.Error(err)
	}
	if err := await(t, popped); err != nil {
		t.Errorf("BLPOP: %v", err)
	}
}

func testReceive(t *testing.T, cl *redisconn.Client) {
	s := subscribe(t, cl, "one", "two")
	for _, m := range [][2]string{{"one", "a"}, {"other", "b"}, {"two", "c"}, {"one", ""}} {
		if err := publish(cl, m[0], m[1]); err != nil {
			t.Fatal(err)
		}
		if m[0] == "other" {
			continue
		}
		if got := await(t, s.messages); got != m[0]+"="+m[1] {
			t.Errorf("received %q", got)
		}
	}
	s.cancel()
	if err := await(t, s.ended); err != context.Canceled {
		t.Errorf("ended with %v", err)
	}
}

func testMany(t *testing.T, cl *redisconn.Client) {
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 100 {
				if err := set(cl, fmt.Sprintf("many-%d-%d", g, i), "v"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestOrder: calls are carried out in their order, also one that its caller gave up.
func TestOrder(t *testing.T) {
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	s.Pause()
	for i := range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		if err := setIn(ctx, cl, "k", fmt.Sprint(i)); err != context.DeadlineExceeded {
			t.Errorf("call %d on a server that hangs: %v", i, err)
		}
		cancel()
	}
	s.Continue()
	eventually(t, "a write", func() bool { return set(cl, "k", "last") == nil })
	if got := s.Do("GET", "k"); got != "last" {
		t.Errorf("the server has %q", got)
	}
}
