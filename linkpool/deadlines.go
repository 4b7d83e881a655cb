package linkpool

import "fmt"

// arity is the number of children of a heap entry. Four of them fill half a cache
// line, and the heap is half as deep as with two.
const arity = 4

type entry struct {
	at    Millis
	place uint32
}

// Deadlines orders up to one deadline per place by time. All deadlines that are
// in it at the same time, overdue ones too, lie within 24 days of each other;
// see Millis. It belongs to one thread.
type Deadlines struct {
	heap []entry  // the children of heap[i] are heap[arity*i+1:][:arity], none of them before it
	pos  []uint32 // by place: position in heap plus one; 0: no deadline
}

// NewDeadlines returns an empty set of deadlines for the places below capacity,
// which is MaxPlaces at most.
func NewDeadlines(capacity int) *Deadlines {
	if capacity < 0 || capacity > MaxPlaces {
		panic(fmt.Sprintf("linkpool: capacity %d is not between 0 and %d", capacity, MaxPlaces))
	}
	return &Deadlines{heap: make([]entry, 0, capacity), pos: make([]uint32, capacity)}
}

// Len returns the number of places with a deadline.
func (d *Deadlines) Len() int { return len(d.heap) }

// Set gives the place this deadline in place of any that it has.
func (d *Deadlines) Set(place uint32, at Millis) {
	e := entry{at, place}
	if p := d.pos[place]; p != 0 {
		d.move(int(p-1), e)
		return
	}
	// Each place is in the heap once at most, so this never grows the array.
	d.heap = append(d.heap, e)
	d.up(len(d.heap)-1, e)
}

// Earlier gives the place this deadline unless it has one that is not later.
func (d *Deadlines) Earlier(place uint32, at Millis) {
	if p := d.pos[place]; p == 0 || at.Before(d.heap[p-1].at) {
		d.Set(place, at)
	}
}

// At returns the place's deadline; ok is false when it has none.
func (d *Deadlines) At(place uint32) (at Millis, ok bool) {
	p := d.pos[place]
	if p == 0 {
		return 0, false
	}
	return d.heap[p-1].at, true
}

// Remove takes the place's deadline away, if it has one.
func (d *Deadlines) Remove(place uint32) {
	p := d.pos[place]
	if p == 0 {
		return
	}
	d.pos[place] = 0
	last := len(d.heap) - 1
	e := d.heap[last]
	d.heap = d.heap[:last]
	if i := int(p - 1); i < last {
		d.move(i, e)
	}
}

// Next returns the earliest deadline; ok is false when there is none.
func (d *Deadlines) Next() (at Millis, ok bool) {
	if len(d.heap) == 0 {
		return 0, false
	}
	return d.heap[0].at, true
}

// Due returns a place with the earliest deadline if now has reached it. It
// leaves the deadline where it is: the caller must Set or Remove it, or the same
// place comes again.
func (d *Deadlines) Due(now Millis) (place uint32, ok bool) {
	if len(d.heap) == 0 || now.Before(d.heap[0].at) {
		return 0, false
	}
	return d.heap[0].place, true
}

// move brings e, which belongs at position i by its parent or by its children, to
// where it belongs by both.
func (d *Deadlines) move(i int, e entry) {
	if i > 0 && e.at.Before(d.heap[(i-1)/arity].at) {
		d.up(i, e)
	} else {
		d.down(i, e)
	}
}

func (d *Deadlines) up(i int, e entry) {
	for i > 0 {
		parent := (i - 1) / arity
		if !e.at.Before(d.heap[parent].at) {
			break
		}
		d.put(i, d.heap[parent])
		i = parent
	}
	d.put(i, e)
}

func (d *Deadlines) down(i int, e entry) {
	for first := arity*i + 1; first < len(d.heap); first = arity*i + 1 {
		child := d.earliest(first)
		if !d.heap[child].at.Before(e.at) {
			break
		}
		d.put(i, d.heap[child])
		i = child
	}
	d.put(i, e)
}

// earliest returns the position of the earliest of the siblings that begin at
// first.
func (d *Deadlines) earliest(first int) int {
	best := first
	for i := first + 1; i < min(first+arity, len(d.heap)); i++ {
		if d.heap[i].at.Before(d.heap[best].at) {
			best = i
		}
	}
	return best
}

func (d *Deadlines) put(i int, e entry) {
	d.heap[i] = e
	d.pos[e.place] = uint32(i) + 1
}
