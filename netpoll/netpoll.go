package netpoll

import (
	"errors"
	"fmt"
	"time"
)

// Conn names one connection of one loop: slot number below, generation above. The zero Conn names none.
type Conn uint64

func makeConn(slot, gen uint32) Conn { return Conn(gen)<<32 | Conn(slot) }
func (c Conn) slot() uint32          { return uint32(c) }
func (c Conn) gen() uint32           { return uint32(c >> 32) }

// Dialled is the source of a connection that Loop.Dial opened.
const Dialled = -1

// Errors beside those of system calls.
var (
	// ErrInputFull is what Handler.Closed is told when more than MaxInput bytes were left unused.
	ErrInputFull = errors.New("netpoll: more input left unused than MaxInput")
	// ErrStopped is what Listen and Adopt return once the group has stopped.
	ErrStopped = errors.New("netpoll: group stopped")
)

// Handler is the owner of a loop's connections. All calls come on the loop's thread. A call may use every method of the
// loop. Of the loop's methods Close and Abort call Closed, and Write calls Backlog, before they return; no other one calls
// the handler.
type Handler interface {
	// Opened reports a connection accepted from the listener number source, or Dialled.
	Opened(c Conn, source int)
	// Read lends what was received, behind what an earlier Read left unused, and returns how much of it is used up.
	Read(c Conn, in []byte) (used int)
	// Backlog reports that the kernel stopped taking output, or that the high-water mark refused a Write (pending bytes
	// are waiting), or that it has room again and nothing waits (pending is 0). With pending over 0 it is no place for a Write
	// to c, which would call it again; Thin may make room here.
	Backlog(c Conn, pending int)
	// Closed is called once for each Opened, and for a Dial that came to nothing. why is nil after Close and Abort,
	// io.EOF when the peer ended the stream; what was written to c before that is still sent if the peer takes it. The tag,
	// the peer's address and what did not reach it (Unsent, Outstanding) may still be asked for, c is stale otherwise.
	Closed(c Conn, why error)
	// Turn is called once per wake-up, after the events and before output is sent. The loop sleeps at most for what it
	// returns; a negative one means until something happens.
	Turn(now time.Duration) (wait time.Duration)
	// Pending says whether there is work for Turn already. It is asked right before the loop sleeps; who gives it work
	// later calls Wake.
	Pending() bool
}

// Config holds what a Group is made of. The zero value of a field means its default.
type Config struct {
	Loops       int           // reactors; default 1
	MaxConns    int           // connections per loop, lingering ones included; default 65,536
	ReadBuffer  int           // bytes read from one connection in one turn; default 64 KiB
	MaxInput    int           // bytes a handler may leave unused; default 128 KiB
	HighWater   int           // pending bytes from which Write refuses; default 64 KiB, and always room for one more Write
	KernelBytes int           // bytes sent and not yet acknowledged beyond which output waits here; default 0, no bound
	Linger      time.Duration // how long a closed connection may take to end its side; default 2 s
	UserTimeout time.Duration // TCP_USER_TIMEOUT of accepted connections; default 30 s
	CPUs        []int         // CPU that each loop is pinned to, -1 for none; empty: none is
	SchedBatch  bool          // loops run under SCHED_BATCH
	BusyPoll    BusyPoll      // default off
	Coalesce    time.Duration // how long a loop that waits for CPUs rests at most, so that more comes at once (200 µs in a storm of connections); default 0: never

	// Steer says how connections find their loops, by the receive queues that Queues knows; default SteerOff. Steered, unless
	// nil, is told when a listener's way is chosen and when it changes: on any thread, loops' too, and so it must not wait.
	Steer   Steer
	Queues  SteerMap
	Steered func(l ListenerSteering)

	// Note, unless nil, is called at the end of each turn, when its output is sent, and told which connections are not as they
	// were: opened or ended (Open tells), read from, written to, paused or resumed; none may be. Each is named once, and those
	// that ended may be. It is called on the loop's thread and may ask the loop, but change no connection.
	Note func(l *Loop, touched []Conn)

	// Ready is told, on the loop's thread, that the descriptor which is watched under a number can be read, has failed, or could
	// be when the turn began: it may be watched no more. It is needed by who calls Watch, and may do what a Handler may.
	Ready func(l *Loop, number int)

	// Inherit is what the group goes on with, nil for nothing. Until Start it touches nothing of that.
	Inherit *Inheritance

	// Restore is the like for what a process left that was killed; nil for nothing. Only one of the two can be.
	Restore *Restoration

	// Piece returns the length of the piece of output that begins with head; without it Thin drops nothing. A piece is what
	// one Write was given. Piece is called on every loop's thread, by Thin and where the kernel takes a part of the output;
	// where no piece begins it returns 0, and Thin goes no further.
	Piece     func(head []byte) int
	PieceHead int // bytes that head has at least, and so every piece; 1 to 64, default 2
}

// MaxCoalesce bounds Config.Coalesce: those who wait would see it.
const MaxCoalesce = time.Millisecond

func (c *Config) setDefaults() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Loops, 1)
	def(&c.MaxConns, 1<<16)
	def(&c.ReadBuffer, 64<<10)
	def(&c.MaxInput, 128<<10)
	def(&c.HighWater, 64<<10)
	def(&c.PieceHead, 2)
	if c.Linger == 0 {
		c.Linger = 2 * time.Second
	}
	if c.UserTimeout == 0 {
		c.UserTimeout = 30 * time.Second
	}
	return c.check()
}

func (c *Config) check() error {
	switch {
	case c.Loops < 0 || c.MaxConns < 0 || c.MaxConns > maxSlots:
		return fmt.Errorf("netpoll: %d loops of %d connections", c.Loops, c.MaxConns)
	case c.KernelBytes < 0 || c.Linger < 0 || c.UserTimeout < 0 || c.Coalesce < 0:
		return errors.New("netpoll: a bound below zero")
	case c.PieceHead < 0 || c.PieceHead > seenHead:
		return fmt.Errorf("netpoll: a head of %d bytes is not between 1 and %d", c.PieceHead, seenHead)
	}
	for _, n := range []int{c.ReadBuffer, c.MaxInput, c.HighWater} {
		if n < 0 || n > maxConfigured {
			return fmt.Errorf("netpoll: a buffer of %d bytes is not between 1 and %d", n, maxConfigured)
		}
	}
	if c.Coalesce > MaxCoalesce {
		return fmt.Errorf("netpoll: rests of %v are longer than %v", c.Coalesce, MaxCoalesce)
	}
	if c.Steer > SteerQueue {
		return fmt.Errorf("netpoll: %v", c.Steer)
	}
	return errors.Join(checkCPUs(c.CPUs, c.Loops), c.Queues.check(), c.BusyPoll.check())
}

// checkCPUs tells what cannot be Config.CPUs.
func checkCPUs(cpus []int, loops int) error {
	if len(cpus) != 0 && len(cpus) != loops {
		return fmt.Errorf("netpoll: %d CPUs to pin %d loops to", len(cpus), loops)
	}
	for _, cpu := range cpus {
		if cpu < -1 {
			return fmt.Errorf("netpoll: CPU %d to pin a loop to", cpu)
		}
	}
	return nil
}

// Stats counts what one loop did since it started. Plain numbers, owned by the loop; read them on its thread.
type Stats struct {
	Conns       int    // open now, lingering ones included
	Lingering   int    // closed here, waiting for the peer's end
	Accepts     uint64 // connections accepted or handed to this loop
	Refused     uint64 // accepted and closed at once: every slot is taken
	NoFiles     uint64 // accept calls that found no file descriptor or memory
	Wakeups     uint64 // turns that began with a wait
	Empty       uint64 // of them, those without an event
	Events      uint64
	Rests       uint64 // waits put off so that more comes at once (Config.Coalesce)
	Rings       uint64 // of the Wake calls, those that had to ring
	Reads       uint64 // recv calls
	ReadBytes   uint64
	Writes      uint64 // send and writev calls
	WriteBytes  uint64
	Blocked     uint64 // times the kernel took not all
	HighWater   uint64 // writes refused
	Held        uint64 // sends put off by KernelBytes
	BufferBytes int    // bytes of buffers lent or kept for lending
}
