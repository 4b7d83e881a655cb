package delivery

import (
	"fmt"
	"slices"
)

// order returns what lies in a slot, given plus one.
func (s *Orders) order(slot uint32) *order {
	o := &s.orders.at(1, slot-1)[0]
	if !o.used {
		panic(fmt.Sprintf("delivery: %#x names an order that was given back", slot))
	}
	return o
}

// gate returns the order of versions of a link, and makes it if there is none. It heads the chain
// of the link's packages.
func (s *Orders) gate(r OrderRef, now Millis) (OrderRef, *order) {
	if r != 0 {
		return r, s.order(uint32(r))
	}
	slot := s.orders.take(1)
	s.count++
	o := &s.orders.at(1, slot)[0]
	*o = order{moved: now, touched: now, used: true}
	return OrderRef(slot + 1), o
}

// find returns a package of the link, or nil and how many others there are.
func (s *Orders) find(gate *order, id uint32) (o *order, packages int) {
	for slot := gate.chain; slot != 0; {
		o = s.order(slot)
		if o.id == id {
			return o, packages
		}
		packages++
		slot = o.chain
	}
	return nil, packages
}

// open makes the order of a package, the first in the chain: the oldest is the one that has to go
// if there are too many.
func (s *Orders) open(gate *order, now Millis, at Position) *order {
	slot := s.orders.take(1)
	o := &s.orders.at(1, slot)[0]
	*o = order{end: uint64(at.Count), moved: now, touched: now, id: at.Package, chain: gate.chain, used: true}
	gate.chain = slot + 1
	return o
}

func (s *Orders) free(slot uint32) {
	*s.order(slot) = order{}
	s.orders.give(1, slot-1)
}

// shift takes the first held message out. Its bytes can be read until the next take.
func (s *Orders) shift(o *order) {
	m := s.messages.items(&o.held)[0]
	giveBytes(&s.bodies, m.body, int(m.size))
	o.bytes -= m.size
	s.held--
	if o.held.head++; o.held.len() == 0 {
		s.messages.drop(&o.held)
	}
}

func (s *Orders) holesOf(o *order) []hole {
	if o.holeCount == 0 {
		return nil
	}
	return s.holes.at(1, o.holes)[:o.holeCount]
}

// skip gives up the turns of all numbers from the next one up to n, which is after it. Of too many
// holes the two oldest become one: a number between them that passed would pass again, late. That
// is better than to lose one.
func (s *Orders) skip(o *order, n uint64) {
	if o.holeCount == 0 {
		o.holes = s.holes.take(1)
	}
	all := s.holes.at(1, o.holes)
	count := int(o.holeCount)
	switch {
	case count > 0 && all[count-1].to == o.next:
		all[count-1].to = n
		o.next = n
		return
	case count == maxHoles:
		all[1].from = all[0].from
		copy(all, all[1:])
		count--
	}
	all[count] = hole{o.next, n}
	o.holeCount = uint8(count + 1)
	o.next = n
}

// reopen makes n, which is before the next number, a hole.
func (s *Orders) reopen(o *order, n uint64) {
	if o.holeCount == 0 {
		o.holes = s.holes.take(1)
	}
	all := s.holes.at(1, o.holes)
	count := int(o.holeCount)
	i := 0
	for i < count && all[i].to < n {
		i++
	}
	if slices.ContainsFunc(all[i:count], func(h hole) bool { return n >= h.from && n < h.to }) {
		return // of two holes that touch, the second one
	}
	if i < count && all[i].to == n {
		all[i].to = n + 1
		return
	}
	if count == maxHoles { // as skip does
		if i == 0 {
			all[0].from = n
			return
		}
		all[1].from = all[0].from
		copy(all, all[1:])
		count--
		if i--; i == 0 { // it lies between the two that are one now
			o.holeCount = uint8(count)
			return
		}
	}
	copy(all[i+1:count+1], all[i:count])
	all[i] = hole{n, n + 1}
	o.holeCount = uint8(count + 1)
}

// fill reports whether n lies in a hole, and takes it out. A hole that cannot be split, because
// there are too many, stays.
func (s *Orders) fill(o *order, n uint64) bool {
	all := s.holesOf(o)
	for i := range all {
		h := &all[i]
		if n < h.from || n >= h.to {
			continue
		}
		switch {
		case h.to-h.from == 1:
			copy(all[i:], all[i+1:])
			s.setHoles(o, len(all)-1)
		case n == h.from:
			h.from++
		case n == h.to-1:
			h.to--
		case len(all) < maxHoles:
			o.holeCount++
			all = s.holesOf(o)
			copy(all[i+1:], all[i:])
			all[i].to, all[i+1].from = n, n+1
		}
		return true
	}
	return false
}

// forgetHoles takes all numbers before n out of the holes.
func (s *Orders) forgetHoles(o *order, n uint64) {
	all := s.holesOf(o)
	kept := all[:0]
	for _, h := range all {
		if h.from = max(h.from, n); h.from < h.to {
			kept = append(kept, h)
		}
	}
	s.setHoles(o, len(kept))
}

// cutHoles takes the numbers [from, to) out of the holes. A hole that cannot be split, because there are too many, stays.
func (s *Orders) cutHoles(o *order, from, to uint64) {
	all := s.holesOf(o)
	count := len(all)
	for i := 0; i < count; i++ {
		h := &all[i]
		switch {
		case h.to <= from || to <= h.from:
		case from <= h.from && h.to <= to:
			copy(all[i:], all[i+1:count])
			count--
			i--
		case from <= h.from:
			h.from = to
		case h.to <= to:
			h.to = from
		case count < maxHoles:
			count++
			all = s.holes.at(1, o.holes)[:count]
			copy(all[i+2:], all[i+1:])
			all[i+1] = hole{to, h.to}
			all[i].to = from
		}
	}
	s.setHoles(o, count)
}

func (s *Orders) dropHoles(o *order) { s.setHoles(o, 0) }

// setHoles gives the memory back with the last hole.
func (s *Orders) setHoles(o *order, n int) {
	if o.holeCount > 0 && n == 0 {
		s.holes.give(1, o.holes)
	}
	o.holeCount = uint8(n)
}
