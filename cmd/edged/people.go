package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"edged/batch"
	"edged/bus"
	"edged/dispatch"
	"edged/gateway"
	"edged/offline"
	"edged/redisconn"
	"edged/registry"
	"edged/wire"
)

// hub is what people need of a gateway.
type hub interface {
	ID() string
	Advertise() string
	Epoch() uint64
	Directory() *registry.Directory
	AppendLinkID(dst []byte, l registry.Link) []byte
	Evict(linkID string) bool
	Routed(user, device string)
	Receiver() bus.Receiver
	Order(b []byte) error
}

// peopleConfig is what people need of the file.
type peopleConfig struct {
	Redis    redisconn.Config // without an address this gateway's users are nobody else's matter
	Registry registry.Config
	Bus      bus.Config
	Offline  offline.Config
	Reports  time.Duration // between two reports of a gateway
	MaxFrame int           // bytes of a frame's body
}

// people makes this gateway's users a matter of the fleet: their routes go to Redis, what others publish for them is heard,
// their stored messages are read, and an operator's pushes find them wherever they are.
type people struct {
	// Static after newPeople. Without Redis there is nothing but cfg and log.
	cfg       peopleConfig
	log       *slog.Logger
	redis     *redisconn.Client
	reader    *registry.Reader
	stored    *offline.Log
	publisher *bus.Publisher
	fleet     *dispatch.FleetReader

	// Static after join.
	hub        hub
	subscriber *bus.Subscriber    // nil without Redis
	cancel     context.CancelFunc // ends the work
	work       sync.WaitGroup

	strays chan registry.Name // users for whom others still send messages here
	count  peopleCounters

	mu      sync.Mutex
	writing *registry.Routes  // nil without Redis, and before join; guarded by mu
	changes *registry.Changes // names that nobody writes now; nil while writing does; guarded by mu
}

// peopleCounters are what nobody else counts.
type peopleCounters struct {
	pushed    pushCounters
	strays    atomic.Uint64
	strayLost atomic.Uint64 // strays for whom nobody had time
	told      atomic.Uint64 // other gateways' links that were told to give way
	untold    atomic.Uint64 // those that could not be
}

// maxStrays is how many strays may wait. Beyond it the resync of the routes finds them.
const maxStrays = 1024

// newPeople connects in the background; nothing is told to anybody before join.
func newPeople(cfg peopleConfig, log *slog.Logger) *people {
	p := &people{cfg: cfg, log: log, strays: make(chan registry.Name, maxStrays), cancel: func() {}}
	if !cfg.Redis.Enabled() {
		return p
	}
	// Reports have a client of their own: pages of stored messages and thousands of routes must not hold up what tells clients
	// where there is room.
	p.redis = redisconn.New(cfg.Redis, log.With("for", "users"))
	p.reader = registry.NewReader(p.redis, cfg.Registry)
	p.stored = offline.New(p.redis, cfg.Offline)
	p.publisher = bus.NewPublisher(p.redis, cfg.Bus)
	p.fleet = dispatch.NewFleetReader(p.redis, cfg.Reports, log)
	return p
}

// lend gives a gateway what it needs of people.
func (p *people) lend(o *gateway.Options) {
	if p.redis != nil {
		o.Offline, o.NotHere, o.AwaitRoute = p.stored, p.notHere, true
	}
}

// join begins to tell and to hear, for a gateway that is about to start. resumed says that it goes on in the place of a process
// before this one, which has not written the routes of names.
func (p *people) join(h hub, names []registry.Name, resumed bool) {
	p.hub = h
	if p.redis == nil {
		return
	}
	p.rejoin()
	for _, n := range names {
		p.mark(n)
	}
	p.subscriber = bus.NewSubscriber(p.redis, h.ID(), h.Receiver(), p.log)
	if resumed {
		p.subscriber.Resume()
	} else {
		p.subscriber.Start()
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	p.work.Go(func() { p.findStrays(ctx) })
}

// routes is who writes the routes now; nil without Redis.
func (p *people) routes() *registry.Routes {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writing
}

// rejoin writes the routes, again after a detach.
func (p *people) rejoin() {
	if p.redis == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hub
	p.writing = registry.NewRoutes(registry.Options{
		Config: p.cfg.Registry, Client: p.redis, Directory: h.Directory(), Gateway: h.ID(), Epoch: h.Epoch(),
		AppendLinkID: h.AppendLinkID, Evicted: p.evicted, Routed: h.Routed, Log: p.log,
	})
	if p.changes != nil {
		p.changes.Each(func(n registry.Name) { p.writing.Mark(n.User, n.Device) })
		p.changes = nil
	}
}

// detach leaves lease and routes as they are, for another process under the same ID and epoch, and remembers what changes.
func (p *people) detach(ctx context.Context) {
	r := p.routes()
	if r == nil {
		return
	}
	changes := p.hub.Directory().Collect()
	p.mu.Lock()
	p.changes = changes
	p.mu.Unlock()
	for _, n := range r.Detach(ctx) {
		changes.Add(n)
	}
}

// appendChanges appends what has changed since detach.
func (p *people) appendChanges(b []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changes == nil {
		return b
	}
	return appendNames(b, p.changes)
}

// mark has the route of a user's device written as the Directory has it.
func (p *people) mark(n registry.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changes != nil {
		p.changes.Add(n)
		return
	}
	p.writing.Mark(n.User, n.Device)
}

// peopleLimit bounds stop: where Redis does not answer, the lease runs out by itself.
const peopleLimit = 2 * time.Second

// stop takes this gateway's users out of Redis, as far as its time allows. It is called when their links are gone.
func (p *people) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, peopleLimit)
	defer cancel()
	p.cancel()
	p.work.Wait()
	if p.redis == nil {
		return
	}
	if r := p.routes(); r != nil {
		r.Stop(ctx)
		p.subscriber.Stop()
	}
	p.publisher.Stop(ctx)
	p.redis.Close()
}

// sharded is for the report of this gateway: whether it is told things by sharded pub/sub.
func (p *people) sharded() bool { return p.subscriber != nil && p.subscriber.Sharded() }

// ended is the context of who must not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// evicted closes a link that has to give way to a newer one of the same user and device.
func (p *people) evicted(_, _ string, r registry.Route) {
	if r.Gateway == p.hub.ID() {
		p.hub.Evict(r.Link)
		return
	}
	_, index, uniq, err := wire.ParseLinkID(r.Link)
	if err == nil {
		c := batch.Close{Reason: uint32(wire.ByeReplaced)}
		b := batch.AppendClose(nil, batch.ToLink(batch.Link{Index: index, Uniq: uniq}), 0, c)
		err = p.publisher.To(ended, r.Gateway, b, nil)
	}
	if err != nil {
		p.count.untold.Add(1)
		return
	}
	p.count.told.Add(1)
}

// notHere is told of a message that came by Redis for a user, or a device, without a link here. Some sender believes in a
// route that should not be there: it is looked after, so that the next message goes elsewhere. It never waits.
func (p *people) notHere(user, device []byte) {
	select {
	case p.strays <- registry.Name{User: string(user), Device: string(device)}:
		p.count.strays.Add(1)
	default:
		p.count.strayLost.Add(1)
	}
}

// strayBatch is how many strays are looked up together.
const strayBatch = 64

// findStrays has the routes of strays written as the Directory has them. Which devices a stray has here, by Redis, is looked up.
func (p *people) findStrays(ctx context.Context) {
	for {
		users := make(map[string]struct{})
		take := func(n registry.Name) {
			if n.Device != "" {
				p.mark(n)
			} else {
				users[n.User] = struct{}{}
			}
		}
		select {
		case n := <-p.strays:
			take(n)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(users) < strayBatch; {
			select {
			case n := <-p.strays:
				take(n)
			default:
				more = false
			}
		}
		p.lookAfter(ctx, users)
	}
}

// strayLimit bounds one look-up. Where Redis does not answer, senders do not find the route either.
const strayLimit = 2 * time.Second

func (p *people) lookAfter(ctx context.Context, users map[string]struct{}) {
	ctx, cancel := context.WithTimeout(ctx, strayLimit)
	defer cancel()
	names := make([]string, 0, len(users))
	for user := range users {
		names = append(names, user)
	}
	for i, found := range p.reader.LookupAll(ctx, names) {
		for _, r := range found.Routes {
			if r.Gateway == p.hub.ID() {
				p.mark(registry.Name{User: names[i], Device: r.Device})
			}
		}
	}
}
