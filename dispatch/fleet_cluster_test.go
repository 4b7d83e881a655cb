package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"edged/dispatch"
	"edged/redisconn"
	"edged/redisconn/redistest"
)

// wholeWay takes gateways through their life over whatever Redis c leads to: reported, summed, heard of, counted, gone.
func wholeWay(t *testing.T, c redisconn.Config) {
	t.Helper()
	r := reader(t, c, nil)
	heard := watch(t, r)
	const n = 12
	var gateways []*dispatch.Reporter
	for i := range n {
		id := fmt.Sprintf("192.0.2.%d:7000", i)
		g := report(t, c, id, interval, nil)
		g.Now(up(id, fmt.Sprintf("sh-%d", i%4), 0.25))
		gateways = append(gateways, g)
	}
	var f dispatch.Fleet
	eventually(t, "all of them", func() bool {
		var err error
		f, err = r.Read(soon(t))
		return err == nil && len(f.Gateways) == n && f.Broken == nil
	})
	sum := make(map[string]float64)
	for _, g := range f.Gateways {
		sum[g.SLB] += g.Availability
	}
	if len(sum) != 4 || sum["sh-0"] != 0.75 {
		t.Errorf("sums %v", sum)
	}
	if err := r.WriteSum(soon(t), sum); err != nil {
		t.Error(err)
	}
	for i, self := range []string{"a", "b"} {
		if live, err := r.Dispatchers(soon(t), self); err != nil || live < i+1 {
			t.Errorf("%d live, %v", live, err)
		}
	}
	eventually(t, "a state", func() bool { // a message is lost that comes before the subscription
		gateways[0].Now(with(up("192.0.2.0:7000", "sh-0", 0), dispatch.StateDraining))
		return heard("192.0.2.0:7000=draining")
	})
	eventually(t, "a report of it", func() bool {
		f, err := r.Read(soon(t))
		return err == nil && slices.ContainsFunc(f.Gateways, func(g dispatch.Gateway) bool {
			return g.ID == "192.0.2.0:7000" && g.State == dispatch.StateDraining && g.Availability == 0
		})
	})
	for i, g := range gateways {
		if i == 1 {
			g.Detach(context.Background()) // dies without a word
		} else {
			g.Stop(context.Background())
		}
	}
	eventually(t, "none of them", func() bool { f, err := r.Read(soon(t)); return err == nil && len(f.Gateways) == 0 })
}

func TestDispatchInCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	wholeWay(t, redisconn.Config{Addresses: c.Addrs()})
}

// TestDispatchClusterNodeLost kills one node of three. Its gateways cannot report, the others can; a Read says that it does
// not know all, and leaves nobody out.
func TestDispatchClusterNodeLost(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	config := redisconn.Config{Addresses: c.Addrs()}
	lost := c.Owner("edged:gw:{" + gw1 + "}")
	var other string // a gateway whose report lies elsewhere
	for i := 0; other == ""; i++ {
		if id := fmt.Sprintf("192.0.2.%d:7000", 10+i); c.Owner("edged:gw:{"+id+"}") != lost {
			other = id
		}
	}
	var slb string // a load balancer whose members lie elsewhere
	for i := 0; slb == ""; i++ {
		if name := fmt.Sprintf("sh-%d", i); c.Owner("edged:slb:"+name) != lost {
			slb = name
		}
	}
	a, b := report(t, config, gw1, interval, nil), report(t, config, other, interval, nil)
	a.Now(up(gw1, slb, 0.5))
	b.Now(up(other, slb, 0.5))
	r := reader(t, config, nil)
	both := func() bool { f, err := r.Read(soon(t)); return err == nil && len(f.Gateways) == 2 }
	eventually(t, "both", both)
	lost.Kill()
	eventually(t, "an error", func() bool { _, err := r.Read(soon(t)); return err != nil })
	for range 3 {
		if f, err := r.Read(soon(t)); err == nil {
			t.Errorf("%+v although a node is away", f)
		}
	}
	if c.Owner("edged:slbs") != lost {
		before := b.Stats().Reports
		eventually(t, "reports of the other", func() bool { return b.Stats().Reports > before+2 })
	}
	lost.Restart()
	eventually(t, "both again", both)
}

func TestDispatchBySentinel(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	config := redisconn.Config{Addresses: s.Addrs(), Sentinel: redistest.MasterName}
	wholeWay(t, config)
	g, r := report(t, config, gw1, interval, nil), reader(t, config, nil)
	heard := watch(t, r)
	g.Now(up(gw1, "sh-1", 0.5))
	there := func() bool { f, err := r.Read(soon(t)); return err == nil && slices.Contains(names(f), gw1) }
	eventually(t, "the report", there)
	old := s.Master()
	old.Kill()
	s.AwaitFailover(old)
	g.Put(up(gw1, "sh-1", 0.125))
	eventually(t, "the report at the new master", func() bool {
		f, err := r.Read(soon(t))
		return err == nil && len(f.Gateways) == 1 && f.Gateways[0].Availability == 0.125
	})
	eventually(t, "a state", func() bool {
		g.Now(with(up(gw1, "sh-1", 0), dispatch.StateDraining))
		time.Sleep(interval / 10) // not as fast as it goes
		return heard(gw1 + "=draining")
	})
}
