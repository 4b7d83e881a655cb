package registry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"edged/redisconn"
)

const (
	stopLimit  = 5 * time.Second        // of Stop and Detach
	breakOff   = 500 * time.Millisecond // after which a call of Redis that is under way then is broken off
	restGap    = 250 * time.Millisecond // between two looks at the resync while nothing is wrong
	hurryGap   = 20 * time.Millisecond  // while Redis has lost routes
	unsureGap  = time.Second            // after which a write that had no answer is repeated, once Redis answers again
	maxBatch   = 1000                   // routes in a pipeline
	maxEvents  = 10_000                 // events that wait for Redis; beyond it the oldest are dropped
	maxUnsures = maxMarks               // names that are written once more; beyond it the resync does it
)

// Options is what Routes needs. The first five are needed, and AppendLinkID.
type Options struct {
	Config    Config
	Client    *redisconn.Client
	Directory *Directory
	Gateway   string // its ID, without spaces
	Epoch     uint64 // of the process; an upgrade hands it on

	// AppendLinkID appends the ID of a link, as PROTOCOL.md §1.3 has it.
	AppendLinkID func(dst []byte, l Link) []byte
	// Evicted is told, with Config.Exclusive, which link has to give way: the one of route r, in another gateway or in this
	// one. It is called by the writer's goroutine, possibly more than once for a link, and must not wait.
	Evicted func(user, device string, r Route)
	// Routed is told of each user's device whose route stands in Redis since just now, or never will because its key is not
	// ours: what was sent to the user before that may have found nobody. It is called by the writer's goroutine, possibly
	// more than once for a link, and must not wait. It may be nil.
	Routed func(user, device string)
	Log    *slog.Logger // nil: none
}

// Routes writes the links of a Directory to Redis, with the lease that keeps them valid. Nothing waits for it, and whatever
// Redis does costs the process nothing but that others do not find its users.
type Routes struct {
	// Static after NewRoutes.
	o       Options
	prefix  string // of all our routes
	reader  *Reader
	lease   *lease
	wake    chan struct{} // there is something to do; holds one
	quit    chan struct{} // closed by the end
	done    chan struct{} // closed by the goroutine when it has left
	ctx     context.Context
	cancel  context.CancelFunc // breaks calls of Redis off
	waiting marks

	writer writer // owned by the goroutine, and by Stop and Detach when that has left

	mu    sync.Mutex  // guards stats
	stats RoutesStats // without what others count
}

// writer is the state of the goroutine.
type writer struct {
	walk     *walk
	names    []Name // scratch
	batch    []task // scratch
	events   []Event
	eventsAt time.Time         // when events that could not be told are tried again
	unsure   map[Name]struct{} // written again at unsureAt
	unsureAt time.Time         // zero: Redis has not answered since
	pause    time.Duration     // after the next failure
}

// RoutesStats is how the routes fare.
type RoutesStats struct {
	Held      bool   // Redis has the lease, so that routes count
	Waiting   int    // names whose routes are to be written
	LastError string // of the last pipeline; empty: it went well

	Written       uint64 // routes set, that were not there like that
	Removed       uint64
	Visited       uint64 // routes that the resync looked after or that were written once more
	Elsewhere     uint64 // of those, that are another gateway's live ones
	Evicted       uint64 // calls of Evicted
	Failures      uint64 // pipelines, or parts of them, that had no answer
	Refused       uint64 // routes that Redis does not take, because their key is not ours
	Dropped       uint64 // names, because too many waited
	EventsDropped uint64
	LeaseFailures uint64 // renewals that failed
	Twins         uint64 // renewals that found a younger process under this gateway's ID
	LeaseLost     uint64 // times that all routes were looked after, because Redis had lost the lease
}

// NewRoutes starts to write. Links that are in the Directory already, as those of an upgrade, are looked after first: a route
// that is there stays as it is. From now on each Put and Remove of the Directory is written.
func NewRoutes(o Options) *Routes {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("gateway", o.Gateway)
	r := &Routes{
		o: o, prefix: prefix(o.Gateway, o.Epoch), reader: NewReader(o.Client, o.Config),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		waiting: marks{why: make(map[Name]reason)},
		writer: writer{
			walk:   newWalk(o.Directory, o.Config.ResyncRate, o.Config.Resync, time.Now()),
			unsure: make(map[Name]struct{}), pause: firstPause,
		},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.lease = newLease(o.Client, o.Gateway, o.Epoch, o.Config.Lease, o.Log, r.rouse)
	changed := func(n Name) { r.mark(n, change) }
	o.Directory.changed.Store(&changed)
	go r.lease.run(r.ctx, r.quit)
	go r.run()
	return r
}

// Mark has the route of a user's device written as the Directory has it, or removed. It is for names that the Directory does
// not tell itself: those that Detach gave back, and a user for whom others still send messages here.
func (r *Routes) Mark(user, device string) { r.mark(Name{user, device}, change) }

func (r *Routes) mark(n Name, why reason) {
	r.waiting.add(n, why)
	r.rouse()
}

func (r *Routes) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Stats returns the counters.
func (r *Routes) Stats() RoutesStats {
	r.mu.Lock()
	s := r.stats
	r.mu.Unlock()
	s.Held = r.lease.held()
	s.LeaseFailures, s.Twins = r.lease.fails.Load(), r.lease.twins.Load()
	r.waiting.mu.Lock()
	s.Waiting, s.Dropped = len(r.waiting.why), r.waiting.dropped
	r.waiting.mu.Unlock()
	return s
}

func (r *Routes) count(f func(s *RoutesStats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.stats)
}

// Stop ends the writing and takes the gateway out of Redis: the lease first, which makes all its users offline, then as many
// routes as ctx and 5 s allow. What stays is dead. The Directory may be changed meanwhile, but that is written no more.
func (r *Routes) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if !r.end(ctx) {
		return
	}
	if err := r.lease.release(ctx); err != nil {
		r.o.Log.Info("the lease is left to its age", "err", err)
		return
	}
	if left := r.removeAll(ctx); left > 0 {
		r.o.Log.Info("dead routes are left to their readers", "routes", left)
	}
}

// Detach ends the writing for a process that goes on under this ID and epoch: lease and routes stay, the lease with its full
// life. What waits is written within ctx and 5 s; names that could not be are returned, for the other process to Mark. No
// write is under way when it returns.
func (r *Routes) Detach(ctx context.Context) (left []Name) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if !r.end(ctx) {
		return nil
	}
	if r.lease.renew(ctx) == nil {
		for r.waiting.size() > 0 && ctx.Err() == nil && r.round(ctx) == nil {
		}
	}
	for _, m := range r.waiting.take(r.waiting.size(), nil) {
		left = append(left, m.Name)
	}
	for n := range r.writer.unsure {
		left = append(left, n)
	}
	return left
}

// end waits for the goroutines, breaking off what they do. It returns false if another call has done so.
func (r *Routes) end(ctx context.Context) bool {
	first := r.waiting.end()
	if first {
		close(r.quit)
	}
	patience := time.NewTimer(breakOff)
	defer patience.Stop()
	for _, done := range []<-chan struct{}{r.done, r.lease.done} {
		select {
		case <-done:
		case <-patience.C:
			r.cancel()
		case <-ctx.Done():
			r.cancel()
		}
		<-done
	}
	r.cancel()
	return first
}

func (r *Routes) run() {
	defer close(r.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-r.wake:
		case <-timer.C:
		}
		timer.Reset(r.turn())
	}
}
