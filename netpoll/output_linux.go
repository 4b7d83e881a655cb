package netpoll

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mostIovecs bounds one writev. Output is at most HighWater and one more Write, in buffers of growing size: with the largest
// HighWater 12 of them, and a few for a Write beyond any buffer.
const mostIovecs = 16

// firstOutput is the least that is lent for output: several small messages of a turn then leave by a plain send, which costs the
// kernel less than a vector of buffers.
const firstOutput = 1 << 10

// lookBytes is how much is sent between two looks at what the peer has acknowledged.
const lookBytes = 8 << 10

// Write appends the parts, as one piece, to the output of c. They are copied and sent at the end of the turn, all output of
// c in one system call. Write refuses the whole piece, with false, when HighWater bytes are waiting which the kernel does not
// take, or when c is stale.
func (l *Loop) Write(c Conn, parts ...[]byte) bool {
	r := l.live(c)
	if r == nil {
		return false
	}
	if int(r.pending) >= l.group.cfg.HighWater && !l.makeRoom(c, r) {
		return false
	}
	l.appendOutput(c, r, parts)
	return true
}

// makeRoom sends within the turn what has gathered up to the mark. A connection that turns out to be broken stays until the
// turn's end: its owner, in the middle of a Write, is not told of a Closed.
func (l *Loop) makeRoom(c Conn, r *conn) bool {
	if r.flags&(blocked|held) == 0 {
		if e := l.sendSome(c, r); e != 0 {
			return false
		}
	}
	if l.live(c) == nil { // closed by Backlog
		return false
	}
	if int(r.pending) < l.group.cfg.HighWater {
		return true
	}
	l.stats.HighWater++
	l.handler.Backlog(c, int(r.pending))
	return false
}

func (l *Loop) appendOutput(c Conn, r *conn, parts [][]byte) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if total == 0 {
		return
	}
	left := total
	for _, p := range parts {
		for len(p) > 0 { // once, but for what is larger than any buffer
			b := l.outputRoom(r, min(left, maxBuffer))
			n := min(len(p), cap(b.data)-len(b.data))
			b.data = append(b.data, p[:n]...)
			p = p[n:]
			left -= n
		}
	}
	r.pending += uint32(total)
	l.note(c, r)
	if r.flags&(dirty|blocked|held) == 0 {
		r.flags |= dirty
		l.work.dirty = append(l.work.dirty, c.slot())
	}
}

// outputRoom returns the last buffer of the output if n more bytes fit into it, else a new one behind it: never is output
// copied a second time.
func (l *Loop) outputRoom(r *conn, n int) *buffer {
	if r.out == 0 {
		r.out = l.lend(max(n, firstOutput))
		r.outLast = r.out
		return l.at(r.out)
	}
	last := l.at(r.outLast)
	if len(last.data)+n <= cap(last.data) {
		return last
	}
	ref := l.lend(max(n, min(2*cap(last.data), l.group.cfg.HighWater)))
	l.at(r.outLast).next = ref // lend may have moved the table
	r.outLast = ref
	return l.at(ref)
}

func (l *Loop) dropOutput(r *conn) {
	l.giveBackFrom(r.out)
	r.out, r.outLast, r.pending = 0, 0, 0
}

// flushDirty sends the turn's output.
func (l *Loop) flushDirty() {
	for i := 0; i < len(l.work.dirty); i++ { // a Closed may write to others
		slot := l.work.dirty[i]
		r := &l.conns[slot]
		if r.flags&dirty == 0 {
			continue
		}
		if r.flags &^= dirty; r.flags&(blocked|held) == 0 {
			l.send(makeConn(slot, r.gen), r)
		}
	}
	l.work.dirty = l.work.dirty[:0]
}

// send gives the kernel the output of one connection, or ends it.
func (l *Loop) send(c Conn, r *conn) {
	if e := l.sendSome(c, r); e != 0 {
		l.lost(c, r, e)
	}
}

// sendSome gives the kernel what it takes of the output of c and returns why c is broken.
func (l *Loop) sendSome(c Conn, r *conn) syscall.Errno {
	if r.pending == 0 {
		l.sent(c, r) // Thin may have taken all away that the kernel refused
		return 0
	}
	if l.group.cfg.KernelBytes > 0 && l.overKernelBytes(r) {
		l.hold(c, r)
		return 0
	}
	n, e := l.sendBuffers(r)
	l.stats.Writes++
	if e != 0 && e != unix.EAGAIN {
		return e
	}
	if e == 0 {
		l.stats.WriteBytes += uint64(n)
		if r.written == r.acked {
			r.progress = millis(l.now) // as far as known nothing was outstanding: the clock of a stall starts now
		}
		r.written += uint32(n)
		l.note(c, r)
		l.dropSent(r, n)
	}
	l.sent(c, r)
	return 0
}

// sent changes what epoll watches when the kernel begins or ceases to refuse, and ends a closing connection.
func (l *Loop) sent(c Conn, r *conn) {
	switch {
	case r.pending != 0 && r.flags&blocked == 0:
		r.flags |= blocked
		l.stats.Blocked++
		l.arm(c, r)
		if r.flags&open != 0 {
			l.handler.Backlog(c, int(r.pending))
		}
	case r.pending == 0 && r.flags&closing != 0:
		l.endOutput(c, r)
	case r.pending == 0 && r.flags&blocked != 0:
		r.flags &^= blocked
		l.arm(c, r)
		l.handler.Backlog(c, 0)
	}
}

func (l *Loop) sendBuffers(r *conn) (int, syscall.Errno) {
	first := l.at(r.out)
	if first.next == 0 {
		return send(r.fd, first.data[first.off:])
	}
	iov := l.work.iov[:0]
	for ref := r.out; ref != 0 && len(iov) < mostIovecs; ref = l.at(ref).next {
		b := l.at(ref)
		iov = append(iov, iovec(b.data[b.off:]))
	}
	l.work.iov = iov
	return sendv(r.fd, iov)
}

// dropSent gives back the buffers whose n bytes are sent. Where a piece was cut in two, which only the bytes that go now can
// tell, the first buffer left remembers it.
func (l *Loop) dropSent(r *conn, n int) {
	torn := 0
	if n < int(r.pending) {
		torn = l.tear(r, n)
	}
	r.pending -= uint32(n)
	for n > 0 {
		b := l.at(r.out)
		left := len(b.data) - b.off
		if n < left {
			b.off += n
			break
		}
		n -= left
		ref := r.out
		r.out = b.next
		l.buffers.giveBack(ref)
	}
	if r.out == 0 {
		r.outLast = 0
		return
	}
	l.at(r.out).torn = uint32(torn)
}

// overKernelBytes looks at what the peer has acknowledged, once more than lookBytes may be outstanding. TCP_NOTSENT_LOWAT
// cannot bound it: the kernel tests that only when it needs a new buffer, and appends to a started one of up to 64 KiB
// (tcp_sendmsg_locked).
func (l *Loop) overKernelBytes(r *conn) bool {
	if r.written-r.acked <= lookBytes {
		return false
	}
	return l.outstanding(r) > l.group.cfg.KernelBytes
}

// outstanding asks the kernel how much is sent but not acknowledged.
func (l *Loop) outstanding(r *conn) int {
	if r.written == r.acked {
		return 0
	}
	n := outQueue(r.fd)
	if acked := r.written - uint32(n); acked != r.acked {
		r.acked = acked
		r.progress = millis(l.now)
	}
	return n
}

// hold puts the output of c off until time brings another look: no event tells when the peer acknowledges.
func (l *Loop) hold(c Conn, r *conn) {
	l.stats.Held++
	if r.flags&held != 0 {
		return
	}
	r.flags |= held
	if r.flags&(blocked|closing) != 0 {
		r.flags &^= blocked
		l.arm(c, r) // EPOLLOUT, and input that nobody reads, would come all the time
	}
	if len(l.work.held) == 0 {
		l.work.heldAt = l.now + retryHeld
	}
	l.work.held = append(l.work.held, c)
	if r.flags&open != 0 {
		l.handler.Backlog(c, int(r.pending))
	}
}

func (l *Loop) sendHeld() {
	list := l.work.held
	l.work.held, l.work.spare = l.work.spare, nil
	for _, c := range list {
		r := l.find(c)
		if r == nil || r.flags&held == 0 {
			continue
		}
		r.flags &^= held
		if l.send(c, r); r.gen == c.gen() && r.flags&(held|blocked|open) == open && r.pending == 0 {
			l.handler.Backlog(c, 0)
		}
	}
	l.work.spare = list[:0]
}

// Unsent returns the bytes written to c that the kernel has not taken yet.
func (l *Loop) Unsent(c Conn) int {
	if r := l.known(c); r != nil {
		return int(r.pending)
	}
	return 0
}

// Outstanding returns the bytes that the kernel took and the peer has not acknowledged, at the price of a system call where
// any can be.
func (l *Loop) Outstanding(c Conn) int {
	if r := l.known(c); r != nil {
		return l.outstanding(r)
	}
	return 0
}

// Stalled returns for how long output of c has been waiting, here or in the kernel, without any progress; 0 when none waits.
// It costs a system call when output was sent since the last look.
func (l *Loop) Stalled(c Conn) time.Duration {
	r := l.live(c)
	if r == nil {
		return 0
	}
	if l.outstanding(r) == 0 { // what waits here, if anything, goes out this turn or the next
		return 0
	}
	return time.Duration(millis(l.now)-r.progress) * time.Millisecond
}

func millis(t time.Duration) uint32 { return uint32(t / time.Millisecond) }
