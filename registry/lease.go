package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"edged/redisconn"
)

const (
	attemptLimit = time.Second           // of one call of Redis
	firstPause   = 50 * time.Millisecond // after a call that failed; doubles
	longestPause = time.Second           // of these pauses
	renewals     = 3                     // of a lease in its life
)

// lease is the one key that keeps all users of a gateway online. It has a goroutine of its own, so that nothing else that is
// written delays a renewal.
type lease struct {
	// Static after newLease.
	client *redisconn.Client
	key    string
	epoch  string
	life   time.Duration
	log    *slog.Logger
	found  func() // called by the goroutine when the lease is held again, or was not there although it should have been
	start  time.Time
	done   chan struct{} // closed by the goroutine when it has left

	until atomic.Int64  // after start, ns: until then Redis has the lease at least
	lost  atomic.Bool   // Redis had not kept it
	fails atomic.Uint64 // renewals that failed
	twins atomic.Uint64 // renewals that found a higher epoch

	bad bool // owned by the goroutine: the log said that something is wrong
}

func newLease(c *redisconn.Client, gateway string, epoch uint64, life time.Duration, log *slog.Logger, found func()) *lease {
	return &lease{
		client: c, key: leaseKey(gateway), epoch: strconv.FormatUint(epoch, 10), life: life, log: log, found: found,
		start: time.Now(), done: make(chan struct{}),
	}
}

// held reports whether Redis is known to have the lease.
func (l *lease) held() bool { return int64(time.Since(l.start)) < l.until.Load() }

// run renews the lease until quit, and breaks off when ctx ends.
func (l *lease) run(ctx context.Context, quit <-chan struct{}) {
	defer close(l.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := firstPause
	for {
		select {
		case <-quit:
			return
		case <-timer.C:
		}
		err := l.renew(ctx)
		if ctx.Err() != nil {
			return // broken off by the end: says nothing about Redis
		}
		l.tell(err)
		wait := l.life / renewals
		if err == nil {
			pause = firstPause
		} else {
			wait = min(pause, wait)
			pause = min(2*pause, longestPause)
		}
		timer.Reset(wait - time.Duration(rand.Float64()*0.1*float64(wait))) // gateways that were started together fall out of step
	}
}

// higherEpochError says that a younger process has the lease.
type higherEpochError struct{ epoch string }

func (e *higherEpochError) Error() string {
	return "another process of this gateway has the lease, with the higher epoch " + e.epoch
}

func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(attemptLimit, l.life/renewals))
	defer cancel()
	began := time.Since(l.start)
	old, err := text(run(ctx, l.client, []call{{renewScript, l.key, []string{l.epoch, milliseconds(l.life)}}})[0])
	if err != nil {
		l.fails.Add(1)
		return fmt.Errorf("%s: %w", l.key, err)
	}
	if higher(old, l.epoch) {
		l.twins.Add(1)
		l.until.Store(0)
		return &higherEpochError{old}
	}
	back := !l.held()
	l.until.Store(int64(began + l.life))
	if old != l.epoch {
		l.lost.Store(true)
	}
	if back || old != l.epoch {
		l.found()
	}
	return nil
}

// higher tells whether the script left the lease to old.
func higher(old, epoch string) bool {
	_, err := strconv.ParseUint(old, 10, 64)
	return err == nil && (len(old) > len(epoch) || len(old) == len(epoch) && old > epoch)
}

// tell logs when something begins to be wrong and when that is over. While the first connection is being made nothing is.
func (l *lease) tell(err error) {
	var twin *higherEpochError
	starting := errors.Is(err, redisconn.ErrNotConnected) && time.Since(l.start) < attemptLimit
	switch {
	case err == nil && l.bad:
		l.bad = false
		l.log.Info("users are online in Redis again")
	case err == nil || l.bad || starting:
	case errors.As(err, &twin):
		l.bad = true
		l.log.Warn("two processes have one gateway ID: the users of this one are offline in Redis", "epoch", l.epoch, "other_epoch", twin.epoch)
	default:
		l.bad = true
		l.log.Warn("the lease in Redis is not renewed", "err", err)
	}
}

// release deletes the lease, so that everybody here is offline.
func (l *lease) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	return run(ctx, l.client, []call{{releaseScript, l.key, []string{l.epoch}}})[0].Error()
}
