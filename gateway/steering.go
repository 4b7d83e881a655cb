package gateway

import (
	"runtime"

	"edged/netpoll"
)

// Queues are the receive queues that clients come by, and the CPUs that work on them. The zero Queues knows none.
type Queues struct {
	Map netpoll.SteerMap
	// CPUs are those of the queues in their order, each once: a reactor belongs on each. None: the queues are not known, or
	// there is but one, of which the kernel's hash makes the best.
	CPUs []int
}

// reactors is how many there are to be: by the configuration, or one for each queue's CPU, or one for each CPU.
func (q Queues) reactors(c Config) int {
	switch {
	case c.Reactors > 0:
		return c.Reactors
	case len(q.CPUs) > 1 && q.steer(c) == netpoll.SteerQueue:
		return min(len(q.CPUs), maxReactors)
	}
	return min(runtime.NumCPU(), maxReactors)
}

// steer is how new links find their reactors.
func (q Queues) steer(c Config) netpoll.Steer {
	s, _ := c.steer() // Validate has seen it
	if c.Steering == SteeringAuto && len(q.CPUs) < 2 || c.Steering == "" {
		return netpoll.SteerOff
	}
	return s
}

// steered is the map that links are steered by: none where they are not.
func (q Queues) steered(c Config) netpoll.SteerMap {
	if q.steer(c) < netpoll.SteerCPU {
		return netpoll.SteerMap{}
	}
	return q.Map
}

// cpus is which CPU each reactor is pinned to: that of its queue, or the next one where links are steered by CPU alone.
func (q Queues) cpus(c Config, reactors int) []int {
	s := q.steer(c)
	if s < netpoll.SteerCPU {
		return nil
	}
	on := q.CPUs
	if len(on) == 0 {
		for cpu := range runtime.NumCPU() {
			on = append(on, cpu)
		}
	}
	all := make([]int, reactors)
	for i := range all {
		all[i] = on[i%len(on)]
	}
	return all
}

// steered logs how a listener's links find their reactors.
func (g *Gateway) steered(l netpoll.ListenerSteering) {
	mode := l.Mode.String()
	why := l.Why
	log := g.log
	go func() { log.Info("links are steered", "listener", l.Source, "by", mode, "why", why) }() // it may be a reactor that tells
}

// Resteer follows a change of the queues.
func (g *Gateway) Resteer(q Queues) error {
	return g.group.Resteer(q.cpus(g.cfg, len(g.shards)), q.steered(g.cfg))
}

// Steering tells how new links find their reactors, and how many of them are on that of their queue.
func (g *Gateway) Steering() netpoll.Steering { return g.group.Steering() }
