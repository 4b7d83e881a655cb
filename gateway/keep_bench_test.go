package gateway

import (
	"fmt"
	"testing"
	"time"

	"edged/handover"
	"edged/registry"
)

// BenchmarkRevive is what a crash costs the next process, for each link beside its connection: reading what was written down, loading
// it, and writing all of it anew.
func BenchmarkRevive(b *testing.B) {
	const links = 100_000
	c := newBenchOf(b, 1, func(o *Options) { o.Files, o.Config.Capacity = 2*links, links+10 })
	_, name := c.dial()
	c.on(func() {
		c.port.commit = nil
		s, k := c.s, c.s.keep
		from := s.links.Get(name.place, name.uniq)
		s.settle(name.place, name.uniq, from)
		for s.links.Len() < links {
			place, uniq, l, _ := s.links.Add()
			*l = link{conn: from.conn, flags: welcomed | bound | announced}
			l.session = s.sessions.Open(fmt.Append(nil, "192.0.2.1:7000:", place, ":", uniq), []byte("192.0.2.77:40000"), []byte("main"), 1)
			l.session, _ = s.sessions.Bind(l.session, fmt.Append(nil, "user", place), []byte("phone"))
			_, _ = s.rooms.Join(fmt.Append(nil, "room", place/100), place)
			k.mark(place, markCold)
		}
		k.endTurn(nil)
		fds := map[uint64]int{}
		s.links.Each(0, links, func(place, uniq uint32, _ *link) { fds[s.keyOf(place, uniq)] = int(place) })
		var read, load, write time.Duration
		for range b.N {
			began := time.Now()
			x := reviveShard(k.all.Memory, 0, fds)
			read += time.Since(began)
			y := c.freshShard()
			began = time.Now()
			if err := y.load(x.section, func(was int) int { return was }); err != nil || len(y.takeover.lost) > 0 {
				b.Fatal(err, len(y.takeover.lost))
			}
			load += time.Since(began)
			began = time.Now()
			for place := range uint32(links) { // its connection is another's, so that it counts as torn
				l, _ := y.links.At(place)
				l.conn = from.conn
			}
			y.keep.endTurn(nil)
			write += time.Since(began)
		}
		per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N*links) }
		b.ReportMetric(per(read), "read-ns/link")
		b.ReportMetric(per(load), "load-ns/link")
		b.ReportMetric(per(write), "write-ns/link")
		s.links.Each(0, links, func(place, uniq uint32, _ *link) {
			if place != name.place {
				s.links.Del(place, uniq)
			}
		})
	})
}

// freshShard is another one on the same loop, with memory of its own.
func (b *bench) freshShard() *shard {
	m, err := handover.NewMemory(b.g.kept.Memory.Geometry())
	if err != nil {
		b.Fatal(err)
	}
	b.memories = append(b.memories, m)
	layout := b.g.kept.layout
	before := b.g.kept
	b.g.kept = &kept{Keep: Keep{Memory: m}, layout: layout}
	b.g.kept.unwritten.Store(2)
	b.g.directory = registry.NewDirectory()
	x := newShard(b.g, b.s.loop, b.s.links.Cap())
	x.port, x.managers = b.port, newManagers(len(b.port.managers))
	b.g.kept = before
	return x
}
