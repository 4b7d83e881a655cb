package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// State is where a Client stands; doc.go draws the ways between them.
type State int

// The states of a Client.
const (
	Connecting State = iota // an address is being asked for, a link is being opened, or waits for WELCOME
	Up                      // WELCOME came
	Waiting                 // between two tries; the error says what ended the last one
	Closed                  // for good; the error says why, nil after Close
)

// String names the state.
func (s State) String() string {
	return [...]string{"connecting", "up", "waiting", "closed"}[s]
}

// Client is an application's door to its Manager. Its methods may be called from any goroutine.
type Client struct {
	o      Options // static after construction
	route  route   // owned by the life-cycle's goroutine
	stop   context.CancelFunc
	first  chan struct{} // closed by the first WELCOME
	done   chan struct{} // closed when the life-cycle's goroutine has ended
	out    outbox
	calls  calls
	record record
	count  counters
	closed sync.Once

	mu     sync.Mutex
	state  State
	err    error  // the last one that ended a link or a try
	linkID string // of the present link or the last one
}

// counters are added to by the goroutines of the link and read by Stats.
type counters struct {
	links, sent, received, pushes, acks, doubles, unwanted, garbled, tooLong, heartbeats, pings atomic.Uint64
	lookups, lookupErrors, late, missed, rewinds                                                atomic.Uint64
}

// Stats counts what a Client did since it began.
type Stats struct {
	Links      uint64 // WELCOMEs
	Sent       uint64 // messages queued
	Received   uint64 // DATA, answers included
	Pushes     uint64
	Acks       uint64 // acknowledgements sent
	Doubles    uint64 // pushes dropped because they came before
	Late       uint64 // pushes handed over as Late
	Missed     uint64 // versions that Hole was told of
	Rewinds    uint64 // how often versions began anew below the highest one
	Unwanted   uint64 // pushes dropped for want of OnPush
	Garbled    uint64 // pushes dropped because they could not be unpacked
	TooLong    uint64 // messages dropped because the gateway's max_frame, once known, forbids them
	Heartbeats uint64 // sent
	Pings      uint64 // sent

	Lookups      uint64 // questions to the dispatch service
	LookupErrors uint64 // of them, without a list for an answer
}

// New makes a Client that connects on its own; it fails only if the Options are wrong.
func New(o Options) (*Client, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	progress, err := o.load()
	if err != nil {
		return nil, err
	}
	var dir *Directory
	if o.Dispatch != "" {
		if dir, err = NewDirectory(o.Dispatch, o.HTTP); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{o: o, stop: stop, first: make(chan struct{}), done: make(chan struct{})}
	c.route = newRoute(&c.o, dir, &c.count)
	c.record.versions.load(progress)
	c.out.init(o.QueueBytes)
	go c.run(ctx)
	return c, nil
}

// Dial makes a Client and waits until its first link is up. While ctx lives it tries again and again; it returns sooner if
// the gateway refuses the login.
func Dial(ctx context.Context, o Options) (*Client, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.first:
		return c, nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		last := c.Err()
		c.Close()
		if last != nil {
			return nil, fmt.Errorf("client: dial: %w: %w", context.Cause(ctx), last)
		}
		return nil, fmt.Errorf("client: dial: %w", context.Cause(ctx))
	}
}

// Send queues a message; payload is copied. It never waits: ErrFull, ErrTooLong or an error of a Client that is closed
// mean that the message is not sent.
func (c *Client) Send(payload []byte) error {
	_, err := c.out.put(payload)
	if err == nil {
		c.count.sent.Add(1)
	}
	return err
}

// Close sends what is queued if a link is up, says goodbye, and waits for the end of all goroutines: some seconds at most
// if no callback hangs. Not to be called from a callback.
func (c *Client) Close() {
	c.closed.Do(func() { c.out.close(ErrClosed) })
	c.stop()
	<-c.done
}

// Done is closed when the Client is closed, by Close or because it must not come back; Err says which.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns what ended the last link or try; nil if there was no such end, or only Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// State returns where the Client stands now.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// LinkID returns the gateway's name of the present link, or of the last one while there is none.
func (c *Client) LinkID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.linkID
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	n := &c.count
	return Stats{
		Links: n.links.Load(), Sent: n.sent.Load(), Received: n.received.Load(), Pushes: n.pushes.Load(),
		Acks: n.acks.Load(), Doubles: n.doubles.Load(), Unwanted: n.unwanted.Load(), Garbled: n.garbled.Load(),
		TooLong: n.tooLong.Load(), Heartbeats: n.heartbeats.Load(), Pings: n.pings.Load(),
		Late: n.late.Load(), Missed: n.missed.Load(), Rewinds: n.rewinds.Load(),
		Lookups: n.lookups.Load(), LookupErrors: n.lookupErrors.Load(),
	}
}

// run is the life-cycle: link after link until it is stopped or told not to come back.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	var why error
	for {
		c.enter(Connecting, nil)
		at, err := c.route.address(ctx)
		o := outcome{why: err}
		if err == nil {
			o = c.oneLink(ctx, at)
		}
		why = o.why
		c.calls.lost(c.out.takenSoFar())
		if ctx.Err() != nil || final(why) {
			break
		}
		wait := c.route.wait(at, o)
		c.enter(Waiting, why)
		if !sleep(ctx, wait) {
			break
		}
	}
	if ctx.Err() != nil {
		why = nil
	}
	c.end(why)
}

// end leaves nobody waiting.
func (c *Client) end(why error) {
	refusal := why
	if why == nil {
		refusal = ErrClosed
	}
	c.out.close(refusal)
	c.calls.close(refusal)
	c.enter(Closed, why)
	c.stop()
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// enter notes the state and tells the application. The life-cycle's goroutine calls it while no reader runs, the reader
// while it runs, so never two at a time.
func (c *Client) enter(s State, err error) {
	c.mu.Lock()
	c.state = s
	if err != nil {
		c.err = err
	}
	c.mu.Unlock()
	if c.o.OnState != nil {
		c.o.OnState(s, err)
	}
}

// welcomed notes a link that is up. Who waits in Dial must find it so.
func (c *Client) welcomed(linkID string) {
	c.mu.Lock()
	c.linkID, c.state = linkID, Up
	c.mu.Unlock()
	if c.count.links.Add(1) == 1 {
		close(c.first)
	}
	c.enter(Up, nil)
}

// oneLink opens a link and returns when it is over.
func (c *Client) oneLink(ctx context.Context, at string) (o outcome) {
	network, address, _ := splitAddress(at) // checked by New or ParseList
	began := time.Now()
	dialCtx, cancel := context.WithDeadline(ctx, began.Add(c.o.LoginTimeout))
	defer cancel()
	conn, err := c.o.Dial(dialCtx, network, address)
	if err != nil {
		o.why = fmt.Errorf("client: dial %s: %w", at, err)
		return o
	}
	l := newLink(c, conn)
	o.why = l.run(ctx, began.Add(c.o.LoginTimeout))
	_ = conn.Close()
	<-l.ended
	if errors.Is(o.why, errReader) {
		o.why = l.err
	}
	if t := l.upAt; !t.IsZero() {
		o.welcomed, o.up = true, time.Since(t)
	}
	return o
}
