package netpoll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
)

// Versions of the state that AppendState writes and Config.Inherit takes.
const (
	StateVersion = 1
	OldestState  = 1
)

// A state is what one loop had when it stood still. All numbers are little endian.
//
//	 0 4  number of the loop
//	 4 4  loops of the group
//	 8 4  listeners that the group has opened so far
//	12 4  epoll
//	16 4  its bell
//	20 4  slots that ever had an owner
//	24 4  n1, open listeners
//	28 4  n2, free slots
//	32 4  n3, connections that were closed here
//	36 4  n4, connections
//	40    n1 times: descriptor, number in the group, place among the sockets of that number, 1 if it was adopted (4 each)
//	      n2 times: slot, generation of its next owner (4 each); the last one is the first to be taken
//	      n3 times: slot, generation (4 each), when it is cut off in ns of CLOCK_MONOTONIC (8); in the order of that
//	      n4 times: length (4), record
//
// A slot that is in none of the lists is never used again. A record is that of conn, with what its buffers hold:
//
//	 0 4  slot       12 4  tag       20 4  read       32 4  progress
//	 4 4  generation 16 2  flags     24 4  written    36 4  bytes of the output to where its first whole piece begins
//	 8 4  descriptor 18 2  discard   28 4  acked      40 4  length of the input that is not used up
//	                                                  44 4  length of the output that is not sent
//	48    input, output
const (
	headBytes     = 40
	listenerBytes = 16
	freeBytes     = 8
	lingererBytes = 16
	recordBytes   = 48

	adopted       = 1       // in a listener's last number
	mostListeners = 1 << 15 // of one loop
)

var errState = errors.New("netpoll: no state of a loop")

// Inheritance is what a group is made of that goes on where another one, in a process that has ended, stood still: its
// connections under the same names, its epolls, its listeners.
type Inheritance struct {
	Version uint16             // in which the states were written
	Loops   [][]byte           // what AppendState of each loop wrote; not kept
	Claim   func(fd int) error // takes a descriptor that a state names; nil takes any
}

// Listener is a listener that was inherited.
type Listener struct {
	Source int
	Addr   net.Addr
}

// inherited is a state as it was read; the rows are still bytes.
type inherited struct {
	number, loops, sources, ep, bell, used uint32
	listeners, free, lingering, conns      []byte
	count                                  int // of conns
}

// parseState splits a state. Of the connections it proves nothing.
func parseState(b []byte) (s inherited, err error) {
	if len(b) < headBytes {
		return s, fmt.Errorf("%w: %d bytes", errState, len(b))
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	s = inherited{number: u32(0), loops: u32(4), sources: u32(8), ep: u32(12), bell: u32(16), used: u32(20), count: int(u32(36))}
	rest := b[headBytes:]
	rows := func(at, size int) (row []byte) {
		n := uint64(u32(at)) * uint64(size)
		if n > uint64(len(rest)) {
			err = fmt.Errorf("%w: %d rows of %d bytes in %d", errState, u32(at), size, len(rest))
			return nil
		}
		row, rest = rest[:n], rest[n:]
		return row
	}
	s.listeners, s.free, s.lingering = rows(24, listenerBytes), rows(28, freeBytes), rows(32, lingererBytes)
	s.conns = rest
	if err == nil && (s.used > maxSlots || s.sources > math.MaxInt32 || len(s.listeners) > mostListeners*listenerBytes) {
		err = fmt.Errorf("%w: %d slots, %d listeners so far, %d bytes of them open", errState, s.used, s.sources, len(s.listeners))
	}
	return s, err
}

// nextRecord takes the first record off; ok is false where none is.
func nextRecord(b []byte) (r, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// appendRecord writes a connection, its length first.
func (b *buffers) appendRecord(to []byte, slot uint32, r *conn) []byte {
	start := len(to)
	to = b.appendConn(append(to, 0, 0, 0, 0), slot, r, r.fd)
	binary.LittleEndian.PutUint32(to[start:], uint32(len(to)-start-4))
	return to
}

// appendConn writes a connection and what its buffers hold.
func (b *buffers) appendConn(to []byte, slot uint32, r *conn, fd int32) []byte {
	var in []byte
	if r.in != 0 {
		in = b.at(r.in).data
	}
	torn := uint32(0)
	if r.out != 0 {
		torn = b.at(r.out).torn
	}
	var fixed [recordBytes]byte
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(fixed[at:], v) }
	put(0, slot)
	put(4, r.gen)
	put(8, uint32(fd))
	put(12, r.tag)
	put(16, uint32(r.flags.lasting())|uint32(r.discard)<<16)
	put(20, r.read)
	put(24, r.written)
	put(28, r.acked)
	put(32, r.progress)
	put(36, torn)
	put(40, uint32(len(in)))
	put(44, r.pending)
	to = append(append(to, fixed[:]...), in...)
	for ref := r.out; ref != 0; ref = b.at(ref).next {
		e := b.at(ref)
		to = append(to, e.data[e.off:]...)
	}
	return to
}

// lasting leaves out what means nothing any more for a connection that is closed here.
func (f flags) lasting() flags {
	f &^= noted | gathering
	switch {
	case f&closing != 0:
		return f &^ (paused | resumed)
	case f&lingering != 0:
		return f & (lingering | dialled)
	}
	return f
}

// record is a connection as it was handed over.
type record struct {
	conn
	slot, torn uint32
	input      []byte
	output     []byte
}

// parseRecord reads a record and proves what can be proved without the loop.
func parseRecord(b []byte) (r record, err error) {
	if len(b) < recordBytes {
		return r, fmt.Errorf("a record of %d bytes", len(b))
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	r.slot, r.torn = u32(0), u32(36)
	r.conn = conn{
		gen: u32(4), fd: int32(u32(8)), tag: u32(12), flags: flags(u32(16)), discard: uint16(u32(16) >> 16),
		read: u32(20), written: u32(24), acked: u32(28), progress: u32(32), pending: u32(44),
	}
	in, out := uint64(u32(40)), uint64(r.pending)
	if in+out != uint64(len(b)-recordBytes) {
		return r, fmt.Errorf("%d bytes of input and %d of output in %d", in, out, len(b)-recordBytes)
	}
	r.input, r.output = b[recordBytes:recordBytes+in], b[recordBytes+in:]
	return r, r.check()
}

func (r *record) check() error {
	f := r.flags
	state := f & (open | closing | lingering)
	switch {
	case r.fd < 0 || r.gen == 0:
		return fmt.Errorf("file %d of generation %d", r.fd, r.gen)
	case f&dialled != 0:
		return errDialled
	case state != open && state != closing && state != lingering, f&^(state|paused|blocked|held|dirty|resumed) != 0:
		return fmt.Errorf("flags %#x", uint16(f))
	case state != open && (f&paused != 0 || len(r.input) != 0), state == lingering && len(r.output) != 0:
		return fmt.Errorf("%d bytes of input and %d of output with flags %#x", len(r.input), len(r.output), uint16(f))
	case f&(blocked|held) == blocked|held:
		return fmt.Errorf("flags %#x", uint16(f))
	case len(r.input) > maxConfigured || r.torn > r.pending:
		return fmt.Errorf("%d bytes of input, %d of %d bytes of a piece", len(r.input), r.torn, r.pending)
	}
	return nil
}

// errDialled is why a connection of Dial is not loaded: it ended with the process that opened it.
var errDialled = errors.New("it was dialled")

// fill lends the connection buffers with what was handed over.
func (b *buffers) fill(r *record) {
	if len(r.input) != 0 {
		r.in = b.lend(len(r.input))
		e := b.at(r.in)
		e.data = append(e.data, r.input...)
	}
	for out := r.output; len(out) != 0; {
		n := min(len(out), maxBuffer)
		ref := b.lend(n)
		e := b.at(ref)
		e.data = append(e.data, out[:n]...)
		if r.out == 0 {
			r.out, e.torn = ref, r.torn
		} else {
			b.at(r.outLast).next = ref
		}
		r.outLast = ref
		out = out[n:]
	}
}
