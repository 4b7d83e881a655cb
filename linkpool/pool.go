package linkpool

import (
	"fmt"
	"math/bits"
	"reflect"
)

const wordBits = 64

// Pool holds up to a fixed number of links of type T. It belongs to one thread.
type Pool[T any] struct {
	// Static after New.
	start uint32 // uniq of each place's first link

	// cursor is the number of links, and index[cursor:] are the free places, the
	// next one first. index[:cursor] is left over from earlier and means nothing.
	cursor uint32
	// used is the number of places that ever held a link. Places are first taken
	// in the order of their numbers, so these are the places below used; what the
	// arrays hold from there on was never written, and index[i] counts as i.
	used  uint32
	index []uint32

	uniq  []uint32 // by place: uniq of its link, or of its last one while it is free
	live  []uint64 // by place, a bit each: it holds a link
	links []T      // by place
}

// New returns an empty pool with the given number of places, MaxPlaces at most.
// The first link of each place gets start as its uniq; see the package comment
// for how to choose it. New panics when a T can hold a pointer.
func New[T any](capacity int, start uint32) *Pool[T] {
	mustBeFlat(reflect.TypeFor[T]())
	if capacity < 0 || capacity > MaxPlaces {
		panic(fmt.Sprintf("linkpool: capacity %d is not between 0 and %d", capacity, MaxPlaces))
	}
	return &Pool[T]{
		start: start,
		index: make([]uint32, capacity),
		uniq:  make([]uint32, capacity),
		live:  make([]uint64, (capacity+wordBits-1)/wordBits),
		links: make([]T, capacity),
	}
}

// Len returns the number of links.
func (p *Pool[T]) Len() int { return int(p.cursor) }

// Cap returns the number of places.
func (p *Pool[T]) Cap() int { return len(p.index) }

// Add gives a free place to a new link, the place that was freed last if there
// is one. The link is zero. ok is false when the pool is full.
func (p *Pool[T]) Add() (place, uniq uint32, t *T, ok bool) {
	if int(p.cursor) == len(p.index) {
		return 0, 0, nil, false
	}
	if p.cursor == p.used {
		p.index[p.cursor] = p.cursor
		p.uniq[p.cursor] = p.start - 1
		p.used++
	}
	place = p.index[p.cursor]
	p.cursor++
	p.uniq[place]++
	p.live[place/wordBits] |= 1 << (place % wordBits)
	t = &p.links[place]
	var zero T
	*t = zero
	return place, p.uniq[place], t, true
}

// Del takes the link from its place. It returns false and changes nothing when
// the link is gone already or never was.
func (p *Pool[T]) Del(place, uniq uint32) bool {
	if !p.holds(place) || p.uniq[place] != uniq {
		return false
	}
	p.live[place/wordBits] &^= 1 << (place % wordBits)
	p.cursor--
	p.index[p.cursor] = place
	return true
}

// Get returns the link of that name, or nil when the place is free, does not
// exist, or belongs to another link by now. The link is good until its Del.
func (p *Pool[T]) Get(place, uniq uint32) *T {
	if !p.holds(place) || p.uniq[place] != uniq {
		return nil
	}
	return &p.links[place]
}

// At returns the link in that place and its uniq, or nil when the place is free
// or does not exist. It is for an owner who knows whose place it is, such as
// the one who takes the place's deadline away together with the link.
func (p *Pool[T]) At(place uint32) (t *T, uniq uint32) {
	if !p.holds(place) {
		return nil, 0
	}
	return &p.links[place], p.uniq[place]
}

// Each calls f for n links at most, in the order of their places beginning at
// from, and returns where to go on, or 0 when there are no more. A walk in slices
// begins with 0 and ends with 0; a slice has one link at least, whatever n is.
//
// Links may come and go between the slices and in f. A link that lives
// throughout the walk is met exactly once; one that comes or goes
// meanwhile is met once or not at all.
func (p *Pool[T]) Each(from, n int, f func(place, uniq uint32, t *T)) (next int) {
	place := p.nextLive(from)
	for place < int(p.used) {
		f(uint32(place), p.uniq[place], &p.links[place])
		place = p.nextLive(place + 1)
		if n--; n <= 0 && place < int(p.used) {
			return place
		}
	}
	return 0
}

// holds reports whether there is such a place and a link in it.
func (p *Pool[T]) holds(place uint32) bool {
	// The bits behind the last place are never set.
	word := place / wordBits
	return int(word) < len(p.live) && p.live[word]>>(place%wordBits)&1 != 0
}

// nextLive returns the first place at from or behind it that holds a link, or
// some number not below used when there is none.
func (p *Pool[T]) nextLive(from int) int {
	for from < int(p.used) {
		if rest := p.live[from/wordBits] >> (from % wordBits); rest != 0 {
			return from + bits.TrailingZeros64(rest)
		}
		from += wordBits - from%wordBits
	}
	return from
}
