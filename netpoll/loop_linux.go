package netpoll

import (
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// acceptBatch bounds the connections taken from one listener in a turn, so that a storm of them does not starve those that
// are there.
const acceptBatch = 64

// retryPause is how long a listener without file descriptors, and output over KernelBytes, is left alone.
const (
	retryAccept = 100 * time.Millisecond
	retryHeld   = 20 * time.Millisecond
)

// Loop is one reactor. Methods are for its own thread, that is for its Handler, but for Wake, Post and Number.
type Loop struct {
	// Static after construction.
	number  int
	group   *Group
	handler Handler

	// Owned by the loop's thread.
	waiter
	slots
	buffers
	clock
	stats   Stats
	now     time.Duration
	hot     []byte // room for kept input of ReadBuffer bytes, then for as many that are read
	budget  int    // bytes to read from one connection in a turn
	work    work
	accepts accepting
	pinning pinning
	found   int // events of the last wait
	sight   sight
	coalescing

	freezing *freeze // it is to stand still, or does

	// Shared.
	thread   int         // of the kernel; known once the group is ready
	sleeping atomic.Bool // the loop waits, or is about to look for work a last time: ring the bell
	bell     bell
	inbox    inbox
	placed   placed
	visits   chan func() (turn bool) // work for the thread of a loop that stands still
	watching watching
}

// work lists the connections that the loop must come back to without an event. Owned by the loop.
type work struct {
	dirty    []uint32 // output to send at the end of this turn
	resumed  []Conn   // input kept while paused, to be lent again
	held     []Conn   // output put off by KernelBytes
	spare    []Conn   // room for the next resumed or held
	heldAt   time.Duration
	wait     time.Duration // what the last Turn asked for
	linger   []lingerer    // in the order of their ends
	noted    []Conn        // for Config.Note
	lingerAt int           // first one still there
	iov      []unix.Iovec
	head     [seenHead]byte // of a piece that lies over several buffers
}

type lingerer struct {
	c   Conn
	end time.Duration
}

func newLoop(g *Group, number int) (*Loop, error) {
	ep, err := unix.EpollCreate1(0)
	if err != nil {
		return nil, fmt.Errorf("netpoll: epoll_create1: %w", err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	if err != nil {
		closeFD(int32(ep), false)
		return nil, fmt.Errorf("netpoll: eventfd: %w", err)
	}
	if e := epollCtl(ep, unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLET, makeConn(wakeSlot, 0)); e != 0 {
		closeFD(int32(ep), false)
		closeFD(int32(fd), false)
		return nil, fmt.Errorf("netpoll: epoll_ctl: %w", e)
	}
	return makeLoop(g, number, ep, fd), nil
}

func makeLoop(g *Group, number, ep, bell int) *Loop {
	l := &Loop{number: number, group: g, visits: make(chan func() bool)}
	l.waiter.ep, l.bell.fd = ep, bell
	l.pinning.plan(-1)
	l.slots = newSlots(g.cfg.MaxConns)
	l.clock = newClock()
	l.now = l.clock.now()
	l.sight.until = l.now - time.Hour // none of what has come while nobody was there is seen
	l.hot = make([]byte, 2*g.cfg.ReadBuffer)
	l.budget = g.cfg.ReadBuffer
	return l
}

// run is the loop's thread, until the group stops.
func (l *Loop) run() {
	runtime.LockOSThread() // and never unlocked: a pinned thread is of no use to others
	l.thread = unix.Gettid()
	l.group.prepareThread(l.number)
	defer l.coalescing.end()
	l.waiter.raw = mayWaitRaw(l.group.cfg.Loops)
	l.group.ready.Done()
	if l.group.revived != nil {
		l.watchRestored()
	}
	for !l.group.stopping.Load() {
		l.turn()
		if l.freezing != nil && l.rest() {
			return
		}
	}
	l.shut()
}

// turn waits for events and handles one batch of them.
func (l *Loop) turn() {
	began := l.now
	n := l.sleep()
	l.sight.looked(began, n, len(l.events), l.stats.Conns)
	l.now, l.found = l.clock.now(), n
	l.stats.Wakeups++
	if n == 0 {
		l.stats.Empty++
	}
	l.stats.Events += uint64(n)
	l.look(l.now, l.stats.Wakeups, l.stats.Accepts)
	if len(l.work.resumed) != 0 {
		l.readResumed()
	}
	for i := range n {
		ev := &l.events[i]
		l.event(eventConn(ev), ev.Events)
	}
	if l.inbox.full.Load() {
		l.inbox.run()
	}
	l.work.wait = l.handler.Turn(l.now)
	l.flushDirty()
	l.expire()
	if l.group.cfg.Note != nil {
		l.tellNoted()
	}
}

// sleep waits until something happens or falls due. When there seems to be nothing to do the flag goes up before a last look
// for work, so that work which comes after that look rings the bell; a busy loop is never rung.
func (l *Loop) sleep() int {
	timeout := l.timeout()
	if timeout == 0 {
		return l.wait(0)
	}
	l.coalesce()
	l.sleeping.Store(true)
	n := l.wait(l.timeout())
	l.sleeping.Store(false)
	return n
}

func (l *Loop) timeout() time.Duration {
	w := &l.work
	if len(w.resumed) != 0 || len(w.dirty) != 0 || l.inbox.full.Load() || l.handler.Pending() || l.group.stopping.Load() {
		return 0
	}
	t := w.wait
	sooner := func(at time.Duration) {
		if d := max(at-l.now, 0); t < 0 || d < t {
			t = d
		}
	}
	if w.lingerAt < len(w.linger) {
		sooner(w.linger[w.lingerAt].end)
	}
	if len(w.held) != 0 {
		sooner(w.heldAt)
	}
	if l.accepts.paused {
		sooner(l.accepts.retryAt)
	}
	return t
}

// event handles what epoll said of one descriptor.
func (l *Loop) event(c Conn, events uint32) {
	if i := c.slot(); i >= listenSlot {
		switch {
		case i == wakeSlot:
		case i >= watchSlot:
			if l.group.cfg.Ready != nil { // one that a predecessor forgot
				l.group.cfg.Ready(l, int(i-watchSlot))
			}
		default:
			l.acceptFrom(int(i - listenSlot))
		}
		return
	}
	r := l.find(c)
	switch {
	case r == nil: // closed earlier in this batch
	case r.flags&connecting != 0:
		l.connected(c, r)
	case r.flags&lingering != 0:
		l.discardInput(c, r)
	default:
		if events&unix.EPOLLOUT != 0 {
			if l.send(c, r); r.gen != c.gen() {
				return
			}
		}
		if r.flags&paused != 0 && events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.lost(c, r, hangUp(r.fd))
		} else if r.flags&(open|paused) == open && events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.read(c, r)
		} else if r.flags&closing != 0 && events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.release(c, false)
		}
	}
}

// hangUp names the reason of an EPOLLHUP or EPOLLERR.
func hangUp(fd int32) error {
	if e := socketError(fd); e != 0 {
		return e
	}
	return io.EOF
}

// expire ends lingering that took too long and looks again at what was put off.
func (l *Loop) expire() {
	w := &l.work
	for w.lingerAt < len(w.linger) && w.linger[w.lingerAt].end <= l.now {
		c := w.linger[w.lingerAt].c
		w.lingerAt++
		if r := l.find(c); r != nil {
			l.release(c, r.flags&closing != 0) // output still left: no orphan for a peer that does not read
		}
	}
	if w.lingerAt == len(w.linger) {
		w.linger, w.lingerAt = w.linger[:0], 0
	} else if w.lingerAt > 1024 && w.lingerAt > len(w.linger)/2 {
		w.linger = w.linger[:copy(w.linger, w.linger[w.lingerAt:])]
		w.lingerAt = 0
	}
	if len(w.held) != 0 && w.heldAt <= l.now {
		l.sendHeld()
	}
	if l.accepts.paused && l.accepts.retryAt <= l.now {
		l.accepts.resume(l)
	}
}

// lost ends a connection of which the network has taken leave.
func (l *Loop) lost(c Conn, r *conn, why error) {
	l.tell(c, r, why)
	l.release(c, false)
}

// tell reports the end of c to the handler, unless that was done.
func (l *Loop) tell(c Conn, r *conn, why error) {
	if r.flags&(open|connecting) == 0 {
		return
	}
	r.flags = r.flags&^(open|connecting) | ended
	l.handler.Closed(c, why)
	r.flags &^= ended
}

// release frees the slot and closes its socket. The descriptor leaves the epoll by name and the stream is shut down first: a
// process that holds a duplicate would otherwise keep both alive.
func (l *Loop) release(c Conn, reset bool) {
	r := &l.conns[c.slot()]
	l.note(c, r)
	epollCtl(l.ep, unix.EPOLL_CTL_DEL, int(r.fd), 0, c)
	if !reset {
		shutdown(r.fd, unix.SHUT_RDWR)
	}
	closeFD(r.fd, reset)
	if r.in != 0 {
		l.buffers.giveBack(r.in)
	}
	l.dropOutput(r)
	if r.flags&(lingering|closing) != 0 {
		l.stats.Lingering--
	}
	l.stats.Conns--
	l.placed.conns.Store(int64(l.stats.Conns))
	l.slots.giveBack(c.slot())
	if l.accepts.paused {
		l.accepts.retryAt = l.now // a descriptor is free again
	}
}

// Close ends the connection in order: what was written, and behind it the last parts, which no mark refuses, are sent, our
// side of the stream is ended, and what the peer still sends is thrown away until it ends its side or Linger is over; an
// earlier close would reset the stream, and the peer might never see the last bytes. Closed(c, nil) is called before Close
// returns, and nothing of c afterwards. A Dial under way is given up.
func (l *Loop) Close(c Conn, last ...[]byte) {
	r := l.known(c)
	switch {
	case r == nil:
	case r.flags&connecting != 0:
		l.lost(c, r, nil)
	case r.flags&open != 0:
		l.appendOutput(c, r, last)
		l.leave(c, r, nil)
	}
}

// leave ends an open connection in order.
func (l *Loop) leave(c Conn, r *conn, why error) {
	r.flags = r.flags&^paused | closing
	l.note(c, r)
	if r.in != 0 {
		l.buffers.giveBack(r.in)
		r.in = 0
	}
	l.stats.Lingering++
	l.work.linger = append(l.work.linger, lingerer{c, l.now + l.group.cfg.Linger})
	l.tell(c, r, why)
	switch {
	case r.pending == 0:
		l.endOutput(c, r)
	case r.flags&(blocked|held) != 0:
		l.arm(c, r) // no longer for input; dirty output is sent, or armed for, at the end of this turn
	}
}

// endOutput shuts our side down, all being sent, and turns to waiting for the peer's end.
func (l *Loop) endOutput(c Conn, r *conn) {
	r.flags = r.flags&^(closing|blocked) | lingering
	l.note(c, r)
	shutdown(r.fd, unix.SHUT_WR)
	epollCtl(l.ep, unix.EPOLL_CTL_MOD, int(r.fd), unix.EPOLLIN, c)
}

// Abort ends the connection, or a Dial under way, at once: what is not sent is dropped and the peer is sent a reset.
// Closed(c, nil) is called before Abort returns.
func (l *Loop) Abort(c Conn) {
	if r := l.known(c); r != nil && r.flags&(open|connecting) != 0 {
		l.tell(c, r, nil)
		l.release(c, true)
	}
}

// connected finishes a Dial.
func (l *Loop) connected(c Conn, r *conn) {
	if e := socketError(r.fd); e != 0 {
		l.lost(c, r, e)
		return
	}
	r.flags = r.flags&^connecting | open
	epollCtl(l.ep, unix.EPOLL_CTL_MOD, int(r.fd), unix.EPOLLIN, c)
	l.handler.Opened(c, Dialled)
}

// arm tells epoll what c waits for.
func (l *Loop) arm(c Conn, r *conn) {
	epollCtl(l.ep, unix.EPOLL_CTL_MOD, int(r.fd), r.events(), c)
}

// Number returns the loop's place in its group.
func (l *Loop) Number() int { return l.number }

// Now returns CLOCK_MONOTONIC as it was when this turn began.
func (l *Loop) Now() time.Duration { return l.now }

// SeenUntil returns a time such that the handler was told of all that had come by then, but for input that Pause holds back. It lies
// behind Now by a turn, and by more where more comes than a turn takes: after the process stood still, say. Who ends connections for their silence measures it up to this time.
func (l *Loop) SeenUntil() time.Duration { return l.sight.until }

// SetTag stores a number of the handler's with c; Tag returns it, 0 for a stale c.
func (l *Loop) SetTag(c Conn, tag uint32) {
	if r := l.known(c); r != nil {
		r.tag = tag
	}
}

// Tag returns what SetTag or Dial stored.
func (l *Loop) Tag(c Conn) uint32 {
	if r := l.known(c); r != nil {
		return r.tag
	}
	return 0
}

// Remote returns the peer's address; the zero AddrPort for a unix socket or a stale c.
func (l *Loop) Remote(c Conn) netip.AddrPort {
	r := l.known(c)
	if r != nil && c == l.accepts.last {
		return addrPort(&l.accepts.peer)
	}
	var peer unix.RawSockaddrAny
	if r != nil {
		getPeer(r.fd, &peer)
	}
	return addrPort(&peer)
}

// SetReadBudget bounds what is read from one connection in a turn: 1 to Config.ReadBuffer bytes, 0 for the latter.
func (l *Loop) SetReadBudget(n int) {
	l.budget = l.group.cfg.ReadBuffer
	if n > 0 {
		l.budget = min(n, l.budget)
	}
}

// Stats returns the loop's counters.
func (l *Loop) Stats() Stats {
	s := l.stats
	s.BufferBytes = l.buffers.bytes
	s.Rings = l.bell.count()
	return s
}

// Trim drops the buffers that are kept for lending: for a time in which little is going on.
func (l *Loop) Trim() { l.buffers.trim() }

// Wake makes the loop take a turn soon. Any goroutine may call it; it costs a system call only when the loop sleeps.
func (l *Loop) Wake() {
	if l.sleeping.Load() && l.sleeping.CompareAndSwap(true, false) {
		l.bell.ring()
	}
}

// Post has f run on the loop's thread; false when the loop has stopped. For control, never per message. Any goroutine may
// call it.
func (l *Loop) Post(f func()) bool {
	if !l.inbox.put(f) {
		return false
	}
	l.Wake()
	return true
}

// shut ends every connection without telling the handler: its owner has stopped the group.
func (l *Loop) shut() {
	l.inbox.close()
	for i := range l.used {
		if r := &l.conns[i]; r.flags != 0 {
			l.release(makeConn(i, r.gen), false)
		}
	}
	l.accepts.close(l)
	l.watching.end(func() { closeFD(int32(l.ep), false) })
	l.bell.close()
}
