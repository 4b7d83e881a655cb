package netpoll

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TakeOver opens a connection of a socket that the test has made, on the loop's thread.
func (l *Loop) TakeOver(fd int) { l.takeOver(fd, 0) }

// Output is the output of one connection on a loop that does not run: a test takes from it as a kernel would, or lets it
// send to a socket that takes all.
type Output struct {
	*Loop
	Conn Conn
}

// NewOutput returns an output to fd; below zero to none, so that nothing but Take and Sent empties it.
func NewOutput(cfg Config, fd int) *Output {
	if err := cfg.setDefaults(); err != nil {
		panic(err)
	}
	l := &Loop{group: &Group{cfg: cfg}}
	l.slots = newSlots(1)
	slot, _ := l.take(fd)
	r := &l.conns[slot]
	if r.flags = open; fd < 0 {
		r.flags |= blocked
	}
	return &Output{l, makeConn(slot, r.gen)}
}

// Take removes the next n bytes and returns them.
func (o *Output) Take(n int) []byte {
	r := o.live(o.Conn)
	var b []byte
	for ref := r.out; len(b) < n; ref = o.at(ref).next {
		in := o.at(ref).data[o.at(ref).off:]
		b = append(b, in[:min(n-len(b), len(in))]...)
	}
	o.Sent(n)
	return b
}

// Sent removes the next n bytes.
func (o *Output) Sent(n int) { o.dropSent(o.live(o.Conn), n) }

// Flush does what comes at the end of a turn.
func (o *Output) Flush() { o.flushDirty() }

// Chain returns how many buffers the output has, how many bytes they have room for, and the most that one send takes of them.
func (o *Output) Chain() (buffers, room, most int) {
	for ref := o.live(o.Conn).out; ref != 0; ref = o.at(ref).next {
		buffers++
		room += cap(o.at(ref).data)
	}
	return buffers, room, mostIovecs
}

// Settle sets how long the connections that come after a change of the program are not judged.
func (g *Group) Settle(d time.Duration) { g.steer.settle = d }

// BusyPoll returns what the kernel says of the loop's epoll.
func (l *Loop) BusyPoll() (BusyPoll, error) {
	var p epollParams
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(l.ep), unix.EPIOCGPARAMS, uintptr(unsafe.Pointer(&p))); e != 0 {
		return BusyPoll{}, e
	}
	return BusyPoll{Time: time.Duration(p.usecs) * time.Microsecond, Budget: int(p.budget), Prefer: p.prefer == 1}, nil
}

// Epoll returns the loop's epoll.
func (l *Loop) Epoll() int { return l.ep }

// Everyone returns all connections, closed ones too.
func (l *Loop) Everyone() (list []Conn) {
	for slot := range l.used {
		if r := &l.conns[slot]; r.flags != 0 {
			list = append(list, makeConn(slot, r.gen))
		}
	}
	return list
}

// Descriptor is FD for any of them.
func (l *Loop) Descriptor(c Conn) int { return int(l.find(c).fd) }

// Die closes all that a loop has without a word to anybody, as the end of its process does. The group is abandoned.
func (l *Loop) Die() {
	for slot := range l.used {
		if r := &l.conns[slot]; r.flags != 0 {
			closeFD(r.fd, false)
		}
	}
	for _, a := range l.accepts.fds {
		closeFD(int32(a.fd), false)
	}
	closeFD(int32(l.ep), false)
	closeFD(int32(l.bell.fd), false)
}

// Coalescing is the judgement of how long to rest, with a file in the place of the thread's schedstat.
type Coalescing struct{ c coalescing }

// NewCoalescing reads what it is to know from fd.
func NewCoalescing(fd int, longest time.Duration) *Coalescing {
	return &Coalescing{coalescing{file: int32(fd), waited: -1, longest: longest}}
}

// Look returns how long to rest from now on.
func (c *Coalescing) Look(now time.Duration, turns uint64) time.Duration {
	c.c.look(now, turns, 0)
	if c.c.price.dear > 0 {
		return 0
	}
	return c.c.rest
}

// Rest tells of n rests that took so much CPU time each, of which it measures some, and returns how many those were.
func (c *Coalescing) Rest(n int, took time.Duration) (measured int) {
	for range n {
		if c.c.price.due() {
			c.c.price.add(took)
			measured++
		}
	}
	return measured
}

// ThreadCPU is by what rests are measured.
var ThreadCPU = threadCPU

// Storm is the judgement whether connections come in a storm.
type Storm struct{ s storm }

// Look is the look of a loop that has accepted so many.
func (s *Storm) Look(took time.Duration, accepted uint64) { s.s.look(took, accepted) }

// Due is asked after a turn, when the loop has accepted so many.
func (s *Storm) Due(accepted uint64) bool { return s.s.due(accepted) }

// StormRests is how often the loop has rested for a storm; on its thread.
func (l *Loop) StormRests() uint64 { return l.coalescing.storm.rests }

// RestFor and ParseRunDelay are what Look goes by.
var (
	RestFor       = restFor
	ParseRunDelay = parseRunDelay
)

// ForceRest has a loop rest whatever its CPU does; on its thread.
func (l *Loop) ForceRest(d time.Duration) { l.longest, l.coalescing.rest = 0, d }
