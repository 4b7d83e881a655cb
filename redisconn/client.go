package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// ErrNotConnected is part of the errors of calls while there is no session. What kept the last attempt from having one is
// another part.
var ErrNotConnected = errors.New("redis is not connected")

// errStarting is the fault before the first attempt has an outcome.
var errStarting = errors.New("first attempt under way")

const (
	callLimit   = time.Second     // of a call whose context has no deadline
	firstPause  = time.Second     // between attempts; doubles
	longestWait = 5 * time.Second // of these pauses
)

// Client is a connection to Redis that finds back by itself. All methods may be called from every goroutine.
type Client struct {
	// Static after New.
	config Config
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	blank  rueidis.Builder // counts commands while there is no session
	broken chan struct{}   // wakes run: the session was dropped

	running sync.WaitGroup // run

	session atomic.Pointer[session] // stored by run, removed by whoever saw that it leads to the wrong server
	fault   atomic.Pointer[error]   // why the last call or attempt failed; nil: it did not
}

// New returns at once and connects in the background, with growing pauses between attempts (full jitter, at most 5 s). The
// settings must be valid, with an address. log gets one line when Redis is lost and one when it is back.
func New(c Config, log *slog.Logger) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	cl := &Client{config: c, log: log.With("redis", strings.Join(c.Addresses, ",")), ctx: ctx, cancel: cancel,
		blank: blankBuilder(), broken: make(chan struct{}, 1)}
	cl.fault.Store(&errStarting)
	cl.running.Go(cl.run)
	return cl
}

// Close ends all connections and the calls on them.
func (c *Client) Close() {
	c.cancel()
	c.running.Wait()
}

// Connected reports whether the last call, or attempt to connect, went well. It does not ask the server.
func (c *Client) Connected() bool { return c.fault.Load() == nil }

// Err returns what was wrong with the last call or attempt to connect, nil when nothing was.
func (c *Client) Err() error {
	if f := c.fault.Load(); f != nil {
		return *f
	}
	return nil
}

// Do carries out one command. It returns when the context ends, and after 1 s where that has no deadline; a command that was
// given up may still be carried out. A blocking command needs a context with a later deadline than its own. While there is no
// session the result is ErrNotConnected, at once.
func (c *Client) Do(ctx context.Context, build func(b rueidis.Builder) rueidis.Completed) rueidis.RedisResult {
	s := c.session.Load()
	if s == nil {
		return rueidis.NewErrorResult(c.notConnected())
	}
	command := build(s.B())
	r, err := within(ctx, func(ctx context.Context) rueidis.RedisResult { return s.Do(ctx, command) })
	if err != nil {
		r = rueidis.NewErrorResult(err)
	}
	c.judge(s, r.Error())
	return r
}

// DoMulti sends commands together; each may fail alone, and there are as many results as commands. In a Cluster they go to the
// nodes of their keys. See Do for the rest.
func (c *Client) DoMulti(ctx context.Context, build func(b rueidis.Builder) rueidis.Commands) []rueidis.RedisResult {
	s := c.session.Load()
	if s == nil {
		return failed(len(build(c.blank)), c.notConnected())
	}
	commands := build(s.B())
	if len(commands) == 0 {
		return nil
	}
	rs, err := within(ctx, func(ctx context.Context) []rueidis.RedisResult { return s.DoMulti(ctx, commands...) })
	if err != nil {
		rs = failed(len(commands), err)
	}
	c.judge(s, worst(rs))
	return rs
}

// Receive subscribes to channels on a connection of its own and hands each message to f, one at a time, in this goroutine.
// It returns when the context ends (up to 2 s later while it connects to a server that hangs) or the connection is lost, always
// with an error: the caller waits a moment and calls again, and takes it that messages were missed. A rueidis.WithOnSubscriptionHook in the context tells when messages are seen.
func (c *Client) Receive(ctx context.Context, channels []string, f func(channel, message string)) error {
	return c.receive(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Subscribe().Channel(channels...).Build() }, f)
}

func (c *Client) receive(ctx context.Context, build func(b rueidis.Builder) rueidis.Completed, f func(channel, message string)) error {
	s := c.session.Load()
	if s == nil {
		return c.notConnected()
	}
	conn, _ := s.Dedicate()
	err := conn.Receive(ctx, build(s.B()), func(m rueidis.PubSubMessage) { f(m.Channel, m.Message) })
	go conn.Close() // a server that hangs makes this take up to 1 s; the end of the session ends it too
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return errors.New("redis ended the subscription")
	}
	return err
}

// within calls f and returns when ctx ends, although the library also waits for connections that other calls open, with
// limits of theirs. A call that is left behind so ends after those limits, 2 s, or with its session.
func within[T any](ctx context.Context, f func(context.Context) T) (T, error) {
	if _, ok := ctx.Deadline(); !ok {
		limited, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		ctx = limited
	}
	result := make(chan T, 1)
	go func() { result <- f(ctx) }()
	select {
	case r := <-result:
		return r, nil
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// judge draws the conclusions from the outcome of a call on s.
func (c *Client) judge(s *session, err error) {
	switch {
	case errors.Is(err, context.Canceled): // the caller's doing
	case !isFault(err):
		c.up()
	default:
		c.down(err)
		if isReadOnly(err) && c.session.CompareAndSwap(s, nil) {
			s.cancel()
			c.broken <- struct{}{}
		}
	}
}

// isFault tells an error that makes Redis unusable from one about a command. A server's words about a connection, such as
// WRONGPASS, come from the greeting when the library connects anew for a call.
func isFault(err error) bool {
	var said *rueidis.RedisError
	if err == nil || !errors.As(err, &said) {
		return err != nil
	}
	for _, beginning := range []string{"READONLY ", "LOADING ", "CLUSTERDOWN ", "MASTERDOWN ", "NOAUTH ", "WRONGPASS ", "DENIED ", "max number of clients "} {
		if strings.HasPrefix(said.Error(), beginning) {
			return true
		}
	}
	return false
}

func isReadOnly(err error) bool { return strings.HasPrefix(err.Error(), "READONLY ") }

func (c *Client) up() {
	if c.fault.Load() != nil && c.fault.Swap(nil) != nil {
		c.log.Info("redis is there")
	}
}

func (c *Client) down(err error) {
	if c.ctx.Err() != nil {
		return
	}
	if old := c.fault.Swap(&err); old == nil || old == &errStarting {
		c.log.Warn("redis is away", "err", err)
	}
}

func (c *Client) notConnected() error {
	if cause := c.Err(); cause != nil {
		return fmt.Errorf("%w: %w", ErrNotConnected, cause)
	}
	return ErrNotConnected
}

// run owns the sessions: it opens one, waits until that is dropped or the Client closed, and closes it.
func (c *Client) run() {
	pause := firstPause
	for c.ctx.Err() == nil {
		s, err := open(c.ctx, c.config)
		if err != nil {
			c.down(err)
		} else {
			pause = firstPause
			c.session.Store(s)
			c.up()
			select {
			case <-c.broken:
			case <-c.ctx.Done():
				c.session.Store(nil)
			}
			s.close()
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-c.ctx.Done():
		}
		pause = min(2*pause, longestWait)
	}
}

// worst returns a fault if there is one, READONLY before others, else nil.
func worst(rs []rueidis.RedisResult) error {
	var worst error
	for _, r := range rs {
		if err := r.Error(); isFault(err) && (worst == nil || isReadOnly(err)) {
			worst = err
		}
	}
	return worst
}

func failed(n int, err error) []rueidis.RedisResult {
	rs := make([]rueidis.RedisResult, n)
	for i := range rs {
		rs[i] = rueidis.NewErrorResult(err)
	}
	return rs
}

// blankBuilder returns a builder that belongs to no server. The library gives one only with a client, and that only when told
// to make one although its connection was refused.
func blankBuilder() rueidis.Builder {
	refuse := func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { return nil, ErrNotConnected }
	client, _ := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"-"}, ForceSingleClient: true, DialCtxFn: refuse})
	defer client.Close()
	return client.B()
}
