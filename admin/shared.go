package admin

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// BusyError says that the Source did not answer in time.
type BusyError struct {
	What string        // the method
	For  time.Duration // how long it has been at work
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s has not answered for %v", e.What, e.For.Round(time.Millisecond))
}

// PanicError says that the Source panicked.
type PanicError struct {
	What  string
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.What, e.Value) }

// flight is one call of the Source. value and err are written by its goroutine
// before done is closed and are read-only from then on.
type flight[T any] struct {
	what  string
	began time.Time
	done  chan struct{}
	value T
	err   error
}

// launch calls f in a goroutine that wg counts; landed runs when f is through,
// before anybody who waits is told.
func launch[T any](what string, wg *sync.WaitGroup, f func() (T, error), landed func(*flight[T])) *flight[T] {
	l := &flight[T]{what: what, began: time.Now(), done: make(chan struct{})}
	wg.Go(func() {
		defer close(l.done)
		defer landed(l)
		defer func() {
			if v := recover(); v != nil {
				l.err = &PanicError{What: what, Value: v, Stack: debug.Stack()}
			}
		}()
		l.value, l.err = f()
	})
	return l
}

// wait waits for the answer until limit has passed since the call began. Who
// joins a call that is late already gets its error at once: with a hung Source
// requests do not pile up behind each other.
func (l *flight[T]) wait(ctx context.Context, limit time.Duration) (T, error) {
	t := time.NewTimer(limit - time.Since(l.began))
	defer t.Stop()
	var none T
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-t.C:
	}
	select {
	case <-l.done: // both came at once
		return l.value, l.err
	default:
		return none, &BusyError{What: l.what, For: time.Since(l.began)}
	}
}

// shared is one method of the Source whose answer all who ask at the same time
// share, so that it has at most one goroutine in it.
type shared[T any] struct {
	// Static after construction.
	what  string
	limit time.Duration
	wg    *sync.WaitGroup
	f     func() (T, error)

	mu      sync.Mutex
	running *flight[T] // guarded by mu; nil: nobody is in f
}

func (s *shared[T]) do(ctx context.Context) (T, error) {
	return s.join().wait(ctx, s.limit)
}

func (s *shared[T]) join() *flight[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = launch(s.what, s.wg, s.f, s.landed)
	}
	return s.running
}

func (s *shared[T]) landed(*flight[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = nil
}
