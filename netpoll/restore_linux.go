package netpoll

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// AppendConn appends the record of c, for Config.Restore: ConnBytes bytes and, if there are any, what waits in c to be read and to
// be sent. It appends nothing where c is stale, and for one of Dial. It changes nothing and costs no system call; Note is the
// place for it. What was written in the turn and not sent yet counts as waiting.
func (l *Loop) AppendConn(b []byte, c Conn) []byte {
	r := l.find(c)
	if r == nil || r.flags&dialled != 0 || r.flags&(open|closing|lingering) == 0 {
		return b
	}
	return l.buffers.appendConn(b, c.slot(), r, 0) // the descriptor has another number by then
}

// Torn returns how many connections of Config.Restore were closed because Check said so.
func (g *Group) Torn() int {
	if g.revived == nil {
		return 0
	}
	return g.revived.torn
}

// prepareRevival refuses what cannot be gone on with at all.
func (g *Group) prepareRevival() error {
	in := g.cfg.Restore
	g.cfg.Restore = nil
	switch {
	case g.legacy != nil:
		return errors.New("netpoll: a group inherits or restores, not both")
	case in.Version < OldestState || in.Version > StateVersion:
		return fmt.Errorf("netpoll: version %d of a connection's record cannot be read", in.Version)
	case len(in.Loops) != g.cfg.Loops:
		return fmt.Errorf("netpoll: there are to be %d loops, and the connections of %d are to be gone on with", g.cfg.Loops, len(in.Loops))
	}
	g.revived = &revived{from: in, doomed: slices.Clone(in.Strays)}
	return nil
}

// restore gives the loop those connections that can be gone on with.
func (l *Loop) restore(v *revived) {
	for _, k := range v.from.Loops[l.number] {
		r, err := parseRecord(k.Record)
		if err == nil {
			r.fd = int32(k.FD)
			err = l.revivable(&r, k.FD)
		}
		switch {
		case err != nil:
			v.lose(k.FD, l.number, err)
		case v.from.Check != nil && v.from.Check(k.FD, r.read, r.written) != nil:
			v.torn++
			v.doomed = append(v.doomed, k.FD)
			l.markFree(&r)
		default:
			l.revive(&r)
		}
	}
	l.fillFree()
	l.loadLingering(&inherited{})
	l.placed.conns.Store(int64(l.stats.Conns))
}

// revivable says why a record cannot be of this loop.
func (l *Loop) revivable(r *record, fd int) error {
	switch {
	case fd < 0 || r.flags&dialled != 0:
		return fmt.Errorf("file %d with flags %#x", fd, uint16(r.flags))
	case int(r.slot) >= len(l.conns):
		return fmt.Errorf("it is connection %d, and there are to be %d", r.slot, len(l.conns))
	case l.conns[r.slot].gen != 0:
		return errTwice
	}
	return nil
}

// revive gives a connection its slot.
func (l *Loop) revive(r *record) {
	l.fill(r)
	l.conns[r.slot] = r.conn
	l.used = max(l.used, r.slot+1)
	l.stats.Conns++
	if r.flags&(closing|lingering) != 0 {
		l.stats.Lingering++
	}
	l.relist(makeConn(r.slot, r.gen), &l.conns[r.slot])
}

// markFree keeps the name of a connection that is not gone on with stale.
func (l *Loop) markFree(r *record) {
	l.conns[r.slot] = conn{fd: -1, gen: r.gen + 1}
	l.used = max(l.used, r.slot+1)
}

// fillFree makes every slot free, up to the last one that is known, that is nobody's. The lowest ones are taken first.
func (l *Loop) fillFree() {
	for slot := int(l.used) - 1; slot >= 0; slot-- {
		if r := &l.conns[slot]; r.flags == 0 {
			r.fd = -1
			l.free = append(l.free, uint32(slot))
		}
	}
}

// watchRestored has the new epoll watch what was restored, on the loop's thread before its first turn.
func (l *Loop) watchRestored() {
	l.now = l.clock.now()
	for slot := range l.used {
		r := &l.conns[slot]
		if r.flags == 0 {
			continue
		}
		c := makeConn(slot, r.gen)
		setLowat(r.fd, 1) // it may have been gathering when the process was killed
		if e := epollCtl(l.ep, unix.EPOLL_CTL_ADD, int(r.fd), r.events(), c); e != 0 {
			l.lost(c, r, e)
		}
	}
}

// events is what an epoll is to report of a connection.
func (r *conn) events() (events uint32) {
	if r.flags&lingering != 0 || r.flags&(open|paused) == open {
		events |= unix.EPOLLIN
	}
	if r.flags&blocked != 0 {
		events |= unix.EPOLLOUT
	}
	return events
}

// setAside lets go of what was restored and not started, without a word to the peers: who held it open has it still.
func (l *Loop) setAside(closing bool) {
	for slot := range l.used {
		r := &l.conns[slot]
		if r.flags != 0 && closing {
			closeFD(r.fd, false)
		}
		r.flags = 0
	}
}

// undo leaves the descriptors to the caller of a New that fails.
func (v *revived) undo(loops []*Loop) {
	if v != nil {
		for _, l := range loops {
			l.setAside(false)
		}
	}
}

// endDoomed closes the connections that are not gone on with, when nothing can fail any more.
func (g *Group) endDoomed() {
	v := g.revived
	if v == nil {
		return
	}
	for _, fd := range v.doomed {
		shutdown(int32(fd), unix.SHUT_RDWR) // who held it open may do so for some time yet
		closeFD(int32(fd), false)
	}
	v.from, v.doomed = nil, nil
	if v.first != nil {
		g.report(v.first)
	}
}
