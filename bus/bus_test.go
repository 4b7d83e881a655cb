package bus_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"edged/bus"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// TestKinds is what must hold with every kind of Redis.
func TestKinds(t *testing.T) {
	for _, k := range []struct {
		name    string
		sharded bool
		cluster bool
		start   func(t *testing.T) []string
	}{
		{"standalone", true, false, func(t *testing.T) []string { return []string{redistest.Start(t).Addr} }},
		{"without the commands", false, false, func(t *testing.T) []string {
			return []string{redistest.Start(t, "--rename-command", "SSUBSCRIBE", "", "--rename-command", "SPUBLISH", "").Addr}
		}},
		{"not allowed the commands", false, false, func(t *testing.T) []string {
			s := redistest.Start(t)
			forbid(s)
			return []string{s.Addr}
		}},
		{"only subscribers not allowed", false, false, func(t *testing.T) []string {
			s := redistest.Start(t)
			s.Do("ACL", "SETUSER", "default", "-ssubscribe")
			return []string{s.Addr}
		}},
		{"cluster", true, true, func(t *testing.T) []string { return redistest.StartCluster(t, 3).Addrs() }},
		{"cluster not allowed the commands", false, true, func(t *testing.T) []string {
			c := redistest.StartCluster(t, 3)
			for _, s := range c.Nodes {
				forbid(s)
			}
			return c.Addrs()
		}},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			cl := dial(t, k.start(t)...)
			gateways := []*gateway{listen(t, cl, "a"), listen(t, cl, "b"), listen(t, cl, "c d")}
			p := publisher(t, cl)
			for _, g := range gateways {
				if g.Sharded() != k.sharded {
					t.Errorf("sharded: %v", g.Sharded())
				}
			}
			testReach(t, p, gateways, k.cluster)
			testOrder(t, cl, gateways)
		})
	}
}

// testReach: a batch comes where it should and nowhere else, once.
func testReach(t *testing.T, p *bus.Publisher, gateways []*gateway, cluster bool) {
	t.Helper()
	for i, id := range []string{"a", "b", "c d"} {
		if o := to(t, p, id, "for "+id); o.err != nil || o.receivers != 1 && !cluster {
			t.Errorf("for %s: %+v", id, o)
		}
		g := gateways[i]
		eventually(t, "the batch for "+id, func() bool { return len(g.all(bus.FromOwn)) > 0 })
	}
	if o := toAll(t, p, "for all"); o.err != nil || o.receivers != 3 && !cluster {
		t.Errorf("for all: %+v", o)
	}
	if o := to(t, p, "nobody", "for nobody"); o.err != nil || o.receivers != 0 {
		t.Errorf("for nobody: %+v", o)
	}
	for i, id := range []string{"a", "b", "c d"} {
		g := gateways[i]
		eventually(t, "the batch for all", func() bool { return len(g.all(bus.FromAll)) > 0 })
		if own, all := g.all(bus.FromOwn), g.all(bus.FromAll); !slices.Equal(own, []string{"for " + id}) || !slices.Equal(all, []string{"for all"}) {
			t.Errorf("%s heard %q and %q", id, own, all)
		}
		if h := g.Heard(bus.FromOwn); h.Batches != 1 || h.Bytes != uint64(len(push("for "+id))) || h.Garbage+h.Misses != 0 {
			t.Errorf("%s: %+v", id, h)
		}
	}
	if n := p.Published(); n.Batches != 5 || n.Failed != 0 || n.Waiting != 0 || n.Unheard < 1 && !cluster {
		t.Errorf("published: %+v", n)
	}
}

// testOrder: what one goroutine hands over for one channel comes in that order, with several of them at work, each on a
// publisher of its own or not.
func testOrder(t *testing.T, cl *redisconn.Client, gateways []*gateway) {
	t.Helper()
	const senders, each = 4, 500
	shared := publisher(t, cl)
	var wg sync.WaitGroup
	for sender := range senders {
		p := shared
		if sender == 0 {
			p = publisher(t, cl)
		}
		wg.Go(func() {
			fill := strings.Repeat("x", 100*sender)
			for i := range each {
				text := fmt.Sprintf("%d %d %s", sender, i, fill)
				if err := p.To(soon(t), "b", push(text), nil); err != nil {
					t.Error(err)
				}
				if err := p.ToAll(soon(t), push(text), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check := func(g *gateway, from bus.Source, before int) {
		t.Helper()
		eventually(t, "all batches", func() bool { return len(g.all(from)) >= before+senders*each })
		var next [senders]int
		for _, text := range g.all(from)[before:] {
			var sender, i int
			if _, err := fmt.Sscanf(text, "%d %d", &sender, &i); err != nil || i != next[sender] {
				t.Fatalf("%v: %.20q comes when %v are due", from, text, next)
			}
			next[sender]++
		}
	}
	check(gateways[1], bus.FromOwn, 1)
	for _, g := range gateways {
		check(g, bus.FromAll, 1)
	}
}

// TestChannels: the names, and the kinds, are those of PROTOCOL.md section 3, for whoever publishes.
func TestChannels(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "gw 1")
	if n := s.Do("SPUBLISH", "edged:down:{gw 1}", string(push("own"))); n != "1" {
		t.Errorf("%s receivers of the own channel", n)
	}
	if n := s.Do("PUBLISH", "edged:down", string(push("all"))); n != "1" {
		t.Errorf("%s receivers of the channel of everyone", n)
	}
	if n := s.Do("PUBLISH", "edged:down:{gw 1}", string(push("twice"))); n != "0" {
		t.Errorf("%s receivers of the plain channel too", n)
	}
	eventually(t, "both", func() bool { return len(g.all(bus.FromOwn)) == 1 && len(g.all(bus.FromAll)) == 1 })
	if bus.FromOwn.String() != "own" || bus.FromAll.String() != "all" {
		t.Error("names of the sources")
	}
}

func TestLargeBatches(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisher(t, cl)
	var want []string
	for i, size := range []int{1 << 20, 0, 1 << 20, 1 << 20, 3, bus.MaxBatch - 100, 1 << 20} {
		text := strings.Repeat(string(rune('a'+i)), size)
		want = append(want, text)
		if err := p.To(soon(t), "g", push(text), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all", func() bool { return len(g.all(bus.FromOwn)) == len(want) })
	if !slices.Equal(g.all(bus.FromOwn), want) {
		t.Error("the batches are not what was published")
	}
	if err := p.To(soon(t), "g", make([]byte, bus.MaxBatch+1), nil); err == nil || !strings.Contains(err.Error(), bus.ErrTooLarge.Error()) {
		t.Errorf("a batch that is too large: %v", err)
	}
	s.Do("SPUBLISH", bus.Channel("g"), string(push(strings.Repeat("x", bus.MaxBatch))))
	eventually(t, "it is counted", func() bool { return g.Heard(bus.FromOwn).Garbage == 1 })
}

// TestGarbage: it costs a count, and a line of the log now and then.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	g := listen(t, cl, "g")
	p := publisher(t, cl)
	const n = 100
	for i := range n {
		s.Do("SPUBLISH", bus.Channel("g"), "hello")
		s.Do("PUBLISH", "edged:down", `{"to":"user:42"}`)
		if o := to(t, p, "g", fmt.Sprint(i)); o.err != nil {
			t.Fatal(o.err)
		}
	}
	for from, good := range map[bus.Source]uint64{bus.FromOwn: n, bus.FromAll: 0} {
		eventually(t, "all is heard", func() bool { return g.Heard(from).Garbage == n && g.Heard(from).Batches == good })
	}
	if lines := g.log.count("no batch"); lines < 2 || lines > 10 {
		t.Errorf("%d lines of the log", lines)
	}
}

// TestResume: who goes on in the place of another process has missed something; who begins has not.
func TestResume(t *testing.T) {
	s := redistest.Start(t)
	cl := dial(t, s.Addr)
	if g := listen(t, cl, "first"); len(g.all(bus.FromOwn)) != 0 {
		t.Errorf("it was told %q", g.all(bus.FromOwn))
	}
	g := newGateway(t, cl, "second")
	g.Resume()
	for _, from := range []bus.Source{bus.FromOwn, bus.FromAll} {
		eventually(t, "it is told", func() bool { return slices.Contains(g.all(from), "missed") })
	}
}
