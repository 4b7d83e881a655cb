package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"edged/redisconn/redistest"
	"edged/registry"
)

const gw1, gw2 = "192.0.2.1:7000", "192.0.2.2:7000"

// TestRoutesInRedis compares what lies in Redis with PROTOCOL.md §3.
func TestRoutesInRedis(t *testing.T) {
	s := redistest.Start(t)
	c := registry.Default()
	g := start(t, standalone(s), gw1, 18446744073709551615, c)
	g.login("42", "phone", 7777218, 9)
	g.login("42", "desk", 5, 6)
	g.login("43", "phone", 7, 8)
	eventually(t, "the routes", func() bool { return g.Routes.Stats().Written == 3 && g.idle() })
	if got, want := routeOf(s, "42", "phone"), gw1+" 18446744073709551615 "+gw1+":7777218:9"; got != want {
		t.Errorf("the route is %q, want %q", got, want)
	}
	if n := s.Do("HLEN", "edged:route:{42}"); n != "2" {
		t.Errorf("%s devices of 42", n)
	}
	if got := s.Do("GET", "edged:lease:{"+gw1+"}"); got != "18446744073709551615" {
		t.Errorf("the lease is %q", got)
	}
	if ms, _ := strconv.Atoi(s.Do("PTTL", "edged:lease:{"+gw1+"}")); ms <= 0 || ms > 15000 {
		t.Errorf("the lease lives %d ms, want at most 15 s", ms)
	}
	eventually(t, "three events", func() bool { return s.Do("XLEN", "edged:presence") == "3" })
	if n := s.Do("DBSIZE"); n != "4" {
		t.Errorf("%s keys, want two users, the lease and the events", n)
	}
	if stats := g.Routes.Stats(); stats.Failures != 0 || !stats.Held || stats.LeaseLost != 1 {
		t.Errorf("%+v", stats)
	}
}

// TestRoutesFollow lets a device come, be replaced, and leave. The late end of the old link changes nothing.
func TestRoutesFollow(t *testing.T) {
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 1, config())
	r := reader(t, standalone(s))
	g.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return routeOf(s, "42", "phone") == g.value(1, 1) })
	g.login("42", "phone", 2, 5)
	if g.logout("42", "phone", 1, 1) {
		t.Error("the old link removed the new one")
	}
	eventually(t, "the new route", func() bool { return routeOf(s, "42", "phone") == g.value(2, 5) })
	if where := whereIs(t, r, "42"); len(where) != 1 || where["phone"] != g.link(2, 5) {
		t.Errorf("42 is at %v", where)
	}
	g.logout("42", "phone", 2, 5)
	eventually(t, "no route", func() bool { return s.Do("EXISTS", "edged:route:{42}") == "0" })
	if where := whereIs(t, r, "42"); len(where) != 0 {
		t.Errorf("42 is at %v", where)
	}
	want := []string{
		"online 42/phone " + gw1 + " 1 1", "online 42/phone " + gw1 + " 1 5", "offline 42/phone " + gw1 + " 1 5",
	}
	eventually(t, "the events", func() bool { return len(told(t, r)) == len(want) })
	if got := told(t, r); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestRouted: who binds is told of when others can find him, also when Redis had lost his route, and not when a walk finds it
// as it should be.
func TestRouted(t *testing.T) {
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 1, config())
	g.login("42", "phone", 1, 1)
	eventually(t, "the first route", func() bool { return len(g.findable()) == 1 })
	if routeOf(s, "42", "phone") == "" {
		t.Error("told of before the route was there")
	}
	s.Do("DEL", "edged:route:{42}")
	g.Mark("42", "phone")
	eventually(t, "the route is back", func() bool { return len(g.findable()) == 2 })
	g.login("43", "phone", 2, 1)
	g.logout("42", "phone", 1, 1)
	eventually(t, "the other's", func() bool { return len(g.findable()) == 3 && g.idle() })
	s.Do("DEL", "edged:route:{44}")
	s.Do("SET", "edged:route:{44}", "no hash")
	g.login("44", "phone", 3, 1)
	eventually(t, "one that cannot be", func() bool { return len(g.findable()) == 4 })
	eventually(t, "walks over all of them", func() bool { return g.Routes.Stats().Visited >= 4 })
	if got, want := g.findable(), []string{"42/phone", "42/phone", "43/phone", "44/phone"}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
}

// TestRoutesLogins is 100 racing logins, of one device and through to Redis: the route is that of the one link that is left.
func TestRoutesLogins(t *testing.T) {
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 1, config())
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			old, replaced := g.Put(b("42"), b("phone"), registry.Link{Place: uint32(i), Uniq: 7})
			if replaced && g.Remove(b("42"), b("phone"), old) {
				t.Error("the late end of an old link removed the new one")
			}
		})
	}
	all.Wait()
	links := g.Links(b("42"), nil)
	if len(links) != 1 {
		t.Fatalf("%v are left", links)
	}
	eventually(t, "the route", func() bool { return g.idle() && routeOf(s, "42", "phone") == g.value(links[0].Place, 7) })
	if n := s.Do("HLEN", "edged:route:{42}"); n != "1" {
		t.Errorf("%s routes", n)
	}
}

// TestRoutesMove has a device go to another gateway. The end of its old link, which comes late, leaves the new route.
func TestRoutesMove(t *testing.T) {
	s := redistest.Start(t)
	a, z := start(t, standalone(s), gw1, 1, config()), start(t, standalone(s), gw2, 1, config())
	a.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return a.idle() && routeOf(s, "42", "phone") == a.value(1, 1) })
	z.login("42", "phone", 2, 2)
	eventually(t, "the new route", func() bool { return z.idle() && routeOf(s, "42", "phone") == z.value(2, 2) })
	// The resync of the first gateway, whose link still stands, does not take it back.
	eventually(t, "a visit", func() bool { return a.Routes.Stats().Elsewhere > 0 })
	a.logout("42", "phone", 1, 1)
	eventually(t, "the end", a.idle)
	if got := routeOf(s, "42", "phone"); got != z.value(2, 2) {
		t.Errorf("the route is %q, want %q", got, z.value(2, 2))
	}
	if n := len(a.evictions()) + len(z.evictions()); n != 0 {
		t.Errorf("%d evictions without exclusive", n)
	}
}

// TestRoutesResyncTakesOver finds a link whose route is that of a gateway that died since: it is written over.
func TestRoutesResyncTakesOver(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, z := start(t, standalone(s), gw1, 1, config()), start(t, standalone(s), gw2, 1, config())
	a.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return a.idle() && routeOf(s, "42", "phone") == a.value(1, 1) })
	z.login("42", "phone", 2, 2)
	eventually(t, "the new route", func() bool { return routeOf(s, "42", "phone") == z.value(2, 2) })
	z.die()
	eventually(t, "the old route again", func() bool { return routeOf(s, "42", "phone") == a.value(1, 1) })
}

func TestRoutesExclusive(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := config()
	c.Exclusive = true
	a, z := start(t, standalone(s), gw1, 1, c), start(t, standalone(s), gw2, 1, c)
	a.login("42", "phone", 1, 1)
	a.login("42", "desk", 3, 3)
	eventually(t, "the routes", func() bool { return a.idle() && routeOf(s, "42", "phone") == a.value(1, 1) })
	z.login("42", "phone", 2, 2)
	eventually(t, "the newer link's gateway to hear of the old link", func() bool {
		return slices.Equal(z.evictions(), []string{"42/phone " + a.link(1, 1) + " " + gw1})
	})
	// Nobody closes the old link: its own gateway finds out.
	eventually(t, "the old link's gateway to find out", func() bool {
		return slices.Contains(a.evictions(), "42/phone "+a.link(1, 1)+" "+gw1)
	})
	for _, e := range append(a.evictions(), z.evictions()...) {
		if e != "42/phone "+a.link(1, 1)+" "+gw1 {
			t.Errorf("told to close %s", e)
		}
	}
	if stats := z.Routes.Stats(); stats.Evicted != 1 {
		t.Errorf("%+v", stats)
	}
	// A login again in the same gateway evicts nobody: that is the Directory's to say.
	z.login("42", "phone", 5, 5)
	eventually(t, "the route", func() bool { return routeOf(s, "42", "phone") == z.value(5, 5) && z.idle() })
	if n := len(z.evictions()); n != 1 {
		t.Errorf("%d evictions", n)
	}
}

// TestRoutesDeath kills a gateway with its users. They are offline when its lease is gone, and after one look at each of them
// nothing of them is left.
func TestRoutesDeath(t *testing.T) {
	t.Parallel()
	const users = 500
	s := redistest.Start(t)
	g, other := start(t, standalone(s), gw1, 1, config()), start(t, standalone(s), gw2, 1, config())
	var names []string
	for i := range users {
		names = append(names, fmt.Sprint("u", i))
		g.login(names[i], "phone", uint32(i), 1)
	}
	other.login("u0", "desk", 9, 9)
	eventually(t, "the routes", func() bool { return g.Routes.Stats().Written == users && g.idle() && other.Routes.Stats().Written == 1 })
	r := reader(t, standalone(s))
	if n := onlineOf(t, r, names); n != users+1 {
		t.Fatalf("%d routes before the death, want %d", n, users+1)
	}
	g.die()
	eventually(t, "the lease to end", func() bool { return s.Do("EXISTS", "edged:lease:{"+gw1+"}") == "0" })
	eventually(t, "one who lives to be left", func() bool { return onlineOf(t, r, names) == 1 }) // a lease is believed until its end
	if n := s.Do("DBSIZE"); n != "3" {
		t.Errorf("%s keys are left, want one user, one lease and the events", n)
	}
	if r.Dead() != users {
		t.Errorf("%d dead routes removed, want %d", r.Dead(), users)
	}
	gone := 0
	for _, line := range told(t, r) {
		if line[:7] == "offline" {
			gone++
		}
	}
	if gone != users {
		t.Errorf("%d users were said to be offline, want %d", gone, users)
	}
}

func onlineOf(t testing.TB, r *registry.Reader, names []string) (n int) {
	t.Helper()
	for i, f := range r.LookupAll(soon(t), names) {
		if f.Err != nil {
			t.Fatalf("%s: %v", names[i], f.Err)
		}
		n += len(f.Routes)
	}
	return n
}

// TestRoutesColdStart is a death and a new process with the same ID within the lease: the routes of the old one are dead.
func TestRoutesColdStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := config()
	c.Lease = time.Minute
	g := start(t, standalone(s), gw1, 99, c)
	g.login("42", "phone", 1, 1)
	g.login("43", "phone", 2, 1)
	eventually(t, "the routes", func() bool { return g.Routes.Stats().Written == 2 && g.idle() })
	g.die()
	next := start(t, standalone(s), gw1, 100, c)
	next.login("43", "phone", 2, 7)
	eventually(t, "its route", func() bool { return next.idle() && routeOf(s, "43", "phone") == next.value(2, 7) })
	r := reader(t, standalone(s))
	if a, z := whereIs(t, r, "42"), whereIs(t, r, "43"); len(a) != 0 || z["phone"] != next.link(2, 7) {
		t.Errorf("42 is at %v, 43 at %v", a, z)
	}
	if s.Do("EXISTS", "edged:route:{42}") != "0" {
		t.Error("a ghost stays after a reader has looked")
	}
}

func TestRoutesStop(t *testing.T) {
	t.Parallel()
	const users = 2500 // several pipelines
	s := redistest.Start(t)
	g, other := start(t, standalone(s), gw1, 1, config()), start(t, standalone(s), gw2, 1, config())
	for i := range users {
		g.login(fmt.Sprint("u", i), "phone", uint32(i), 1)
	}
	g.login("42", "phone", users, 1)
	eventually(t, "the routes", func() bool { return g.Routes.Stats().Written == users+1 && g.idle() })
	other.login("42", "phone", 1, 1) // has gone there
	eventually(t, "it there", func() bool { return routeOf(s, "42", "phone") == other.value(1, 1) })
	g.logout("u0", "phone", 0, 1)
	g.Routes.Stop(soon(t))
	if n := s.Do("DBSIZE"); n != "3" {
		t.Errorf("%s keys are left, want one user, one lease and the events", n)
	}
	if got := routeOf(s, "42", "phone"); got != other.value(1, 1) {
		t.Errorf("the other gateway's route is %q", got)
	}
	g.login("44", "phone", 1, 1)
	g.Routes.Stop(soon(t)) // again: nothing happens
	if s.Do("EXISTS", "edged:route:{44}") != "0" {
		t.Error("a route was written after the end")
	}
}

// TestRoutesDetach hands a gateway over: nobody's route changes, no event is told, and the next process goes on.
func TestRoutesDetach(t *testing.T) {
	t.Parallel()
	const users = 300
	s := redistest.Start(t)
	c := config()
	first := start(t, standalone(s), gw1, 7, c)
	for i := range users {
		first.login(fmt.Sprint("u", i), "phone", uint32(i), 1)
	}
	eventually(t, "the routes", func() bool { return first.Routes.Stats().Written == users && first.idle() })
	first.logout("u0", "phone", 0, 1)
	if left := first.Detach(soon(t)); len(left) != 0 {
		t.Errorf("%v is left although Redis is there", left)
	}
	if !first.hasLease(s) || routeOf(s, "u0", "phone") != "" || routeOf(s, "u1", "phone") != first.value(1, 1) {
		t.Fatal("what Detach left is not what was there")
	}
	r := reader(t, standalone(s))
	before := len(told(t, r))
	next := resume(t, standalone(s), gw1, 7, c, first.Directory)
	eventually(t, "a walk", func() bool { return next.Routes.Stats().Visited >= users-1 && next.idle() })
	if stats := next.Routes.Stats(); stats.Written != 0 || stats.Removed != 0 || stats.LeaseLost != 0 {
		t.Errorf("%+v", stats)
	}
	if after := len(told(t, r)); after != before {
		t.Errorf("%d events of an upgrade", after-before)
	}
	next.logout("u1", "phone", 1, 1)
	eventually(t, "the end of a link of the first", func() bool { return routeOf(s, "u1", "phone") == "" })
	first.Routes.Stop(soon(t))
	if !next.hasLease(s) {
		t.Error("a detached process removed the lease")
	}
}

// TestRoutesDetachWithoutRedis gives back what could not be written, for the next process to Mark.
func TestRoutesDetachWithoutRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 7, config())
	g.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return g.Routes.Stats().Written == 1 && g.idle() })
	s.Pause()
	g.logout("42", "phone", 1, 1)
	left := g.Detach(soon(t))
	s.Continue()
	if !slices.Contains(left, registry.Name{User: "42", Device: "phone"}) {
		t.Fatalf("%v is left", left)
	}
	next := start(t, standalone(s), gw1, 7, config())
	for _, n := range left {
		next.Mark(n.User, n.Device)
	}
	eventually(t, "no ghost", func() bool { return routeOf(s, "42", "phone") == "" && next.idle() })
}

// TestRoutesCollect loses no change that comes between a Detach and the next Routes of the same process, or of another one.
func TestRoutesCollect(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 7, config())
	for i := range 3 {
		g.login(fmt.Sprint("u", i), "phone", uint32(i), 1)
	}
	eventually(t, "the routes", func() bool { return g.Routes.Stats().Written == 3 && g.idle() })
	changes := g.Directory.Collect()
	g.login("u3", "phone", 3, 1)
	for _, n := range g.Detach(soon(t)) {
		changes.Add(n)
	}
	g.logout("u0", "phone", 0, 1)
	g.logout("u0", "phone", 0, 1) // a name counts once
	var names []string
	changes.Each(func(n registry.Name) { names = append(names, n.User) })
	if slices.Sort(names); !slices.Equal(names, []string{"u0", "u3"}) || changes.Len() != 2 {
		t.Errorf("changes of %v, %d", names, changes.Len())
	}
	next := resume(t, standalone(s), gw1, 7, config(), g.Directory)
	changes.Each(func(n registry.Name) { next.Mark(n.User, n.Device) })
	eventually(t, "both changes to be written", func() bool {
		return routeOf(s, "u0", "phone") == "" && routeOf(s, "u3", "phone") == next.value(3, 1)
	})
	next.logout("u1", "phone", 1, 1)
	if eventually(t, "a later one", func() bool { return routeOf(s, "u1", "phone") == "" }); changes.Len() != 2 {
		t.Errorf("%d changes: the next Routes has them", changes.Len())
	}
}

// TestRoutesTwins runs two processes under one ID: the younger has the lease, the other says so and takes it when that ends.
func TestRoutesTwins(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	old := start(t, standalone(s), gw1, 9, config())
	old.login("42", "phone", 1, 1)
	eventually(t, "the route", func() bool { return old.idle() && routeOf(s, "42", "phone") == old.value(1, 1) })
	young := start(t, standalone(s), gw1, 10, config())
	young.login("43", "phone", 1, 1)
	eventually(t, "both to know", func() bool { return young.idle() && old.Routes.Stats().Twins > 1 && !old.Routes.Stats().Held })
	if !young.hasLease(s) || old.book.count("two processes have one gateway ID") != 1 || young.book.count("WARN") != 0 {
		t.Errorf("the old one says %s, the young one %s", old.book.text.String(), young.book.text.String())
	}
	r := reader(t, standalone(s))
	if where := whereIs(t, r, "42"); len(where) != 0 {
		t.Errorf("42 is at %v", where)
	}
	young.Routes.Stop(soon(t))
	eventually(t, "the old one to have its users back", func() bool {
		return old.hasLease(s) && old.idle() && routeOf(s, "42", "phone") == old.value(1, 1)
	})
	if old.book.count("online in Redis again") != 1 {
		t.Errorf("%s", old.book.text.String())
	}
}

// TestRoutesTenThousandLogins counts that as many logins as a second may bring are all found, and says how long it took.
func TestRoutesTenThousandLogins(t *testing.T) {
	const users = 10_000
	s := redistest.Start(t)
	g := start(t, standalone(s), gw1, 1, config())
	eventually(t, "the lease", func() bool { return g.Routes.Stats().Held })
	names := make([]string, users)
	began := time.Now()
	for i := range users {
		names[i] = fmt.Sprint("user-", i)
		g.login(names[i], "phone", uint32(i), 1)
	}
	eventually(t, "all of them", func() bool { s := g.Routes.Stats(); return s.Written == users && s.Waiting == 0 })
	t.Logf("%d logins were in Redis, events too, after %v", users, time.Since(began))
	r := reader(t, standalone(s))
	began = time.Now()
	if n := onlineOf(t, r, names); n != users {
		t.Errorf("%d users are found, want %d", n, users)
	}
	t.Logf("%d look-ups in one call took %v", users, time.Since(began))
	eventually(t, "the events", func() bool { return s.Do("XLEN", "edged:presence") == fmt.Sprint(users) })
	began = time.Now()
	g.Routes.Stop(context.Background())
	t.Logf("a clean stop took %v", time.Since(began))
	if n := s.Do("DBSIZE"); n != "1" {
		t.Errorf("%s keys are left, want the events", n)
	}
}
