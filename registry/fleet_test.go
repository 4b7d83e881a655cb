package registry_test

import (
	"fmt"
	"sync"
	"testing"

	"edged/redisconn/redistest"
	"edged/registry"
)

// TestFleetRace lets a hundred logins of one device race over four gateways, each of which closes what it is told to close.
// One link is left in the fleet, and it is the one of the route.
func TestFleetRace(t *testing.T) {
	t.Parallel()
	const gateways, logins = 4, 25
	s := redistest.Start(t)
	c := config()
	c.Exclusive = true
	var fleet []*gateway
	for i := range gateways {
		fleet = append(fleet, start(t, standalone(s), fmt.Sprintf("192.0.2.%d:7000", i), uint64(i+1), c))
	}
	var all sync.WaitGroup
	for i, g := range fleet {
		all.Go(func() {
			for n := range logins {
				l := registry.Link{Place: uint32(n), Uniq: uint32(i)}
				if old, replaced := g.Put(b("42"), b("phone"), l); replaced {
					g.Remove(b("42"), b("phone"), old) // its late end
				}
			}
		})
	}
	all.Wait()
	eventually(t, "one link and its route", func() bool {
		closeEvicted(fleet)
		var left []string
		for _, g := range fleet {
			for _, l := range g.Links(b("42"), nil) {
				left = append(left, g.value(l.Place, l.Uniq))
			}
		}
		if len(left) == 0 {
			t.Fatal("no link is left")
		}
		return len(left) == 1 && routeOf(s, "42", "phone") == left[0]
	})
	for _, g := range fleet {
		eventually(t, "the end of all writing", g.idle)
	}
	closeEvicted(fleet)
	total := 0
	for _, g := range fleet {
		total += g.Devices()
	}
	if total != 1 || s.Do("HLEN", "edged:route:{42}") != "1" {
		t.Errorf("%d links are left", total)
	}
}

// closeEvicted is what the bus does between gateways: each link that was named ends, if it is still there.
func closeEvicted(fleet []*gateway) {
	for _, teller := range fleet {
		for _, line := range teller.evictions() {
			var name, link, id string
			_, _ = fmt.Sscan(line, &name, &link, &id)
			for _, g := range fleet {
				if l, ok := g.Link(b("42"), b("phone")); ok && g.id == id && g.link(l.Place, l.Uniq) == link {
					g.logout("42", "phone", l.Place, l.Uniq)
				}
			}
		}
	}
}
