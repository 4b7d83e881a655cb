package swarm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"edged/netpoll"
)

const (
	// leavePatience is how long gateways may take to end their side after BYE.
	leavePatience = 2 * time.Second
	// readBuffer is what a loop reads of one link at a time; a longer frame takes two or three turns.
	readBuffer = 32 << 10
)

// coordinator takes the loops from phase to phase. One goroutine, the one that called Run.
type coordinator struct {
	cfg      *Config
	group    *netpoll.Group
	finder   *finder // nil without a dispatch service
	loops    []*loop // their fields belong to the reactors
	events   chan event
	progress func(Progress)
	ticks    *time.Ticker

	start   time.Time
	phase   phase
	latency Histogram
	last    snapshot // sums as of the last progress
	lastAt  time.Time
}

// snapshot is a copy of what a loop has counted, or a sum of such.
type snapshot struct {
	tally   tally
	up      int
	latency Histogram // since the snapshot before
}

// Run does what cfg says. It calls progress, which may be nil, once a second. When ctx ends the swarm stops early but in
// order. A Report comes with an error too: there is one if cfg is wrong, a target's name is unknown or not a single link
// came up. What went wrong in between stands in the Report; OK judges it.
func Run(ctx context.Context, cfg Config, progress func(Progress)) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, fmt.Errorf("swarm: %w", err)
	}
	targets, err := resolveTargets(ctx, cfg.Target)
	if err != nil {
		return Report{}, fmt.Errorf("swarm: %w", err)
	}
	c := &coordinator{cfg: &cfg, progress: progress, ticks: time.NewTicker(time.Second)}
	defer c.ticks.Stop()
	if cfg.Dispatch != "" {
		if c.finder, err = newFinder(&cfg); err != nil {
			return Report{}, fmt.Errorf("swarm: %w", err)
		}
	}
	if err := c.makeLoops(targets); err != nil {
		return Report{}, fmt.Errorf("swarm: %w", err)
	}
	c.group.Start()
	defer c.group.Stop()
	if c.finder != nil {
		c.finder.start()
		defer c.finder.end()
	}
	return c.run(ctx)
}

func (c *coordinator) makeLoops(targets []target) (err error) {
	n := c.cfg.loops()
	c.events = make(chan event, n*int(phases))
	perLoop := (c.cfg.Links + n - 1) / n
	spare := 64 + perLoop/8 // connections that are still ending while their links are coming back
	c.group, err = netpoll.New(netpoll.Config{Loops: n, MaxConns: perLoop + spare, ReadBuffer: readBuffer, Linger: leavePatience / 2},
		func(l *netpoll.Loop) netpoll.Handler {
			r := newLoop(c.cfg, l, targets, n, c.events)
			if c.finder != nil {
				r.follow(c.finder)
			}
			c.loops = append(c.loops, r)
			return r
		})
	return err
}

func resolveTargets(ctx context.Context, names []string) ([]target, error) {
	var out []target
	for _, name := range names {
		at, err := resolve(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", name, err)
		}
		out = append(out, target{at: at, name: name})
	}
	return out, nil
}

func (c *coordinator) run(ctx context.Context) (Report, error) {
	rep := Report{Target: c.cfg.Target, Links: c.cfg.Links}
	c.start = time.Now()
	c.lastAt = c.start
	c.post((*loop).begin)
	c.await(ctx, 0)
	rampEnd := time.Now()
	rep.RampS = rampEnd.Sub(c.start).Seconds()
	atRamp := c.snap()
	rep.Connections.PerS = float64(atRamp.tally.opened) / max(rep.RampS, 1e-3)

	if ctx.Err() == nil && (atRamp.up > 0 || c.cfg.Reconnect) {
		c.enter(phaseRun)
		c.await(ctx, c.cfg.Duration)
		rep.RunS = time.Since(rampEnd).Seconds()
	}
	rep.Interrupted = ctx.Err() != nil
	c.wrapUp(rep.Interrupted)
	c.fill(&rep)
	if rep.Connections.Opened == 0 && !rep.Interrupted {
		where := strings.Join(c.cfg.Target, ", ")
		if c.finder != nil {
			where = "the addresses of " + rep.Dispatch.URL
		}
		return rep, fmt.Errorf("swarm: no link came up at %s: %s", where, mostFrequent(rep.Connections.Errors))
	}
	return rep, nil
}

// wrapUp goes through the phases after the run, which no end of a context cuts short but their own limits do.
func (c *coordinator) wrapUp(hurry bool) {
	patience := c.cfg.Patience
	if hurry {
		patience = min(patience, leavePatience)
	}
	c.enter(phaseSettle)
	c.await(context.Background(), patience)
	if c.cfg.Checker {
		c.enter(phaseFinish)
		c.await(context.Background(), patience)
	}
	c.enter(phaseLeave)
	c.await(context.Background(), leavePatience)
}

func mostFrequent(reasons map[string]uint64) string {
	best := "no reason is known"
	n := uint64(0)
	for _, why := range slices.Sorted(maps.Keys(reasons)) {
		if reasons[why] > n && why != notTried {
			best, n = why, reasons[why]
		}
	}
	return best
}

// post has f run on every loop's thread.
func (c *coordinator) post(f func(*loop)) {
	for _, r := range c.loops {
		r.net.Post(func() { f(r) })
	}
}

func (c *coordinator) enter(p phase) {
	c.phase = p
	c.post(func(r *loop) { r.enter(p) })
}

// await waits until every loop has come to the end of the phase, the limit is over (0: there is none) or ctx ends.
func (c *coordinator) await(ctx context.Context, limit time.Duration) {
	var over <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		over = t.C
	}
	for left := len(c.loops); left > 0; {
		select {
		case e := <-c.events:
			if e.phase == c.phase { // else it was late
				left--
			}
		case <-c.ticks.C:
			c.report()
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// snap asks all loops for their counters and adds them up.
func (c *coordinator) snap() snapshot {
	answers := make(chan snapshot, len(c.loops))
	c.post(func(r *loop) {
		s := snapshot{tally: r.count.clone(), up: len(r.ups), latency: r.find.latency}
		r.find.latency = Histogram{}
		answers <- s
	})
	sum := snapshot{tally: newTally()}
	for range c.loops {
		s := <-answers
		sum.tally.add(&s.tally)
		sum.up += s.up
		sum.latency.Merge(&s.latency)
	}
	c.latency.Merge(&sum.latency)
	return sum
}

// report tells the progress.
func (c *coordinator) report() {
	s := c.snap()
	now := time.Now()
	seconds := max(now.Sub(c.lastAt).Seconds(), 1e-3)
	t, before := &s.tally, &c.last.tally
	p := Progress{
		Phase: c.phase.String(), Elapsed: now.Sub(c.start), Links: s.up,
		Opened:   float64(t.opened-before.opened) / seconds,
		Sent:     float64(t.sent-before.sent) / seconds,
		Answered: float64(t.answered-before.answered) / seconds,
		P50:      s.latency.Quantile(0.5), P99: s.latency.Quantile(0.99), Max: s.latency.Max(),
		Errors: sum(t.errors) + sum(t.byes) + sum(t.lost) + t.unanswered + t.unsent + t.fault,
	}
	c.last, c.lastAt = s, now
	if c.progress != nil {
		c.progress(p)
	}
}

// fill gathers the loops' numbers at the end.
func (c *coordinator) fill(rep *Report) {
	t := c.snap().tally
	cs, m := &rep.Connections, &rep.Messages
	cs.Opened, cs.Retries, cs.Errors, cs.Byes, cs.Lost = t.opened, t.retries, t.errors, t.byes, t.lost
	cs.Broken = sum(t.byes) + sum(t.lost)
	m.Sent, m.Answered, m.Unanswered, m.Unsent = t.sent, t.answered, t.unanswered, t.unsent
	m.Renumbered, m.Pushes, m.Acks, m.Heartbeats = t.renumbered, t.pushes, t.acks, t.heartbeats
	m.BytesIn, m.BytesOut = t.bytesIn, t.bytesOut
	if rep.RunS > 0 {
		m.PerS = float64(m.Answered) / rep.RunS
	}
	rep.Latency, rep.Connect, rep.Away, rep.Lag = &c.latency, &Histogram{}, &Histogram{}, &Histogram{}
	if c.cfg.Checker {
		rep.Check = &Checks{}
	}
	gathered := make(chan struct{}, len(c.loops))
	for _, r := range c.loops { // one after the other: rep is not for two at a time
		r.net.Post(func() { r.giveIn(rep); gathered <- struct{}{} })
		<-gathered
	}
	if c.finder != nil {
		rep.Dispatch = c.finder.lookups()
	}
}

// giveIn adds the loop's findings to the report. Posted by the coordinator.
func (r *loop) giveIn(rep *Report) {
	rep.Connections.Up += r.upAtEnd
	rep.Connect.Merge(&r.find.connect)
	rep.Away.Merge(&r.find.away)
	rep.Lag.Merge(&r.find.lag)
	rep.Corrupt.merge(&r.find.corrupt)
	if p := r.find.pause; p.took > rep.Pause.Took {
		rep.Pause = Pause{p.took, p.at, r.name(p.place)}
	}
	r.givePlaces(rep)
	if rep.Check != nil {
		rep.Check.merge(&r.find.checks)
	}
}

func (t *tally) add(o *tally) {
	for _, n := range []struct {
		to *uint64
		v  uint64
	}{
		{&t.opened, o.opened}, {&t.retries, o.retries},
		{&t.sent, o.sent}, {&t.answered, o.answered}, {&t.unanswered, o.unanswered}, {&t.unsent, o.unsent},
		{&t.renumbered, o.renumbered}, {&t.pushes, o.pushes}, {&t.acks, o.acks}, {&t.heartbeats, o.heartbeats}, {&t.fault, o.fault},
		{&t.bytesIn, o.bytesIn}, {&t.bytesOut, o.bytesOut},
	} {
		*n.to += n.v
	}
	for _, m := range []struct{ to, from map[string]uint64 }{{t.errors, o.errors}, {t.byes, o.byes}, {t.lost, o.lost}} {
		for why, n := range m.from {
			m.to[why] += n
		}
	}
}
