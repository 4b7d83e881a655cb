package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"edged/batch"
	"edged/handover"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	maxMessage = 4 << 20 // a Downstream
	// window bounds what gRPC buffers for a shard that does not keep up. A fixed one also spares
	// the pings by which gRPC would measure the connection with every batch.
	window = 1 << 20
	// A stream on which nothing came for so long is probed, and given up if nothing follows.
	keepAlive        = 10 * time.Second
	keepAliveTimeout = 5 * time.Second
)

// Options is what the relay is told by who builds it.
type Options struct {
	Config
	Hello   batch.GatewayHello     // Reactor is filled in for each stream
	Shards  int                    // 1 to 256
	Wake    func(shard int)        // called by any goroutine when Next has something; cheap, coalesced by the shard; may be nil
	ShardOf func(index uint32) int // the shard that owns a link's index; may be nil with one shard
	Log     *slog.Logger           // nil: nothing is logged

	// Watch has the shard's thread call Port.Ready with a number, the Manager's, turn by turn as long as there is something to read
	// from fd, and Unwatch ends that; the shard calls Port.Flush at the end of its turns. Any goroutine calls them. With them the shard's thread reads and writes the sockets of
	// Managers without TLS itself, where nothing has to wait. They may be nil: goroutines do all of it.
	Watch   func(shard, number, fd int) error
	Unwatch func(shard, fd int)

	Inherit *Inheritance // what a predecessor left; nil: there was none

	// UserShards returns the shards that have links of a user, or the link of a device; a nil device
	// means all of the user's. An item for a user or device goes to each of them, or, if there is none, to
	// the shard of its stream, which finds that it is for nobody. A shard must be among them before it calls
	// Next after the event with the bind. It is called by many goroutines and must not keep what it is lent.
	// It may be nil: such items then go to the stream's shard, as they do with one shard.
	UserShards func(user, device []byte) Shards
	// Cast makes of an item for a room or everyone the value that every shard gets by EventCast; origin is
	// the Manager's number or NoManager. Nil is not delivered. It is called by many goroutines and must not
	// keep the item. It may be nil: such items then go to the stream's shard.
	Cast func(origin int, item []byte) any

	// Rings returns the ring in shared memory of a shard and a Manager: what is sent there outlives a crash of the process
	// (RecoverState). The shards then have to call Port.Commit and Port.Carried. It is called by New alone, and may be nil:
	// nothing is kept. The rings must be new ones.
	Rings func(shard, manager int) *handover.Ring
}

// Relay is all streams of a gateway.
type Relay struct {
	// Static after New.
	options Options
	ports   []*Port
	streams []*stream
	buffers *sync.Pool // of *inbound
	absent  []absent   // what a later successor has to know

	orphans [][]*Batch // by shard, whose they are

	life   lifetime
	wg     sync.WaitGroup
	inlets inlets

	mu      sync.Mutex // guards what follows
	started bool
	stopped bool
	held    bool // by Hold, until Thaw
	frozen  bool // by Freeze, until Thaw
}

// lifetime is the two steps of an end: stop asks the streams to finish, kill breaks them off.
type lifetime struct {
	stop, kill           context.Context
	beginStop, beginKill context.CancelFunc
}

func newLifetime() (l lifetime) {
	l.stop, l.beginStop = context.WithCancel(context.Background())
	l.kill, l.beginKill = context.WithCancel(context.Background())
	return l
}

// New prepares the streams. Nothing is dialled before Start.
func New(o Options) (*Relay, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Shards < 1 || o.Shards > maxShards || o.Shards > 1 && o.ShardOf == nil {
		panic(fmt.Sprintf("relay: %d shards, ShardOf set: %v", o.Shards, o.ShardOf != nil))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	cred, err := o.Config.credentials()
	if err != nil {
		return nil, err
	}
	r := &Relay{options: o, buffers: newBuffers(), life: newLifetime(), orphans: make([][]*Batch, o.Shards)}
	r.inlets.gate.prepare()
	for shard := range o.Shards {
		p, err := newPort(shard, &o, r.life.kill.Done(), r.buffers)
		if err != nil {
			return nil, errors.Join(err, r.closeAll())
		}
		r.ports = append(r.ports, p)
	}
	for _, p := range r.ports {
		for m := range o.Config.Addresses {
			s, err := r.newStream(&o, p, m, cred)
			if err != nil {
				return nil, errors.Join(err, r.closeAll())
			}
			r.streams = append(r.streams, s)
		}
	}
	if err := r.inherit(o.Inherit); err != nil {
		return nil, errors.Join(err, r.closeAll())
	}
	r.noteAll()
	return r, nil
}

func (r *Relay) newStream(o *Options, p *Port, m int, cred credentials.TransportCredentials) (*stream, error) {
	address := o.Config.Addresses[m]
	way, err := newRoad(address, cred, o.Watch != nil)
	if err != nil {
		return nil, fmt.Errorf("manager %s: %w", address, err)
	}
	hello := o.Hello
	hello.Reactor = uint32(p.shard)
	hello.Resumed = hello.Resumed || o.Inherit != nil && o.Inherit.Resumed
	out := p.outlets[m]
	s := &stream{
		address: address, hello: batch.AppendUpstreamHello(nil, hello), road: way,
		log:   o.Log.With("manager", address, "shard", p.shard),
		grace: o.Config.Grace, alone: len(o.Config.Addresses) == 1,
		port: p, out: out, buffers: p.buffers, life: &r.life,
		state: state{outbox: newOutbox(out.forget, out.giveUp)},
	}
	out.stream = s
	if o.Watch != nil {
		s.lend(o, m)
	}
	s.news.prepare()
	s.sending.prepare()
	if out.kept != nil {
		s.keeper = keeper{ring: out.kept.ring, out: out, stream: p.shard*len(o.Config.Addresses) + m}
	}
	s.split = newSplitter(r, p.shard, m)
	s.split.waiting = r.life.kill.Done
	return s, nil
}

func dialOptions(cred credentials.TransportCredentials) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(cred),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: minBackoff, Multiplier: backoffFactor, Jitter: backoffJitter, MaxDelay: maxBackoff,
			},
			MinConnectTimeout: maxBackoff,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepAlive, Timeout: keepAliveTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(codec{}),
			grpc.MaxCallRecvMsgSize(maxMessage),
			// gRPC would keep what it sent until the server's first word, to repeat it by itself.
			grpc.MaxRetryRPCBufferSize(0),
		),
	}
}

// Start begins to dial. It may be called once.
func (r *Relay) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.stopped {
		panic("relay: Start after Start or Stop")
	}
	r.started = true
	for _, p := range r.ports {
		if p.room.Load() != 0 {
			p.wake()
		}
	}
	for _, s := range r.streams {
		s.retry.backoff, s.retry.downSince = minBackoff, time.Now()
		r.wg.Go(s.run)
	}
}

// Stop sends what waits, half-closes the streams and waits for the Managers to end them, until ctx ends;
// then it breaks off what is left. From its begin on no Inlet delivers any more. A Manager that is away but not yet gone is
// waited for if something waits for it. The shards should have sent their last batch, and go on to call Next. A relay that
// is held breaks everything off at once: what it has is its successor's.
func (r *Relay) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil
	}
	r.stopped = true
	r.life.beginStop()
	if r.held {
		r.life.beginKill()
	}
	r.inlets.close()
	done := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.life.beginKill()
	<-done
	return errors.Join(err, r.closeAll())
}

func (r *Relay) closeAll() error {
	r.life.beginStop()
	r.life.beginKill()
	var errs []error
	for _, s := range r.streams {
		errs = append(errs, s.road.Close())
	}
	for _, p := range r.ports {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// Port returns a shard's end.
func (r *Relay) Port(shard int) *Port { return r.ports[shard] }

// Stats may be called by any goroutine.
func (r *Relay) Stats() Stats {
	var st Stats
	for _, s := range r.streams {
		st.Streams = append(st.Streams, s.stats())
	}
	for _, p := range r.ports {
		st.Lanes = append(st.Lanes, p.lane.Len())
	}
	st.Inlets = r.inlets.stats()
	return st
}
