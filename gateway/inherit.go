package gateway

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"edged/batch"
	"edged/netpoll"
	"edged/registry"
	"edged/relay"
	"edged/wire"
)

// A gateway that has a predecessor is made like any other one, with these steps more:
//
//	readPast > agree: what cannot be changed > netpoll and relay go on with theirs > listeners: kept, closed or new
//	  > each shard loads its part > [Start] > takeOver, in each shard's first turn
//
// Until Start nothing is touched that the predecessor would need to go on.

// agree takes over who the predecessor was, refuses a configuration that its links could not live with, and returns how many
// reactors there are to be.
func (g *Gateway) agree(o *Options) (reactors int, err error) {
	reactors = o.Queues.reactors(o.Config)
	if o.Inherit == nil {
		return reactors, nil
	}
	p, err := readPast(o.Inherit)
	if err != nil {
		return 0, err
	}
	g.past = p
	if o.Config.Reactors != 0 && o.Config.Reactors != p.reactors {
		return 0, fmt.Errorf("[gateway] reactors is %d and was %d: links know their reactor; restart to change it", o.Config.Reactors, p.reactors)
	}
	for _, x := range []struct{ key, now, was string }{{"id", o.Config.ID, p.id}, {"advertise", o.Config.Advertise, p.advertise}} {
		if x.now != "" && x.now != x.was {
			return 0, fmt.Errorf("[gateway] %s is %q and was %q: Managers know the links by it; restart to change it", x.key, x.now, x.was)
		}
	}
	if reactors != p.reactors {
		g.log.Info("the number of reactors stays as it is until a restart", "reactors", p.reactors, "wanted", reactors)
	}
	g.epoch, g.id, g.advertise = p.epoch, p.id, p.advertise
	g.draining.Store(p.draining)
	g.malformed.Store(p.own.Malformed)
	g.before = before{p.streams, p.inlets}
	for name, fds := range p.passed {
		if _, ok := g.passed[name]; !ok && g.claimAll(fds) {
			if g.passed == nil {
				g.passed = map[string][]int{}
			}
			g.passed[name] = fds
		}
	}
	for i := range p.listeners {
		if err := g.succeedListener(&p.listeners[i]); err != nil {
			return 0, err
		}
	}
	return p.reactors, nil
}

func (g *Gateway) claimAll(fds []int) bool {
	ok := true
	for _, fd := range fds {
		ok = g.past.claim(fd) == nil && ok
	}
	return ok
}

// keepCapacity refuses less room than the links were promised.
func (g *Gateway) keepCapacity() error {
	if p := g.past; p != nil && g.capacity < p.capacity {
		return fmt.Errorf("[gateway] capacity is %d and was %d: there may be no place for a link; restart to change it", g.capacity, p.capacity)
	}
	return nil
}

// inheritedLoops is netpoll's part.
func (g *Gateway) inheritedLoops() *netpoll.Inheritance {
	if g.past == nil || g.past.revival != nil {
		return nil
	}
	in := &netpoll.Inheritance{Version: g.past.loops[0].Version, Claim: g.past.claim}
	for _, s := range g.past.loops {
		in.Loops = append(in.Loops, s.Bytes)
	}
	return in
}

// inheritedStreams is the relay's part.
func (g *Gateway) inheritedStreams() *relay.Inheritance {
	if g.past == nil {
		return nil
	}
	in := &relay.Inheritance{Version: g.past.relay.Version, State: g.past.relay.Bytes, Resumed: true}
	if g.past.revival != nil {
		in.Carried = g.past.revival.carried
	}
	return in
}

// inheritListeners finds the sockets of the configured listeners among those that were inherited, by their address, and closes
// the others. Links of a listener that is not configured any more live on under its name. A listener's socket that was found is
// in the result, by its place in the configuration.
func (g *Gateway) inheritListeners() map[int]int {
	p, kept := g.past, map[int]int{}
	if p == nil {
		return nil
	}
	var sources []uint8 // no number may be left out, but nobody asks for one that is closed
	for _, l := range g.group.Listeners() {
		at := -1
		if l.Source < len(p.sources) && int(p.sources[l.Source]) < len(p.listeners) {
			was := &p.listeners[p.sources[l.Source]]
			at = slices.IndexFunc(g.listeners[:len(g.addresses)], func(x Listener) bool { return x.Address == was.Address })
			if _, taken := kept[at]; taken || !was.configured {
				at = -1
			}
			if at >= 0 {
				g.addresses[at] = was.bound
			}
		}
		if at < 0 {
			g.group.Forget(l.Source)
			continue
		}
		kept[at] = l.Source
		sources = append(sources, make([]uint8, max(l.Source+1-len(sources), 0))...)
		sources[l.Source] = uint8(at)
	}
	g.sources.Store(&sources)
	return kept
}

// succeedListener gives a predecessor's listener its number here.
func (g *Gateway) succeedListener(l *pastListener) error {
	if l.Name == "" {
		return nil
	}
	l.now = slices.IndexFunc(g.listeners, func(x Listener) bool { return x.Name == l.Name })
	if l.now >= 0 {
		if l.now < len(g.addresses) && g.listeners[l.now].Address == l.Address && l.bound != "" {
			g.addresses[l.now] = l.bound // a port that the kernel chose stays, after a drain as well
		}
		return nil
	}
	if len(g.listeners) == maxListeners {
		return fmt.Errorf("[[listener]]: there are more than %d together with those that links came by before; restart to change them", maxListeners)
	}
	l.now = len(g.listeners)
	g.listeners = append(g.listeners, l.Listener)
	return nil
}

// load has the shards take over their links.
func (g *Gateway) load() error {
	p := g.past
	if p == nil {
		return nil
	}
	number := func(was int) int {
		if was >= len(p.listeners) {
			return -1
		}
		return p.listeners[was].now
	}
	errs := make([]error, len(g.shards))
	var wg sync.WaitGroup
	for i, s := range g.shards {
		wg.Go(func() { errs[i] = s.load(p.shards[i].Bytes, number) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errState, p.shards[i].Name, err)
		}
	}
	g.join()
	g.past = nil
	return nil
}

// join does what concerns all shards together.
func (g *Gateway) join() {
	outlived, lost := g.settleRivals(), 0
	g.past.casts.finishPast(len(g.shards))
	for _, s := range g.shards {
		g.links.Add(int64(s.links.Len()))
		outlived = append(outlived, s.takeover.outlived...)
		s.takeover.outlived = nil
		lost += len(s.takeover.lost)
	}
	for _, l := range outlived {
		s := g.shards[l.Shard]
		s.takeover.outlived = append(s.takeover.outlived, l)
	}
	for _, s := range g.shards {
		s.inheritItems()
	}
	g.inheritStrays()
	if g.syncs != nil {
		g.syncs.dropped.Store(g.past.own.SyncsDropped)
		for _, at := range g.past.points {
			g.syncs.add(registry.Name{User: at.User, Device: at.Device}, at.Version)
		}
	}
	if dropped := g.group.Dropped(); lost+dropped > 0 {
		g.log.Warn("not everything could be taken over", "links", lost, "connections", dropped, "err", errors.Join(g.group.Err()))
	}
}

// takeover is what a shard has to do in its first turn, or before.
type takeover struct {
	orphans   [][]byte        // what was held for Managers that are configured no more
	strangers bool            // some links have another Manager now
	lost      []linkName      // links that could not be loaded
	outlived  []registry.Link // links whose users' devices have newer ones
	replays   []linkName      // links that were being brought up from the log
	revived
}

// inheritItems gives what the predecessor held for Managers to the relay again, before anything new is said.
func (s *shard) inheritItems() {
	ms, t := &s.managers, s.takeover
	for i := range ms.list {
		ms.room(s, i)
	}
	var runs [][]byte
	for _, b := range s.g.relay.Orphans(s.number) {
		runs = append(runs, b.Items)
	}
	if runs = append(runs, t.orphans...); len(ms.list) > 0 {
		ms.reroute(s, nobody, runs, false)
	} else {
		for _, run := range runs {
			s.count.Dropped[DropOrphan] += uint64(countItems(run))
		}
	}
	for _, n := range t.lost {
		s.scratch = batch.AppendClosed(s.scratch[:0], s.name(n.place, n.uniq), nil, uint32(wire.ByeOverloaded), batch.SideGateway, "its state was damaged")
		for i := range ms.list { // whose it was is not known
			ms.must(s, i, s.scratch)
		}
	}
	for _, l := range t.bare {
		s.scratch = batch.AppendClosed(s.scratch[:0], s.name(l.place, l.uniq), nil, 0, batch.SideGateway, tornEvidence)
		if int(l.manager) < len(ms.list) {
			ms.must(s, int(l.manager), s.scratch)
		}
	}
	ms.walking = t.strangers
	t.orphans = nil
	ms.flush(s)
}

func countItems(run []byte) (n int) {
	for items := batch.UpItems(run); ; n++ {
		if _, _, ok := items.Next(); !ok {
			return n
		}
	}
}

// takeOver begins to use what was loaded.
func (s *shard) takeOver() {
	t := s.takeover
	s.endTorn(t)
	s.takeover = nil
	s.closeStrays()
	for _, l := range t.outlived {
		s.replaced(l)
	}
	s.resumeWaiting()
	for _, n := range t.replays {
		if l := s.links.Get(n.place, n.uniq); l != nil {
			s.replay(n.place, n.uniq, l)
		}
	}
	if s.g.offline != nil {
		s.missed() // what was published while nobody listened
	}
}

// closeStrays ends the connections of links that could not be loaded.
func (s *shard) closeStrays() {
	for c, place := range s.loop.Connections() {
		if place == noLink {
			continue
		}
		if l, _ := s.links.At(place); l != nil && l.conn == c {
			continue
		}
		s.loop.SetTag(c, noLink)
		s.count.FramesOut[wire.KindBye]++
		s.loop.Close(c, s.bye(wire.ByeOverloaded, s.retryAfter(), ""))
	}
}
