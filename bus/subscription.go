package bus

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"edged/batch"
	"edged/redisconn"
)

const (
	firstPause   = 250 * time.Millisecond // before a lost subscription is made again; doubles
	longestPause = 2 * time.Second        // of these pauses, each of which is a random part of it
	logGap       = 10 * time.Second       // between two lines of one kind
)

// subscription is one channel and the goroutine that listens to it.
type subscription struct {
	// Static.
	client  *redisconn.Client
	from    Source
	channel string
	to      Receiver
	log     *slog.Logger

	again bool // it was up before; owned by confirm, whose calls are over when receive returns

	// Owned by the goroutine.
	garbage quiet
	losses  quiet

	// Published.
	up, sharded                       atomic.Bool
	batches, bytes, malformed, missed atomic.Uint64
	lastError                         atomic.Pointer[string]
}

func (s *subscription) heard() Heard {
	h := Heard{Up: s.up.Load(), Batches: s.batches.Load(), Bytes: s.bytes.Load(), Garbage: s.malformed.Load(), Misses: s.missed.Load()}
	if e := s.lastError.Load(); e != nil {
		h.LastError = *e
	}
	return h
}

// run listens until ctx ends. A subscription that lasted is made again soon; one that does not last, or does not come up, is
// tried at growing intervals.
func (s *subscription) run(ctx context.Context) {
	hooked := rueidis.WithOnSubscriptionHook(ctx, s.confirm)
	pause := firstPause
	for {
		began := time.Now()
		err := s.receive(hooked)
		lost := s.up.Swap(false)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		s.interrupted(err, lost, now)
		if now.Sub(began) > longestPause {
			pause = firstPause
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// receive subscribes and stays until that ends.
func (s *subscription) receive(ctx context.Context) error {
	if s.from == FromOwn {
		err := s.client.ReceiveSharded(ctx, s.channel, s.take)
		if !errors.Is(err, redisconn.ErrNotSharded) {
			return err
		}
	}
	return s.client.Receive(ctx, []string{s.channel}, func(_, message string) { s.take(message) })
}

// confirm is called by the library, in the goroutine that reads the connection, when the server says that a subscription began
// or ended. That goroutine reads the first message of the subscription after it.
func (s *subscription) confirm(c rueidis.PubSubSubscription) {
	if c.Kind != "subscribe" && c.Kind != "ssubscribe" {
		return // run sees the end by itself
	}
	s.sharded.Store(c.Kind == "ssubscribe")
	if s.again {
		s.missed.Add(1)
		s.to.Missed(s.from)
	}
	s.again = true
	s.up.Store(true)
}

func (s *subscription) take(message string) {
	if len(message) > MaxBatch {
		s.discard("too large", len(message))
		return
	}
	b := []byte(message)
	if _, err := batch.ParseDownstream(b); err != nil {
		s.discard(err.Error(), len(b))
		return
	}
	s.batches.Add(1)
	s.bytes.Add(uint64(len(b)))
	s.to.Batch(s.from, b)
}

func (s *subscription) discard(why string, bytes int) {
	s.malformed.Add(1)
	if more, ok := s.garbage.line(time.Now()); ok {
		s.log.Warn("bus message is no batch", "err", why, "bytes", bytes, "more", more)
	}
}

// interrupted notes why a subscription ended or did not come up. While Redis is away its client has said so already.
func (s *subscription) interrupted(err error, lost bool, now time.Time) {
	text := err.Error()
	s.lastError.Store(&text)
	if !lost && errors.Is(err, redisconn.ErrNotConnected) {
		return
	}
	if more, ok := s.losses.line(now); ok {
		s.log.Warn("bus is not heard", "err", err, "more", more)
	}
}

// quiet lets one line of a log through each logGap.
type quiet struct {
	next time.Time
	held uint64 // lines since the last
}

// line reports whether a line may be written now, and how many were held back before it.
func (q *quiet) line(now time.Time) (held uint64, ok bool) {
	if now.Before(q.next) {
		q.held++
		return 0, false
	}
	held, q.held = q.held, 0
	q.next = now.Add(logGap)
	return held, true
}
