package gateway

import (
	"fmt"
	"io"
	"testing"

	"edged/batch"
	"edged/offline"
	"edged/relay"
	"edged/wire"
)

// costs is a shard with one link that reads all, and what one step of each kind does to it.
type costs struct {
	*bench
	name    linkName
	l       *link
	log     *FakeLog
	version uint64
	down    []byte
	up      []byte
	cast    *cast
}

func newCosts(t testing.TB) *costs { return newCostsOf(t, func(o *Options) { o.Keep = nil }) }

func newCostsOf(t testing.TB, change func(*Options)) *costs {
	log := &FakeLog{}
	c := &costs{log: log, bench: newBenchOf(t, 1, func(o *Options) { o.Offline, o.Config.LinkRate = log, 0; change(o) })}
	conn, name := c.dial()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	c.name = name
	c.turn(func() {
		c.port.recycle = true
		c.s.carryOut(0, batch.AppendBind(nil, c.s.name(name.place, name.uniq), 0, batch.Bind{User: []byte("user-4711"), Device: []byte("phone")}))
		c.s.carryOut(0, batch.AppendJoin(nil, c.target(), 0, "room"))
		c.l = c.s.links.Get(name.place, name.uniq)
	})
	eventually(t, "the pull is through", func() bool { n := 1; c.on(func() { n = len(c.s.replays.by) }); return n == 0 })
	return c
}

func (c *costs) target() batch.Target { return batch.ToLink(c.s.name(c.name.place, c.name.uniq)) }

var payload64 = make([]byte, 64)

// steps are what is measured; each runs on the shard's thread.
var steps = []struct {
	name string
	step func(c *costs)
}{
	{"data", func(c *costs) {
		c.down = batch.AppendDataTo(c.down[:0], c.target(), 0, payload64)
		c.s.carryOut(0, c.down)
	}},
	{"push", func(c *costs) {
		c.down = batch.AppendPush(c.down[:0], c.target(), 0, batch.Push{Payload: payload64})
		c.s.carryOut(0, c.down)
	}},
	{"push to user", func(c *costs) {
		c.down = batch.AppendPush(c.down[:0], batch.ToUser("user-4711"), 0, batch.Push{Payload: payload64, MsgID: msgID16})
		c.s.carryOut(0, c.down)
	}},
	{"push and frame up", func(c *costs) {
		c.down = batch.AppendPush(c.down[:0], c.target(), 0, batch.Push{Payload: payload64, MsgID: msgID16})
		c.s.carryOut(0, c.down)
		c.up = wire.Append(c.up[:0], wire.KindData, payload64[:4])
		c.read(c.name, c.up)
	}},
	{"push required and ack", func(c *costs) {
		tid := c.l.tid
		c.down = batch.AppendPush(c.down[:0], c.target(), 0, batch.Push{Payload: payload64, MsgID: msgID16, Ack: batch.AckRequired})
		c.s.carryOut(0, c.down)
		c.up = wire.AppendAck(c.up[:0], tid)
		c.read(c.name, c.up)
	}},
	{"push versioned and ack", func(c *costs) {
		tid := c.l.tid
		c.version++
		c.down = batch.AppendPush(c.down[:0], batch.ToUser("user-4711"), 0,
			batch.Push{Payload: payload64, MsgID: msgID16, Ack: batch.AckRequired, Version: c.version})
		c.s.carryOut(relay.NoManager, c.down)
		c.up = wire.AppendAck(c.up[:0], tid)
		c.read(c.name, c.up)
	}},
	{"cast data", func(c *costs) { c.takeAgain(batch.OpData) }},
	{"cast push", func(c *costs) { c.takeAgain(batch.OpPush) }},
}

var msgID16 = []byte("0123456789abcdef")

// takeAgain has the shard carry one cast out once more: what a member costs, and not what reading the cast does.
func (c *costs) takeAgain(op batch.Op) {
	if c.cast == nil || c.cast.item.Op != op {
		b := batch.AppendDataTo(nil, batch.ToRoom("room"), 0, payload64)
		if op == batch.OpPush {
			b = batch.AppendPush(nil, batch.ToRoom("room"), 0, batch.Push{Payload: payload64})
		}
		it := batch.DownItems(b)
		item, _, _ := it.Next()
		c.cast = c.g.newCast(0, item).(*cast)
	}
	c.cast.left.Store(1)
	c.s.takeCast(c.cast)
}

// TestPushesDoNotAllocate: none of these steps does, once every buffer on the way is warm.
func TestPushesDoNotAllocate(t *testing.T) {
	for _, x := range steps {
		t.Run(x.name, func(t *testing.T) {
			c := newCosts(t)
			run := func() {
				for range 16 {
					x.step(c)
				}
				c.s.managers.flush(c.s)
			}
			for range 20 {
				c.turn(run)
			}
			c.on(func() {
				before := c.s.count.FramesOut[wire.KindPush] + c.s.count.FramesOut[wire.KindData]
				if n := testing.AllocsPerRun(5, run); n != 0 {
					t.Errorf("%v allocations for 16", n)
				}
				if n := c.s.count.FramesOut[wire.KindPush] + c.s.count.FramesOut[wire.KindData] - before; n != 6*16 {
					t.Errorf("%d frames went out, not %d", n, 6*16)
				}
				if c.s.windows.Len() != 0 || c.s.windows.Pushes() != 0 || c.s.orders.Held() != 0 {
					t.Errorf("%d windows are left, %d held", c.s.windows.Len(), c.s.orders.Held())
				}
			})
		})
	}
}

// BenchmarkPushes is the shard's share of one message: without the sockets, gRPC, and Redis.
func BenchmarkPushes(b *testing.B) {
	for _, x := range steps {
		b.Run(x.name, func(b *testing.B) {
			c := newCosts(b)
			b.ReportAllocs()
			for done := 0; done < b.N; {
				n := min(b.N-done, 256)
				c.on(func() {
					b.StartTimer()
					for range n {
						x.step(c)
					}
					c.s.managers.flush(c.s)
					b.StopTimer()
				})
				for waits := true; waits; { // until the client has taken it
					c.on(func() { waits = c.s.loop.Unsent(c.l.conn) > 0 })
				}
				done += n
			}
		})
	}
}

// BenchmarkCast is a cast to a thousand members without sockets, for each of them.
func BenchmarkCast(b *testing.B) {
	const members = 1000
	c := newBenchOf(b, 1, func(o *Options) {
		o.Config.Capacity, o.Slow, o.Keep = 2*members, DefaultSlow(), nil
		o.Slow.Data = "refuse"
	})
	c.on(func() {
		for range members {
			place, _, l, _ := c.s.links.Add()
			l.flags = welcomed | announced
			_, _ = c.s.rooms.Join([]byte("room"), place)
		}
		it := batch.DownItems(batch.AppendDataTo(nil, batch.ToRoom("room"), 0, payload64))
		item, _, _ := it.Next()
		b.ReportAllocs()
		for done := 0; done < b.N; done += members {
			c.s.takeCast(c.g.newCast(0, item).(*cast))
			for len(c.s.casting.walks) > 0 {
				c.s.runWalks()
			}
		}
	})
}

// BenchmarkPull brings links up from the log, for each message.
func BenchmarkPull(b *testing.B) {
	c := newCosts(b)
	for i := range 1000 {
		c.log.Store("user-4711", offline.Entry{MsgID: fmt.Append(nil, i), Payload: payload64})
	}
	b.ReportAllocs()
	for done := 0; done < b.N; done += 1000 {
		before := uint64(0)
		c.on(func() {
			before = c.s.count.Pulled
			c.l.order, _ = c.s.orders.End(c.l.order, nil)
			c.log.SetSynced("user-4711", "phone", 0)
			c.s.replay(c.name.place, c.name.uniq, c.l)
		})
		for n := uint64(0); n < 1000; {
			c.on(func() { n = c.s.count.Pulled - before })
		}
	}
}
