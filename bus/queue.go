package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrFull is part of the error when a Publisher's queue had no room until the context ended.
var ErrFull = errors.New("bus queue is full")

// ErrStopped is the outcome of a batch that a Publisher did not publish because it was stopped.
var ErrStopped = errors.New("bus publisher is stopped")

// publication is a batch on its way.
type publication struct {
	channel string
	batch   string
	own     bool // of one gateway: its channel has two kinds
	done    func(receivers int64, err error)
}

func (p *publication) end(receivers int64, err error) {
	if p.done != nil {
		p.done(receivers, err)
	}
}

// queue is what waits for the Publisher's goroutine, in the order of the calls.
type queue struct {
	batches, bytes int           // bounds
	filled         chan struct{} // one token: there may be something to take, or the queue was closed

	mu     sync.Mutex
	items  []publication // the first `head` are taken
	head   int
	held   int // bytes
	closed bool
	freed  chan struct{} // closed when there is room; nil: nobody waits for it
}

func newQueue(c Config) queue {
	return queue{batches: c.QueueBatches, bytes: c.QueueBytes, filled: make(chan struct{}, 1)}
}

// put waits for room until ctx ends. With a ctx that has ended it does not wait.
func (q *queue) put(ctx context.Context, p publication) error {
	for {
		freed, err := q.try(p)
		if freed == nil {
			return err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrFull, ctx.Err())
		}
	}
}

// try returns a channel to wait for if there is no room.
func (q *queue) try(p publication) (freed <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.items) - q.head
	switch {
	case q.closed:
		return nil, ErrStopped
	case n > 0 && (n >= q.batches || q.held+len(p.batch) > q.bytes):
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		return q.freed, nil
	}
	if q.head > 0 && len(q.items) == cap(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		clear(q.items[n:cap(q.items)])
		q.head = 0
	}
	q.items = append(q.items, p)
	q.held += len(p.batch)
	q.token()
	return nil, nil
}

// take appends what fits into the bounds to dst, one at least if there is any.
func (q *queue) take(dst []publication, batches, bytes int) []publication {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n := 0; n < batches && q.head < len(q.items); n++ {
		p := &q.items[q.head]
		if n > 0 && len(p.batch) > bytes {
			break
		}
		bytes -= len(p.batch)
		q.held -= len(p.batch)
		dst = append(dst, *p)
		*p = publication{}
		q.head++
	}
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	q.free()
	return dst
}

// close makes every later put fail, and those that wait.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.free()
	q.token()
}

// state returns the number of batches that wait, and whether the queue was closed.
func (q *queue) state() (waiting int, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.head, q.closed
}

func (q *queue) free() {
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
}

func (q *queue) token() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}
