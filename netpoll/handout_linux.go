package netpoll

import (
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// placed counts what this loop accepted. Written by the loop, read by anybody.
type placed struct {
	conns              atomic.Int64
	looked, own, given atomic.Uint64
}

// place opens an accepted connection, on the loop that is to have it.
func (l *Loop) place(fd int, from *source) {
	to := l
	if p := from.plan.Load(); p != nil {
		to = l.group.loops[l.choose(fd, from, p)]
	}
	if to == l {
		l.open(fd, from.number)
		return
	}
	l.placed.given.Add(1)
	if !to.Post(func() { to.takeOver(fd, from.number) }) {
		closeFD(int32(fd), false)
	}
}

// choose returns the loop for a connection that this loop has accepted: where the kernel did not choose, the one that its
// packets' queue or CPU belongs to, else this one; but where that one is too full, the emptiest.
func (l *Loop) choose(fd int, from *source, p *plan) int {
	to := l.number
	var home []int
	if p.handOver || l.looks(p) {
		napi, cpu := arrival(fd, p)
		home = p.routes.home(napi, cpu, p.mode == SteerCPU)
		switch {
		case p.handOver:
			to = l.group.oneOf(home)
		case p.mode > SteerHash && len(home) != 0 && l.now >= p.since:
			l.judge(from, p, napi, cpu, home)
		}
	}
	if p.mode != SteerOff {
		l.accepts.even.look(l.group.loops, l.now)
		to = l.accepts.even.pick(to)
	}
	if len(home) != 0 {
		l.placed.looked.Add(1)
		if slices.Contains(home, to) {
			l.placed.own.Add(1)
		}
	}
	return to
}

// looks says whether to look at the connection now accepted.
func (l *Loop) looks(p *plan) bool {
	l.accepts.seen++
	return l.accepts.seen%lookEvery == 0 || !p.proved.Load()
}

// arrival tells which queue and CPU the latest packet of a connection came by. Right after accept that is where all of them
// come by; later on it may be where the last one of a client that moved came by.
func arrival(fd int, p *plan) (napi uint32, cpu int) {
	if p.mode != SteerCPU && len(p.routes.napi) != 0 {
		if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID); err == nil {
			napi = uint32(v)
		}
	}
	cpu, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_INCOMING_CPU)
	if err != nil {
		cpu = -1
	}
	return napi, cpu
}

// judge counts what the program did with a connection that this loop was given.
func (l *Loop) judge(from *source, p *plan, napi uint32, cpu int, home []int) {
	missed := !slices.Contains(home, l.number)
	shifted := missed && p.mode == SteerQueue && p.routes.shifted(napi, cpu, l.number, 1-2*p.base)
	if from.look(p, missed, shifted, l.now+l.group.steer.settle) {
		l.group.tellSteered(from)
	}
}

// oneOf returns one of some loops, in turn, or of all where there are none.
func (g *Group) oneOf(loops []int) int {
	switch n := g.next.Add(1); len(loops) {
	case 0:
		return int(n) % len(g.loops)
	case 1:
		return loops[0]
	default:
		return loops[int(n)%len(loops)]
	}
}

// even keeps the loops' numbers of connections near each other: a loop that has over a fifth and evenSlack more than the
// mean gets no new connections; they go to the loop that has the fewest. What is open stays where it is. Owned by a loop.
type even struct {
	conns []int // of each loop as last looked, and what was given to it since
	sum   int
	until time.Duration // old enough to look again
}

const (
	evenShare = 5 // part of the mean that a loop may have more
	// evenSlack is how many connections it may have more in any case. Up to 1,280 a loop, a fifth is often chance (an even hash puts
	// n ± √n on each), or a moment's: of a burst, one loop has accepted its part and another has not yet.
	evenSlack = 256
	evenAge   = time.Millisecond // while so old the numbers are good enough
)

// look counts the connections of all loops, unless that was done just now.
func (e *even) look(loops []*Loop, now time.Duration) {
	if now < e.until && len(e.conns) != 0 {
		return
	}
	e.until = now + evenAge
	e.conns, e.sum = e.conns[:0], 0
	for _, l := range loops {
		n := int(l.placed.conns.Load())
		e.conns = append(e.conns, n)
		e.sum += n
	}
}

// pick returns the loop for a connection that belongs to the loop to.
func (e *even) pick(to int) int {
	mean := e.sum / len(e.conns)
	if e.conns[to]-mean > max(mean/evenShare, evenSlack) {
		to = slices.Index(e.conns, slices.Min(e.conns))
	}
	e.conns[to]++
	e.sum++
	return to
}
