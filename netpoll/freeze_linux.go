package netpoll

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errPaused is what Listen and Adopt return between Pause and Thaw.
var errPaused = errors.New("netpoll: no listener can be opened while the group is paused")

// freeze is one standstill of a group. Each loop arrives between two turns, and stays until thaw is closed.
type freeze struct {
	arrived chan struct{} // once by each loop, and again by one that was sent back to work
	thaw    chan struct{}
	abandon bool // the threads are to end; static once thaw is closed
}

// Pause stops accepting; what connects waits in the kernel's queue. When it returns nil, nothing is on its way from one loop
// to another either: until Thaw the group opens no descriptor but by Dial.
func (g *Group) Pause(ctx context.Context) error {
	if !g.started.Load() {
		return nil
	}
	g.paused.Store(true)
	for range 2 { // a connection that one loop hands to another is in its inbox by the end of the first round
		if err := g.each(ctx, func(l *Loop) { l.accepts.turnOff(l) }); err != nil {
			return err
		}
	}
	return nil
}

// each runs f on every loop's thread and waits for it.
func (g *Group) each(ctx context.Context, f func(l *Loop)) error {
	done := make(chan struct{}, len(g.loops))
	for _, l := range g.loops {
		if !l.Post(func() { f(l); done <- struct{}{} }) {
			return ErrStopped
		}
	}
	for range g.loops {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("netpoll: a loop does not answer: %w", ctx.Err())
		}
	}
	return nil
}

// Freeze has every loop stand still between two turns, when it has nothing to do: nothing is posted and its handler's Pending
// says no. Connections, what waits to be sent and what was left unused stay as they are, until Thaw. With an error some loops may
// stand still already; Thaw is due all the same.
func (g *Group) Freeze(ctx context.Context) error {
	if !g.started.Load() {
		return nil
	}
	if g.frozen != nil {
		return errors.New("netpoll: frozen already")
	}
	f := &freeze{arrived: make(chan struct{}, len(g.loops)), thaw: make(chan struct{})}
	g.frozen = f
	for _, l := range g.loops {
		if !l.Post(func() { l.freezing = f }) {
			return ErrStopped
		}
	}
	for waiting := len(g.loops); waiting != 0; {
		for range waiting {
			select {
			case <-f.arrived:
			case <-ctx.Done():
				return fmt.Errorf("netpoll: a loop does not come to rest: %w", ctx.Err())
			}
		}
		waiting = 0
		for _, l := range g.loops { // a loop that was still at work may have given some to one that was not
			if l.visit(func() bool { return l.busy() }) {
				waiting++
			}
		}
	}
	g.still = true
	return nil
}

// busy says whether the loop has work that no event brings.
func (l *Loop) busy() bool { return l.inbox.full.Load() || l.handler.Pending() }

// visit has a loop that stands still do something on its thread, after which it takes a turn if f says so.
func (l *Loop) visit(f func() (turn bool)) (turn bool) {
	done := make(chan bool)
	l.visits <- func() bool { turn := f(); done <- turn; return turn }
	return <-done
}

// rest is where a loop stands still, unless it has work left. With end the thread is to end and leave all as it is.
func (l *Loop) rest() (end bool) {
	f := l.freezing
	select {
	case <-f.thaw:
		l.freezing = nil
		return false
	default:
	}
	if l.busy() {
		return false
	}
	l.scatterAll()
	f.arrived <- struct{}{}
	for {
		select {
		case <-f.thaw:
			l.freezing = nil
			return f.abandon
		case visit := <-l.visits:
			if visit() {
				return false
			}
		}
	}
}

// Abandon ends the threads of a frozen group and leaves all that it has to the one that goes on with it, in a process that does
// not end when it has handed over. Nothing may be asked of the group afterwards but Stop, which has nothing left to do.
func (g *Group) Abandon() {
	if !g.still {
		return
	}
	g.stopping.Store(true)
	for _, l := range g.loops {
		l.inbox.refuse()
	}
	g.frozen.abandon = true
	close(g.frozen.thaw)
	g.frozen, g.still = nil, false
	g.paused.Store(false)
	g.done.Wait()
}

// Thaw lets the loops go on and accept, whether Freeze or Pause succeeded, failed or never was.
func (g *Group) Thaw() {
	if g.frozen != nil {
		close(g.frozen.thaw)
		g.frozen, g.still = nil, false
	}
	if g.paused.Swap(false) {
		for _, l := range g.loops {
			l.Post(func() { l.accepts.turnOn(l) })
		}
	}
}

// CheckFlows is for a frozen group whose successor may have begun to use the connections before it ended. It closes those for
// which check, given the bytes that were read and written here since they were accepted, returns an error; their handler is told
// that one. It has the epolls report again what the others wait for, and returns how many it closed. Unix sockets, which have no
// such counters, are not checked.
func (g *Group) CheckFlows(check func(fd int, read, written uint32) error) (torn int) {
	if !g.still {
		return 0
	}
	for _, l := range g.loops {
		l.visit(func() bool { torn += l.checkFlows(check); return false })
	}
	return torn
}

func (l *Loop) checkFlows(check func(fd int, read, written uint32) error) (torn int) {
	for slot := range l.used {
		r := &l.conns[slot]
		c := makeConn(slot, r.gen)
		switch {
		case r.flags&(open|closing) == 0:
			if r.flags&lingering != 0 {
				arm(l.ep, int(r.fd), unix.EPOLLIN, c)
			}
		case r.flags&dialled == 0 && isInternet(r.fd) && !l.flows(c, r, check):
			torn++
		default:
			if arm(l.ep, int(r.fd), 0, c) == 0 {
				l.arm(c, r)
			}
		}
	}
	return torn
}

// flows closes a connection with which check does not agree.
func (l *Loop) flows(c Conn, r *conn, check func(fd int, read, written uint32) error) bool {
	err := check(int(r.fd), r.read, r.written)
	if err != nil {
		l.lost(c, r, fmt.Errorf("netpoll: %w", err))
	}
	return err == nil
}

// AppendState appends what the loop has, for Config.Inherit of the group that goes on with it. The loop must stand still, by
// Freeze or because it was not started. Any goroutine may call it, for several loops at once; it changes nothing.
func (l *Loop) AppendState(b []byte, version uint16) []byte {
	if version != StateVersion {
		panic(fmt.Sprintf("netpoll: a state of version %d", version))
	}
	start := len(b)
	u32 := binary.LittleEndian.AppendUint32
	for _, v := range []int{l.number, len(l.group.loops), l.group.sources, l.ep, l.bell.fd, int(l.used), 0, len(l.free), 0, 0} {
		b = u32(b, uint32(v))
	}
	count := func(at, n int) { binary.LittleEndian.PutUint32(b[start+at:], uint32(n)) }
	n := 0
	for _, a := range l.accepts.fds {
		if place, passed, ok := a.source.placeOf(a.fd); ok {
			b = u32(u32(u32(u32(b, uint32(a.fd)), uint32(a.source.number)), uint32(place)), passed)
			n++
		}
	}
	count(24, n)
	for _, slot := range l.free {
		b = u32(u32(b, slot), l.conns[slot].gen)
	}
	n = 0
	for _, e := range l.work.linger[l.work.lingerAt:] {
		if r := l.find(e.c); r != nil {
			b = u32(u32(b, e.c.slot()), e.c.gen())
			b = binary.LittleEndian.AppendUint64(b, uint64(e.end))
			n++
		}
	}
	count(32, n)
	n = 0
	for slot := range l.used {
		if r := &l.conns[slot]; r.flags != 0 {
			b = l.appendRecord(b, slot, r)
			n++
		}
	}
	count(36, n)
	return b
}

// StateBytes returns how long the state would be now, about. The loop's thread only.
func (l *Loop) StateBytes() int {
	const conn = 4 + recordBytes
	return headBytes + listenerBytes*len(l.accepts.fds) + freeBytes*len(l.free) + lingererBytes*len(l.work.linger) +
		conn*l.stats.Conns + l.buffers.bytes - l.buffers.idle
}
