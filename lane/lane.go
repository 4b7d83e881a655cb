package lane

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// closedBit of Lane.tail says that no more turns are given out. It shares the word
// with the turns, so that a claim and Close cannot pass each other.
const closedBit = 1 << 63

const cacheLine = 64

type slot[T any] struct {
	seq   atomic.Uint64 // turn: free for that push; turn+1: holds it
	value T             // owned by the producer of the turn, then by the consumer
}

// Lane is a bounded queue of many producers and one consumer. New makes one.
type Lane[T any] struct {
	// Static after New. room holds one token: "try again, there may be room".
	slots  []slot[T]
	wake   func()
	room   chan struct{}
	closed chan struct{}

	// What different threads write lies in different cache lines.
	_       [cacheLine]byte
	tail    atomic.Uint64 // next turn to be claimed, and closedBit; producers
	_       [cacheLine]byte
	head    atomic.Uint64 // next turn to be popped; the consumer
	_       [cacheLine]byte
	waiting atomic.Int64 // producers in or before a wait for room
	_       [cacheLine]byte
	full    atomic.Uint64 // pushes refused for want of room
}

// New returns an empty lane of at least that many slots: the next power of two,
// and at least two. wake is called after each successful push by the goroutine
// that pushed; it may be nil.
func New[T any](slots int, wake func()) *Lane[T] {
	if slots < 1 || slots > 1<<30 {
		panic(fmt.Sprintf("lane: %d slots are not between 1 and %d", slots, 1<<30))
	}
	if wake == nil {
		wake = func() {}
	}
	// With a single slot, "holds push 0" and "free for push 1" would be the
	// same number.
	n := 1 << bits.Len(uint(max(slots, 2)-1))
	l := &Lane[T]{
		slots:  make([]slot[T], n),
		wake:   wake,
		room:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	for i := range l.slots {
		l.slots[i].seq.Store(uint64(i))
	}
	return l
}

// Push adds v if there is room and the lane is open. What is refused for want of
// room is counted; see Full.
func (l *Lane[T]) Push(v T) bool {
	if l.try(v) {
		return true
	}
	if !l.Closed() {
		l.full.Add(1)
	}
	return false
}

// PushWait adds v as soon as there is room. It returns false only when it would
// have to wait and done is closed, or when the lane is closed. The pushes of one
// goroutine keep their order; waiting producers and others overtake each other.
func (l *Lane[T]) PushWait(done <-chan struct{}, v T) bool {
	return l.try(v) || l.wait(done, v)
}

func (l *Lane[T]) wait(done <-chan struct{}, v T) bool {
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	for {
		if l.try(v) {
			// The token may have stood for several free slots.
			if l.waiting.Load() > 1 {
				l.letIn()
			}
			return true
		}
		select {
		case <-l.room:
		case <-done:
			return false
		case <-l.closed:
			return false
		}
	}
}

// letIn puts the token down for a producer that waits.
func (l *Lane[T]) letIn() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// try claims a turn, fills its slot and wakes the consumer. It returns false when
// the lane is full or closed.
func (l *Lane[T]) try(v T) bool {
	mask := uint64(len(l.slots) - 1)
	for {
		turn := l.tail.Load()
		if turn&closedBit != 0 {
			return false
		}
		s := &l.slots[turn&mask]
		ahead := int64(s.seq.Load() - turn)
		if ahead < 0 {
			return false // the slot still holds the push of a lap ago
		}
		// Ahead of the turn: another producer has claimed it meanwhile.
		if ahead == 0 && l.tail.CompareAndSwap(turn, turn+1) {
			s.value = v
			s.seq.Store(turn + 1)
			l.wake()
			return true
		}
	}
}

// Pop takes the oldest value; ok is false when there is none. Only the consumer
// may call it.
func (l *Lane[T]) Pop() (v T, ok bool) {
	turn := l.head.Load()
	s := &l.slots[turn&uint64(len(l.slots)-1)]
	if s.seq.Load() != turn+1 {
		return v, false
	}
	v = s.value
	var zero T
	s.value = zero // what v points at is not to be kept alive by the ring
	l.head.Store(turn + 1)
	s.seq.Store(turn + uint64(len(l.slots)))
	if l.waiting.Load() != 0 {
		l.letIn()
	}
	return v, true
}

// Len returns the number of values in the lane, those included that are just
// being pushed. Any goroutine may ask; the answer is old when it comes.
func (l *Lane[T]) Len() int {
	head := l.head.Load()
	tail := l.tail.Load() &^ closedBit
	return int(min(tail-head, uint64(len(l.slots))))
}

// Cap returns the number of slots.
func (l *Lane[T]) Cap() int { return len(l.slots) }

// Full returns the number of pushes that were refused because the lane was full.
func (l *Lane[T]) Full() uint64 { return l.full.Load() }

// Close refuses all later pushes and lets the waiting producers go. It does not
// wake the consumer. What was taken before stays: once Closed is true, the
// consumer has all of it when Pop finds nothing and Len is 0.
func (l *Lane[T]) Close() {
	if l.tail.Or(closedBit)&closedBit == 0 {
		close(l.closed)
	}
}

// Closed reports whether Close was called.
func (l *Lane[T]) Closed() bool { return l.tail.Load()&closedBit != 0 }
