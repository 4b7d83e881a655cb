package gateway

import (
	"time"

	"edged/batch"
	"edged/linkpool"
	"edged/wire"
)

// Shed sends a share of the links away, chosen at random, evenly over the time within: for rebalancing. The gateway goes on to
// accept, so clients should find another one first. A share over 1 counts as 1; one that is not over 0 ends what is under way.
// While the gateway drains it does nothing. It returns at once.
func (g *Gateway) Shed(share float64, within time.Duration) {
	g.life.Lock()
	defer g.life.Unlock()
	if g.draining.Load() || g.life.stopped {
		return
	}
	if share > 0 {
		g.log.Info("sending links away", "links", g.Links(), "share", share, "within", within)
	}
	for _, s := range g.shards {
		s.loop.Post(func() { s.startShed(share, within) })
	}
}

// shed is links of a shard that are sent away one after the other. Those that end by themselves meanwhile keep their turn, so
// that the pace stays even.
type shed struct {
	active  bool
	started linkpool.Millis
	within  time.Duration
	names   []linkName // in the order in which they go; none any more when all are gone
	total   int        // there were
	gone    int        // of them
}

// startShed chooses the links, on the shard's thread.
func (s *shard) startShed(share float64, within time.Duration) {
	s.shed = shed{}
	if !(share > 0) || s.g.draining.Load() {
		return
	}
	all := make([]linkName, 0, s.links.Len())
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, _ *link) { all = append(all, linkName{place, uniq}) })
	want := float64(len(all)) * min(share, 1)
	n := int(want)
	if s.random.Float64() < want-float64(n) { // so that the shares of small shards add up
		n++
	}
	for i := range n {
		j := i + s.random.IntN(len(all)-i)
		all[i], all[j] = all[j], all[i]
	}
	s.shed = shed{active: n > 0, started: s.now(), within: within, names: all[:n:n], total: n}
}

// shedSome sends as many links away as the time that has passed asks for.
func (s *shard) shedSome() {
	d := &s.shed
	if !d.active {
		return
	}
	for goal := paced(d.total, s.now().Sub(d.started), d.within); d.gone < goal; d.gone++ {
		n := d.names[d.gone]
		if l := s.links.Get(n.place, n.uniq); l != nil {
			s.end(n.place, n.uniq, l, ending{reason: wire.ByeDraining, side: batch.SideGateway, evidence: "sent away to rebalance", retry: s.retryAfter()})
		}
	}
	if d.gone == d.total {
		d.active, d.names = false, nil
	}
}

// paced is how many of n links are to be gone after a time.
func paced(n int, passed, within time.Duration) int {
	if passed >= within {
		return n
	}
	return min(n, int(int64(n)*(passed+drainTick).Milliseconds()/max(within.Milliseconds(), 1)))
}

// appendState appends it: begun (u32), within (u64, ns), how many are gone (u32), and all names: place (u32), uniq (u32).
func (d *shed) appendState(b []byte) []byte { return d.appendNames(d.appendHead(b)) }

func (d *shed) appendHead(b []byte) []byte {
	return u32(u64(u32(b, uint32(d.started)), uint64(d.within)), uint32(d.gone))
}

func (d *shed) appendNames(b []byte) []byte {
	for _, n := range d.names {
		b = u32(u32(b, n.place), n.uniq)
	}
	return b
}

func (d *shed) load(in *input) {
	*d = shed{active: true, started: linkpool.Millis(in.u32()), within: time.Duration(in.u64()), gone: int(in.u32())}
	for len(in.rest) > 0 && !in.bad {
		d.names = append(d.names, linkName{in.u32(), in.u32()})
	}
	d.total = len(d.names)
	if in.bad = in.bad || d.within < 0 || d.within > maxTimeout || d.gone > len(d.names); in.bad {
		*d = shed{}
	}
}

// DrainProgress is how far the gateway has come in sending links away. The zero one is that of a gateway which does not.
type DrainProgress struct {
	Shedding bool      // only a share of the links, chosen before, and new ones are taken
	Total    int       // links that were there, or were chosen, at the begin
	Left     int       // of them
	Until    time.Time // when the last one is to go

	active bool
}

// leaving is a shard's part of it.
func (s *shard) leaving() DrainProgress {
	until := func(started linkpool.Millis, within time.Duration) time.Time {
		return time.Now().Add(within - s.now().Sub(started)).Truncate(time.Millisecond)
	}
	if d := &s.drain; s.g.draining.Load() {
		return DrainProgress{Total: d.links, Left: s.links.Len(), Until: until(d.started, d.within), active: true}
	}
	d := &s.shed
	if d.total == 0 {
		return DrainProgress{}
	}
	return DrainProgress{Shedding: true, Total: d.total, Left: d.total - d.gone, Until: until(d.started, d.within), active: d.active}
}

// drainProgress adds the shards' parts up. A shard that is through counts until all are.
func drainProgress(parts []DrainProgress) (sum DrainProgress) {
	for _, p := range parts {
		sum.active = sum.active || p.active
		sum.Shedding = sum.Shedding || p.Shedding
		sum.Total += p.Total
		sum.Left += p.Left
		if p.Until.After(sum.Until) {
			sum.Until = p.Until
		}
	}
	if !sum.active {
		return DrainProgress{}
	}
	return sum
}
