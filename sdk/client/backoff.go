package client

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"edged/wire"
)

// Backoff says how long a Client waits before it tries again. The wait before try n is drawn from
// min(Base * Factor^n, Max), of which Jitter says how large a part is left to chance.
type Backoff struct {
	Base   time.Duration // default 1 s
	Max    time.Duration // default 5 min
	Factor float64       // default 1.8
	Jitter float64       // 0 to 1; default 1, all of it; below 0: none
}

func (b *Backoff) setDefaults() error {
	def(&b.Base, time.Second)
	def(&b.Max, 5*time.Minute)
	def(&b.Factor, 1.8)
	def(&b.Jitter, 1)
	switch {
	case b.Base < 0 || b.Max < b.Base:
		return fmt.Errorf("client: back-off from %v to %v", b.Base, b.Max)
	case !(b.Factor >= 1) || math.IsInf(b.Factor, 1):
		return fmt.Errorf("client: back-off factor %v is below 1", b.Factor)
	case !(b.Jitter <= 1):
		return errors.New("client: back-off jitter above 1")
	}
	b.Jitter = max(b.Jitter, 0)
	return nil
}

// retry is the state of a Client's tries. It belongs to the life-cycle's goroutine.
type retry struct {
	b        Backoff
	failures int
	address  int // of the next try
}

// ceiling is the longest wait of the present try.
func (r *retry) ceiling() time.Duration {
	d := float64(r.b.Base) * math.Pow(r.b.Factor, float64(r.failures))
	return time.Duration(min(d, float64(r.b.Max)))
}

// wait says when to try again after a link that was up for so long and ended by why. A link that did not outlive the wait
// before it counts as a failure: a gateway that greets and drops its clients is not to be stormed.
func (r *retry) wait(why error, up time.Duration) time.Duration {
	if up > r.ceiling() {
		r.failures = 0
	}
	r.address++ // a draining gateway says "elsewhere", and a dead one cannot
	d := float64(r.ceiling())
	r.failures++
	wait := time.Duration(d*(1-r.b.Jitter) + d*r.b.Jitter*rand.Float64())
	var bye *ByeError
	if errors.As(why, &bye) {
		wait = max(wait, bye.RetryAfter) // the gateway has spread it already
	}
	return wait
}

// final says whether a Client must not come back by itself after such an end.
func final(why error) bool {
	var bye *ByeError
	return errors.As(why, &bye) && (bye.Reason == wire.ByeReplaced || bye.Reason == wire.ByeLoginFailed)
}
