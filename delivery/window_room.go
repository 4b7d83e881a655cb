package delivery

import (
	"fmt"
	"reflect"
)

var (
	windowSize = int(reflect.TypeFor[window]().Size())
	recordSize = int(reflect.TypeFor[record]().Size())
)

func (s *Windows) window(r Ref) *window {
	w := &s.windows.at(1, uint32(r&slotMask)-1)[0]
	if w.live == 0 {
		panic(fmt.Sprintf("delivery: %#x names a window that was given back", uint32(r)))
	}
	return w
}

func (s *Windows) body(p *record) []byte {
	return bytesAt(&s.bodies, p.body, int(p.size))
}

// openWindow makes the window of a link that has none.
func (s *Windows) openWindow(r Ref) (Ref, *window) {
	slot := s.windows.take(1)
	if slot >= slotMask {
		panic(fmt.Sprintf("delivery: no place for more than %d windows", slotMask))
	}
	w := &s.windows.at(1, slot)[0]
	*w = window{base: s.patience(r)}
	s.open++
	return Ref(slot + 1), w
}

// closeWindow gives back a window without live records.
func (s *Windows) closeWindow(w *window, r Ref) Ref {
	left := s.rest(w.base)
	s.records.drop(&w.list)
	*w = window{}
	s.windows.give(1, uint32(r&slotMask)-1)
	s.open--
	return left
}

// makeRoom reports whether one more push of size bytes fits; a required one displaces the oldest
// sampled ones.
func (s *Windows) makeRoom(w *window, size int, sampled bool) bool {
	for !s.fits(w, size) {
		if sampled || w.samples == 0 {
			return false
		}
		items := s.records.items(&w.list)
		i := 0
		for items[i].tries == 0 || !items[i].sampled() {
			i++
		}
		s.displaced++
		s.forget(w, i)
	}
	return true
}

func (s *Windows) fits(w *window, size int) bool {
	return w.live == 0 || int(w.live) < s.limits.Window && int(w.bytes)+size <= s.limits.Bytes
}

// add makes the place of one more record, which the caller writes.
func (s *Windows) add(w *window, tid uint32) *record {
	if items := s.records.items(&w.list); len(items) > 0 {
		if last := items[len(items)-1].tid; int32(tid-last) <= 0 {
			panic(fmt.Sprintf("delivery: tid %d is sent after %d", tid, last))
		}
	}
	if s.records.full(&w.list) {
		s.squeeze(w)
		s.records.extend(&w.list)
	}
	w.list.tail++
	return &s.records.at(w.list.class, w.list.slot)[w.list.tail-1]
}

// squeeze takes out the records that are gone, if there are enough of them to pay for the walk.
func (s *Windows) squeeze(w *window) {
	n := w.list.len()
	if gone := n - int(w.live); gone == 0 || gone < n/4 {
		return
	}
	items := s.records.items(&w.list)
	kept := items[:0]
	for i := range items {
		if items[i].tries > 0 {
			kept = append(kept, items[i])
		}
	}
	w.list.tail = w.list.head + uint32(len(kept))
}

// remove ends one record, and the window with its last one.
func (s *Windows) remove(r Ref, w *window, i int) Ref {
	s.forget(w, i)
	if w.live == 0 {
		return s.closeWindow(w, r)
	}
	return r
}

// forget ends one record. What is gone at either end leaves the list, so that a window that is
// acknowledged in order never has holes.
func (s *Windows) forget(w *window, i int) {
	items := s.records.items(&w.list)
	p := &items[i]
	giveBytes(&s.bodies, p.body, int(p.size))
	if p.sampled() {
		w.samples--
	}
	w.live--
	w.bytes -= p.size
	s.live--
	s.bytes -= int(p.size)
	p.tries = 0
	for len(items) > 0 && items[0].tries == 0 {
		items = items[1:]
		w.list.head++
	}
	for len(items) > 0 && items[len(items)-1].tries == 0 {
		items = items[:len(items)-1]
		w.list.tail--
	}
	if w.live == 0 {
		w.list.head, w.list.tail = 0, 0
	}
}
