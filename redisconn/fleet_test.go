package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis/rueidis"

	"edged/redisconn"
	"edged/redisconn/redistest"
)

// TestCluster is what nodes of a Cluster may do.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	cl, _ := connect(t, at(c.Addrs()...))
	t.Run("one address", func(t *testing.T) {
		cl, _ := connect(t, at(c.Nodes[1].Addr))
		for i := range 50 {
			if err := set(cl, fmt.Sprint("one", i), "v"); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("moved slot", func(t *testing.T) { testMoved(t, c, cl) })
	t.Run("node killed", func(t *testing.T) { testNodeAway(t, c, cl, c.Nodes[0].Kill, c.Nodes[0].Restart) })
	t.Run("node hangs", func(t *testing.T) { testNodeAway(t, c, cl, c.Nodes[0].Pause, c.Nodes[0].Continue) })
}

// testMoved: a slot that moved costs no call.
func testMoved(t *testing.T, c *redistest.Cluster, cl *redisconn.Client) {
	from, to := c.Owner("k"), c.Nodes[0]
	if from == to {
		to = c.Nodes[1]
	}
	if err := set(cl, "k", "1"); err != nil {
		t.Fatal(err)
	}
	from.Do("DEL", "k")
	c.Move("k", to)
	if err := set(cl, "k", "2"); err != nil {
		t.Error(err)
	}
	if got := to.Do("GET", "k"); got != "2" {
		t.Errorf("the new owner has %q", got)
	}
}

// testNodeAway: the keys of the other nodes stay within reach when the first is away.
func testNodeAway(t *testing.T, c *redistest.Cluster, cl *redisconn.Client, begin, end func()) {
	key := map[*redistest.Server]string{}
	for i := 0; len(key) < len(c.Nodes); i++ {
		k := fmt.Sprint("away", i)
		key[c.Owner(k)] = k
	}
	begin()
	rs := cl.DoMulti(context.Background(), func(b rueidis.Builder) rueidis.Commands {
		return rueidis.Commands{b.Set().Key(key[c.Nodes[0]]).Value("v").Build()}
	})
	if rs[0].Error() == nil {
		t.Error("a write to the node succeeds")
	}
	if cl.Connected() {
		t.Error("connected after a call that failed")
	}
	if err := set(cl, key[c.Nodes[2]], "v"); err != nil {
		t.Errorf("a write to another node: %v", err)
	}
	end()
	eventually(t, "a write to the node", func() bool { return set(cl, key[c.Nodes[0]], "v") == nil })
}

// TestClusterDownAtStart: any node will do.
func TestClusterDownAtStart(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2)
	for _, s := range c.Nodes {
		s.Kill()
	}
	cl, _ := open(t, at(c.Addrs()...))
	refused(t, cl, "refused")
	c.Nodes[1].Restart()
	eventually(t, "a connection", cl.Connected)
	c.Nodes[0].Restart()
	for i := range 20 {
		key := fmt.Sprint("k", i)
		eventually(t, "a write to every node", func() bool { return set(cl, key, "v") == nil })
	}
}

// TestNoCluster: several addresses that are none are named as the mistake that they are.
func TestNoCluster(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t), redistest.Start(t)
	cl, _ := open(t, at(a.Addr, b.Addr))
	refused(t, cl, "no Cluster")
	if err := set(cl, "k", "v"); !errors.Is(err, redisconn.ErrNotConnected) {
		t.Errorf("Do: %v", err)
	}
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, "--requirepass", "secret")
	cl, _ := connect(t, redisconn.Config{Addresses: s.Addrs(), Sentinel: redistest.MasterName, Password: "secret"})
	if err := set(cl, "k", "1"); err != nil {
		t.Fatal(err)
	}
	check := func(name string) {
		t.Helper()
		eventually(t, name+": a write", func() bool { return set(cl, "k", name) == nil })
		if got := s.Master().Do("GET", "k"); got != name {
			t.Errorf("%s: the master has %q", name, got)
		}
		if !cl.Connected() {
			t.Errorf("%s: not connected: %v", name, cl.Err())
		}
	}
	s.Failover()
	check("failover in order")
	killed := s.Master()
	killed.Kill()
	if err := set(cl, "k", "3"); err == nil {
		t.Error("a write without a master succeeds")
	}
	s.AwaitFailover(killed)
	check("master killed")
}

// TestSentinelMasterHangs: the sentinels replace it, and the client follows although its connections stay open.
func TestSentinelMasterHangs(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	cl, _ := connect(t, redisconn.Config{Addresses: s.Addrs(), Sentinel: redistest.MasterName})
	hung := s.Master()
	hung.Pause()
	if err := set(cl, "k", "v"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write to a master that hangs: %v", err)
	}
	s.AwaitFailover(hung)
	eventually(t, "a write", func() bool { return set(cl, "k", "v") == nil })
}

// TestSentinelsAway: without sentinels the client keeps its master, but finds none.
func TestSentinelsAway(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	c := redisconn.Config{Addresses: s.Addrs(), Sentinel: redistest.MasterName}
	cl, _ := connect(t, c)
	for _, sentinel := range s.Sentinels {
		sentinel.Kill()
	}
	if err := set(cl, "k", "v"); err != nil {
		t.Errorf("a write without sentinels: %v", err)
	}
	late, _ := open(t, c)
	refused(t, late, "refused")
	s.Sentinels[2].Restart()
	eventually(t, "a connection", late.Connected)
	if err := set(late, "k", "v"); err != nil {
		t.Error(err)
	}
}

func TestSentinelUnknownMaster(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	cl, _ := open(t, redisconn.Config{Addresses: s.Addrs(), Sentinel: "other"})
	refused(t, cl, "No such master")
}
