package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"edged/redisconn"
)

const (
	attemptLimit = time.Second            // of one attempt to write a report
	firstAgain   = 50 * time.Millisecond  // before a state that could not be made known is tried again; doubles
	longestAgain = time.Second            // of these pauses
	stopLimit    = 500 * time.Millisecond // of Stop
	quietWrites  = 3                      // own reports found in a row after which a twin counts as gone
)

// Reporter writes one gateway's reports to Redis. Its goroutine has one attempt under way at most, always with the newest
// report; nothing waits for it, and whatever Redis does costs nothing but reports. What is not refreshed is gone after three
// intervals, and the dispatch services then send new clients elsewhere.
type Reporter struct {
	// Static after NewReporter.
	client   *redisconn.Client
	gateway  string
	boot     string
	interval time.Duration
	log      *slog.Logger
	urgent   chan struct{} // a Now waits; holds one
	quit     chan struct{} // closed by the end
	done     chan struct{} // closed by the goroutine when it has left
	ctx      context.Context
	cancel   context.CancelFunc // breaks an attempt off

	// Owned by the goroutine, and by Stop when that has left.
	ticks     schedule
	seq       uint64
	published string // the state that edged:state had last; empty: to be made known
	balancer  string // under which the gateway is listed; empty: it is not
	writers   boots
	quiet     int     // own reports found in a row
	told      verdict // what the log said last
	start     time.Time

	mail mailbox
}

// mailbox is what the goroutine shares with callers.
type mailbox struct {
	mu       sync.Mutex
	newest   Report
	full     bool // newest was given
	announce bool // newest goes to edged:state too, whether its state is new or not
	ended    bool
	stats    ReporterStats
}

// ReporterStats is how the reports fare.
type ReporterStats struct {
	OK          bool // the last attempt succeeded
	LastError   string
	LastSuccess time.Time // zero: none yet
	Reports     uint64    // written
	Failures    uint64    // attempts that failed
	Twin        string    // the boot and address of another process that reports under this ID now; empty: none
	TwinReports uint64    // reports of such processes that were found
}

// NewReporter starts the writer of the gateway's reports, one each interval, at a time that its ID chooses, so that gateways
// which were started together do not write in step. Nothing is written before the first Put or Now.
func NewReporter(c *redisconn.Client, gateway string, interval time.Duration, log *slog.Logger) *Reporter {
	if interval <= 0 {
		panic("dispatch: a report interval of " + interval.String())
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var boot [8]byte
	_, _ = rand.Read(boot[:]) // never fails: crypto/rand ends the process first
	r := &Reporter{
		client: c, gateway: gateway, boot: hex.EncodeToString(boot[:]), interval: interval, log: log.With("gateway", gateway),
		urgent: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		ticks: newSchedule(gateway, interval),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.start = time.Now()
	go r.run()
	return r
}

// Boot is the random name of this process in its reports.
func (r *Reporter) Boot() string { return r.boot }

// Put hands over the newest report. It never blocks; the report is written at the next tick, and again at each one after it
// until there is a newer one.
func (r *Reporter) Put(report Report) { r.put(report, false) }

// Now is Put for what cannot wait, a state that changes: the report is written at once and its state sent to edged:state. It
// never blocks. While Redis is away it is tried again, each second at least.
func (r *Reporter) Now(report Report) { r.put(report, true) }

func (r *Reporter) put(report Report, now bool) {
	m := &r.mail
	m.mu.Lock()
	m.newest, m.full = report, true
	m.announce = m.announce || now
	m.mu.Unlock()
	if now {
		select {
		case r.urgent <- struct{}{}:
		default: // one waits already, and will find this report
		}
	}
}

// Stats returns the counters.
func (r *Reporter) Stats() ReporterStats {
	r.mail.mu.Lock()
	defer r.mail.mu.Unlock()
	return r.mail.stats
}

// Stop ends the reports and takes the gateway out of Redis, as far as that goes within 500 ms and ctx. What stays dies of age.
func (r *Reporter) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if r.end(ctx) && r.seq > 0 {
		if err := r.remove(ctx); err != nil {
			r.log.Info("the last report is left to its age", "err", err)
		}
	}
}

// Detach ends the reports and leaves the last one standing, for a process that goes on under this ID. No write is under way
// when it returns.
func (r *Reporter) Detach(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	r.end(ctx)
}

// end waits for the goroutine, breaking its attempt off when ctx ends. It returns false if another call has done so.
func (r *Reporter) end(ctx context.Context) bool {
	r.mail.mu.Lock()
	first := !r.mail.ended
	r.mail.ended = true
	r.mail.mu.Unlock()
	if first {
		close(r.quit)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	r.cancel()
	<-r.done
	return first
}

func (r *Reporter) run() {
	defer close(r.done)
	tick := time.NewTimer(r.ticks.next(0, random()))
	defer tick.Stop()
	again, pause := time.NewTimer(0), firstAgain
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-tick.C:
			tick.Reset(r.ticks.next(time.Since(r.start), random()))
		case <-r.urgent:
		case <-again.C:
		}
		again.Stop()
		if r.attempt() {
			pause = firstAgain
		} else {
			again.Reset(jittered(min(pause, r.interval), random()))
			pause = min(2*pause, longestAgain)
		}
	}
}

// attempt writes the newest report, if there is one. It returns false if a state is still to be made known.
func (r *Reporter) attempt() bool {
	report, announce, ok := r.take()
	if !ok {
		return true
	}
	if announce {
		r.published = "" // until it is known again
	}
	ctx, cancel := context.WithTimeout(r.ctx, min(attemptLimit, r.interval))
	defer cancel()
	err := r.write(ctx, &report)
	if err == nil {
		err = r.list(ctx, report.balancer())
		if report.State != r.published { // also when the list is broken: the report stands
			err = errors.Join(err, r.publish(ctx, report.State))
		}
	}
	if r.ctx.Err() != nil {
		return true // broken off by the end: says nothing about Redis
	}
	r.judge(err)
	return report.State == r.published
}

func (r *Reporter) take() (report Report, announce, ok bool) {
	m := &r.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	announce, m.announce = m.announce, false
	return m.newest, announce, m.full
}
