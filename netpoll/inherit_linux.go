package netpoll

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// legacy is what a group inherited, until Start.
type legacy struct {
	states  []inherited
	claim   func(fd int) error
	sources []*source
	dropped int
	doomed  []doomed // to be closed by Start
	first   error    // why the first one was dropped
}

// doomed is a connection that a loop inherits only to close it.
type doomed struct{ ep, fd int32 }

// lose counts what cannot be loaded.
func (h *legacy) lose(n, loop int, why error) {
	if h.dropped == 0 {
		h.first = fmt.Errorf("netpoll: loop %d: cannot go on with a connection or listener: %w", loop, why)
	}
	h.dropped += n
}

// newLegacy reads the heads of the states and refuses those that cannot be gone on with at all.
func newLegacy(in *Inheritance, cfg *Config) (*legacy, error) {
	if in.Version < OldestState || in.Version > StateVersion {
		return nil, fmt.Errorf("netpoll: version %d of a loop's state cannot be read", in.Version)
	}
	if len(in.Loops) != cfg.Loops {
		return nil, fmt.Errorf("netpoll: there are to be %d loops, and the connections of %d are to be gone on with", cfg.Loops, len(in.Loops))
	}
	h := &legacy{claim: in.Claim}
	if h.claim == nil {
		h.claim = func(int) error { return nil }
	}
	for i, b := range in.Loops {
		s, err := parseState(b)
		if err == nil && (int(s.number) != i || int(s.loops) != cfg.Loops) {
			err = fmt.Errorf("%w: it is that of loop %d of %d", errState, s.number, s.loops)
		}
		if err != nil {
			return nil, fmt.Errorf("loop %d: %w", i, err)
		}
		h.states = append(h.states, s)
	}
	return h, nil
}

// inheritLoop makes a loop of its state. The epoll is not touched.
func (g *Group) inheritLoop(number int) (*Loop, error) {
	h := g.legacy
	s := &h.states[number]
	ep, bell := int(int32(s.ep)), int(int32(s.bell))
	for _, x := range []struct {
		fd   int
		kind string
	}{{ep, "eventpoll"}, {bell, "eventfd"}} {
		err := h.claim(x.fd)
		if err == nil {
			err = isAnonymous(x.fd, x.kind)
		}
		if err != nil {
			return nil, fmt.Errorf("netpoll: loop %d: %w", number, err)
		}
	}
	l := makeLoop(g, number, ep, bell)
	l.accepts.off = true // until Start
	if err := l.loadSlots(s); err != nil {
		return nil, err
	}
	l.loadLingering(s)
	return l, nil
}

// isAnonymous proves what kind of file without a name a descriptor is.
func isAnonymous(fd int, kind string) error {
	to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if want := "anon_inode:[" + kind + "]"; err == nil && to != want {
		return fmt.Errorf("file %d is %q and no %s", fd, to, want)
	}
	return err
}

// loadSlots loads the connections and the free slots. One that is neither, since nothing was to be read of it, is never used
// again: its generation is not known.
func (l *Loop) loadSlots(s *inherited) error {
	l.used = uint32(min(int(s.used), len(l.conns)))
	rest := s.conns
	for n := range s.count {
		b, next, ok := nextRecord(rest)
		if !ok {
			l.group.legacy.lose(s.count-n, l.number, errState)
			break
		}
		rest = next
		r, err := parseRecord(b)
		if err == nil && r.slot >= s.used {
			err = fmt.Errorf("slot %d of %d", r.slot, s.used)
		}
		if err == nil && int(r.slot) >= len(l.conns) {
			return fmt.Errorf("netpoll: loop %d: connection %d is open, and there are to be %d", l.number, r.slot, len(l.conns))
		}
		if err := l.loadConn(&r, err); err != nil {
			l.group.legacy.lose(1, l.number, err)
		}
	}
	for b := s.free; len(b) != 0; b = b[freeBytes:] {
		l.loadFree(binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]))
	}
	l.placed.conns.Store(int64(l.stats.Conns))
	return nil
}

// loadConn gives a connection its slot, unless err says that it cannot be loaded.
func (l *Loop) loadConn(r *record, err error) error {
	h := l.group.legacy
	if err == nil && (l.conns[r.slot].flags != 0 || l.conns[r.slot].fd == -1) {
		return fmt.Errorf("slot %d is another one's", r.slot)
	}
	if err == nil || errors.Is(err, errDialled) {
		if e := h.claim(int(r.fd)); e != nil {
			err = e
		} else if err != nil {
			h.doomed = append(h.doomed, doomed{int32(l.ep), r.fd})
			err = nil
			r.flags = 0
		}
	}
	if err != nil || r.flags == 0 {
		if r.gen != 0 {
			l.loadFree(r.slot, r.gen+1)
		}
		return err
	}
	l.fill(r)
	l.conns[r.slot] = r.conn
	l.relist(makeConn(r.slot, r.gen), &l.conns[r.slot])
	l.stats.Conns++
	if r.flags&(closing|lingering) != 0 {
		l.stats.Lingering++
	}
	return nil
}

// relist puts a connection that was loaded into the lists that its flags speak of, and has sent what nothing else would send.
func (l *Loop) relist(c Conn, r *conn) {
	w := &l.work
	if r.flags&(blocked|held) == 0 && (r.pending != 0 || r.flags&closing != 0) {
		r.flags |= dirty
	}
	if r.flags&dirty != 0 {
		w.dirty = append(w.dirty, c.slot())
	}
	if r.flags&resumed != 0 {
		w.resumed = append(w.resumed, c)
	}
	if r.flags&held != 0 {
		w.held = append(w.held, c)
		w.heldAt = l.now
	}
}

// loadFree makes a slot free that is nobody's yet.
func (l *Loop) loadFree(slot, gen uint32) {
	if slot >= l.used {
		return
	}
	if r := &l.conns[slot]; r.flags == 0 && r.fd != -1 {
		*r = conn{fd: -1, gen: gen}
		l.free = append(l.free, slot)
	}
}

// loadLingering brings back the order in which closed connections are cut off; none waits longer than it would if it were
// closed now.
func (l *Loop) loadLingering(s *inherited) {
	last := l.now + l.group.cfg.Linger
	known := map[Conn]bool{}
	add := func(c Conn, end time.Duration) {
		if r := l.find(c); r != nil && r.flags&(closing|lingering) != 0 && !known[c] {
			known[c] = true
			l.work.linger = append(l.work.linger, lingerer{c, end})
		}
	}
	for b := s.lingering; len(b) != 0; b = b[lingererBytes:] {
		c := makeConn(binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]))
		add(c, time.Duration(min(binary.LittleEndian.Uint64(b[8:]), uint64(last))))
	}
	if len(known) != l.stats.Lingering {
		for slot := range l.used {
			add(makeConn(slot, l.conns[slot].gen), last)
		}
	}
	slices.SortStableFunc(l.work.linger, func(a, b lingerer) int { return cmp.Compare(a.end, b.end) })
}

// inheritedSocket is a loop's socket of a listener.
type inheritedSocket struct {
	source, place int
	member
	passed bool
}

// inheritListeners makes the listeners of the loops' sockets. Nothing accepts before Start.
func (g *Group) inheritListeners() {
	var sockets []inheritedSocket
	for i, s := range g.legacy.states {
		g.sources = max(g.sources, int(s.sources))
		for b := s.listeners; len(b) != 0; b = b[listenerBytes:] {
			u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
			x := inheritedSocket{int(u32(4)), int(u32(8)), member{int(int32(u32(0))), i}, u32(12)&adopted != 0}
			if err := g.legacy.claimListener(x, int(s.sources)); err != nil {
				g.legacy.lose(1, i, err)
				continue
			}
			sockets = append(sockets, x)
		}
	}
	slices.SortStableFunc(sockets, func(a, b inheritedSocket) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.place, b.place))
	})
	for len(sockets) != 0 {
		n := 1
		for n < len(sockets) && sockets[n].source == sockets[0].source {
			n++
		}
		g.inheritListener(sockets[:n])
		sockets = sockets[n:]
	}
}

func (h *legacy) claimListener(x inheritedSocket, sources int) error {
	if x.source >= sources {
		return fmt.Errorf("listener %d of %d", x.source, sources)
	}
	if v, err := unix.GetsockoptInt(x.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
		return fmt.Errorf("file %d is no listening socket", x.fd)
	}
	return h.claim(x.fd)
}

// inheritListener makes a listener of its sockets, which are in the order of the kernel's group.
func (g *Group) inheritListener(sockets []inheritedSocket) {
	var fds []int
	for _, x := range sockets {
		fds = append(fds, x.fd)
	}
	tcp, err := sameAddress(fds)
	if err != nil {
		g.legacy.lose(len(fds), sockets[0].loop, err)
		return
	}
	s := g.newSource(sockets[0].source, fds, tcp, sockets[0].passed)
	s.program = program{}
	for _, x := range sockets {
		s.members = append(s.members, x.member)
		g.loops[x.loop].accepts.add(g.loops[x.loop], accepter{x.fd, s})
	}
	g.legacy.sources = append(g.legacy.sources, s)
}

// Listeners returns the listeners that were inherited and not forgotten, by their numbers.
func (g *Group) Listeners() (list []Listener) {
	if g.legacy == nil {
		return nil
	}
	for _, s := range g.legacy.sources {
		list = append(list, Listener{Source: s.number, Addr: s.address()})
	}
	return list
}

// Forget closes a listener that was inherited; before Start. What waits in its queue is refused when the process that it was
// inherited from has ended.
func (g *Group) Forget(number int) {
	if g.legacy == nil || g.started.Load() {
		return
	}
	g.legacy.sources = slices.DeleteFunc(g.legacy.sources, func(s *source) bool { return s.number == number })
	for _, l := range g.loops {
		l.accepts.fds = slices.DeleteFunc(l.accepts.fds, func(a accepter) bool {
			gone := a.source.number == number
			if gone {
				a.source.close(a.fd)
			}
			return gone
		})
	}
}

// Dropped returns how many connections and listeners could not be gone on with; Err names the first one.
func (g *Group) Dropped() int {
	switch {
	case g.legacy != nil:
		return g.legacy.dropped
	case g.revived != nil:
		return g.revived.dropped
	}
	return 0
}

// resume begins to use what was inherited. The loops do not run yet.
func (g *Group) resume() {
	for _, d := range g.legacy.doomed {
		epollCtl(int(d.ep), unix.EPOLL_CTL_DEL, int(d.fd), 0, 0)
		shutdown(d.fd, unix.SHUT_RDWR)
		closeFD(d.fd, false)
	}
	g.legacy.doomed = nil
	clock := newClock()
	since := clock.now() + g.steer.settle // who waits to be accepted was brought there by another program
	for _, s := range g.legacy.sources {
		for _, m := range s.members {
			if s.tcp {
				setTCPOptions(m.fd, g.cfg.UserTimeout)
			}
		}
		g.join(s, since)
	}
	for _, l := range g.loops {
		l.accepts.turnOn(l)
	}
	g.busyPoll()
}

// renounce ends a loop that was not started, and leaves all that it inherited to whom it was inherited from.
func (l *Loop) renounce() {
	l.inbox.close()
	for _, a := range l.accepts.fds {
		if !slices.Contains(l.group.legacy.sources, a.source) {
			a.source.close(a.fd)
		}
	}
	l.accepts.fds = nil
}

// Open says whether c is open. Of connections that were inherited a handler may ask as soon as it is made.
func (l *Loop) Open(c Conn) bool { return l.live(c) != nil }

// Flow returns how many bytes were read from c and given to the kernel for it since it was opened, modulo 2^32.
func (l *Loop) Flow(c Conn) (read, written uint32) {
	if r := l.known(c); r != nil {
		return r.read, r.written
	}
	return 0, 0
}

// Connections returns those that are open, with their tags. They may be closed meanwhile.
func (l *Loop) Connections() iter.Seq2[Conn, uint32] {
	return func(yield func(Conn, uint32) bool) {
		for slot := uint32(0); slot < l.used; slot++ {
			if r := &l.conns[slot]; r.flags&open != 0 && !yield(makeConn(slot, r.gen), r.tag) {
				return
			}
		}
	}
}
