package queue_test

import (
	"fmt"
	"strings"
	"testing"

	"edged/queue"
	"edged/redisconn/redistest"
)

// userAt returns a user whose keys are at a node of the Cluster.
func userAt(c *redistest.Cluster, node *redistest.Server) string {
	for i := 0; ; i++ {
		if user := fmt.Sprint("u", i); c.Owner("{"+user+"}") == node {
			return user
		}
	}
}

// TestCluster: all of the way in a Cluster, where streams, logs, routes and channels are at different nodes.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	in := c.Owner("edged:in")
	a, b := listen(t, nil, "10.0.0.1:7000", c.Addrs()...), listen(t, nil, "10.0.0.2:7000", c.Addrs()...)
	users := []string{userAt(c, c.Nodes[0]), userAt(c, c.Nodes[1]), userAt(c, c.Nodes[2])}
	owner := func(key string) *redistest.Server { return c.Owner(key) }
	a.hold(owner, users[0]+"/x", users[1]+"/x", users[2]+"/x")
	b.hold(owner, users[1]+"/y")
	l := start(t, c.Addrs())
	other := start(t, c.Addrs())
	var want []string
	for i := range 300 {
		user := users[i%3]
		put(in, "to", "user:"+user, "payload", fmt.Sprint("p", i), "offline", "1")
		want = append(want, fmt.Sprint("p", i))
	}
	put(in, "to", "everyone", "payload", "all")
	put(in, "to", "everyone", "payload", "no", "offline", "1")
	eventually(t, "all is done", func() bool { return l.service.Stats().Finished+other.service.Stats().Finished == 302 })
	eventually(t, "all is heard", func() bool { return len(a.heard()) == 301 && len(b.heard()) == 101 })
	for _, p := range append(want, "all") {
		if a.payloads()[p] != 1 {
			t.Errorf("%s came %d times", p, a.payloads()[p])
		}
	}
	for i, user := range users {
		var payloads []string
		for k := i; k < 300; k += 3 {
			payloads = append(payloads, fmt.Sprint("p", k))
		}
		checkLog(t, l.log, user, payloads)
	}
	if got := c.Owner("edged:dead").Do("XRANGE", "edged:dead", "-", "+"); !strings.Contains(got, "no-members") {
		t.Errorf("edged:dead holds %q", got)
	}
	eventually(t, "the stream is trimmed", func() bool { return in.Do("XLEN", "edged:in") == "0" })
	w := queue.NewWriter(dial(t, c.Addrs()...), queue.Default())
	if ids, err := w.Write(soon(t), []queue.Message{{Payload: []byte("x")}}); err != nil || len(ids) != 1 {
		t.Errorf("written %q, %v", ids, err)
	}
}

// TestClusterNodeAway: while a node is away, messages for its users wait, in their order, and those for others go on.
func TestClusterNodeAway(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	in, lost := c.Owner("edged:in"), c.Nodes[0]
	if lost == in {
		lost = c.Nodes[1]
	}
	far, near := userAt(c, lost), userAt(c, in)
	gw := ""
	for i := 0; gw == ""; i++ { // one whose lease and channel are at the node of the stream
		if id := fmt.Sprint("10.0.0.", i, ":7000"); c.Owner("{"+id+"}") == in {
			gw = id
		}
	}
	var addrs []string
	for _, n := range c.Nodes {
		if n != lost {
			addrs = append(addrs, n.Addr)
		}
	}
	g := listen(t, nil, gw, addrs...)
	owner := func(key string) *redistest.Server { return c.Owner(key) }
	g.hold(owner, far+"/x", near+"/x")
	l := start(t, addrs)
	put(in, "to", "user:"+far, "payload", "before", "offline", "1", "msg_id", "0")
	g.awaits("user:" + far + " before v1 id=0")

	lost.Kill()
	for i := range 20 {
		put(in, "to", "user:"+far, "payload", "far", "offline", "1", "msg_id", fmt.Sprint(i+1))
		put(in, "to", "user:"+near, "payload", fmt.Sprint("near ", i))
	}
	eventually(t, "the others go on", func() bool { return len(g.heard()) == 21 })
	if l.service.Ready() == nil || l.service.Stats().Held == 0 {
		t.Errorf("nothing is held: %+v", l.service.Stats())
	}
	lost.Restart() // without its data
	eventually(t, "all is done", func() bool { return l.idle() && l.service.Ready() == nil })
	p, err := l.log.Pull(soon(t), far, "d", 0, 0)
	if err != nil || len(p.Entries) != 20 {
		t.Fatalf("%d stored messages, %v", len(p.Entries), err)
	}
	for i, e := range p.Entries {
		if e.Version != uint64(i+1) || string(e.MsgID) != fmt.Sprint(i+1) {
			t.Errorf("version %d is message %s", e.Version, e.MsgID)
		}
	}
}

// TestClusterChannelAway: a message that one of its user's gateways has got, and the other could not, does not go to the first one
// twice.
func TestClusterChannelAway(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	in := c.Owner("edged:in")
	lost := c.Nodes[0]
	if lost == in {
		lost = c.Nodes[1]
	}
	gatewayAt := func(n *redistest.Server) string {
		for i := 0; ; i++ {
			if id := fmt.Sprint("10.0.0.", i, ":7000"); c.Owner("{"+id+"}") == n {
				return id
			}
		}
	}
	var addrs []string
	for _, n := range c.Nodes {
		if n != lost {
			addrs = append(addrs, n.Addr)
		}
	}
	a, b := listen(t, nil, gatewayAt(in), addrs...), listen(t, nil, gatewayAt(lost), addrs...)
	user := userAt(c, in)
	owner := func(key string) *redistest.Server { return c.Owner(key) }
	a.hold(owner, user+"/x")
	b.hold(owner, user+"/y")
	l := start(t, addrs)
	put(in, "to", "user:"+user, "payload", "one")
	eventually(t, "both hear", func() bool { return len(a.heard()) == 1 && len(b.heard()) == 1 })
	lost.Kill() // with the channel and the lease of one, which is believed for a second
	put(in, "to", "user:"+user, "payload", "two")
	eventually(t, "it is tried again", func() bool { return l.service.Stats().Retries > 2 })
	lost.Restart()
	eventually(t, "it is done", func() bool { return l.service.Stats().Finished == 2 })
	eventually(t, "the one hears", func() bool { return len(a.heard()) == 2 })
	if got := a.payloads()["two"]; got != 1 {
		t.Errorf("it came %d times", got)
	}
}
