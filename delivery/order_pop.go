package delivery

// Pop finds the next held message of the link whose turn has come, or was waited for long enough,
// and fills out. It is called until it returns false: after each message that came, and at Next.
//
// A gap is given up when it is known for OrderLimits.Gap and nothing came in turn for as long; at
// once when more is held than the limits allow, and when a link has too many packages.
func (s *Orders) Pop(r OrderRef, now Millis, out *Released) (OrderRef, bool) {
	if r == 0 {
		return 0, false
	}
	gate := s.order(uint32(r))
	packages := 0
	for at := &gate.chain; *at != 0; {
		o := s.order(*at)
		packages++
		if s.release(o, now, packages > maxPackages, out) {
			return r, true
		}
		if s.finished(o, now) || packages > maxPackages { // release has left nothing of one too many
			slot := *at
			*at = o.chain
			packages--
			s.dropHoles(o)
			s.free(slot)
			continue
		}
		at = &o.chain
	}
	if s.release(gate, now, false, out) {
		return r, true
	}
	if gate.next == 0 && gate.chain == 0 {
		s.free(uint32(r))
		s.count--
		return 0, false
	}
	return r, false
}

// release fills out with the next message of one order, if there is one.
func (s *Orders) release(o *order, now Millis, force bool, out *Released) bool {
	for o.held.len() > 0 {
		m := s.messages.items(&o.held)[0]
		*out = Released{Package: o.id, Number: m.number, Message: bytesAt(&s.bodies, m.body, int(m.size))}
		switch {
		case m.number < o.next:
			if out.Late = s.fill(o, m.number); !out.Late {
				s.doubles++
				s.shift(o)
				continue
			}
		case m.number == o.next:
			o.next++
		case force || s.overfull(o) || !now.before(s.patienceEnds(o, &m)):
			s.skip(o, m.number)
			o.next++
			o.touched = now
			out.Gap = true
		default:
			return false
		}
		s.shift(o)
		return true
	}
	return false
}

func (s *Orders) overfull(o *order) bool {
	return o.held.len() > s.limits.Messages || int(o.bytes) > s.limits.Bytes && o.held.len() > 1
}

// patienceEnds returns when the gap before the first held message is given up.
func (s *Orders) patienceEnds(o *order, first *message) Millis {
	from := first.since
	if from.before(o.moved) {
		from = o.moved
	}
	return from.after(s.gap)
}

// finished reports whether a package can be forgotten: nothing of it is held, and it is whole, or
// nothing came for so long that nothing will. What comes after that is taken for the first of a new
// package.
func (s *Orders) finished(o *order, now Millis) bool {
	if o.held.len() > 0 {
		return false
	}
	return o.end != 0 && o.next == o.end && o.holeCount == 0 || !now.before(o.touched.after(lingerGaps*s.gap))
}

// Next returns when Pop must be called for the link; ok is false while nothing waits.
func (s *Orders) Next(r OrderRef) (at Millis, ok bool) {
	for slot := uint32(r); slot != 0; {
		o := s.order(slot)
		slot = o.chain
		var wake Millis
		switch items := s.messages.items(&o.held); {
		case len(items) > 0 && (items[0].number <= o.next || s.overfull(o)):
			wake = o.touched
		case len(items) > 0:
			wake = s.patienceEnds(o, &items[0])
		case o.id == 0:
			continue
		default:
			wake = o.touched.after(lingerGaps * s.gap)
		}
		if !ok || wake.before(at) {
			at, ok = wake, true
		}
	}
	return at, ok
}

// End takes the next held message of a link that has ended, or that is another device's from now
// on: they are lost with it, but for those of which another copy had its turn. It is called until it
// returns false; the OrderRef is then 0.
func (s *Orders) End(r OrderRef, out *Released) (OrderRef, bool) {
	if r == 0 {
		return 0, false
	}
	for slot := uint32(r); slot != 0; {
		o := s.order(slot)
		for o.held.len() > 0 {
			m := s.messages.items(&o.held)[0]
			*out = Released{Package: o.id, Number: m.number, Message: bytesAt(&s.bodies, m.body, int(m.size))}
			s.shift(o)
			if m.number >= o.next || s.fill(o, m.number) {
				return r, true
			}
			s.doubles++
		}
		slot = o.chain
	}
	s.count--
	for slot := uint32(r); slot != 0; {
		o := s.order(slot)
		next := o.chain
		s.dropHoles(o)
		s.free(slot)
		slot = next
	}
	return 0, false
}
