package gateway

import (
	"errors"
	"sync"
	"time"

	"edged/bus"
	"edged/relay"
)

// busWait is how long a batch from Redis waits for room before what is left of it is dropped: Redis hangs up on a reader that
// takes longer.
const busWait = 2 * time.Second

// receiver takes batches that come by Redis: it is the bus.Receiver of the gateway.
type receiver struct {
	g   *Gateway
	own *relay.Inlet
	all *relay.Inlet
}

// Receiver returns what is to be told of the batches on the gateway's channels.
func (g *Gateway) Receiver() bus.Receiver { return &g.receiver }

// Batch carries a batch out.
func (r *receiver) Batch(from bus.Source, b []byte) {
	in := r.own
	if from == bus.FromAll {
		in = r.all
	}
	if err := in.Deliver(b, busWait); errors.Is(err, relay.ErrBusy) {
		r.g.log.Warn("batch from Redis dropped: the shards are busy", "channel", from.String())
		r.Missed(from)
	}
}

// Missed has the links brought up from the log: stored messages for them may have been lost. Others are.
func (r *receiver) Missed(from bus.Source) {
	if from != bus.FromOwn || r.g.offline == nil {
		return
	}
	for _, s := range r.g.shards {
		s.loop.Post(s.missed)
	}
}

// orders is the way in for operators.
type orders struct {
	mu sync.Mutex
	in *relay.Inlet
}

// Order carries a Downstream batch out as if it had come by Redis. An error says that it is none, or that the gateway is
// too busy.
func (g *Gateway) Order(b []byte) error {
	g.orders.mu.Lock()
	defer g.orders.mu.Unlock()
	return g.orders.in.Deliver(b, busWait)
}
