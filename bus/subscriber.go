package bus

import (
	"context"
	"log/slog"
	"sync"

	"edged/redisconn"
)

// Receiver gets what a Subscriber hears. The calls for one source come one at a time and in order; those for the two sources
// come at the same time.
type Receiver interface {
	// Batch takes over the bytes of a batch, of which batch.ParseDownstream has accepted the outer level.
	Batch(from Source, b []byte)

	// Missed tells that batches of a source may have been lost: the subscription was interrupted, perhaps some seconds before
	// that was noticed, and is there again. What follows was published later.
	Missed(from Source)
}

// Subscriber hears both channels of one gateway, for as long as Redis is there, and finds back by itself.
type Subscriber struct {
	subscriptions [sources]*subscription
	cancel        context.CancelFunc
	ctx           context.Context // ends with Stop
	running       sync.WaitGroup  // the subscriptions
}

// Heard is how one subscription fares.
type Heard struct {
	Up        bool   // the server has confirmed, and nothing was lost since
	Batches   uint64 // handed to the Receiver
	Bytes     uint64 // of them
	Garbage   uint64 // messages that are no batch
	Misses    uint64 // calls of Missed
	LastError string // why it was interrupted, or does not come up; empty: it never was
}

// NewSubscriber makes the Subscriber of a gateway. Nothing is heard before Start.
func NewSubscriber(client *redisconn.Client, gateway string, to Receiver, log *slog.Logger) *Subscriber {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Subscriber{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for from, channel := range [sources]string{FromOwn: Channel(gateway), FromAll: channelAll} {
		s.subscriptions[from] = &subscription{
			client: client, from: Source(from), channel: channel, to: to, log: log.With("channel", channel),
		}
	}
	return s
}

// Start subscribes in the background. It is called once.
func (s *Subscriber) Start() {
	for _, sub := range s.subscriptions {
		s.running.Go(func() { sub.run(s.ctx) })
	}
}

// Resume is Start for a Subscriber in the place of another process's: what was published after that one ended and before this one is
// up is Missed.
func (s *Subscriber) Resume() {
	for _, sub := range s.subscriptions {
		sub.again = true
	}
	s.Start()
}

// Stop ends the subscriptions, and returns when the Receiver has left its last call. It may be called again.
func (s *Subscriber) Stop() {
	s.cancel()
	s.running.Wait()
}

// Sharded reports whether the gateway's own channel is one of sharded pub/sub, as of the last time that the server confirmed it.
func (s *Subscriber) Sharded() bool { return s.subscriptions[FromOwn].sharded.Load() }

// Heard returns the state and counters of one subscription.
func (s *Subscriber) Heard(from Source) Heard { return s.subscriptions[from].heard() }
