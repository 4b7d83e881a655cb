package dispatch

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readLimit  = 2 * time.Second        // of one reading of the fleet
	shareLimit = time.Second            // of what is told to other readers after it
	slack      = time.Second            // for what else holds a refresh up
	hurryFor   = 2 * time.Second        // after the start, a reading that fails is tried again soon
	hurry      = 50 * time.Millisecond  // that soon
	retryPause = time.Second            // at most, after a reading that failed
	leaveLimit = 500 * time.Millisecond // to say goodbye
)

// errNotRead is what is wrong with the fleet before the first reading has an outcome.
var errNotRead = errors.New("not read yet")

// Fleets is where a Service finds the fleet: a FleetReader, or a test's.
type Fleets interface {
	// Read returns every gateway with a live report.
	Read(ctx context.Context) (Fleet, error)
	// WatchState tells each gateway that says that its state is another now, until ctx ends.
	WatchState(ctx context.Context, f func(gateway, state string))
	// WriteSum leaves the availability of each load balancer to other readers.
	WriteSum(ctx context.Context, sum map[string]float64) error
	// Dispatchers says that self lives, and returns the number of those who do.
	Dispatchers(ctx context.Context, self string) (live int, err error)
	// Leave says that self lives no more.
	Leave(ctx context.Context, self string) error
}

// Options is what a Service is made of.
type Options struct {
	Config Config
	SLBs   []SLB  // the load balancers with their public addresses
	Fleets Fleets // usually a FleetReader
	Self   string // the name of this process among the dispatch services; empty: a random one
	Log    *slog.Logger
}

// Service knows the fleet and answers clients. Run keeps its knowledge fresh, Handler answers from memory: what is read
// does not grow with what is asked. Every method may be called from every goroutine.
type Service struct {
	// Static after NewService.
	config  Config
	fleets  Fleets
	self    string
	log     *slog.Logger
	began   time.Time
	proxies proxies
	tails   [4][]byte // what follows the addresses in an answer: by stale and degraded
	ready   chan struct{}

	fleet knowledge
	order ordering
	count tally

	attempt atomic.Int64 // when the last reading ended, well or not; by the clock of now
}

// knowledge is what was read and what follows from it. Guarded by mu, which is taken before that of ordering.
type knowledge struct {
	mu         sync.Mutex
	faces      *faces
	losses     losses
	marks      map[string]mark // by gateway ID
	gateways   []Gateway       // as of the last good reading and the marks, with those that were put back
	putBack    int             // how many these are
	roster     *roster         // the last with an address in it; nil: never
	kept       bool            // roster is older than the last good reading, which would leave nobody to name
	unknown    []balancer      // with gateways, but without an address
	broken     []string        // reports, of the last good reading
	said       notices
	readings   uint64        // good ones
	failures   uint64        // the others
	failing    error         // of the last reading; nil: it was good
	good       time.Duration // when the last good one was taken in; below 0: never
	dispatcher int           // live dispatch services; 0: unknown
	untold     error         // of the last attempt to tell other readers
}

// mark is a state that a gateway has announced and its report may not show yet.
type mark struct {
	state string
	at    time.Duration
	boot  string // of the report that was known then
	seq   uint64
}

// ordering is what an answer takes: the roster and its ranking. Its lock is held for the ranking alone.
type ordering struct {
	mu     sync.Mutex
	ranker *Ranker
	random *rand.Rand
	view   *view
}

// view is what answers are made of. Immutable.
type view struct {
	*roster
	stale    bool
	degraded bool
	expires  time.Duration // from then on it is stale in any case; 0: never
}

// NewService returns a Service that knows nothing yet. The error says what is wrong with o.
func NewService(o Options) (*Service, error) {
	if err := errors.Join(o.Config.Validate(), checkSLBs(o.SLBs)); err != nil {
		return nil, err
	}
	mode, _ := ParseMode(o.Config.Mode) // Validate has
	s := &Service{
		config:  o.Config,
		fleets:  o.Fleets,
		self:    cmp.Or(o.Self, crand.Text()),
		log:     o.Log,
		began:   time.Now(),
		proxies: newProxies(o.Config.TrustedProxies),
		tails:   o.Config.tails(),
		ready:   make(chan struct{}),
	}
	s.fleet.faces = newFaces(o.SLBs)
	s.fleet.marks = make(map[string]mark)
	guards := Guards{Correction: o.Config.Correction, ShareCap: o.Config.ShareCap}
	s.order.ranker = NewRanker(mode, guards)
	s.order.random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	s.fallBack()
	return s, nil
}

// now is the time since the Service was made, by a clock that does not jump.
func (s *Service) now() time.Duration { return time.Since(s.began) }

// Run reads the fleet again and again and listens for gateways that change their state, until ctx ends. It is called
// once.
func (s *Service) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { s.fleets.WatchState(ctx, s.mark) })
	defer s.leave()
	for {
		err := s.refresh(ctx)
		pause := s.config.Refresh
		if err != nil {
			pause = min(pause, retryPause)
			if s.now() < hurryFor {
				pause = hurry
			}
		}
		if err == nil || s.now() >= hurryFor {
			s.setReady()
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// setReady is called by Run alone.
func (s *Service) setReady() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// Began is closed when Run has read the fleet for the first time, or has tried to for long enough: from then on an answer
// is as good as can be had.
func (s *Service) Began() <-chan struct{} { return s.ready }

// wait sleeps and reports whether to go on.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// leave lets the others have this one's part of the clients at once.
func (s *Service) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	if err := s.fleets.Leave(ctx, s.self); err != nil {
		s.log.Debug("not taken off the list of dispatch services", "err", err)
	}
}

// refresh reads the fleet once and tells others what came of it.
func (s *Service) refresh(ctx context.Context) error {
	began := s.now()
	limited, cancel := context.WithTimeout(ctx, readLimit)
	fleet, err := s.fleets.Read(limited)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer func() { s.attempt.Store(int64(s.now())) }()
	if err != nil {
		s.missed(err)
		return err
	}
	sum := s.take(began, fleet)
	limited, cancel = context.WithTimeout(ctx, shareLimit)
	defer cancel()
	live, err := s.fleets.Dispatchers(limited, s.self)
	s.share(live, errors.Join(err, s.fleets.WriteSum(limited, sum)))
	return nil
}

// share notes how many dispatch services live, and whether the others were told.
func (s *Service) share(live int, err error) {
	k := &s.fleet
	k.mu.Lock()
	defer k.mu.Unlock()
	if live > 0 {
		k.dispatcher = live // if not, the last count is better than none
	}
	switch {
	case err != nil && k.untold == nil:
		s.log.Warn("other dispatch services are not told", "err", err)
	case err == nil && k.untold != nil:
		s.log.Info("other dispatch services are told again")
	}
	k.untold = err
}

// missed notes a reading that failed: what is known gets stale.
func (s *Service) missed(err error) {
	k := &s.fleet
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures++
	if k.failing == nil || k.failing == errNotRead && s.now() >= hurryFor {
		s.log.Warn("fleet cannot be read; answering with what is known", "err", err)
		k.failing = err
	}
	k.losses.away(s.now())
	s.publish(false)
}

// take makes a new roster of a reading that began at a time, and returns the availability of each load balancer. It takes
// the fleet over.
func (s *Service) take(began time.Duration, fleet Fleet) map[string]float64 {
	k := &s.fleet
	k.mu.Lock()
	defer k.mu.Unlock()
	now := s.now()
	if k.failing != nil && k.failing != errNotRead {
		s.log.Info("fleet is read again", "away", now-k.good, "failures", k.failures)
	}
	k.failing, k.good, k.broken = nil, now, fleet.Broken
	k.readings++
	k.ripen(began, fleet.Gateways)
	distrust := k.losses.distrust
	k.gateways, k.putBack = k.losses.judge(now, fleet.Gateways)
	if k.losses.distrust != distrust {
		s.log.Warn("more than half of the fleet is missing", "believed", !k.losses.distrust, "missing", k.putBack, "gateways", len(fleet.Gateways))
	}
	r := s.regroup()
	s.notice(r)
	return r.sums()
}

// ripen drops the marks whose gateways have reported since, and lays the others over the reading. A reading that began
// before a mark knows nothing of it.
func (k *knowledge) ripen(began time.Duration, gateways []Gateway) {
	if len(k.marks) == 0 {
		return
	}
	read := make(map[string]*Gateway, len(gateways))
	for i := range gateways {
		read[gateways[i].ID] = &gateways[i]
	}
	for id, m := range k.marks {
		g := read[id]
		switch {
		case began >= m.at && (g == nil || g.Boot != m.boot || g.Seq != m.seq):
			delete(k.marks, id)
		case g != nil:
			g.State, g.Availability = m.state, 0
		}
	}
}

// mark takes in that a gateway has another state now. One that leaves is last in answers from here on; one that is back
// has its place again with the next reading.
func (s *Service) mark(gateway, state string) {
	k := &s.fleet
	k.mu.Lock()
	defer k.mu.Unlock()
	if state != StateDraining && state != StateDown {
		delete(k.marks, gateway)
		return
	}
	i := slices.IndexFunc(k.gateways, func(g Gateway) bool { return g.ID == gateway })
	if i < 0 || k.gateways[i].State == state {
		return // the next reading brings it, or the last one did
	}
	g := &k.gateways[i]
	k.marks[gateway] = mark{state, s.now(), g.Boot, g.Seq}
	k.losses.leave(gateway, state)
	g.State, g.Availability = state, 0
	s.regroup()
}

// regroup makes a roster of the gateways and publishes it. k.mu is held.
func (s *Service) regroup() *roster {
	k := &s.fleet
	r := k.faces.roster(k.gateways)
	k.unknown = r.unknown
	k.kept = r.size() == 0 && k.roster != nil
	if r.size() > 0 {
		k.roster = r
	}
	s.publish(!k.kept)
	return r
}

// fallBack begins with what the configuration alone says.
func (s *Service) fallBack() {
	k := &s.fleet
	k.failing = errNotRead
	k.good = -1
	if r := k.faces.roster(nil); r.size() > 0 {
		k.roster = r
	}
	s.publish(true)
}

// publish lets answers be made of what is known now; k.mu is held. The ranking is told when the roster is a new one.
func (s *Service) publish(fresh bool) {
	k := &s.fleet
	v := &view{roster: k.roster, stale: k.failing != nil || k.kept, degraded: k.putBack > 0}
	if k.good >= 0 {
		v.expires = k.good + s.config.Refresh + readLimit + shareLimit + slack
	}
	o := &s.order
	o.mu.Lock()
	defer o.mu.Unlock()
	o.view = v
	if fresh && v.roster != nil {
		o.ranker.Update(s.now(), v.boxes(), k.dispatcher)
	}
}
