package bus_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"edged/bus"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// TestInterrupted: after the server is back both ends find it, and the Receiver is told, once and before what follows.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(s *redistest.Server){
		"server killed":      (*redistest.Server).Restart,
		"connections killed": func(s *redistest.Server) { s.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		"server hangs": func(s *redistest.Server) {
			s.Pause()
			time.Sleep(5 * time.Second) // the library gives a silent connection 3 s
			s.Continue()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			cl := dial(t, s.Addr)
			g := listen(t, cl, "g")
			p := publisher(t, cl)
			to(t, p, "g", "before")
			toAll(t, p, "before")
			eventually(t, "both are heard", func() bool { return len(g.all(bus.FromOwn))+len(g.all(bus.FromAll)) == 2 })
			interrupt(s)
			eventually(t, "the subscriptions are back", func() bool {
				return g.up() && g.Heard(bus.FromOwn).Misses > 0 && g.Heard(bus.FromAll).Misses > 0
			})
			eventually(t, "a batch is heard", func() bool { return to(t, p, "g", "after").receivers == 1 })
			eventually(t, "a batch for all is heard", func() bool { return toAll(t, p, "after").receivers == 1 })
			for _, from := range []bus.Source{bus.FromOwn, bus.FromAll} {
				eventually(t, "the batch", func() bool { return len(g.all(from)) >= 3 })
				if got := g.all(from); !slices.Equal(got, []string{"before", "missed", "after"}) {
					t.Errorf("%v: %q", from, got)
				}
				if h := g.Heard(from); h.Misses != 1 || h.LastError == "" {
					t.Errorf("%v: %+v", from, h)
				}
			}
			if !g.Sharded() {
				t.Error("not sharded any more")
			}
		})
	}
}

// TestNoRedis: neither end waits for it, and both find it when it comes. What could not be missed is not said to be.
func TestNoRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	s.Stop()
	g, p := newGateway(t, cl, "g"), publisher(t, cl)
	g.Start()
	for range 2 {
		if o := to(t, p, "g", "lost"); o.err == nil {
			t.Error("published without a server")
		}
	}
	if n := p.Published(); n.Failed != 2 || n.Batches != 0 {
		t.Errorf("%+v", n)
	}
	eventually(t, "an error is told", func() bool { return g.Heard(bus.FromOwn).LastError != "" })
	if g.up() || g.Sharded() {
		t.Error("up without a server")
	}
	s.Restart()
	eventually(t, "the subscriptions", g.up)
	eventually(t, "a batch is heard", func() bool { return to(t, p, "g", "first").receivers == 1 })
	eventually(t, "the batch", func() bool { return len(g.all(bus.FromOwn)) == 1 })
	if got := g.all(bus.FromOwn); !slices.Equal(got, []string{"first"}) {
		t.Errorf("heard %q", got)
	}
}

// TestHung: while Redis hangs, no call lasts longer than it may, and Stop ends.
func TestHung(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisherWith(t, cl, bus.Config{QueueBatches: 2, QueueBytes: 1 << 20})
	s.Pause()
	came := make(chan error, 10)
	done := func(_ int64, err error) { came <- err }
	if err := p.To(ended(), "g", push("in flight"), done); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is in flight", func() bool { return p.Published().Waiting == 0 })
	for _, text := range []string{"first", "second"} {
		if err := p.To(ended(), "g", push(text), done); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.To(ended(), "g", push("third"), done); !errors.Is(err, bus.ErrFull) || !errors.Is(err, context.Canceled) {
		t.Errorf("a full queue: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := p.ToAll(ctx, push("third"), done); !errors.Is(err, bus.ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full queue: %v", err)
	}
	if n := p.Published(); n.Full != 2 || n.Waiting != 2 {
		t.Errorf("%+v", n)
	}
	if err := await(t, came); err == nil {
		t.Error("published by a server that hangs")
	}
	// The attempt under way is broken off, the rest never begins.
	p.Stop(ended())
	for range 2 {
		if err := await(t, came); err == nil {
			t.Error("published by a server that hangs")
		}
	}
	if len(came) != 0 {
		t.Error("more outcomes than batches")
	}
	g.Stop()
	s.Continue()
}

// TestQueueBytes: a batch waits for room, and gets it when Redis goes on.
func TestQueueBytes(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisherWith(t, cl, bus.Config{QueueBatches: 100, QueueBytes: 1000})
	s.Pause()
	if err := p.To(ended(), "g", push("0"), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is in flight", func() bool { return p.Published().Waiting == 0 })
	if err := p.To(ended(), "g", push(string(make([]byte, 2000))), nil); err != nil {
		t.Errorf("a batch larger than an empty queue: %v", err)
	}
	if err := p.To(ended(), "g", push("2"), nil); !errors.Is(err, bus.ErrFull) {
		t.Errorf("a small one after it: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- p.To(context.Background(), "g", push("2"), nil) }()
	s.Continue()
	if err := await(t, waited); err != nil {
		t.Error(err)
	}
	eventually(t, "all three", func() bool { return len(g.all(bus.FromOwn)) == 3 })
}

// TestPublisherStop publishes what waits.
func TestPublisherStop(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisher(t, cl)
	const n = 2000
	outcomes := 0 // done is called in one goroutine, which ends before Stop does
	for range n {
		if err := p.To(soon(t), "g", push("x"), func(_ int64, err error) {
			if err == nil {
				outcomes++
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	p.Stop(soon(t))
	if outcomes != n {
		t.Errorf("%d of %d were published", outcomes, n)
	}
	if err := p.To(soon(t), "g", push("x"), nil); !errors.Is(err, bus.ErrStopped) {
		t.Errorf("after Stop: %v", err)
	}
	p.Stop(soon(t))
	eventually(t, "all are heard", func() bool { return len(g.all(bus.FromOwn)) == n })
}

// TestSlowReceiver holds up its own subscription alone, and loses nothing that Redis can hold.
func TestSlowReceiver(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	slow := newGateway(t, cl, "slow")
	release := slow.hold(t)
	slow.Start()
	quick := listen(t, cl, "quick")
	eventually(t, "subscribed", slow.up)
	p := publisher(t, cl)
	const n = 1000
	for range n {
		if err := p.ToAll(soon(t), push("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the quick one hears all", func() bool { return len(quick.all(bus.FromAll)) == n })
	if len(slow.all(bus.FromAll)) != 0 {
		t.Error("the slow one is not slow")
	}
	release()
	eventually(t, "the slow one hears all", func() bool { return len(slow.all(bus.FromAll)) == n })
}

// TestLaggard: Redis drops a subscriber that lags too far behind, and that is told.
func TestLaggard(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub 1mb 1mb 1")
	cl := dial(t, s.Addr)
	g := newGateway(t, cl, "g")
	release := g.hold(t)
	g.Start()
	eventually(t, "subscribed", g.up)
	p := publisher(t, cl)
	for range 32 {
		if err := p.ToAll(soon(t), push(string(make([]byte, 1<<20))), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are published", func() bool { n := p.Published(); return n.Batches+n.Failed == 32 })
	release()
	eventually(t, "the interruption is told", func() bool { return slices.Contains(g.all(bus.FromAll), "missed") })
	eventually(t, "it is heard again", func() bool { return toAll(t, p, "after").receivers == 1 })
}

// TestKindChanges: a server whose users gain or lose sharded pub/sub, as in an upgrade, loses no message to a gateway that is
// subscribed.
func TestKindChanges(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisher(t, cl)
	var want []string
	for i, change := range []func(*redistest.Server){forbid, allow, forbid, allow} {
		change(s)
		misses := g.Heard(bus.FromOwn).Misses
		s.Do("CLIENT", "KILL", "TYPE", "pubsub")
		eventually(t, "it is back", func() bool { return g.up() && g.Heard(bus.FromOwn).Misses == misses+1 })
		if g.Sharded() != (i%2 == 1) {
			t.Errorf("change %d: sharded: %v", i, g.Sharded())
		}
		want = append(want, "missed")
		for _, text := range []string{"one", "two"} {
			if o := to(t, p, "g", text); o != (outcome{1, nil}) {
				t.Errorf("change %d: %+v", i, o)
			}
			want = append(want, text)
		}
	}
	eventually(t, "all", func() bool { return len(g.all(bus.FromOwn)) == len(want) })
	if got := g.all(bus.FromOwn); !slices.Equal(got, want) {
		t.Errorf("heard %q", got)
	}
}

// TestClusterMoves: when the channel's slot moves, the gateway follows it and is told; a node that is away takes with it the
// channels that it owns.
func TestClusterMoves(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2)
	cl := dial(t, c.Addrs()...)
	g := listen(t, cl, "g")
	p := publisher(t, cl)
	to(t, p, "g", "before")
	eventually(t, "it is heard", func() bool { return len(g.all(bus.FromOwn)) == 1 })
	from, other := c.Nodes[0], c.Nodes[1]
	if c.Owner(bus.Channel("g")) == other {
		from, other = other, from
	}
	c.Move(bus.Channel("g"), other)
	eventually(t, "the move is told", func() bool { return g.Heard(bus.FromOwn).Misses == 1 && g.up() })
	if o := to(t, p, "g", "after"); o != (outcome{1, nil}) {
		t.Errorf("after the move: %+v", o)
	}
	eventually(t, "both", func() bool { return len(g.all(bus.FromOwn)) == 3 })
	if got := g.all(bus.FromOwn); !slices.Equal(got, []string{"before", "missed", "after"}) {
		t.Errorf("heard %q", got)
	}
	from.Kill()
	if o := to(t, p, "g", "without the other node"); o.err != nil {
		t.Errorf("while another node is away: %v", o.err)
	}
	eventually(t, "it is heard", func() bool { return slices.Contains(g.all(bus.FromOwn), "without the other node") })
}

// TestStop: a Subscriber's Receiver is left alone afterwards, and its connections are closed.
func TestStop(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisher(t, cl)
	g.Stop()
	g.Stop()
	if g.up() {
		t.Error("up after Stop")
	}
	eventually(t, "Redis knows", func() bool { return to(t, p, "g", "late").receivers == 0 && toAll(t, p, "late").receivers == 0 })
	if n := len(g.all(bus.FromOwn)) + len(g.all(bus.FromAll)); n != 0 {
		t.Errorf("%d calls after Stop", n)
	}
	if g.log.count("\n") != 0 {
		t.Error("Stop is logged as a loss")
	}
	never := bus.NewSubscriber(cl, "never started", g, nil)
	never.Stop()
}

// TestClientClosed: a client that is closed ends nothing else: the Subscriber waits to be stopped.
func TestClientClosed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := redisconn.New(redisconn.Config{Addresses: []string{s.Addr}}, nopLog())
	eventually(t, "a connection", cl.Connected)
	g, p := listen(t, cl, "g"), publisher(t, cl)
	cl.Close()
	eventually(t, "the loss is noticed", func() bool { return !g.Heard(bus.FromOwn).Up && !g.Heard(bus.FromAll).Up })
	if o := to(t, p, "g", "x"); o.err == nil {
		t.Error("published by a closed client")
	}
	g.Stop()
	p.Stop(soon(t))
}
