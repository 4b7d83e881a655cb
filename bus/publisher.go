package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"edged/redisconn"
)

// ErrTooLarge is part of the error about a batch of more than MaxBatch bytes.
var ErrTooLarge = errors.New("bus batch is too large")

// Publisher publishes batches. Its methods may be called from every goroutine; what several of them hand over shares round trips
// to Redis. It repeats nothing: after an error the batch may have been published or not.
type Publisher struct {
	// Static.
	client  *redisconn.Client
	ctx     context.Context // ends when Stop's time is over
	cancel  context.CancelFunc
	running sync.WaitGroup // run

	queue queue
	round round // owned by run

	// Published.
	published, bytes, unheard, failed, full atomic.Uint64
}

// Published is how a Publisher fares.
type Published struct {
	Batches uint64 // that Redis took
	Bytes   uint64 // of them
	Unheard uint64 // of them, those without a receiver that Redis knew of
	Failed  uint64 // that ended with an error
	Full    uint64 // refused, because the queue had no room
	Waiting int    // in the queue now
}

// NewPublisher starts a Publisher. The settings must be valid.
func NewPublisher(client *redisconn.Client, c Config) *Publisher {
	p := &Publisher{client: client, queue: newQueue(c)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.run)
	return p
}

// To publishes a batch for one gateway. It copies the batch, and returns when that is queued; where the queue is full it waits
// for room until ctx ends and then returns ErrFull. A caller that must not wait gives a context that has ended.
//
// Unless To returns an error, done is called exactly once, if it is not nil: with the number of clients that Redis handed the
// batch to, or with an error. Those calls come one at a time, for one channel in the order of the batches, and hold up the
// others: done must not wait.
func (p *Publisher) To(ctx context.Context, gateway string, batch []byte, done func(receivers int64, err error)) error {
	return p.put(ctx, publication{channel: Channel(gateway), own: true, done: done}, batch)
}

// ToAll publishes a batch for every gateway. See To for the rest.
func (p *Publisher) ToAll(ctx context.Context, batch []byte, done func(receivers int64, err error)) error {
	return p.put(ctx, publication{channel: channelAll, done: done}, batch)
}

func (p *Publisher) put(ctx context.Context, pub publication, batch []byte) error {
	if len(batch) > MaxBatch {
		return fmt.Errorf("%w: %d bytes, not %d at most", ErrTooLarge, len(batch), MaxBatch)
	}
	// Redis' library may still read it after a call that was given up.
	pub.batch = string(batch)
	err := p.queue.put(ctx, pub)
	if errors.Is(err, ErrFull) {
		p.full.Add(1)
	}
	return err
}

// Stop takes no more batches and publishes those that wait, until ctx ends; the rest ends with ErrStopped. When it returns, every
// done was called. It may be called again.
func (p *Publisher) Stop(ctx context.Context) {
	p.queue.close()
	defer context.AfterFunc(ctx, p.cancel)()
	p.running.Wait()
	p.cancel()
}

// Published returns the counters.
func (p *Publisher) Published() Published {
	waiting, _ := p.queue.state()
	return Published{Batches: p.published.Load(), Bytes: p.bytes.Load(), Unheard: p.unheard.Load(), Failed: p.failed.Load(),
		Full: p.full.Load(), Waiting: waiting}
}

func (p *Publisher) run() {
	for {
		p.round.take(&p.queue)
		if len(p.round.items) > 0 {
			p.round.publish(p.ctx, p.client)
			p.finish()
			continue
		}
		if waiting, closed := p.queue.state(); closed && waiting == 0 {
			return
		}
		<-p.queue.filled
	}
}

// finish counts the outcomes of a round and tells them.
func (p *Publisher) finish() {
	for i := range p.round.items {
		item, o := &p.round.items[i], &p.round.outcomes[i]
		switch {
		case o.err != nil:
			p.failed.Add(1)
		default:
			p.published.Add(1)
			p.bytes.Add(uint64(len(item.batch)))
			if o.receivers == 0 {
				p.unheard.Add(1)
			}
		}
		item.end(o.receivers, o.err)
	}
}
