package netpoll

import (
	"io"

	"golang.org/x/sys/unix"
)

// read lends the handler what one recv brings, behind what it left unused before.
func (l *Loop) read(c Conn, r *conn) {
	head := l.group.cfg.ReadBuffer
	n, e := recv(r.fd, l.hot[head:head+l.budget])
	l.stats.Reads++
	switch {
	case e == unix.EAGAIN:
		return
	case e != 0:
		l.lost(c, r, e)
		return
	case n == 0:
		if r.pending != 0 {
			l.leave(c, r, io.EOF) // it may have ended its side alone
		} else {
			l.lost(c, r, io.EOF)
		}
		return
	}
	l.stats.ReadBytes += uint64(n)
	r.read += uint32(n)
	l.note(c, r)
	if r.in == 0 {
		in := l.hot[head : head+n]
		if used := l.handler.Read(c, in); used < n {
			l.keepInput(c, in[used:], 0)
		}
		return
	}
	l.readBehind(c, r, l.hot[head:head+n])
}

// readBehind joins kept input with what came now. The shorter of the two is copied, so that a frame which comes byte by byte
// does not cost its square.
func (l *Loop) readBehind(c Conn, r *conn, fresh []byte) {
	kept := r.in
	r.in = 0 // the handler may close c while it reads the buffer
	b := l.at(kept)
	in := b.data
	if len(in) <= len(fresh) {
		head := l.group.cfg.ReadBuffer
		in = l.hot[head-len(in) : head+len(fresh)]
		copy(in, b.data)
	} else {
		if len(in)+len(fresh) > cap(in) {
			kept = l.grow(kept, len(in)+len(fresh))
			b = l.at(kept)
		}
		b.data = append(b.data, fresh...)
		in = b.data
	}
	used := l.handler.Read(c, in)
	l.keepInput(c, in[used:], kept)
}

// keepInput stores what the handler left, in the buffer kept if there is one: in may lie in it.
func (l *Loop) keepInput(c Conn, in []byte, kept bufRef) {
	r := l.live(c)
	if r == nil || len(in) == 0 {
		if kept != 0 {
			l.buffers.giveBack(kept)
		}
		return
	}
	if len(in) > l.group.cfg.MaxInput {
		if kept != 0 {
			l.buffers.giveBack(kept)
		}
		l.lost(c, r, ErrInputFull)
		return
	}
	if kept == 0 || cap(l.at(kept).data) < len(in) {
		fresh := l.lend(len(in))
		l.at(fresh).data = append(l.at(fresh).data, in...)
		if kept != 0 {
			l.buffers.giveBack(kept)
		}
		kept = fresh
	} else {
		b := l.at(kept)
		b.data = b.data[:copy(b.data[:cap(b.data)], in)]
	}
	r.in = kept
}

// grow moves a buffer's bytes to one with room for n.
func (l *Loop) grow(ref bufRef, n int) bufRef {
	larger := l.lend(n)
	l.at(larger).data = append(l.at(larger).data, l.at(ref).data...)
	l.buffers.giveBack(ref)
	return larger
}

// readResumed lends kept input of resumed connections again. It comes before the events of the turn: one of them may be the
// end of such a connection.
func (l *Loop) readResumed() {
	list := l.work.resumed
	l.work.resumed, l.work.spare = l.work.spare, nil
	for _, c := range list {
		r := l.live(c)
		if r == nil {
			continue
		}
		r.flags &^= resumed
		if r.in == 0 || r.flags&paused != 0 {
			continue
		}
		l.note(c, r)
		kept := r.in
		r.in = 0
		in := l.at(kept).data
		used := l.handler.Read(c, in)
		l.keepInput(c, in[used:], kept)
	}
	l.work.spare = list[:0]
}

// Pause stops reading from c: the peer will find its window full.
func (l *Loop) Pause(c Conn) {
	if r := l.live(c); r != nil && r.flags&paused == 0 {
		r.flags |= paused
		l.note(c, r)
		l.arm(c, r)
	}
}

// Resume reads from c again. Input that was left unused while paused is lent again in the next turn.
func (l *Loop) Resume(c Conn) {
	r := l.live(c)
	if r == nil || r.flags&paused == 0 {
		return
	}
	r.flags &^= paused
	l.note(c, r)
	l.arm(c, r)
	if r.flags&resumed == 0 {
		r.flags |= resumed
		l.work.resumed = append(l.work.resumed, c)
	}
}

// discardInput reads on a lingering connection until its peer ends it; one that goes on and on is cut off.
func (l *Loop) discardInput(c Conn, r *conn) {
	const mostKiB = 1 << 10
	n, e := recv(r.fd, l.hot[:l.group.cfg.ReadBuffer])
	if e == unix.EAGAIN {
		return
	}
	r.discard += uint16(n>>10) + 1
	if e != 0 || n == 0 || r.discard > mostKiB {
		l.release(c, r.discard > mostKiB)
	}
}
