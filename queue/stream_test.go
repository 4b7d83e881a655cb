package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"edged/queue"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// source is a Stream of a test, without a Service.
func source(t testing.TB, client *redisconn.Client, consumer string, change ...func(*queue.Config)) *queue.Stream {
	t.Helper()
	c := queue.Default()
	c.Consumer, c.ClaimAfter = consumer, time.Second
	for _, f := range change {
		f(&c)
	}
	return queue.NewStream(client, c, slog.New(slog.DiscardHandler))
}

// keep runs Keep until the returned function is called.
func keep(t testing.TB, s *queue.Stream) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Keep(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// read returns the next entries.
func read(t testing.TB, s *queue.Stream, n int) []queue.Entry {
	t.Helper()
	entries, err := s.Read(soon(t), n)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// several puts n entries for one user and returns their IDs.
func several(s *redistest.Server, n int) (ids []string) {
	for i := range n {
		ids = append(ids, put(s, "to", "user:u", "payload", fmt.Sprint("p", i+1)))
	}
	return ids
}

// TestStreamOwn: entries that a consumer of this name had before come first, and once; then new ones.
func TestStreamOwn(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	ids := several(s, 5) // before there is a group
	client := dial(t, s.Addr)
	a := source(t, client, "a")
	first := read(t, a, 3)
	if len(first) != 3 || first[0].ID != ids[0] || first[0].Tries != 1 {
		t.Fatalf("first %+v", first)
	}
	if err := a.Done(soon(t), []string{ids[1]}); err != nil {
		t.Fatal(err)
	}
	s.Do("XDEL", "edged:in", ids[2]) // somebody else's doing
	b := source(t, client, "a")
	again := read(t, b, 1)
	if len(again) != 1 || again[0].ID != ids[0] || again[0].Tries != 2 {
		t.Errorf("again %+v", again)
	}
	if rest := read(t, b, 10); len(rest) != 2 || rest[0].ID != ids[3] || rest[1].Tries != 1 {
		t.Errorf("rest %+v", rest)
	}
	if got := s.Do("XPENDING", "edged:in", "edged", "-", "+", "10"); strings.Contains(got, ids[2]) {
		t.Errorf("the deleted entry is pending still: %s", got)
	}
}

// TestStreamClaim: what a dead process has left is taken over, by one, and it is forgotten. A slow one that lives keeps its own.
func TestStreamClaim(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := dial(t, s.Addr)
	dead, slow, a, b := source(t, client, "dead"), source(t, client, "slow"), source(t, client, "a"), source(t, client, "b")
	stop := keep(t, dead)
	keep(t, slow)
	keep(t, a)
	keep(t, b)
	mine := several(s, 1200)
	if got := read(t, slow, 100); len(got) != 100 {
		t.Fatalf("%d entries", len(got))
	}
	if got := read(t, dead, 1100); len(got) != 1100 {
		t.Fatalf("%d entries", len(got))
	}
	s.Do("XDEL", "edged:in", mine[150])
	stop()
	died := time.Now()
	seen := make(map[string]bool)
	eventually(t, "all that was left is taken over", func() bool {
		for _, st := range []*queue.Stream{a, b} {
			for _, e := range read(t, st, 300) {
				if seen[e.ID] || e.Tries != 2 || e.Age <= 0 {
					t.Errorf("entry %s: seen %v, tries %d, age %v", e.ID, seen[e.ID], e.Tries, e.Age)
				}
				seen[e.ID] = true
			}
		}
		return len(seen) >= 1099
	})
	if took := time.Since(died); took < 900*time.Millisecond {
		t.Errorf("taken over after %v", took)
	}
	if seen[mine[0]] || seen[mine[150]] || len(seen) != 1099 {
		t.Errorf("%d entries, one of who lives: %v, a deleted one: %v", len(seen), seen[mine[0]], seen[mine[150]])
	}
	if one, _ := a.Counts(); one == 0 {
		t.Error("nothing is counted")
	}
	eventually(t, "the dead one is forgotten", func() bool {
		return !strings.Contains(s.Do("XINFO", "CONSUMERS", "edged:in", "edged"), "dead")
	})
	if got := s.Do("XINFO", "CONSUMERS", "edged:in", "edged"); !strings.Contains(got, "slow\npending\n100\n") {
		t.Errorf("consumers: %q", got)
	}
}

// TestStreamTrim: what is pending or was not read stays, and nothing else, with whatever Redis knows of trimming.
func TestStreamTrim(t *testing.T) {
	t.Parallel()
	t.Run("MINID", func(t *testing.T) { trim(t, (*queue.Stream).Look) })
	t.Run("MAXLEN", func(t *testing.T) { trim(t, (*queue.Stream).LookAsOld) })
}

func trim(t *testing.T, look func(*queue.Stream, context.Context)) {
	s := redistest.Start(t)
	a := source(t, dial(t, s.Addr), "a")
	old := fmt.Sprint(unixMS(s)-5000, "-0")
	s.Do("XADD", "edged:in", old, "to", "user:u", "payload", "of long ago")
	length := func(want string) {
		t.Helper()
		look(a, soon(t))
		if got := s.Do("XLEN", "edged:in"); got != want || a.Err() != nil {
			t.Fatalf("length %s, want %s; error %v", got, want, a.Err())
		}
	}
	done := func(list ...string) {
		t.Helper()
		if err := a.Done(soon(t), list); err != nil {
			t.Fatal(err)
		}
	}
	read(t, a, 1)
	length("1")
	if b, _ := a.Backlog(); b.Pending != 1 || b.Oldest < 3*time.Second || b.Oldest > limit {
		t.Errorf("backlog %+v", b)
	}
	done(old)
	length("0")
	ids := several(s, 10)
	read(t, a, 6)
	length("10")
	done(ids[0], ids[1], ids[3])
	length("8")
	if b, ok := a.Backlog(); !ok || b.Length != 8 || b.Pending != 3 || b.Waiting != 4 || b.Consumers != 1 || b.Dead != 0 {
		t.Errorf("backlog %+v", b)
	}
	done(ids[2], ids[4], ids[5])
	length("4")
	read(t, a, 10)
	done(ids[6:]...)
	length("0")
	if b, _ := a.Backlog(); b.Oldest != 0 || b.Pending != 0 || b.Waiting != 0 {
		t.Errorf("backlog %+v", b)
	}
	if _, trimmed := a.Counts(); trimmed != 11 {
		t.Errorf("%d trimmed", trimmed)
	}
}

// TestStreamGroup: the group is made where it is not there, from the first entry on, whoever took it away; another's key is an
// error until it is gone.
func TestStreamGroup(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a := source(t, dial(t, s.Addr), "a")
	s.Do("SET", "edged:in", "text")
	if _, err := a.Read(soon(t), 1); err == nil || !strings.Contains(err.Error(), "read edged:in: WRONGTYPE") {
		t.Errorf("error %v", err)
	}
	s.Do("DEL", "edged:in")
	for _, lose := range [][]string{{"FLUSHALL"}, {"DEL", "edged:in"}, {"XGROUP", "DESTROY", "edged:in", "edged"}} {
		put(s, "to", "user:u", "payload", "before")
		eventually(t, "the group is there", func() bool { _, err := a.Read(soon(t), 1); return err == nil })
		s.Do(lose...)
		put(s, "to", "user:u", "payload", strings.Join(lose, " "))
		var got []queue.Entry
		eventually(t, "the entry", func() bool {
			entries, _ := a.Read(soon(t), 2)
			got = append(got, entries...)
			return len(got) > 0 && got[len(got)-1].Fields[1].Value == strings.Join(lose, " ")
		})
		if before := len(got) == 2; before != (lose[0] == "XGROUP") {
			t.Errorf("after %q: %+v", lose, got)
		}
		s.Do("DEL", "edged:in")
	}
}

// TestStreamLeave: who has done all leaves the group, who has not stays.
func TestStreamLeave(t *testing.T) {
	s := redistest.Start(t)
	a := source(t, dial(t, s.Addr), "a")
	ids := several(s, 1)
	read(t, a, 1)
	for _, there := range []bool{true, false} {
		if err := a.Leave(soon(t)); err != nil {
			t.Fatal(err)
		}
		if got := s.Do("XINFO", "CONSUMERS", "edged:in", "edged"); strings.Contains(got, "name\na\n") != there {
			t.Errorf("there: %v, want %v", got, there)
		}
		_ = a.Done(soon(t), ids)
	}
}

// TestStreamRefuse: all fields are kept, what is too large is cut, and the length is bounded.
func TestStreamRefuse(t *testing.T) {
	s := redistest.Start(t)
	a := source(t, dial(t, s.Addr), "a", func(c *queue.Config) { c.DeadMax = 100 })
	e := queue.Entry{ID: "5-1", Fields: fields("reason", "mine", "to", "x", "to", "y", "big", strings.Repeat("x", 2<<20))}
	why := &queue.BadError{Reason: queue.FieldTwice, Field: "to", Text: "stands there twice"}
	if err := a.Refuse(soon(t), []queue.Refusal{{Entry: e, Why: why}})[0]; err != nil {
		t.Fatal(err)
	}
	want := "reason\nmine\nto\nx\nto\ny\nbig\n" + strings.Repeat("x", 1<<20) + "\nreason\nfield-twice\ndetail\nto: stands there twice\nentry\n5-1"
	if _, got, _ := strings.Cut(s.Do("XRANGE", "edged:dead", "-", "+"), "\n"); got != want {
		t.Errorf("%d bytes, want %d: %.100s ... %s", len(got), len(want), got, got[max(0, len(got)-100):])
	}
	var list []queue.Refusal
	for range 1000 {
		list = append(list, queue.Refusal{Entry: queue.Entry{ID: "6-1"}, Why: why})
	}
	for _, err := range a.Refuse(soon(t), list) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Do("XLEN", "edged:dead"); len(n) > 3 {
		t.Errorf("%s entries", n)
	}
	s.Do("DEL", "edged:dead")
	s.Do("SET", "edged:dead", "text")
	if err := a.Refuse(soon(t), list[:1])[0]; err == nil || !strings.Contains(err.Error(), "write edged:dead: WRONGTYPE") {
		t.Errorf("error %v", err)
	}
}

func TestFollowing(t *testing.T) {
	for id, want := range map[string]string{"1-2": "1-3", "7": "7-1", "5-18446744073709551615": "6-0", "1700000000000-0": "1700000000000-1"} {
		if got := queue.Following(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}
