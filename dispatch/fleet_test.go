package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn/redistest"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func mustRead(t testing.TB, r *dispatch.FleetReader) dispatch.Fleet {
	t.Helper()
	f, err := tryRead(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tryRead waits for the connection, which a new client makes in the background.
func tryRead(t testing.TB, r *dispatch.FleetReader) (f dispatch.Fleet, err error) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if f, err = r.Read(soon(t)); err == nil {
			return f, nil
		}
	}
	return f, err
}

// plant puts a report where a gateway's belongs, as another program could. "-" takes a field out.
func plant(s *redistest.Server, id, slb string, changes ...string) {
	fields := good()
	fields["slb"] = slb
	for i := 0; i < len(changes); i += 2 {
		fields[changes[i]] = changes[i+1]
	}
	args := []string{"HSET", "edged:gw:{" + id + "}"}
	for name, value := range fields {
		if value != "-" {
			args = append(args, name, value)
		}
	}
	s.Do(args...)
	s.Do("PEXPIRE", args[1], "60000000")
	s.Do("PEXPIRE", args[1], strconv.FormatInt(3*interval.Milliseconds(), 10))
	list(s, id, slb)
}

// list makes the gateway a member.
func list(s *redistest.Server, id, slb string) {
	s.Do("SADD", "edged:slbs", slb)
	s.Do("ZADD", "edged:slb:"+slb, strconv.FormatInt(milli(s), 10), id)
}

// keep lets what was planted live on for the test.
func keep(s *redistest.Server, ids ...string) {
	for _, id := range ids {
		s.Do("PEXPIRE", "edged:gw:{"+id+"}", strconv.FormatInt(20*interval.Milliseconds(), 10))
	}
}

func TestFleetRead(t *testing.T) {
	s := redistest.Start(t)
	for i, share := range []float64{0.2, 0.3, 0.5} {
		report(t, standalone(s), fmt.Sprintf("192.0.2.%d:7000", i+1), interval, nil).
			Now(up(fmt.Sprintf("192.0.2.%d:7000", i+1), "sh-1", share))
	}
	report(t, standalone(s), "box", interval, nil).Now(up("[2001:db8::7]:7000", "", 0.75))
	r := reader(t, standalone(s), nil)
	var f dispatch.Fleet
	eventually(t, "four gateways", func() bool { f = mustRead(t, r); return len(f.Gateways) == 4 && f.Broken == nil })
	sums := make(map[string]float64)
	for _, g := range f.Gateways {
		sums[g.SLB] += g.Availability
		if g.State != dispatch.StateUp || g.Links != 321 || g.Capacity != 1000 || g.Seq == 0 || g.Boot == "" {
			t.Errorf("%+v", g)
		}
		if g.Age < 0 || g.Age > 3*interval {
			t.Errorf("%s is %v old", g.ID, g.Age)
		}
	}
	if sums["sh-1"] < 0.9999 || sums["sh-1"] > 1.0001 || sums["[2001:db8::7]:7000"] != 0.75 || len(sums) != 2 {
		t.Errorf("sums %v", sums)
	}
	if ids := names(f); !slices.IsSorted(ids) || f.Gateways[3].ID != "box" || f.Gateways[3].Address != "[2001:db8::7]:7000" {
		t.Errorf("%v", ids)
	}
	if age := time.Since(f.At); age < 0 || age > limit {
		t.Errorf("read %v ago", age)
	}
}

func TestFleetOfNobody(t *testing.T) {
	f := mustRead(t, reader(t, standalone(redistest.Start(t)), nil))
	if len(f.Gateways) != 0 || len(f.Broken) != 0 {
		t.Errorf("%+v", f)
	}
}

// TestFleetBrokenReports puts one broken gateway after the other between good ones: it is named, with the reason, and the
// others are served.
func TestFleetBrokenReports(t *testing.T) {
	s := redistest.Start(t)
	plant(s, gw1, "sh-1")
	plant(s, gw2, "sh-2")
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	const bad = "192.0.2.66:7000"
	check := func(t *testing.T, says string) {
		t.Helper()
		keep(s, gw1, gw2)
		f := mustRead(t, r)
		if got := names(f); !slices.Equal(got, []string{gw1, gw2}) {
			t.Errorf("%v are served", got)
		}
		if len(f.Broken) != 1 || !contains(f.Broken[0], bad) || !contains(f.Broken[0], says) {
			t.Errorf("broken: %q; want one that names %s and %s", f.Broken, bad, says)
		}
		s.Do("DEL", "edged:gw:{"+bad+"}")
	}
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			plant(s, bad, "sh-1", c.field, c.value)
			check(t, c.says)
		})
	}
	key := "edged:gw:{" + bad + "}"
	for _, c := range []struct {
		name, says string
		do         []string
	}{
		{"a string", "no hash", []string{"SET", key, "x"}},
		{"a list", "no hash", []string{"LPUSH", key, "x"}},
		{"a set", "no hash", []string{"SADD", key, "x"}},
		{"a stream", "no hash", []string{"XADD", key, "*", "v", "1"}},
		{"an empty-handed hash", "no field v", []string{"EVAL", "redis.call('HSET', KEYS[1], 'x', '1') redis.call('PEXPIRE', KEYS[1], 500)", "1", key}},
		{"no report", "no report", []string{"DEL", key}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Do(c.do...)
			check(t, c.says)
		})
	}
	for _, c := range []struct{ name, command, life string }{
		{"a report for ever", "PERSIST", ""},
		{"a report for hours", "EXPIRE", "36000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plant(s, bad, "sh-1")
			args := []string{c.command, key}
			if c.life != "" {
				args = append(args, c.life)
			}
			s.Do(args...)
			check(t, "does not expire")
		})
	}
}

// TestFleetBrokenLists breaks what lists the gateways.
func TestFleetBrokenLists(t *testing.T) {
	s := redistest.Start(t)
	plant(s, gw1, "sh-1")
	s.Do("SADD", "edged:slbs", "sh-bad", "sh-empty", "sh\nlines")
	s.Do("SET", "edged:slb:sh-bad", "x")
	list(s, "gw\nlines", "sh\nlines")
	list(s, "", "sh\nlines")
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	keep(s, gw1)
	f := mustRead(t, r)
	if got := names(f); !slices.Equal(got, []string{gw1}) {
		t.Errorf("%v are served", got)
	}
	want := []string{
		`gateway "" of load balancer "sh\nlines": no report`,
		`gateway "gw\nlines" of load balancer "sh\nlines": no report`,
		`load balancer sh-bad: edged:slb:sh-bad is no sorted set`,
	}
	if !slices.Equal(f.Broken, want) {
		t.Errorf("broken: %q; want %q", f.Broken, want)
	}
	s.Do("SET", "edged:slbs", "x")
	if _, err := r.Read(soon(t)); err == nil || !contains(err.Error(), "edged:slbs") {
		t.Errorf("error %v, want one that names edged:slbs", err)
	}
}

// TestFleetLogsOnce reads the same trouble many times: a line when it begins and one when it ends.
func TestFleetLogsOnce(t *testing.T) {
	s := redistest.Start(t)
	list(s, gw1, "sh-1")
	for i := range 30 {
		list(s, "many-"+strconv.Itoa(i), "sh-2")
	}
	var b book
	r := reader(t, standalone(s), b.log())
	for range 5 {
		mustRead(t, r)
	}
	if n := len(b.lines("WARN")); n != 21 || len(b.lines("number=11")) != 1 {
		t.Errorf("%d lines for 31 wrongs, want 20 and one for the rest:\n%v", n, b.lines(""))
	}
	s.Do("DEL", "edged:slb:sh-2", "edged:slb:sh-1")
	mustRead(t, r)
	mustRead(t, r)
	if n := len(b.lines("INFO")); n != 1 {
		t.Errorf("%d lines for the end:\n%v", n, b.lines("INFO"))
	}
}

// TestFleetForgetsTheDead lets a gateway die without a word: its report dies of age, and its place after ten lives.
func TestFleetForgetsTheDead(t *testing.T) {
	t.Parallel()
	const every = 50 * time.Millisecond
	s := redistest.Start(t)
	w := report(t, standalone(s), gw1, every, nil)
	w.Now(up(gw1, "sh-1", 0.5))
	written(t, w)
	alive := report(t, standalone(s), gw2, every, nil)
	alive.Now(up(gw2, "sh-1", 0.5))
	written(t, alive)
	r := dispatch.NewFleetReader(dial(t, standalone(s)), every, slog.New(slog.DiscardHandler))
	eventually(t, "both", func() bool { return slices.Contains(names(mustRead(t, r)), gw1) })
	w.Detach(soon(t))
	if ms := left(t, s, gw1); ms > (3 * every).Milliseconds() {
		t.Errorf("the report of a dead gateway has %d ms to live", ms)
	}
	eventually(t, "it gone", func() bool { return !slices.Contains(names(mustRead(t, r)), gw1) })
	seen := false
	eventually(t, "its place gone", func() bool {
		f := mustRead(t, r)
		seen = seen || slices.ContainsFunc(f.Broken, func(why string) bool { return contains(why, gw1) && contains(why, "no report") })
		return !contains(s.Do("ZRANGE", "edged:slb:sh-1", "0", "-1"), gw1)
	})
	if !seen {
		t.Error("a member without a report was not named")
	}
	if f := mustRead(t, r); f.Broken != nil && !slices.Equal(names(f), []string{gw2}) {
		t.Errorf("%+v", f)
	}
}

// TestFleetKeepsFreshMembers does not remove a member whose report is merely late.
func TestFleetKeepsFreshMembers(t *testing.T) {
	s := redistest.Start(t)
	list(s, gw1, "sh-1")
	s.Do("ZADD", "edged:slb:sh-1", strconv.FormatInt(milli(s)-1000*interval.Milliseconds(), 10), "long-gone")
	plant(s, gw2, "sh-1")
	s.Do("ZADD", "edged:slb:sh-1", "1", gw2) // listed long ago, and alive
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	keep(s, gw2)
	for range 3 {
		mustRead(t, r)
	}
	if got := s.Do("ZRANGE", "edged:slb:sh-1", "0", "-1"); got != gw2+"\n"+gw1 {
		t.Errorf("members %q", got)
	}
}

// TestFleetCountsOnce lists a gateway under two load balancers: its report decides, and the other place is removed.
func TestFleetCountsOnce(t *testing.T) {
	s := redistest.Start(t)
	plant(s, gw1, "sh-2")
	s.Do("SADD", "edged:slbs", "sh-1")
	s.Do("ZADD", "edged:slb:sh-1", "1", gw1)
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	keep(s, gw1)
	f := mustRead(t, r)
	if len(f.Gateways) != 1 || f.Gateways[0].SLB != "sh-2" || f.Broken != nil {
		t.Errorf("%+v", f)
	}
	if s.Do("EXISTS", "edged:slb:sh-1") != "0" || s.Do("ZRANGE", "edged:slb:sh-2", "0", "-1") != gw1 {
		t.Error("the place it left is still there, or the right one is not")
	}
}

// TestFleetNamesTwins reads while two processes write under one ID.
func TestFleetNamesTwins(t *testing.T) {
	s := redistest.Start(t)
	r := reader(t, standalone(s), nil)
	plant(s, gw1, "sh-1")
	for i, boot := range []string{"b1", "b2", "b1", "b2"} {
		plant(s, gw1, "sh-1", "boot", boot, "seq", strconv.Itoa(20+i), "address", "192.0.2."+boot[1:]+":7000")
		keep(s, gw1)
		f := mustRead(t, r)
		if len(f.Gateways) != 1 || f.Gateways[0].Boot != boot {
			t.Fatalf("step %d: %+v", i, f)
		}
		if want := i >= 2; len(f.Broken) > 0 != want {
			t.Errorf("step %d: broken %q", i, f.Broken)
		} else if want && (len(f.Broken) != 1 || f.Broken[0] !=
			"gateway 192.0.2.1:7000: two processes report under this ID: boot b1 at 192.0.2.1:7000 and boot b2 at 192.0.2.2:7000") {
			t.Errorf("step %d: broken %q", i, f.Broken)
		}
	}
}

// TestFleetRoundTrips counts what one Read asks of Redis: as much for 300 gateways as for one, and with members to remove.
func TestFleetRoundTrips(t *testing.T) {
	s := redistest.Start(t)
	client := dial(t, standalone(s))
	var calls int
	r := dispatch.CountedReader(client, interval, &calls)
	eventually(t, "a connection", client.Connected)
	listed := 0
	for _, n := range []int{1, 20, 300} {
		for ; listed < n; listed++ {
			list(s, "gw-"+strconv.Itoa(listed), "sh-"+strconv.Itoa(listed%7))
		}
		for range 2 {
			calls = 0
			f := mustRead(t, r)
			if calls != 3 {
				t.Errorf("%d round trips for %d gateways, want 3", calls, n)
			}
			if len(f.Broken) != n {
				t.Errorf("%d members seen, want %d", len(f.Broken), n)
			}
		}
	}
}

// TestFleetRedisAway wants an error, and never a fleet without those who could not be asked; then everything again.
func TestFleetRedisAway(t *testing.T) {
	s := redistest.Start(t)
	plant(s, gw1, "sh-1")
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	s.Kill()
	for range 3 {
		if f, err := r.Read(soon(t)); err == nil || len(f.Gateways) > 0 {
			t.Fatalf("%+v of a dead server", f)
		}
	}
	s.Restart()
	plant(s, gw1, "sh-1")
	eventually(t, "the fleet", func() bool { keep(s, gw1); f, err := r.Read(soon(t)); return err == nil && len(f.Gateways) == 1 })
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), interval)
	defer cancel()
	if f, err := r.Read(ctx); err == nil {
		t.Fatalf("%+v of a server that hangs", f)
	}
	s.Continue()
	keep(s, gw1)
	mustRead(t, r)
}

// TestFleetMayNotRemove reads as a user who may not call scripts: members stay where they are, and that is said.
func TestFleetMayNotRemove(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ZADD", "edged:slb:sh-1", "1", "long-gone")
	s.Do("SADD", "edged:slbs", "sh-1")
	s.Do("ACL", "SETUSER", "looker", "on", ">secret", "~*", "&*", "+@all", "-eval")
	c := standalone(s)
	c.Username, c.Password = "looker", "secret"
	r := reader(t, c, nil)
	mustRead(t, r)
	for range 3 {
		f := mustRead(t, r)
		if want := "load balancer sh-1: members that are long gone cannot be removed"; len(f.Broken) != 2 || f.Broken[1] != want {
			t.Errorf("broken %q", f.Broken)
		}
	}
}

func BenchmarkFleetRead(b *testing.B) {
	s := redistest.Start(b)
	for i := range 2000 {
		id := fmt.Sprintf("192.0.%d.%d:7000", 2+i/250, i%250)
		plant(s, id, "sh-"+strconv.Itoa(i%200))
		s.Do("EXPIRE", "edged:gw:{"+id+"}", "3600")
	}
	r := dispatch.NewFleetReader(dial(b, standalone(s)), 400*time.Second, nil)
	if f := mustRead(b, r); len(f.Gateways) != 2000 {
		b.Fatalf("%d gateways, %v", len(f.Gateways), f.Broken[:min(3, len(f.Broken))])
	}
	b.ReportAllocs()
	for b.Loop() {
		mustRead(b, r)
	}
}
