package netpoll

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// settleTime is how long after a change of the program connections may still come that were chosen before it: those in the
// middle of their handshake, and those that wait to be accepted.
const settleTime = 3 * time.Second

// steering is what a group knows of its connections' ways.
type steering struct {
	settle   time.Duration // static
	busyPoll bool          // every loop's epoll does; static after New

	mu      sync.Mutex
	queues  SteerMap  // guarded by mu
	cpus    []int     // of the routes; guarded by mu
	routes  *routes   // guarded by mu
	sources []*source // guarded by mu
}

// steers says whether there is anything to choose.
func (g *Group) steers() bool { return g.cfg.Steer != SteerOff && g.cfg.Loops > 1 }

// route finds the loops of queues and CPUs as they are now, and has every listener steered anew.
func (g *Group) route(since time.Duration) {
	s := &g.steer
	s.mu.Lock()
	s.cpus = g.pinned()
	s.routes = newRoutes(s.cpus, s.queues.Queues)
	routes, base, sources := s.routes, s.queues.Base, slices.Clone(s.sources)
	s.mu.Unlock()
	for _, source := range sources {
		g.begin(source, routes, base, since)
	}
}

// take puts a map in the place of the present one and says whether it is another.
func (s *steering) take(queues SteerMap) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.queues.Base == queues.Base && slices.Equal(s.queues.Queues, queues.Queues)
	s.queues = SteerMap{Queues: slices.Clone(queues.Queues), Base: queues.Base}
	return !same
}

// outdated says whether the routes are for other CPUs than the loops turned out to be pinned to.
func (s *steering) outdated(cpus []int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.Equal(s.cpus, cpus)
}

// begin steers a listener by the best way that can be had.
func (g *Group) begin(s *source, r *routes, base int, since time.Duration) {
	from := rung{handOver: s.single}
	switch {
	case g.steers() && s.tcp:
		from.mode, from.base = g.cfg.Steer, base
	case g.steers():
		from.mode = SteerHash
	case !s.single:
		s.leave()
		return
	}
	s.steer(r, from, "", since)
	g.tellSteered(s)
}

// join adds a listener and steers it. Connections accepted before since are not judged.
func (g *Group) join(s *source, since time.Duration) {
	t := &g.steer
	t.mu.Lock()
	t.sources = append(slices.DeleteFunc(t.sources, func(s *source) bool { return !s.isOpen() }), s)
	routes, base := t.routes, t.queues.Base
	t.mu.Unlock()
	g.begin(s, routes, base, since)
}

// tellSteered reports what is not as asked for.
func (g *Group) tellSteered(s *source) {
	if l, open := s.state(); open && g.cfg.Steered != nil && s.tcp && g.steers() {
		g.cfg.Steered(l)
	}
}

// Resteer pins the loops to other CPUs and steers new connections by another map: after a change of queues, of interrupts or
// of CPUs. What was given up for the old map is tried again; without a change it does nothing. cpus is as Config.CPUs, empty sets
// the loops free. It returns which loops it could not pin, ErrStopped, or what is wrong with its arguments; only for the latter
// nothing is changed. It waits for the loops and so is not for their threads.
func (g *Group) Resteer(cpus []int, queues SteerMap) error {
	if err := errors.Join(checkCPUs(cpus, g.cfg.Loops), queues.check()); err != nil {
		return err
	}
	err := g.repin(cpus)
	if g.steer.take(queues) || g.steer.outdated(g.pinned()) {
		clock := newClock()
		g.route(clock.now() + g.steer.settle)
	}
	return err
}

// Steering returns what becomes of new connections. Any goroutine may call it.
func (g *Group) Steering() Steering {
	s := &g.steer
	s.mu.Lock()
	routes, sources := s.routes, slices.Clone(s.sources)
	s.mu.Unlock()
	out := Steering{Asked: g.cfg.Steer, Mode: g.cfg.Steer, BusyPoll: s.busyPoll}
	for _, source := range sources {
		if l, open := source.state(); open && source.tcp {
			out.Listeners = append(out.Listeners, l)
			if l.Mode < out.Mode {
				out.Mode, out.Why = l.Mode, l.Why
			}
		}
	}
	if g.cfg.Steer != SteerOff && !g.steers() {
		out.Mode, out.Why = SteerOff, "there is one loop"
	}
	sum, most := 0, 0
	for i, l := range g.loops {
		n := int(l.placed.conns.Load())
		sum, most = sum+n, max(most, n)
		out.Loops = append(out.Loops, LoopSteering{
			CPU: int(l.pinning.cpu.Load()), Queues: slices.Clone(routes.own[i]), Conns: n,
			Looked: l.placed.looked.Load(), Own: l.placed.own.Load(), Given: l.placed.given.Load(),
		})
	}
	if sum > 0 {
		out.Imbalance = float64(most*len(g.loops))/float64(sum) - 1
	}
	return out
}
