package gateway

import (
	"fmt"
	"testing"

	"edged/netpoll"
	"edged/wire"
)

// newKeptCosts is newCosts for a shard that is kept.
func newKeptCosts(t testing.TB) *costs {
	c := newCostsOf(t, func(*Options) {})
	c.on(func() { c.port.commit = nil }) // nobody looks
	return c
}

// endTurn does what the loop does at the end of a turn in which the link was read from or written to.
func (c *costs) endTurn(touched []netpoll.Conn) { c.s.keep.endTurn(touched) }

// TestTurnsThatAreKeptDoNotAllocate: no step does, with the end of its turn. What is sent is not taken by the kernel meanwhile, so
// that some of the records have output behind them.
func TestTurnsThatAreKeptDoNotAllocate(t *testing.T) {
	for _, x := range steps {
		t.Run(x.name, func(t *testing.T) {
			c := newKeptCosts(t)
			touched := []netpoll.Conn{0}
			run := func() {
				touched[0] = c.l.conn
				for range 4 {
					for range 4 {
						x.step(c)
					}
					c.endTurn(touched)
				}
			}
			for range 20 {
				c.turn(func() {
					for range 8 {
						run()
					}
				})
			}
			c.on(func() {
				before := c.s.keep.stats
				if n := testing.AllocsPerRun(5, run); n != 0 {
					t.Errorf("%v allocations for 16", n)
				}
				if st := c.s.keep.state(); st.Turns != before.Turns+6*4 || st.Links != 1 || st.FreeBlocks == 0 {
					t.Errorf("%+v, before %+v", st, before)
				}
			})
		})
	}
}

// BenchmarkKeepUp is a message of a client in a turn of its own, and what of that is written down for a crash.
func BenchmarkKeepUp(b *testing.B) {
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprintf("kept=%v", kept), func(b *testing.B) {
			c := newCosts(b)
			if kept {
				c = newKeptCosts(b)
			}
			b.ReportAllocs()
			c.on(func() {
				touched := []netpoll.Conn{c.l.conn}
				c.up = wire.Append(c.up[:0], wire.KindData, payload64)
				for range b.N {
					c.s.Read(c.l.conn, c.up)
					c.s.managers.flush(c.s)
					if kept {
						c.endTurn(touched)
					}
				}
			})
		})
	}
}

// BenchmarkKeepWrite is a record alone, of links that take turns: the memory of most is in no cache.
func BenchmarkKeepWrite(b *testing.B) {
	const links = 1 << 15
	for _, x := range []struct {
		name string
		bits mark
	}{{"hot", 0}, {"all", markCold}} {
		b.Run(x.name, func(b *testing.B) {
			c := newBenchOf(b, 1, func(o *Options) { o.Files, o.Config.Capacity = 2*links, links })
			c.port.commit = nil
			_, name := c.dial()
			c.on(func() {
				c.port.commit = nil
				from, k := c.s.links.Get(name.place, name.uniq), c.s.keep
				c.s.settle(name.place, name.uniq, from)
				for c.s.links.Len() < links {
					place, uniq, l, ok := c.s.links.Add()
					if !ok {
						b.Fatal("no place")
					}
					*l = link{conn: from.conn, flags: welcomed}
					l.session = c.s.sessions.Open([]byte("link"), []byte("127.0.0.1:1"), []byte("main"), 1)
					k.mark(place, markCold)
					_ = uniq
				}
				k.endTurn(nil)
				b.ReportAllocs()
				b.ResetTimer()
				for n := range b.N {
					k.mark(uint32(n*7919%links), x.bits)
					k.endTurn(nil)
				}
				b.StopTimer()
				c.s.links.Each(0, links, func(place, uniq uint32, l *link) { // nobody may look at them
					if place != name.place {
						c.s.links.Del(place, uniq)
					}
				})
			})
		})
	}
}
