package dispatch_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn/redistest"
)

// watch runs WatchState until the test ends and returns a function that waits for a change.
func watch(t *testing.T, r *dispatch.FleetReader) (heard func(change string) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes, done := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(done)
		r.WatchState(ctx, func(gateway, state string) { changes <- gateway + "=" + state })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(limit):
			t.Error("WatchState does not end")
		}
	})
	return func(change string) bool {
		for {
			select {
			case got := <-changes:
				if got == change {
					return true
				}
			default:
				return false
			}
		}
	}
}

// said publishes until it is heard: nobody tells when a subscription stands.
func said(t *testing.T, s *redistest.Server, heard func(string) bool, message, change string) {
	t.Helper()
	eventually(t, change, func() bool { s.Do("PUBLISH", "edged:state", message); return heard(change) })
}

func TestWatchState(t *testing.T) {
	s := redistest.Start(t)
	r := reader(t, standalone(s), nil)
	heard := watch(t, r)
	said(t, s, heard, gw1+" up", gw1+"=up")
	for _, garbage := range []string{"", " ", "draining", " draining", gw1 + " asleep", gw1 + "draining", "\xff\x00"} {
		s.Do("PUBLISH", "edged:state", garbage)
	}
	said(t, s, heard, "an ID with blanks draining", "an ID with blanks=draining")
	if stats := r.Stats(); stats.BadMessages != 7 {
		t.Errorf("%d messages were bad, want 7", stats.BadMessages)
	}
	w := report(t, standalone(s), gw2, time.Hour, nil)
	w.Now(with(up(gw2, "sh-1", 0), dispatch.StateDraining))
	eventually(t, "a gateway's own word", func() bool { return heard(gw2 + "=draining") })
}

func TestWatchStateAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := reader(t, standalone(s), nil)
	heard := watch(t, r)
	said(t, s, heard, gw1+" up", gw1+"=up")
	s.Restart()
	said(t, s, heard, gw1+" down", gw1+"=down")
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	said(t, s, heard, gw1+" draining", gw1+"=draining")
	if n := r.Stats().LostWatches; n < 2 {
		t.Errorf("%d subscriptions were lost, want 2 at least", n)
	}
}

func TestWatchStateDownAtStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	r := reader(t, standalone(s), nil)
	heard := watch(t, r)
	eventually(t, "attempts", func() bool { return r.Stats().LostWatches > 1 })
	s.Restart()
	said(t, s, heard, gw1+" up", gw1+"=up")
}

func TestWriteSum(t *testing.T) {
	s := redistest.Start(t)
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	if err := r.WriteSum(soon(t), map[string]float64{"sh-1": 1.5, "gone": 1, "odd": math.NaN(), "less": -1}); err != nil {
		t.Fatal(err)
	}
	check := func(name, availability string) {
		t.Helper()
		value, at, ok := strings.Cut(s.Do("HGET", "edged:sum", name), " ")
		if !ok || value != availability {
			t.Errorf("%s is %q, want %s and a time", name, value, availability)
			return
		}
		if ms, now := number(t, at), milli(s); ms > now || ms < now-limit.Milliseconds() {
			t.Errorf("%s was written at %d, it is %d", name, ms, now)
		}
	}
	check("sh-1", "1.500")
	check("odd", "0.000")
	check("less", "0.000")
	many := map[string]float64{"sh-1": 0.25}
	for i := range 5000 { // more than a script could hand on in one call
		many["sh-"+strconv.Itoa(i)] = 0.25
	}
	if err := r.WriteSum(soon(t), many); err != nil {
		t.Fatal(err)
	}
	check("sh-1", "0.250")
	if n := s.Do("HLEN", "edged:sum"); n != strconv.Itoa(len(many)) {
		t.Errorf("%s load balancers, want %d: those that are gone must not stay", n, len(many))
	}
	if err := r.WriteSum(soon(t), nil); err != nil || s.Do("EXISTS", "edged:sum") != "0" {
		t.Errorf("an empty sum: %v, it is there: %s", err, s.Do("EXISTS", "edged:sum"))
	}
	s.Kill()
	if err := r.WriteSum(soon(t), many); err == nil {
		t.Error("written to a dead server")
	}
}

func TestDispatchers(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := reader(t, standalone(s), nil)
	mustRead(t, r)
	live := func(self string) int {
		t.Helper()
		n, err := r.Dispatchers(soon(t), self)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.Do("ZADD", "edged:dispatchers", "1", "died-long-ago", "99999999999999", "from-a-server-with-another-clock")
	if n := live("a"); n != 1 {
		t.Errorf("%d live, want 1", n)
	}
	if n := live("a"); n != 1 {
		t.Errorf("%d live after the second time, want 1", n)
	}
	live("b")
	if n := live("c"); n != 3 {
		t.Errorf("%d live, want 3", n)
	}
	if err := r.Leave(soon(t), "b"); err != nil {
		t.Fatal(err)
	}
	if n := live("a"); n != 2 {
		t.Errorf("%d live after one left, want 2", n)
	}
	eventually(t, "the silent one gone", func() bool { return live("a") == 1 })
	s.Do("SET", "edged:dispatchers", "x")
	if _, err := r.Dispatchers(soon(t), "a"); err == nil || !contains(err.Error(), "edged:dispatchers") {
		t.Errorf("error %v, want one that names the key", err)
	}
	if err := r.Leave(soon(t), "a"); err == nil || !contains(err.Error(), "edged:dispatchers") {
		t.Errorf("error %v, want one that names the key", err)
	}
}
