package redistest_test

import (
	"strings"
	"testing"

	"edged/redisconn/redistest"
)

func TestServer(t *testing.T) {
	s := redistest.Start(t)
	if got := s.Do("SET", "k", "v"); got != "OK" {
		t.Errorf("SET: %q", got)
	}
	if got := s.Do("MGET", "k", "none", "k"); got != "v\n\nv" {
		t.Errorf("MGET: %q", got)
	}
	s.Pause()
	s.Continue()
	s.Stop()
	addr := s.Addr
	s.Restart()
	if s.Addr != addr {
		t.Errorf("restarted at %s, not %s", s.Addr, addr)
	}
	if got := s.Do("DBSIZE"); got != "0" {
		t.Errorf("after the restart it has %s keys", got)
	}
	s.Pause()
	s.Kill()
}

func TestDurable(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s.Do("SET", "k", "v")
	s.Kill()
	s.Restart()
	if got := s.Do("GET", "k"); got != "v" {
		t.Errorf("after the restart: %q", got)
	}
}

func TestPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("PING: %q", got)
	}
}

func TestTLS(t *testing.T) {
	s := redistest.StartTLS(t)
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("PING: %q", got)
	}
}

func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3)
	if len(c.Addrs()) != 3 {
		t.Fatalf("nodes: %v", c.Addrs())
	}
	c.Owner("k").Do("SET", "k", "v")
	other := c.Nodes[0]
	if other == c.Owner("k") {
		other = c.Nodes[1]
	}
	c.Owner("k").Do("DEL", "k")
	c.Move("k", other)
	other.Do("SET", "k", "v")
}

func TestSentinel(t *testing.T) {
	for _, args := range [][]string{nil, {"--requirepass", "secret"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			s := redistest.StartSentinel(t, args...)
			first := s.Master()
			if first != s.Servers[0] {
				t.Fatal("the first server is not the master")
			}
			s.Failover()
			second := s.Master()
			if second == first {
				t.Error("still the same master")
			}
			second.Kill()
			s.AwaitFailover(second)
		})
	}
}
