// Package lane is the way into a reactor and out of it: a bounded queue of many
// producers and one consumer, and a Bell by which a reactor wakes a goroutine.
//
// # When it is full
//
// Push refuses, and the refusal is counted. PushWait parks its goroutine until
// the consumer made room, so that the producer's own source is held up in turn.
// Nothing that was taken is ever dropped.
//
// # The ring
//
// Each slot carries the number of the turn in which it may be used next. With a
// ring of 4 slots, slot 1 goes through
//
//	1 (free for push 1) → 2 (holds push 1) → 5 (free for push 5) → 6 …
//
// A producer claims a turn by moving tail on, writes the value, and then raises
// the slot's number, which is what the consumer looks at. So two producers
// meet only in the one compare-and-swap on tail, and the consumer meets a producer
// only in a slot.
//
// A producer may be held up between claim and write. Until it goes on, Pop finds
// nothing, even if later slots are filled already; its wake comes after its
// write, so the consumer is told in time. Len counts claimed slots.
//
// # Waiting for room
//
// A producer that finds the lane full adds itself to waiting, tries once more, and
// parks on room, a channel that holds one token. The consumer first frees a slot
// and then looks at waiting. As all of these are sequentially consistent, one of
// the two must see the other: either the second try succeeds, or the consumer
// sees the waiter and puts the token down. One token may stand for several free slots, so
// whoever got in thanks to it puts it down again while others wait; the last
// one finds the lane full and parks.
package lane
