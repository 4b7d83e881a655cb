package dispatch_test

import (
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn/redistest"
)

// chain is a Redis with what reports to it and what reads from it.
type chain struct {
	*service
	redis *redistest.Server
}

// newChain starts a service over a Redis of its own, with sh-1 and sh-2 in its configuration.
func newChain(t *testing.T) *chain {
	t.Helper()
	redis := redistest.Start(t)
	quiet := slog.New(slog.DiscardHandler)
	slbs := []dispatch.SLB{slb("sh-1", "203.0.113.1:7000"), slb("sh-2", "203.0.113.2:7000", "[2001:db8::2]:7000")}
	s := run(t, reader(t, standalone(redis), quiet), slbs, func(o *dispatch.Options) { o.Config.Refresh = 200 * time.Millisecond })
	<-s.Began()
	return &chain{s, redis}
}

// gateway starts a gateway that reports, and returns what it reports and by what.
func (c *chain) gateway(t *testing.T, id, slb string, availability float64) (dispatch.Report, *dispatch.Reporter) {
	t.Helper()
	r := up("192.0.2.9:7000", slb, availability)
	if slb == "" {
		r.Address = id
	}
	by := report(t, standalone(c.redis), id, interval, slog.New(slog.DiscardHandler))
	by.Put(r)
	return r, by
}

// awaits waits until a load balancer has an availability.
func (c *chain) awaits(t *testing.T, slb string, want float64) {
	t.Helper()
	eventually(t, slb, func() bool {
		for _, b := range c.Stats().Balancers {
			if b.Name == slb {
				return b.Availability > want-1e-9 && b.Availability < want+1e-9
			}
		}
		return false
	})
}

// TestChain: from the reports of gateways to the answers, and back when they leave.
func TestChain(t *testing.T) {
	c := newChain(t)
	c.list().want(t, false, false, "sh-1", "sh-2", "sh-2")
	_, a := c.gateway(t, "a", "sh-1", 0.2)
	c.gateway(t, "b", "sh-1", 0.3)
	c.gateway(t, "c", "sh-1", 0.5)
	c.gateway(t, "198.51.100.1:7000", "", 0.5)
	c.awaits(t, "sh-1", 1)
	c.awaits(t, "198.51.100.1:7000", 0.5)
	answer := c.list()
	answer.want(t, false, false, "198.51.100.1:7000", "sh-1", "sh-2", "sh-2")
	if names := answer.slbs(); names[2] != "sh-2" || names[3] != "sh-2" {
		t.Errorf("who has no gateway is not last: %q", names)
	}
	eventually(t, "the sum in Redis", func() bool {
		sum := c.redis.Do("HGET", "edged:sum", "sh-1")
		return strings.HasPrefix(sum, "1 ") || strings.HasPrefix(sum, "1.000 ")
	})
	if n := c.redis.Do("ZCARD", "edged:dispatchers"); n != "1" || c.Stats().Dispatchers != 1 {
		t.Errorf("%s dispatch services in Redis, %d in the numbers", n, c.Stats().Dispatchers)
	}
	a.Stop(soon(t))
	c.awaits(t, "sh-1", 0.8)
	c.end()
	if n := c.redis.Do("ZCARD", "edged:dispatchers"); n != "0" {
		t.Errorf("%s dispatch services are left", n)
	}
}

// TestChainDrain: a gateway that drains is last in answers within a second, although the fleet is read once a minute.
func TestChainDrain(t *testing.T) {
	redis := redistest.Start(t)
	c := &chain{redis: redis}
	r, by := c.gateway(t, "a", "sh-1", 1)
	c.gateway(t, "b", "sh-2", 1)
	eventually(t, "two reports", func() bool { return redis.Do("EXISTS", "edged:gw:{a}", "edged:gw:{b}") == "2" })
	slbs := []dispatch.SLB{slb("sh-1", "203.0.113.1:7000"), slb("sh-2", "203.0.113.2:7000")}
	c.service = run(t, reader(t, standalone(redis), slog.New(slog.DiscardHandler)), slbs, func(o *dispatch.Options) { o.Config.Refresh = time.Minute })
	<-c.Began()
	eventually(t, "the subscription", func() bool { return strings.HasSuffix(redis.Do("PUBSUB", "NUMSUB", "edged:state"), "1") })
	c.awaits(t, "sh-1", 1)
	by.Now(with(r, dispatch.StateDraining))
	began := time.Now()
	c.awaits(t, "sh-1", 0)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
	for range 20 {
		if names := c.list().slbs(); names[0] != "sh-2" {
			t.Fatalf("order %q", names)
		}
	}
}

// TestChainFaults: whatever Redis does, clients get a list, and a fresh one afterwards.
func TestChainFaults(t *testing.T) {
	for _, fault := range []struct {
		name        string
		begin, end  func(s *redistest.Server)
		whileBroken bool // answers get stale
	}{
		{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart, true},
		{"hung", (*redistest.Server).Pause, (*redistest.Server).Continue, true},
		{"emptied", func(s *redistest.Server) { s.Do("FLUSHALL") }, func(*redistest.Server) {}, false},
	} {
		t.Run(fault.name, func(t *testing.T) {
			c := newChain(t)
			c.gateway(t, "a", "sh-1", 0.5)
			c.gateway(t, "198.51.100.1:7000", "", 0.5)
			c.awaits(t, "sh-1", 0.5)
			c.awaits(t, "198.51.100.1:7000", 0.5)
			fault.begin(c.redis)
			if fault.whileBroken {
				eventually(t, "a stale answer", func() bool {
					a := c.list()
					a.want(t, a.Stale, false, "198.51.100.1:7000", "sh-1", "sh-2", "sh-2")
					return a.Stale
				})
			}
			fault.end(c.redis)
			eventually(t, "a fresh answer of all", func() bool {
				a := c.list()
				return !a.Stale && !a.Degraded && slices.Contains(a.slbs(), "198.51.100.1:7000")
			})
			c.awaits(t, "sh-1", 0.5)
		})
	}
}

// TestChainGarbage: what is broken in Redis is named, and the others are served.
func TestChainGarbage(t *testing.T) {
	c := newChain(t)
	c.gateway(t, "a", "sh-1", 0.5)
	c.awaits(t, "sh-1", 0.5)
	for _, do := range [][]string{
		{"SET", "edged:gw:{wrong}", "type"}, {"PEXPIRE", "edged:gw:{wrong}", "60000"}, {"ZADD", "edged:slb:sh-1", "1", "wrong"},
		{"HSET", "edged:gw:{nan}", "v", "1", "availability", "NaN", "state", "up", "links", "0", "capacity", "1", "address", "192.0.2.1:1", "slb", "sh-1", "boot", "x", "seq", "1"},
		{"PEXPIRE", "edged:gw:{nan}", "60000"}, {"ZADD", "edged:slb:sh-1", "1", "nan"},
		{"SADD", "edged:slbs", "list"}, {"RPUSH", "edged:slb:list", "x"},
		{"PUBLISH", "edged:state", "rubbish"}, {"PUBLISH", "edged:state", "a exploded"},
	} {
		c.redis.Do(do...)
	}
	eventually(t, "three things that are broken", func() bool { return len(c.Stats().Broken) == 3 })
	for _, name := range []string{"wrong", "nan", "list"} {
		if !slices.ContainsFunc(c.Stats().Broken, func(s string) bool { return strings.Contains(s, name) }) {
			t.Errorf("%q does not name %s", c.Stats().Broken, name)
		}
	}
	c.list().want(t, false, false, "sh-1", "sh-2", "sh-2")
	c.awaits(t, "sh-1", 0.5)
}

// TestChainReads: requests cost Redis nothing.
func TestChainReads(t *testing.T) {
	c := newChain(t)
	c.gateway(t, "a", "sh-1", 0.5)
	c.awaits(t, "sh-1", 0.5)
	calls := func() int {
		n := 0
		for line := range strings.Lines(c.redis.Do("INFO", "commandstats")) {
			if name, rest, _ := strings.Cut(line, ":calls="); name == "cmdstat_smembers" {
				n = atoi(t, rest[:strings.IndexByte(rest, ',')])
			}
		}
		return n
	}
	before, began := calls(), time.Now()
	h, r := c.Handler(), httptest.NewRequest("GET", "/v1/addresses", nil)
	for time.Since(began) < time.Second {
		for range 100 {
			h.ServeHTTP(&sink{header: map[string][]string{}}, r)
		}
	}
	if most := int(time.Since(began)/(200*time.Millisecond)) + 2; calls()-before > most {
		t.Errorf("%d readings during %d requests, at most %d are due", calls()-before, c.Stats().Answers[200], most)
	}
}

func atoi(t testing.TB, s string) (n int) {
	t.Helper()
	for _, d := range s {
		n = 10*n + int(d-'0')
	}
	return n
}
