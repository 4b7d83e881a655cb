package gateway

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"edged/batch"
	"edged/relay"
	"edged/wire"
)

// crowd is a bench with some links that casts walk over one by one.
type crowd struct {
	*bench
	conns []net.Conn
	names []linkName
}

func newCrowd(t *testing.T, n int) *crowd {
	c := &crowd{bench: newBench(t, 1)}
	for range n {
		conn, name := c.dial()
		c.conns, c.names = append(c.conns, conn), append(c.names, name)
	}
	c.on(func() { c.s.casting.perTurn, c.s.casting.atOnce = 1, 0 })
	for i := range c.names {
		c.order(c.bind(i))
	}
	return c
}

// order has the shard take items, casts among them, in one turn, and waits until they are through.
func (c *crowd) order(items ...[]byte) {
	c.Helper()
	c.on(func() {
		for _, b := range items {
			it := batch.DownItems(b)
			item, _, _ := it.Next()
			var d batch.DownItem
			if err := batch.ParseDownItem(item, &d); err != nil {
				c.Fatal(err)
			}
			if d.Target == batch.TargetRoom || d.Target == batch.TargetEveryone {
				c.port.events = append(c.port.events, relay.Event{Kind: relay.EventCast, Cast: c.g.newCast(0, item)})
			} else {
				c.port.items(0, b)
			}
		}
	})
	for busy := true; busy; {
		c.on(func() { busy = len(c.port.events) > 0 || len(c.s.casting.walks) > 0 })
	}
}

func (c *crowd) to(i int) batch.Target {
	return batch.ToLink(c.s.name(c.names[i].place, c.names[i].uniq))
}

func (c *crowd) bind(i int) []byte {
	return batch.AppendBind(nil, c.to(i).Link, 0, batch.Bind{User: fmt.Append(nil, "u", i), Device: []byte("d")})
}

func say(t batch.Target, word string) []byte { return batch.AppendDataTo(nil, t, 1, []byte(word)) }

// end ends all links and compares what each of them got, BYE left out.
func (c *crowd) end(want ...string) {
	c.Helper()
	c.turn(func() {
		for _, n := range c.names {
			if l := c.s.links.Get(n.place, n.uniq); l != nil {
				c.s.end(n.place, n.uniq, l, ending{reason: wire.ByeKicked})
			}
		}
	})
	for i, conn := range c.conns {
		got := slices.DeleteFunc(frames(c, conn), func(f string) bool { return strings.HasPrefix(f, "bye") || f == "welcome" })
		if s := strings.ReplaceAll(strings.Join(got, " "), "data ", ""); s != want[i] {
			c.Errorf("link %d got %q, not %q", i, s, want[i])
		}
	}
	c.on(func() {
		if a := &c.s.casting; len(a.walks) != 0 || a.bytes != 0 || a.joins != 0 || a.by != nil {
			c.Errorf("casting %+v", *a)
		}
	})
}

var room1, room2 = batch.ToRoom("one"), batch.ToRoom("two")

// TestOrderOnALinkOfARoom: what is for the link alone stands where it stood, between casts that wait.
func TestOrderOnALinkOfARoom(t *testing.T) {
	c := newCrowd(t, 3)
	c.order(batch.AppendJoin(nil, batch.ToEveryone(), 0, "one"))
	c.order(say(room1, "a"), say(c.to(2), "b"), say(room1, "c"), say(batch.ToUser("u1"), "d"), say(batch.ToEveryone(), "e"), say(c.to(2), "f"), say(room1, "g"))
	c.end("a c e g", "a c d e g", "a b c e f g")
}

// TestCastsBehindMemberships: who joins or leaves by a cast has done so for what stands behind it.
func TestCastsBehindMemberships(t *testing.T) {
	c := newCrowd(t, 3)
	c.order(batch.AppendJoin(nil, c.to(0), 0, "one"), batch.AppendJoin(nil, c.to(1), 0, "one"))
	c.order(say(room2, "nobody"), batch.AppendJoin(nil, room1, 0, "two"), say(room2, "a"), say(room1, "b"),
		batch.AppendLeave(nil, room1, 0, "one"), say(room1, "nobody"), say(c.to(1), "c"), say(room2, "d"))
	c.end("a b d", "a b c d", "")
	c.on(func() {
		if n := c.s.count.Refusals[batch.CodeNotHere]; n != 2 {
			t.Errorf("%d casts were for nobody", n)
		}
	})
}

// TestJoinedByHand: a link that joins while casts are on their way does not get those from before.
func TestJoinedByHand(t *testing.T) {
	c := newCrowd(t, 3)
	c.order(batch.AppendJoin(nil, c.to(0), 0, "one"), batch.AppendJoin(nil, c.to(1), 0, "one"))
	c.order(say(room1, "a"), batch.AppendJoin(nil, c.to(2), 0, "one"), say(room1, "b"), batch.AppendLeave(nil, c.to(1), 0, "one"),
		say(room1, "c"), batch.AppendJoin(nil, c.to(1), 0, "one"), say(room1, "d"))
	c.end("a b c d", "a b d", "b c d")
}

// TestWelcomedDuringAWalk: what stood before a login is not for it.
func TestWelcomedDuringAWalk(t *testing.T) {
	c := newCrowd(t, 2)
	conn, name := c.dial()
	c.conns, c.names = append(c.conns, conn), append(c.names, name)
	c.order(batch.AppendJoin(nil, c.to(2), 0, "one"), batch.AppendJoin(nil, c.to(0), 0, "one"))
	c.order(say(batch.ToEveryone(), "a"), say(room1, "b"), c.bind(2), say(c.to(2), "c"), say(batch.ToEveryone(), "d"), say(room1, "e"))
	c.end("a b d e", "a d", "c d e")
}

// TestEachCastOnce: an operation for everyone is carried out once on each link, in its place.
func TestEachCastOnce(t *testing.T) {
	c := newCrowd(t, 4)
	c.on(func() { c.s.count.CastDeliveries = 0 })
	c.order(batch.AppendJoin(nil, batch.ToEveryone(), 0, "one"), say(room1, "a"), batch.AppendPatchTo(nil, batch.ToEveryone(), 0, []batch.KV{{Key: "a.b", Value: "c"}}, nil),
		batch.AppendLeave(nil, batch.ToEveryone(), 0, "one"), say(room1, "b"), say(c.to(3), "c"))
	c.on(func() {
		if n := c.s.count.CastDeliveries; n != 4*4 {
			t.Errorf("%d deliveries of 4 casts to 4 links", n)
		}
		if c.s.count.Joins != 4 || c.s.count.Leaves != 4 {
			t.Errorf("%d joined, %d left", c.s.count.Joins, c.s.count.Leaves)
		}
	})
	c.end("a", "a", "a", "a c")
}

// TestClosedByACast: what stands behind a close reaches nobody, and the walk goes on with the others.
func TestClosedByACast(t *testing.T) {
	c := newCrowd(t, 3)
	c.order(batch.AppendJoin(nil, c.to(0), 0, "one"), batch.AppendJoin(nil, c.to(2), 0, "one"))
	c.order(say(batch.ToEveryone(), "a"), batch.AppendClose(nil, room1, 0, batch.Close{Reason: 7}), say(batch.ToEveryone(), "b"), say(c.to(0), "late"))
	c.end("a", "a b", "a")
}

// TestReplacedDuringAWalk: the old link has had what stood before the new one's login.
func TestReplacedDuringAWalk(t *testing.T) {
	c := newCrowd(t, 3)
	c.order(say(batch.ToEveryone(), "a"), batch.AppendBind(nil, c.to(0).Link, 0, batch.Bind{User: []byte("u2"), Device: []byte("d")}), say(batch.ToEveryone(), "b"))
	c.end("a b", "a b", "a")
}

// TestCastsAreBounded: while too many wait, nothing more is taken of the Managers; nothing is lost by that.
func TestCastsAreBounded(t *testing.T) {
	c := newCrowd(t, 2)
	var items [][]byte
	var want []string
	for i := range 3 * maxWalks {
		items = append(items, say(batch.ToEveryone(), fmt.Sprint(i)), say(c.to(0), "x"))
		want = append(want, fmt.Sprint(i))
	}
	most := 0
	c.on(func() {
		go func() { // as often as it gets a word in
			for range 50 {
				c.s.loop.Post(func() { most = max(most, len(c.s.casting.walks)) })
			}
		}()
	})
	c.order(items...)
	c.on(func() {
		if most > maxWalks {
			t.Errorf("%d walks", most)
		}
	})
	c.end(strings.Join(want, " x ")+" x", strings.Join(want, " "))
}

// TestLargeRoomDoesNotStopTheReactor: while a cast is on its way to 100,000 members, another link is served.
func TestLargeRoomDoesNotStopTheReactor(t *testing.T) {
	const members = 100_000
	b := newBenchOf(t, 1, func(o *Options) {
		o.Config.Capacity = members + 10
		o.Files = members + 10_000
		o.Slow = DefaultSlow()
		o.Slow.Data = "refuse" // members without a connection do not end by that
		o.Keep = nil           // nobody notices them
	})
	conn, _ := b.dial()
	b.on(func() {
		b.s.casting.perTurn = 32 // so that it takes long, also where this goroutine has to wait for a CPU
		for range members {
			place, _, l, ok := b.s.links.Add()
			if !ok {
				t.Fatal("no place")
			}
			l.flags = welcomed | announced
			if _, err := b.s.rooms.Join([]byte("one"), place); err != nil {
				t.Fatal(err)
			}
		}
		b.s.g.links.Add(members)
	})
	it := batch.DownItems(say(room1, "x"))
	item, _, _ := it.Next()
	b.on(func() {
		b.port.events = append(b.port.events, relay.Event{Kind: relay.EventCast, Cast: b.g.newCast(0, item)})
	})
	answers, under := 0, true
	for under {
		if _, err := conn.Write(wire.AppendPing(nil, uint32(answers))); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, len(wire.AppendPing(nil, 0)))); err != nil {
			t.Fatal(err)
		}
		answers++
		b.on(func() { under = len(b.s.casting.walks) > 0 })
	}
	b.on(func() {
		if n := b.s.count.CastDeliveries; n != members {
			t.Errorf("%d deliveries", n)
		}
	})
	if answers < 2 { // the last one may have come behind the cast
		t.Errorf("%d answers while the cast was on its way", answers)
	}
}
