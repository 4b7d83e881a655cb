package bus

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"edged/redisconn"
)

const (
	roundBatches = 512
	roundBytes   = 1 << 20
	roundLimit   = 2 * time.Second // of one attempt
)

// round is a number of batches that go to Redis together, then once more on the other kind of channel where nobody heard them.
// The next round begins when all have an outcome: so the order of a channel holds whatever happens to single ones.
type round struct {
	items    []publication
	outcomes []outcome // of each item
	plain    bool      // gateways are tried on plain channels first, as the server refused the other kind and none was heard there since

	// Of the round under way.
	now     []int // the items that the attempt publishes
	silent  []int // those that nobody heard in the first
	learned bool  // the other kind should be tried first
}

type outcome struct {
	receivers int64
	err       error
}

func (r *round) take(q *queue) {
	clear(r.items)
	r.items = q.take(r.items[:0], roundBatches, roundBytes)
	r.outcomes = append(r.outcomes[:0], make([]outcome, len(r.items))...)
}

// publish gives every item its outcome.
func (r *round) publish(ctx context.Context, client *redisconn.Client) {
	r.now, r.silent = r.now[:0], r.silent[:0]
	for i := range r.items {
		r.now = append(r.now, i)
	}
	r.learned = false
	r.attempt(ctx, client, r.plain, r.first)
	if len(r.silent) > 0 {
		r.now, r.silent = r.silent, r.now
		r.attempt(ctx, client, !r.plain, r.second)
	}
	if r.learned {
		r.plain = !r.plain
	}
}

// attempt publishes the items of now on one kind of channel.
func (r *round) attempt(ctx context.Context, client *redisconn.Client, plain bool, judge func(i int, o outcome)) {
	if ctx.Err() != nil {
		for _, i := range r.now {
			judge(i, outcome{err: ErrStopped})
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	results := client.DoMulti(ctx, func(b rueidis.Builder) rueidis.Commands { return r.commands(b, plain) })
	for n, i := range r.now {
		receivers, err := results[n].AsInt64()
		judge(i, outcome{receivers, err})
	}
}

// commands names the channel as a key also for PUBLISH. In a Cluster any node would do, but only messages that take the same way
// keep their order.
func (r *round) commands(b rueidis.Builder, plain bool) rueidis.Commands {
	commands := make(rueidis.Commands, 0, len(r.now))
	for _, i := range r.now {
		item := &r.items[i]
		if item.own && !plain {
			commands = append(commands, b.Spublish().Channel(item.channel).Message(item.batch).Build())
		} else {
			commands = append(commands, b.Arbitrary("PUBLISH").Keys(item.channel).Args(item.batch).Build())
		}
	}
	return commands
}

// first judges what came of an item on the kind of channel that was tried first.
func (r *round) first(i int, o outcome) {
	r.outcomes[i] = o
	if !r.items[i].own {
		return
	}
	refused := redisconn.IsRefused(o.err)
	if refused || o.err == nil && o.receivers == 0 {
		r.silent = append(r.silent, i)
	}
	if refused && !r.plain {
		r.learned = true
	}
}

// second judges what came of an item on the other kind. A server without that kind leaves it at nobody having heard.
func (r *round) second(i int, o outcome) {
	if redisconn.IsRefused(o.err) && r.outcomes[i].err == nil {
		return
	}
	r.outcomes[i] = o
	if r.plain && o.receivers > 0 {
		r.learned = true
	}
}
