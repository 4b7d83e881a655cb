package gateway

import (
	"testing"

	"edged/batch"
	"edged/registry"
	"edged/relay"
)

// TestBoundAgainMeanwhile: a link that another shard's has replaced is bound once more before it hears of that, and so is the
// newest again: the other one goes, and not both.
func TestBoundAgainMeanwhile(t *testing.T) {
	b := newBench(t, 0, func(c *Config) { c.Reactors, c.Login = 2, "none" })
	one, two := b.g.shards[0], b.g.shards[1]
	find := func(s *shard) (name linkName) {
		b.onShard(s, func() {
			s.links.Each(0, 1, func(place, uniq uint32, _ *link) { name = linkName{place, uniq} })
		})
		return name
	}
	for find(one) == (linkName{}) || find(two) == (linkName{}) {
		b.connect()
	}
	login := func(s *shard, n linkName) {
		s.carryOut(0, batch.AppendBind(nil, s.name(n.place, n.uniq), 0, batch.Bind{User: []byte("ann"), Device: []byte("phone")}))
	}
	x, y := find(one), find(two)
	b.onShard(one, func() {
		login(one, x)
		b.onShard(two, func() { login(two, y) })
		login(one, x)
	})
	b.onShard(two, func() {})
	b.onShard(one, func() {
		if one.links.Get(x.place, x.uniq) == nil {
			t.Error("the newest link was closed")
		}
	})
	b.onShard(two, func() {
		if two.links.Get(y.place, y.uniq) != nil {
			t.Error("the older link lives")
		}
	})
	if at, ok := b.g.directory.Link([]byte("ann"), []byte("phone")); !ok || at.Shard != 0 || at.Place != x.place {
		t.Errorf("the directory says %+v, %v", at, ok)
	}
}

// TestElsewhere: what is for a user whose links are all of other shards is told there, and not as if he had none.
func TestElsewhere(t *testing.T) {
	b := newBench(t, 1)
	b.on(func() {
		b.g.directory.Put([]byte("ann"), []byte("phone"), registry.Link{Shard: 7, Place: 1, Uniq: 1})
		b.s.carryOut(0, batch.AppendDataTo(nil, batch.ToUser("ann"), 1, nil))
		b.s.carryOut(relay.NoManager, batch.AppendDataTo(nil, batch.ToUser("ann"), 0, nil))
		if n := b.s.count.Refusals[batch.CodeNotHere] + b.s.count.BusNotHere; n != 0 {
			t.Errorf("%d items are said to be for nobody", n)
		}
	})
}
