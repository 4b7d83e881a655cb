package client

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
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

// Or returns b with other's values where b has none. Jitter is the larger of the two: what a dispatch service asks for is
// the least, and a client that leaves more to chance serves it better when very many come back at a time.
func (b Backoff) Or(other Backoff) Backoff {
	def(&b.Base, other.Base)
	def(&b.Max, other.Max)
	def(&b.Factor, other.Factor)
	b.Max = max(b.Max, b.Base)
	b.Jitter = max(b.Jitter, other.Jitter)
	return b
}

// ceiling is the longest wait after so many failures.
func (b *Backoff) ceiling(failures int) time.Duration {
	d := float64(b.Base) * math.Pow(b.Factor, float64(failures))
	return time.Duration(min(d, float64(b.Max)))
}

// draw returns a wait after so many failures.
func (b *Backoff) draw(failures int) time.Duration {
	d := float64(b.ceiling(failures))
	return time.Duration(d*(1-b.Jitter) + d*b.Jitter*rand.Float64())
}
