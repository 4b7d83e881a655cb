package h2

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Of the protocol: RFC 9113 sections 4.1, 4.2, 6.5.2 and 6.9, and gRPC's prefix of a message.
const (
	headLen      = 9
	frameLen     = 16384 // the longest payload that every peer takes, and that we take
	firstWindow  = 65535
	maxWindow    = 1<<31 - 1
	prefixLen    = 5 // not compressed, length
	streamID     = 1
	settingLen   = 6
	incrementLen = 4
	pingLen      = 8
)

// Of this implementation.
const (
	readLen    = 32 << 10 // holds a whole frame with its head, and some small ones behind
	writeLen   = 64 << 10 // what one system call writes at most of a large message
	maxAnswers = 64 << 10 // bytes of answers that wait while the peer does not read
	maxHead    = 64 << 10 // bytes of a head, packed and unpacked (with 32 for each field, as section 6.5.2 counts)
	maxText    = 4 << 10  // bytes of a status's text that are sent, before they are encoded
	maxFutile  = 10000    // frames in a second that bring no byte of a message, while we send none
	pollReads  = 8        // so often Poll reads before it says that nothing is left, so that others have their turn
	growAtOnce = 64 << 10 // a longer message gets its memory as its bytes come
)

// Options is what a call is made with.
type Options struct {
	Path      string // of the method: "/package.Service/Method"
	Authority string // the name of the server, as the request tells it
	// Window is how many bytes the peer may send that nobody has received yet; at least 64 KiB, below 2 GiB.
	Window     int
	MaxMessage int // bytes of a received message; a larger one ends the call with ResourceExhausted
	// KeepAlive is how long nothing may come, while somebody is in Recv, before the peer is probed; zero: for ever. A probe
	// that nothing follows for KeepAliveTimeout ends the call with Unavailable. That is also how long the kernel waits
	// for the peer to acknowledge what was sent (TCP_USER_TIMEOUT, tcp(7)).
	KeepAlive, KeepAliveTimeout time.Duration
	// Polled says that somebody else, an epoll of his own, tells when the socket can be read, for which Poll takes the place of
	// Recv: the runtime's netpoller does not know the socket. Who waits for it, in Send or Recv, keeps a thread.
	Polled bool
	// Lookup finds the addresses of a name. Nil: as the system does.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Call is one call.
type Call struct {
	// Static after Dial and Accept.
	options Options
	server  bool   // it is the server's end
	path    string // that the client asked for, at the server's end
	conn    socket
	born    time.Time
	flusher sync.WaitGroup

	waiting atomic.Int64 // since when, in nanoseconds after born, the receiver waits for the peer; 0: it does not
	in      reader       // owned by the receiver; at the server's end by who holds stead.mu
	stead   stead        // at the server's end
	probe   prober

	mu    sync.Mutex
	moved sync.Cond // windows, writing or end changed
	out   writer    // guarded by mu
	end   error     // why the call ended: io.EOF or a status; guarded by mu
	ours  bool      // it was us who ended it; guarded by mu
}

// reader is what the receiver knows.
type reader struct {
	buf  []byte
	r, w int // what is between them was read and not yet understood

	polled bool  // the socket is
	reads  int   // of Poll since the last time that nothing was left
	short  bool  // the last of them found less than there was room for: nothing more
	readAt int64 // when the receiver last wanted to read, as waiting has it

	left  int  // bytes of the present DATA frame that belong to messages
	pad   int  // and behind these, to nothing
	last  bool // nothing follows the present DATA frame
	owed  int  // bytes that came and for which no credit was given yet
	first bool // nothing but SETTINGS may come: it is the first frame

	prefix [prefixLen]byte
	have   int // bytes of prefix
	need   int // bytes that the message lacks

	substituted bool // it is not the receiver that reads: fill must not wait, and no credit be given
	patient     bool // fill may wait once nevertheless

	unpack  *hpack.Decoder
	head    head   // what the present head says
	block   []byte // a head whose end has not come
	opened  bool   // block is one
	closes  bool   // nothing follows it
	greeted bool   // the first head has come
	halved  bool   // the client has said all
	packing string // how compressed messages would be

	futile    int           // frames that brought nothing
	countedAt time.Duration // since when, after born
	away      goAway
}

// goAway is what the peer told of its going.
type goAway struct {
	told bool
	code http2.ErrCode
	text string
	last uint32
}

// writer is the state of our direction.
type writer struct {
	writing  bool // somebody writes buf; he looks at answers when he has done so
	buf      []byte
	answers  []byte // frames that wait to be written
	stream   int64  // the peer's windows; what it sets later may make them negative
	conn     int64
	initial  int64 // the peer's setting, for what the next one changes
	frame    int   // its longest frame
	moved    bool  // a byte of a message was written since the receiver looked
	closed   bool  // we have said all
	failed   bool  // the socket takes nothing any more
	overflow bool  // the answers passed their bound
}

func newCall(conn net.Conn, o Options) (*Call, error) {
	socket, err := newPooled(conn)
	if err != nil {
		return nil, err
	}
	c := &Call{options: o, conn: socket, born: time.Now()}
	c.moved.L = &c.mu
	c.in = reader{buf: make([]byte, readLen), first: true}
	c.in.unpack = hpack.NewDecoder(4096, c.in.head.field)
	c.in.unpack.SetMaxStringLength(maxHead)
	c.out = writer{stream: firstWindow, conn: firstWindow, initial: firstWindow, frame: frameLen}
	return c, nil
}

// now is the time after the call's birth.
func (c *Call) now() time.Duration { return time.Since(c.born) }

// finish records how the call ended. The first reason counts, and is returned.
func (c *Call) finish(err error, ours bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		c.end, c.ours = err, ours
		c.moved.Broadcast()
	}
	return c.end
}

// ended is what Send returns after the end: the reason if it is ours, else io.EOF. The mutex is held.
func (c *Call) ended() error {
	if c.ours {
		return c.end
	}
	return io.EOF
}

// Close ends the call and its connection, whatever is under way; if it had not ended, Recv returns Canceled from then on
// and the peer is told, if the socket has room. Any goroutine may call it, and more than once.
func (c *Call) Close() {
	c.abort(http2.ErrCodeCancel, status.Error(codes.Canceled, context.Canceled.Error()))
}

// abort ends the call with a reason of ours, tells the peer if the socket has room, and lets a waiting Recv and Send find
// the end.
func (c *Call) abort(code http2.ErrCode, err error) {
	if c.finish(err, true) == err {
		c.mu.Lock()
		if c.server {
			c.trailLocked(err)
		} else {
			c.answer(http2.FrameRSTStream, 0, streamID, uint32(code))
		}
		c.mu.Unlock()
		c.flush()
	}
	c.probe.stop()
	_ = c.conn.Close() // there is nothing to lose any more
	c.flusher.Wait()
}

// TooManyPings says that the peer ended the call because it was probed too often (GOAWAY with ENHANCE_YOUR_CALM and the
// text too_many_pings, as gRPC servers do). It may be asked by the receiver, or after Recv returned an error.
func (c *Call) TooManyPings() bool {
	return c.in.away.code == http2.ErrCodeEnhanceYourCalm && c.in.away.text == "too_many_pings"
}
