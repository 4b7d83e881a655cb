package health

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Monitor needs beside its settings. The zero value is one that measures this box and tells nobody.
type Options struct {
	Inputs  func() Inputs  // asked once a tick, from the Monitor's goroutine; must not block
	Publish func(Snapshot) // told each tick and each change of state, from the Monitor's goroutine; must not block
	Log     *slog.Logger   // nil: nothing is logged
	Gateway string         // a fleet's gateways sample at times that differ with this; empty: at once
	Source  Source         // nil: this box's interfaces; the Monitor closes it
	// Resume is what the process that this one takes over from published last: it holds until an interval has been measured,
	// instead of Warming. nil: there was none.
	Resume *Snapshot
	Root   string // below which /proc and /sys are; empty: "/"
}

// Monitor measures the box each interval and publishes what it finds.
type Monitor struct {
	// Static after New.
	interval time.Duration
	phase    time.Duration
	publish  func(Snapshot)
	log      *slog.Logger
	source   Source

	latest   atomic.Pointer[Snapshot]
	draining atomic.Bool
	polling  atomic.Bool   // nobody tells of interface changes
	knock    chan struct{} // draining has changed; holds one token
	changed  chan struct{} // an interface has changed; holds one token

	sampler sampler // owned by run

	start, stop sync.Once
	cancel      context.CancelFunc
	ctx         context.Context // ends with Stop
	running     sync.WaitGroup
}

// New returns a Monitor that has not started. It fails where the settings are invalid or no counters can be read at all.
func New(c Config, o Options) (*Monitor, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Publish == nil {
		o.Publish = func(Snapshot) {}
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Source == nil {
		var err error
		if o.Source, err = openBox(); err != nil {
			return nil, fmt.Errorf("measure traffic: %w", err)
		}
	}
	m := &Monitor{
		interval: c.Interval,
		phase:    phase(o.Gateway, c.Interval),
		publish:  o.Publish,
		log:      o.Log,
		source:   o.Source,
		knock:    make(chan struct{}, 1),
		changed:  make(chan struct{}, 1),
		sampler: sampler{
			config: c, source: o.Source, inputs: o.Inputs, log: o.Log,
			signals: newReader(c.Terms, o.Root, o.Log.Warn),
			scorer:  NewScorer(c, o.Log.Warn),
		},
	}
	if o.Resume != nil && o.Resume.State != Warming {
		m.sampler.scorer.resume(*o.Resume)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.latest.Store(m.sampler.restate(time.Now(), false))
	return m, nil
}

// phase returns when in an interval a gateway samples.
func phase(gateway string, interval time.Duration) time.Duration {
	if gateway == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(gateway)) // a hash takes everything
	return time.Duration(h.Sum64() % uint64(interval))
}

// Start begins to measure; without Options.Resume the state is Warming until an interval has been measured, which takes up to
// two. Calls after the first do nothing.
func (m *Monitor) Start() {
	m.start.Do(func() {
		m.running.Go(m.watch)
		m.running.Go(m.run)
	})
}

// Stop ends the measuring and returns when nothing is published any more. Calls after the first do nothing; a Monitor that
// was stopped does not start.
func (m *Monitor) Stop() {
	m.stop.Do(func() {
		m.start.Do(func() {})
		m.cancel()
		m.running.Wait()
		if err := m.sampler.close(); err != nil {
			m.log.Warn("close interface counters", "error", err)
		}
	})
}

// SetDraining says whether the operator wants no more links on this box. The change is published at once, by the
// Monitor's goroutine.
func (m *Monitor) SetDraining(on bool) {
	m.draining.Store(on)
	poke(m.knock)
}

// Latest returns what was published last; before Start, that nothing is known. It may be called from any goroutine.
func (m *Monitor) Latest() Snapshot { return *m.latest.Load() }

// poke puts a token into a channel that holds one: two changes that nobody has looked at yet are one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch tells of interface changes.
func (m *Monitor) watch() {
	err := m.source.Watch(m.ctx, func() { poke(m.changed) })
	if m.ctx.Err() == nil {
		m.polling.Store(true)
		m.log.Warn("interface changes are not told: they are looked for at each tick", "error", err)
	}
}

// run is the Monitor's goroutine.
func (m *Monitor) run() {
	m.sampler.resolve()
	m.tell(m.sampler.restate(time.Now(), m.draining.Load()))
	next := time.Now().Add(m.phase)
	timer := time.NewTimer(m.phase)
	defer timer.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-timer.C:
			m.tell(m.sampler.tick(time.Now(), m.draining.Load(), m.polling.Load()))
			next = m.after(next, time.Now())
			timer.Reset(time.Until(next))
		case <-m.knock:
			m.restate(func(was, is string) bool { return was != is })
		case <-m.changed:
			m.sampler.resolve()
			m.restate(func(was, is string) bool { return was != is && is == Down })
		}
	}
}

// restate publishes between two ticks if that change of state is one to be told.
func (m *Monitor) restate(worth func(was, is string) bool) {
	s := m.sampler.restate(time.Now(), m.draining.Load())
	if worth(m.latest.Load().State, s.State) {
		m.tell(s)
	}
}

// after returns the first time of the grid of ticks that is still to come: those that were slept through are left out.
func (m *Monitor) after(last, now time.Time) time.Time {
	missed := max(now.Sub(last)/m.interval, 0)
	return last.Add((missed + 1) * m.interval)
}

// tell publishes s.
func (m *Monitor) tell(s *Snapshot) {
	was := m.latest.Swap(s)
	if was.State != s.State || (was.Availability == 0) != (s.Availability == 0) {
		m.log.Info("health", "state", s.State, "was", was.State, "availability", s.Availability, "reason", s.Reason)
	}
	m.publish(*s)
}
