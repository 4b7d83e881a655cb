package registry_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"edged/redisconn/redistest"
)

const faultUsers = 1200

// fill logs users in, each with the uniq.
func fill(g *gateway, uniq uint32) (names []string) {
	for i := range faultUsers {
		names = append(names, fmt.Sprint("u", i))
		old, ok := g.Link(b(names[i]), b("phone"))
		g.login(names[i], "phone", uint32(i), uniq)
		if ok {
			g.Remove(b(names[i]), b("phone"), old) // its late end
		}
	}
	return names
}

// settled waits until Redis has exactly what the Directory has, by every user's route as it lies there.
func settled(t *testing.T, s *redistest.Server, g *gateway, names []string) {
	t.Helper()
	want := make(map[string]string)
	for _, name := range names {
		if l, ok := g.Link(b(name), b("phone")); ok {
			want[name] = g.value(l.Place, l.Uniq)
		}
	}
	eventually(t, "Redis to have what the Directory has", func() bool {
		return g.idle() && g.hasLease(s) && maps.Equal(phones(s), want)
	})
}

// phones is the route of everybody's phone as it lies there.
func phones(s *redistest.Server) map[string]string {
	lines := strings.Split(s.Do("EVAL", `
local list = {}
for _, key in ipairs(redis.call('KEYS', 'edged:route:*')) do
  table.insert(list, string.match(key, '{(.*)}'))
  table.insert(list, redis.call('HGET', key, 'phone'))
end
return list`, "0"), "\n")
	found := make(map[string]string)
	for i := 0; i+1 < len(lines); i += 2 {
		found[lines[i]] = lines[i+1]
	}
	return found
}

func TestRoutesRedisDownAtStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	g := start(t, standalone(s), gw1, 5, config())
	names := fill(g, 1)
	fill(g, 2)
	g.logout("u3", "phone", 3, 2)
	eventually(t, "failures", func() bool { return g.Routes.Stats().LeaseFailures > 3 })
	if stats := g.Routes.Stats(); stats.Held || stats.Waiting != faultUsers || stats.Written != 0 {
		t.Errorf("%+v", stats)
	}
	s.Restart()
	settled(t, s, g, names)
	if w, i := g.book.count("the lease in Redis is not renewed"), g.book.count("online in Redis again"); w > 1 || i != w {
		t.Errorf("%d lines of trouble, %d of its end", w, i)
	}
}

// TestRoutesRedisKilled loses a server with all routes, and users come and go until another one is there.
func TestRoutesRedisKilled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	names := fill(g, 1)
	settled(t, s, g, names)
	s.Kill()
	for i := range 400 {
		g.logout(names[i], "phone", uint32(i), 1)
	}
	g.login("new", "phone", 77, 1)
	eventually(t, "the lease to be over", func() bool { return !g.Routes.Stats().Held })
	s.Restart()
	settled(t, s, g, append(names, "new"))
	if stats := g.Routes.Stats(); stats.LeaseLost != 2 || stats.Dropped != 0 || stats.EventsDropped != 0 {
		t.Errorf("%+v", stats)
	}
	if g.book.count("the lease in Redis is not renewed") != 1 || g.book.count("online in Redis again") != 1 {
		t.Errorf("%s", g.book.text.String())
	}
}

// TestRoutesRedisHangs stops the server's process while users come and go. Nobody waits for it, and what it carries out late
// stands over nothing newer.
func TestRoutesRedisHangs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	names := fill(g, 1)
	settled(t, s, g, names)
	for round := range uint32(2) {
		s.Pause()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for uniq := range uint32(20) {
				fill(g, 100*round+uniq+2)
			}
			for i := range 300 {
				g.logout(names[i], "phone", uint32(i), 100*round+21)
			}
		}()
		select {
		case <-done: // and nothing but the end of this test lets the server go on
		case <-time.After(limit):
			t.Fatal("a login waits for Redis")
		}
		failures := g.Routes.Stats().LeaseFailures
		eventually(t, "failures", func() bool { return g.Routes.Stats().LeaseFailures > failures+1 })
		s.Continue()
		settled(t, s, g, names)
	}
}

// TestRoutesRedisFlushed loses every key while the lease would still have lived: the next renewal finds it, and everybody is
// written again.
func TestRoutesRedisFlushed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	names := fill(g, 1)
	settled(t, s, g, names)
	for range 3 {
		s.Do("FLUSHALL")
		settled(t, s, g, names)
	}
	if stats := g.Routes.Stats(); stats.Failures != 0 || stats.LeaseLost < 4 || g.book.count("WARN") != 0 {
		t.Errorf("%+v %s", stats, g.book.text.String())
	}
}

// TestRoutesOneRouteLost deletes some routes without a trace, as a reader or a Cluster node can: the resync comes by.
func TestRoutesOneRouteLost(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	names := fill(g, 1)
	settled(t, s, g, names)
	lost := g.Routes.Stats().LeaseLost
	for i := range 10 {
		s.Do("DEL", "edged:route:{"+names[i*7]+"}")
	}
	settled(t, s, g, names)
	if stats := g.Routes.Stats(); stats.LeaseLost != lost {
		t.Errorf("%+v", stats)
	}
}

// TestRoutesRedisRefusesWrites has the server out of memory for a while: nothing is lost.
func TestRoutesRedisRefusesWrites(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 5, config())
	names := fill(g, 1)
	settled(t, s, g, names)
	s.Do("CONFIG", "SET", "maxmemory", "1")
	g.login(names[0], "phone", 9, 9)
	eventually(t, "the lease to be over", func() bool { return !g.Routes.Stats().Held && g.Routes.Stats().LeaseFailures > 1 })
	s.Do("CONFIG", "SET", "maxmemory", "0")
	settled(t, s, g, names)
}

// TestRoutesStopWhileRedisHangs wants Stop and Detach to be over by their own limits.
func TestRoutesStopWhileRedisHangs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, z := start(t, standalone(s), gw1, 5, config()), start(t, standalone(s), gw2, 5, config())
	names := fill(a, 1)
	settled(t, s, a, names)
	eventually(t, "the other's lease", z.idle)
	s.Pause()
	fill(a, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Routes.Stop(t.Context())
		z.Detach(t.Context())
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatal("the end waits for Redis")
	}
	s.Continue()
}

// TestRoutesCluster takes two gateways through all of it over a Cluster, with a node that dies and comes back empty.
func TestRoutesCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	r := standalone(c.Nodes[0])
	r.Addresses = c.Addrs()
	a, z := start(t, r, gw1, 5, config()), start(t, r, gw2, 6, config())
	names := fill(a, 1)
	for i := range 100 {
		z.login(names[i], "desk", uint32(i), 1)
	}
	read := reader(t, r)
	all := func(n int) func() bool {
		return func() bool {
			total := 0
			for _, f := range read.LookupAll(soon(t), names) {
				if f.Err != nil {
					return false
				}
				total += len(f.Routes)
			}
			return total == n
		}
	}
	eventually(t, "everybody", all(faultUsers+100))
	eventually(t, "the events", func() bool { return len(told(t, read)) == faultUsers+100 })
	lost := c.Owner("edged:lease:{" + gw2 + "}")
	lost.Kill()
	eventually(t, "the death of a node to be noticed", func() bool { return z.Routes.Stats().LeaseFailures > 1 })
	lost.Restart()
	eventually(t, "everybody again", all(faultUsers+100))
	z.Routes.Stop(soon(t))
	eventually(t, "those of one gateway", all(faultUsers))
	a.die()
	eventually(t, "nobody", all(0))
	for _, node := range c.Nodes {
		if left := node.Do("KEYS", "edged:route:*"); left != "" {
			t.Errorf("left: %.200s", left)
		}
	}
}
