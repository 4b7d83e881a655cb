package relay_test

import (
	"sync/atomic"
	"testing"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/relay"
)

// roomOf is a Cast that keeps the room's name.
func roomOf(origin int, item []byte) any {
	var it batch.DownItem
	if batch.ParseDownItem(item, &it) != nil || string(it.Room) == "none" {
		return nil
	}
	return string(it.Room)
}

// casts returns what a shard gets next: the payloads of items, and the values of casts in brackets.
func (g *gateway) casts(shard, n int) (out []string) {
	g.t.Helper()
	for len(out) < n {
		switch e := g.next(shard); e.Kind {
		case relay.EventItems:
			out = append(out, dataOf(g.t, e.Items)...)
		case relay.EventCast:
			out = append(out, "["+e.Cast.(string)+"]")
		}
	}
	return out
}

// Every shard gets a cast between what stands before it in the batch and what stands behind it.
func TestCastKeepsItsPlace(t *testing.T) {
	for _, shards := range []int{1, 3} {
		g := newGateway(t, setup{shards: shards, change: func(o *relay.Options) { o.Cast = roomOf }})
		in := g.relay.NewInlet(true)
		room := func(name string) []byte { return batch.AppendDataTo(nil, batch.ToRoom(name), 0, nil) }
		b := append(down("a", 0), down("b", 0)...)
		b = append(append(b, room("r1")...), down("c", shards-1)...)
		b = append(append(b, room("none")...), room("r2")...)
		b = append(append(b, down("d", 0)...), batch.AppendDataTo(nil, batch.ToEveryone(), 0, nil)...)
		if err := in.Deliver(b, 0); err != nil {
			t.Fatal(err)
		}
		if shards == 1 {
			same(t, g.casts(0, 7), []string{"a", "b", "[r1]", "c", "[r2]", "d", "[]"})
			continue
		}
		same(t, g.casts(0, 6), []string{"a", "b", "[r1]", "[r2]", "d", "[]"})
		same(t, g.casts(1, 3), []string{"[r1]", "[r2]", "[]"})
		same(t, g.casts(2, 4), []string{"[r1]", "c", "[r2]", "[]"})
	}
}

// A user's items go to every shard that UserShards names, and to those where a bind is under way.
func TestUserItemsFindTheirShards(t *testing.T) {
	known := map[string]relay.Shards{}
	g := newGateway(t, setup{shards: 3, change: func(o *relay.Options) {
		o.UserShards = func(user, device []byte) relay.Shards {
			if device != nil {
				return known[string(user)+"/"+string(device)]
			}
			return known[string(user)]
		}
	}})
	known["both"], known["both/pad"] = relay.Shards{1<<1 | 1<<2}, relay.Shards{1 << 2}
	in := g.relay.NewInlet(true)
	to := func(t batch.Target, payload string) []byte { return batch.AppendDataTo(nil, t, 0, []byte(payload)) }
	b := append(to(batch.ToUser("both"), "a"), to(batch.ToDevice("both", "pad"), "b")...)
	b = append(append(b, to(batch.ToDevice("both", ""), "c")...), to(batch.ToUser("nobody"), "d")...)
	if err := in.Deliver(b, 0); err != nil {
		t.Fatal(err)
	}
	same(t, g.data(0, 2), []string{"c", "d"})
	same(t, g.data(1, 1), []string{"a"})
	same(t, g.data(2, 2), []string{"a", "b"})

	bind := batch.AppendBind(nil, batch.Link{Index: 1<<24 | 5, Uniq: 9}, 0, batch.Bind{User: []byte("new")})
	for _, b := range [][]byte{append(bind, to(batch.ToUser("new"), "e")...), to(batch.ToUser("new"), "f")} {
		if err := in.Deliver(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	same(t, g.data(1, 3), []string{"", "e", "f"})
	if _, ok := g.relay.Port(1).Next(); ok {
		t.Error("something is left")
	}
	// Now it is carried out, and nobody has said that the user is known.
	if err := in.Deliver(to(batch.ToUser("new"), "g"), 0); err != nil {
		t.Fatal(err)
	}
	same(t, g.data(0, 1), []string{"g"})
}

// By a Manager's stream, in generated code: its casts tell who it is, and one that is repeated is cast once.
func TestCastsOfManagers(t *testing.T) {
	a, b := newManager(t, "a"), newManager(t, "b")
	sa := start(t, a)
	var asked atomic.Int64
	g := newGateway(t, setup{addresses: []string{sa.address, start(t, b).address}, shards: 2, change: func(o *relay.Options) {
		o.UserShards = func(user, device []byte) relay.Shards { return relay.Shards{1 << 1} }
		o.Cast = func(origin int, item []byte) any {
			asked.Add(1)
			return origin
		}
	}})
	for range 2 {
		g.want(0, relay.EventUp)
		g.want(1, relay.EventUp)
	}
	data := &edgedpb.DownItem_Data{Data: []byte("x")}
	room := &edgedpb.DownItem{Target: &edgedpb.DownItem_Room{Room: "r"}, What: data}
	user := &edgedpb.DownItem{Target: &edgedpb.DownItem_User{User: "u"}, What: data}
	for m, from := range []*manager{a, b} {
		from.until(0, "the stream", func(b *book) bool { return b.stream != nil })
		from.push(0, user, room, user)
		for shard, kinds := range [][]relay.EventKind{{relay.EventCast}, {relay.EventItems, relay.EventCast, relay.EventItems}} {
			for _, kind := range kinds {
				if e := g.want(shard, kind); e.Manager != m || kind == relay.EventCast && e.Cast != m {
					t.Errorf("shard %d: %v of Manager %d, cast %v", shard, kind, e.Manager, e.Cast)
				}
			}
		}
		g.until(0, m, "the count", func(s relay.StreamStats) bool { return s.Received.Items == 3 })
	}
	a.until(0, "our receipt", func(b *book) bool { return b.receipt == 1 })
	a.raw(0, &edgedpb.Downstream{Seq: 1, Items: []*edgedpb.DownItem{room}})
	g.until(0, 0, "the repeat", func(s relay.StreamStats) bool { return s.Repeated == 1 })
	if n := asked.Load(); n != 2 {
		t.Errorf("%d casts", n)
	}
}
