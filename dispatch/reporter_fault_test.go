package dispatch_test

import (
	"net"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn/redistest"
)

// back waits until reports are written that were given after the trouble.
func back(t *testing.T, s *redistest.Server, r *dispatch.Reporter) {
	t.Helper()
	r.Put(up(gw1, "sh-1", 0.625))
	eventually(t, "reports after the trouble", func() bool { return r.Stats().OK && hash(s, gw1)["availability"] == "0.625" })
	eventually(t, "its place", func() bool {
		return s.Do("SMEMBERS", "edged:slbs") == "sh-1" && s.Do("ZRANGE", "edged:slb:sh-1", "0", "-1") == gw1
	})
}

// silent wants one line for the trouble and one for its end, however long it took.
func silent(t *testing.T, b *book, begins, ends int) {
	t.Helper()
	if n := len(b.lines("reports are not written")); n != begins {
		t.Errorf("%d lines say that the trouble began, want %d:\n%v", n, begins, b.lines(""))
	}
	if n := len(b.lines("reports are written")); n != ends {
		t.Errorf("%d lines say that reports are written, want %d:\n%v", n, ends, b.lines(""))
	}
}

func TestReporterRedisDownAtStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	var b book
	r := report(t, standalone(s), gw1, interval, b.log())
	r.Now(up(gw1, "sh-1", 0.5))
	eventually(t, "failures that are told", func() bool { return r.Stats().Failures > 3 && b.lines("are not written") != nil })
	if stats := r.Stats(); stats.OK || stats.LastError == "" || !stats.LastSuccess.IsZero() || stats.Reports != 0 {
		t.Errorf("%+v", stats)
	}
	s.Restart()
	back(t, s, r)
	silent(t, &b, 1, 1)
}

func TestReporterRedisKilledAndBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var b book
	r := report(t, standalone(s), gw1, interval, b.log())
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	s.Kill()
	before := r.Stats().Failures
	eventually(t, "failures", func() bool { return r.Stats().Failures > before+3 })
	if stats := r.Stats(); stats.OK || stats.LastSuccess.IsZero() {
		t.Errorf("%+v", stats)
	}
	s.Restart() // empty
	back(t, s, r)
	silent(t, &b, 1, 2)
}

// TestReporterRedisHangs stops the server's process. Callers go on, the attempts end by their limit, and what stands there
// after it is the newest report and not one of those that had waited in the connection.
func TestReporterRedisHangs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var b book
	r := report(t, standalone(s), gw1, interval, b.log())
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	s.Pause()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20000 {
			r.Put(up(gw1, "sh-1", 0.75))
			r.Now(up(gw1, "sh-1", 0.75))
		}
	}()
	select {
	case <-done: // and nothing but the end of this test lets the server go on
	case <-time.After(limit):
		t.Fatal("Put waits for Redis")
	}
	eventually(t, "failures", func() bool { return r.Stats().Failures > 2 })
	r.Now(with(up(gw1, "sh-1", 0), dispatch.StateDraining))
	before := r.Stats().Failures
	eventually(t, "more failures", func() bool { return r.Stats().Failures > before+1 })
	s.Continue()
	eventually(t, "the newest report", func() bool { return r.Stats().OK && hash(s, gw1)["state"] == "draining" })
	for range 20 {
		if state := hash(s, gw1)["state"]; state != "draining" {
			t.Fatalf("state %s came back", state)
		}
	}
	back(t, s, r)
	silent(t, &b, 1, 2)
}

// TestReporterStopsWhileRedisHangs wants Stop to be over by its own limit.
func TestReporterStopsWhileRedisHangs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, time.Hour, nil)
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	s.Pause()
	r.Now(up(gw1, "sh-1", 0.75))
	done := make(chan struct{})
	go func() { r.Stop(t.Context()); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatal("Stop waits for Redis")
	}
	s.Continue()
}

func TestReporterRedisReadOnly(t *testing.T) {
	t.Parallel()
	s, other := redistest.Start(t), redistest.Start(t)
	host, port, err := net.SplitHostPort(other.Addr)
	if err != nil {
		t.Fatal(err)
	}
	other.Kill() // a replica whose master is away
	var b book
	r := report(t, standalone(s), gw1, interval, b.log())
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	s.Do("REPLICAOF", host, port)
	eventually(t, "failures", func() bool { return r.Stats().Failures > 2 })
	if stats := r.Stats(); stats.OK {
		t.Errorf("%+v", stats)
	}
	s.Do("REPLICAOF", "NO", "ONE")
	back(t, s, r)
	silent(t, &b, 1, 2)
}

// TestReporterRedisFlushed loses every key: the next tick writes them all again, and nothing has failed.
func TestReporterRedisFlushed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var b book
	r := report(t, standalone(s), gw1, interval, b.log())
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	for range 3 {
		s.Do("FLUSHALL")
		back(t, s, r)
		r.Put(up(gw1, "sh-1", 0.5))
	}
	if b.lines("WARN") != nil {
		t.Errorf("%v", b.lines("WARN"))
	}
}

// TestReporterAnnouncesLate drains while Redis is away: the state is made known as soon as Redis is back, though the tick is
// an hour away.
func TestReporterAnnouncesLate(t *testing.T) {
	s := redistest.Start(t)
	r := report(t, standalone(s), gw1, time.Hour, nil)
	r.Now(up(gw1, "sh-1", 0.5))
	written(t, r)
	s.Kill()
	r.Now(with(up(gw1, "sh-1", 0), dispatch.StateDraining))
	eventually(t, "a failure", func() bool { return r.Stats().Failures > 0 })
	s.Restart()
	eventually(t, "the state", func() bool { return hash(s, gw1)["state"] == "draining" && r.Stats().OK })
}

// TestReporterTwins runs two gateways under one ID. Each says so once, naming both, and each says when it is over; the
// service names it too, and serves what is there.
func TestReporterTwins(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var books [2]book
	var twins [2]*dispatch.Reporter
	addresses := [2]string{"192.0.2.1:7000", "192.0.2.9:7000"}
	for i := range twins {
		twins[i] = report(t, standalone(s), "gw", interval, books[i].log())
		twins[i].Now(up(addresses[i], "sh-1", 0.5))
		written(t, twins[i])
	}
	// Both write at the phase of their ID, and so nearly together: the ones out of tick make sure that they take turns.
	eventually(t, "both to see it", func() bool {
		for i := range twins {
			twins[i].Now(up(addresses[i], "sh-1", 0.5))
			written := twins[i].Stats().Reports
			eventually(t, "a report", func() bool { return twins[i].Stats().Reports > written })
		}
		return twins[0].Stats().TwinReports > 2 && twins[1].Stats().TwinReports > 2
	})
	for i := range twins {
		other := 1 - i
		line := books[i].lines("two gateways report under one ID")
		if len(line) != 1 {
			t.Fatalf("%d lines: %v", len(line), line)
		}
		for _, part := range []string{twins[0].Boot(), twins[1].Boot(), addresses[0], addresses[1], "gateway=gw"} {
			if !contains(line[0], part) {
				t.Errorf("%s is not in %s", part, line[0])
			}
		}
		if got, want := twins[i].Stats().Twin, twins[other].Boot()+" at "+addresses[other]; got != want {
			t.Errorf("the twin is %q, want %q", got, want)
		}
	}
	twins[1].Stop(soon(t))
	twins[0].Now(up(addresses[0], "sh-1", 0.5))
	eventually(t, "the end of it", func() bool { return twins[0].Stats().Twin == "" })
	eventually(t, "the line", func() bool { return len(books[0].lines("its own again")) == 1 })
}
