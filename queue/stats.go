package queue

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// outcome is what became of an entry; 0: nothing yet.
type outcome byte

// The outcomes.
const (
	Delivered outcome = 1 + iota // published to a gateway at least
	Stored                       // the user is away, and gets it later
	Nobody                       // the user is away, and it was not to be stored
	Expired                      // its time to live was over
	Dead                         // it is in edged:dead

	outcomes = iota
)

var outcomeNames = [1 + outcomes]string{"", "delivered", "stored", "nobody", "expired", "dead"}

// delayBuckets is how many powers of two of milliseconds are told apart.
const delayBuckets = 18

// counters are those of a Service.
type counters struct {
	read, readErrors, retries  atomic.Uint64
	outcomes                   [1 + outcomes]atomic.Uint64
	reasons                    [reasons]atomic.Uint64
	told                       [reasons]atomic.Int64 // when the last one was logged, in Unix seconds
	publications, unheard, bad atomic.Uint64
	delays                     [delayBuckets + 1]atomic.Uint64
	delaySum                   atomic.Uint64 // ms
}

func (c *counters) done(items []*item, now time.Time) {
	for _, i := range items {
		c.outcomes[i.outcome].Add(1)
		if i.outcome == Dead {
			c.reasons[i.why.Reason].Add(1)
		}
		delay := uint64(max((i.Age + now.Sub(i.read)).Milliseconds(), 0))
		c.delays[min(bits.Len64(delay), delayBuckets)].Add(1)
		c.delaySum.Add(delay)
	}
}

// tell says whether to log another entry that was refused for the reason: one a minute.
func (c *counters) tell(r Reason, now time.Time) bool {
	last := c.told[r].Load()
	return now.Unix()-last >= 60 && c.told[r].CompareAndSwap(last, now.Unix())
}

func (c *counters) published(p *publication) {
	switch {
	case p.err != nil:
		c.bad.Add(1)
	default:
		c.publications.Add(1)
		if p.receivers == 0 {
			c.unheard.Add(1)
		}
	}
}

// Stats is how a Service fares. Numbers are entries unless they say otherwise, counted since it began.
type Stats struct {
	Read       uint64
	ReadErrors uint64 // reads that failed
	Retries    uint64 // steps that failed and were, or will be, tried again
	InFlight   int    // read and not done
	Bytes      int    // of those
	Held       int    // of those, held back because a step failed
	Outcomes   map[string]uint64
	Reasons    map[string]uint64 // of those that are dead

	Publications uint64 // batches for gateways
	Unheard      uint64 // of them, those that no gateway heard, as far as Redis knew
	Unpublished  uint64 // that Redis did not take; they were tried again

	Delays   [delayBuckets]uint64 // from when the Source took an entry until it was done: [0] none, [n] below 2^n ms and not below half of that
	DelayMs  uint64               // the sum of all
	Finished uint64               // how many
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	c := &s.count
	st := Stats{
		Read: c.read.Load(), ReadErrors: c.readErrors.Load(), Retries: c.retries.Load(),
		Outcomes: make(map[string]uint64), Reasons: make(map[string]uint64),
		Publications: c.publications.Load(), Unheard: c.unheard.Load(), Unpublished: c.bad.Load(), DelayMs: c.delaySum.Load(),
	}
	st.InFlight, st.Bytes = s.window.state()
	for _, stage := range s.stages {
		st.Held += int(stage.held.Load())
	}
	for i := range c.outcomes[1:] {
		st.Outcomes[outcomeNames[1+i]] = c.outcomes[1+i].Load()
	}
	for i := range c.reasons {
		st.Reasons[Reason(i).String()] = c.reasons[i].Load()
	}
	for i := range c.delays {
		n := c.delays[i].Load()
		st.Finished += n
		if i < delayBuckets {
			st.Delays[i] = n
		}
	}
	return st
}
