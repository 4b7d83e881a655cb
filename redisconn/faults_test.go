package redisconn_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"edged/redisconn"
	"edged/redisconn/redistest"
)

// TestDownAtStart: New does not wait, calls say at once what is wrong, and the client connects when the server comes.
func TestDownAtStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	cl, log := open(t, at(s.Addr))
	if cl.Connected() {
		t.Error("connected to nothing")
	}
	refused(t, cl, "refused")
	err := set(cl, "k", "v")
	if !errors.Is(err, redisconn.ErrNotConnected) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Do: %v", err)
	}
	rs := cl.DoMulti(context.Background(), func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{b.Get().Key("a").Build(), b.Set().Key("b").Value("v").Build(), b.Mget().Key("a", "b").Build()}
	})
	if len(rs) != 3 {
		t.Fatalf("DoMulti: %d results", len(rs))
	}
	for _, r := range rs {
		if !errors.Is(r.Error(), redisconn.ErrNotConnected) {
			t.Errorf("DoMulti: %v", r.Error())
		}
	}
	if err := cl.Receive(context.Background(), []string{"c"}, nil); !errors.Is(err, redisconn.ErrNotConnected) {
		t.Errorf("Receive: %v", err)
	}
	s.Restart()
	eventually(t, "a connection", cl.Connected)
	if err := set(cl, "k", "v"); err != nil {
		t.Error(err)
	}
	if log.count("redis is away") != 1 || log.count("redis is there") != 1 {
		t.Errorf("log:\n%s", log.text.String())
	}
}

// TestKilled: a call fails, and the next after the server's return works. The log has a line each way.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, log := connect(t, at(s.Addr))
	for round := 1; round <= 3; round++ {
		s.Kill()
		for range 5 {
			if err := set(cl, "k", "v"); err == nil {
				t.Fatal("a write to nothing succeeds")
			}
		}
		if cl.Connected() || cl.Err() == nil {
			t.Error("connected to nothing")
		}
		s.Restart()
		eventually(t, "a write", func() bool { return set(cl, "k", "v") == nil })
		if !cl.Connected() || log.count("redis is away") != round || log.count("redis is there") != round+1 {
			t.Fatalf("round %d: connected: %v, log:\n%s", round, cl.Connected(), log.text.String())
		}
	}
}

// TestRestartUnnoticed: a server that was away between two calls costs none of them.
func TestRestartUnnoticed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	f := forward(t, s.Addr)
	cl, _ := connect(t, at(f.addr))
	if err := set(cl, "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if v := cl.Do(context.Background(), func(b rueidis.Builder) rueidis.Completed { return b.Get().Key("k").Build() }); !rueidis.IsRedisNil(v.Error()) {
		t.Errorf("a read: %v", v.Error())
	}
}

// TestFlushed: nothing of the connection is lost with the data.
func TestFlushed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	sub := subscribe(t, cl, "c")
	if err := set(cl, "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Do("FLUSHALL")
	s.Do("SCRIPT", "FLUSH")
	if err := set(cl, "other", "v"); err != nil {
		t.Error(err)
	}
	if got := s.Do("EXISTS", "k", "other"); got != "1" {
		t.Errorf("%s keys", got)
	}
	s.Do("PUBLISH", "c", "m")
	if got := await(t, sub.messages); got != "c=m" {
		t.Errorf("received %q", got)
	}
}

// TestHung: calls on a server that was stopped end with their contexts, and with one of ours where they have none.
func TestHung(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, log := connect(t, at(s.Addr))
	s.Pause()
	if err := set(cl, "k", "v"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a deadline: %v", err)
	}
	if cl.Connected() {
		t.Error("a server that hangs counts as connected")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := setIn(ctx, cl, "k", "v"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, r := range cl.DoMulti(context.Background(), func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{ping(b), ping(b)}
	}) {
		if !errors.Is(r.Error(), context.DeadlineExceeded) {
			t.Errorf("DoMulti: %v", r.Error())
		}
	}
	s.Continue()
	eventually(t, "a write", func() bool { return set(cl, "k", "v") == nil })
	if log.count("redis is away") != 1 || log.count("redis is there") != 2 {
		t.Errorf("log:\n%s", log.text.String())
	}
}

// TestHungWhileConnecting: a short call does not wait for the connection that a longer one opens.
func TestHungWhileConnecting(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	f := forward(t, s.Addr)
	cl, _ := connect(t, at(f.addr))
	hole, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	f.lead(hole.Addr().String())
	s.Kill()
	long := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		for f.connections() < 2 { // the first may still find the old connection, at its end
			if err := setIn(ctx, cl, "k", "long"); err == nil {
				t.Error("a write to nobody succeeds")
			}
		}
		long <- ctx.Err()
	}()
	eventually(t, "the long call connects", func() bool { return f.connections() == 2 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := setIn(ctx, cl, "k", "short"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the short call: %v", err)
	}
	select {
	case <-long:
		t.Error("the short call returned after the long one")
	default:
	}
	if err := await(t, long); err != nil {
		t.Errorf("the long call ended with its context, not with the library's limit for a connection: %v", err)
	}
}

// TestHungAtStart: a server that takes connections but says nothing is no connection.
func TestHungAtStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Pause()
	cl, _ := open(t, at(s.Addr))
	eventually(t, "the first attempt", func() bool { return !strings.Contains(cl.Err().Error(), "under way") })
	if err := set(cl, "k", "v"); !errors.Is(err, redisconn.ErrNotConnected) {
		t.Errorf("Do: %v", err)
	}
	s.Continue()
	eventually(t, "a connection", cl.Connected)
}

// TestReadOnly: an address that leads to a replica is not connected, and the client looks anew where it leads.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	old, next := redistest.Start(t), redistest.Start(t)
	f := forward(t, old.Addr)
	cl, log := connect(t, at(f.addr))
	if err := set(cl, "k", "1"); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(next.Addr, ":")
	old.Do("REPLICAOF", host, port)
	f.lead(next.Addr)
	err := set(cl, "k", "2")
	if said, ok := rueidis.IsRedisErr(err); !ok || !strings.HasPrefix(said.Error(), "READONLY") {
		t.Errorf("a write to a replica: %v", err)
	}
	eventually(t, "a write to the other server", func() bool { return set(cl, "k", "3") == nil })
	if got := next.Do("GET", "k"); got != "3" {
		t.Errorf("the other server has %q", got)
	}
	if log.count("redis is away") != 1 || log.count("READONLY") != 1 || log.count("redis is there") != 2 {
		t.Errorf("log:\n%s", log.text.String())
	}
}

// TestReadOnlyForLong: a client of a replica that stays one does not connect again and again as fast as it is called.
func TestReadOnlyForLong(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--replicaof", "127.0.0.1 1")
	f := forward(t, s.Addr)
	cl, _ := connect(t, at(f.addr))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	calls := 0
	for ; ctx.Err() == nil; calls++ {
		rs := cl.DoMulti(context.Background(), func(b rueidis.Builder) rueidis.Commands {
			return rueidis.Commands{b.Get().Key("k").Build(), b.Set().Key("k").Value("v").Build(), b.Get().Key("k").Build()}
		})
		if rs[1].Error() == nil {
			t.Fatal("a replica took a write")
		}
	}
	if n := f.connections(); n > calls/5 {
		t.Errorf("%d connections for %d calls", n, calls)
	}
}

// TestStorm: many callers, and a server that comes and goes.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl, _ := connect(t, at(s.Addr))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for ctx.Err() == nil {
				call, stop := context.WithTimeout(ctx, 50*time.Millisecond)
				_ = setIn(call, cl, "k", "v")
				_ = cl.DoMulti(call, func(b rueidis.Builder) rueidis.Commands {
					return rueidis.Commands{ping(b), b.Get().Key("k").Build()}
				})
				stop()
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				call, stop := context.WithTimeout(ctx, 50*time.Millisecond)
				_ = cl.Receive(call, []string{"c"}, func(string, string) {})
				stop()
			}
		})
	}
	for range 5 {
		s.Restart()
		s.Pause()
		s.Continue()
	}
	cancel()
	wg.Wait()
	eventually(t, "a write", func() bool { return set(cl, "k", "v") == nil })
}

// TestClose: nothing is left, calls under way end, and later ones fail.
func TestClose(t *testing.T) {
	s := redistest.Start(t)
	down := redistest.Start(t)
	down.Kill()
	before := runtime.NumGoroutine()
	for _, c := range []redisconn.Config{at(s.Addr), at(down.Addr)} {
		for _, wait := range []bool{false, true} {
			cl := redisconn.New(c, slog.New(slog.DiscardHandler))
			if wait {
				eventually(t, "an outcome", func() bool { return cl.Connected() || strings.Contains(cl.Err().Error(), "refused") })
			}
			cl.Close()
			cl.Close()
			if err := set(cl, "k", "v"); !errors.Is(err, redisconn.ErrNotConnected) {
				t.Errorf("Do after Close: %v", err)
			}
		}
	}
	cl, log := connect(t, at(s.Addr))
	sub := subscribe(t, cl, "c")
	called := make(chan error, 1)
	s.Pause()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
		defer cancel()
		called <- setIn(ctx, cl, "k", "v")
	}()
	cl.Close()
	if err := await(t, called); err == nil {
		t.Error("a call under way succeeded")
	}
	if err := await(t, sub.ended); err == nil {
		t.Error("Receive ended without an error")
	}
	if log.count("redis is away") != 0 {
		t.Errorf("log:\n%s", log.text.String())
	}
	eventually(t, "the end of the goroutines", func() bool { return runtime.NumGoroutine() <= before })
}
