package gateway

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/netpoll"
	"edged/relay"
	"edged/room"
)

// spareFiles is what the process needs beside its links: Managers, listeners, Redis, files, and connections that are being
// closed.
const spareFiles = 1024

// kernelBytes bounds what the kernel holds for one link that does not acknowledge, beside the 64 KiB held here.
const kernelBytes = 256 << 10

// Options is what a Gateway is made of.
type Options struct {
	Config    Config
	Listeners []Listener
	Managers  relay.Config
	// Passed are listening sockets that a supervisor has opened, by name, in their order; they stay the caller's. A successor
	// that is given none of a name has its predecessor's.
	Passed  map[string][]int
	Version string       // of the binary, told to Managers
	Files   int          // descriptors that the process may open (RLIMIT_NOFILE)
	Log     *slog.Logger // nil: nothing is logged

	Queues Queues // by which new links find their reactors

	// Inherit is what a predecessor hands over; nil: this gateway starts without links. New touches nothing of it that the
	// predecessor would need to go on by itself; Start does.
	Inherit *Inheritance
	Keep    *Keep // nil: a crash ends all links

	Delivery delivery.Config // the zero one: the defaults
	Rooms    room.Limits     // the same
	Slow     Slow            // the same
	Offline  OfflineLog      // stored messages; nil: there are none
	// AwaitRoute has what is stored for a link pulled when Routed is called for it, and not already at its bind.
	AwaitRoute bool
	// NotHere is told of users for whom others send messages here although they have no link; device is nil for all of
	// them. It must not wait, and may be nil.
	NotHere func(user, device []byte)
}

// Gateway holds the links of one box.
type Gateway struct {
	// Static after New.
	cfg           Config
	listeners     []Listener
	listenerNames [][]byte
	passed        map[string][]int
	addresses     []string // where it really listens, by configured listener; those that are configured no more come behind
	advertise     string
	id            string
	epoch         uint64
	capacity      int
	log           *slog.Logger
	group         *netpoll.Group
	relay         *relay.Relay
	shards        []*shard
	rules
	people

	managerAddresses []string
	before           before
	past             *past // while New loads it
	kept             *kept // nil: nothing is written down

	// Shared.
	links    atomic.Int64
	draining atomic.Bool
	sources  atomic.Pointer[[]uint8] // place in listeners of each number that netpoll gave out

	life life
}

// rules are what follows from the settings. Static after New.
type rules struct {
	checkEvery  time.Duration
	longest     time.Duration // of the limits of a link
	paceBurst   int
	delivery    delivery.Config
	windowBytes int
	roomLimits  room.Limits
	slow        Slow
	policies    [classes]policy
}

// life guards the steps of a gateway's: Start, Drain, Undrain and Stop come one at a time.
type life struct {
	sync.Mutex
	started, stopped bool
}

// New makes the gateway and takes its listeners; nothing is accepted before Start.
func New(o Options) (*Gateway, error) {
	if n := len(o.Listeners); n == 0 || n > maxListeners {
		return nil, fmt.Errorf("gateway: %d listeners, not between 1 and %d", n, maxListeners)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{
		cfg: o.Config, listeners: slices.Clone(o.Listeners), passed: maps.Clone(o.Passed), log: o.Log,
		epoch: uint64(time.Now().UnixNano()), managerAddresses: o.Managers.Addresses,
	}
	for _, l := range o.Listeners {
		g.addresses = append(g.addresses, l.Address)
	}
	g.paceBurst = paceBurst(o.Config.LinkRate)
	g.setPeople(o)
	reactors, err := g.agree(&o)
	if err != nil {
		return nil, err
	}
	g.checkEvery, g.longest = checkEvery(o.Config, g.listeners), longestLimit(o.Config)
	for _, l := range g.listeners {
		g.listenerNames = append(g.listenerNames, []byte(l.Name))
	}
	if err := g.size(reactors, o.Files); err != nil {
		return nil, err
	}
	if err := g.open(reactors, o); err != nil {
		if g.group != nil {
			g.group.Stop()
		}
		return nil, err
	}
	return g, nil
}

// size computes how many links there can be.
func (g *Gateway) size(reactors, files int) error {
	capacity, err := capacityOf(g.cfg, reactors, files)
	if err != nil {
		return err
	}
	if g.cfg.Capacity > capacity {
		g.log.Warn("capacity lowered to what open files allow", "wanted", g.cfg.Capacity, "capacity", capacity, "files", files)
	}
	g.capacity = capacity
	return g.keepCapacity()
}

func capacityOf(cfg Config, reactors, files int) (int, error) {
	possible := files - spareFiles - 4*reactors
	if possible < 1 {
		return 0, fmt.Errorf("gateway: %d open files are not enough: %d are needed beside the links (LimitNOFILE of the unit, ulimit -n)", files, files-possible)
	}
	return min(cmp.Or(cfg.Capacity, possible), possible, reactors*linkpool.MaxPlaces), nil
}

// shardCapacity leaves each shard room for more than its share: the kernel spreads connections by a hash.
func shardCapacity(capacity, reactors int) int {
	return min(capacity, capacity/reactors*2+1024, linkpool.MaxPlaces)
}

func (g *Gateway) open(reactors int, o Options) (err error) {
	perShard := shardCapacity(g.capacity, reactors)
	if err := g.keepMemory(&o, reactors, perShard); err != nil {
		return err
	}
	g.group, err = netpoll.New(netpoll.Config{
		Loops:       reactors,
		MaxConns:    perShard + spareFiles,
		KernelBytes: kernelBytes,
		// Later than deadlines.go finds a slow consumer at the latest, whom the kernel would end without a BYE.
		UserTimeout: 2*g.cfg.WriteTimeout + g.checkEvery,
		SchedBatch:  g.cfg.SchedBatch,
		CPUs:        o.Queues.cpus(g.cfg, reactors),
		Steer:       o.Queues.steer(g.cfg),
		Queues:      o.Queues.steered(g.cfg),
		Steered:     g.steered,
		BusyPoll:    netpoll.BusyPoll{Time: g.cfg.BusyPoll},
		Coalesce:    g.cfg.Coalesce,
		HighWater:   g.slow.Bytes,
		Piece:       frameLen,
		Inherit:     g.inheritedLoops(),
		Restore:     g.restoration(),
		Note:        g.noting(),
		Ready:       func(l *netpoll.Loop, number int) { g.relay.Port(l.Number()).Ready(number) },
	}, func(l *netpoll.Loop) netpoll.Handler {
		s := newShard(g, l, perShard)
		g.shards = append(g.shards, s)
		return s
	})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if err := g.listen(g.inheritListeners()); err != nil {
		return err
	}
	if g.past == nil {
		g.advertise = cmp.Or(g.cfg.Advertise, advertised(g.addresses))
		g.id = cmp.Or(g.cfg.ID, g.advertise)
	}
	if err := g.openRelay(o); err != nil {
		return err
	}
	g.findHopeless()
	return g.load()
}

func (g *Gateway) openRelay(o Options) (err error) {
	g.relay, err = relay.New(relay.Options{
		Config: o.Managers,
		Hello: batch.GatewayHello{
			ID: g.id, Address: g.advertise, Protocol: 1, Version: o.Version, Epoch: g.epoch,
		},
		Shards:  len(g.shards),
		Wake:    func(shard int) { g.shards[shard].loop.Wake() },
		Watch:   func(shard, number, fd int) error { return g.shards[shard].loop.Watch(number, fd) },
		Unwatch: func(shard, fd int) { g.shards[shard].loop.Unwatch(fd) },
		ShardOf: func(index uint32) int { shard, _ := linkpool.Place(index); return shard },
		Log:     g.log,
		Inherit: g.inheritedStreams(),
		Rings:   g.rings(),

		UserShards: g.userShards,
		Cast:       g.newCast,
	})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	g.receiver = receiver{g: g, own: g.relay.NewInlet(true), all: g.relay.NewInlet(false)}
	g.orders.in = g.relay.NewInlet(true)
	for i, s := range g.shards {
		s.port = g.relay.Port(i)
		s.managers.list = make([]manager, s.port.Managers())
		s.managers.bound = o.Managers.Buffer
		s.managers.next = i // so that the shards begin at different Managers
	}
	return nil
}

// ID returns the gateway's name towards Managers.
func (g *Gateway) ID() string { return g.id }

// Advertise returns the address in its link IDs.
func (g *Gateway) Advertise() string { return g.advertise }

// Addresses returns where it listens, by listener.
func (g *Gateway) Addresses() []string { return g.addresses }

// Epoch returns the number that changes at every cold start.
func (g *Gateway) Epoch() uint64 { return g.epoch }

// Reactors returns how many threads serve links.
func (g *Gateway) Reactors() int { return len(g.shards) }

// Capacity returns how many links there can be.
func (g *Gateway) Capacity() int { return g.capacity }

// Links returns how many links there are.
func (g *Gateway) Links() int { return int(g.links.Load()) }

// Draining says whether links are being sent away.
func (g *Gateway) Draining() bool { return g.draining.Load() }
