package delivery

import (
	"encoding/binary"
	"math"
)

// The saved orders of a link, all integers big-endian: version (1), number of orders (1), and each
// of them, that of the versions first:
//
//	package (4), next (8), end (8), ms since it moved (4), ms since it was touched (4),
//	number of holes (1), held messages (4), each hole: from (8), to (8),
//	each message: number (8), ms since it waits (4), length (4), message
const (
	orderHead     = 2
	savedOrder    = 4 + 8 + 8 + 4 + 4 + 1 + 4
	savedHole     = 8 + 8
	savedMessage  = 8 + 4 + 4
	maxHeldLoaded = 1 << 20
)

// AppendState adds what LoadState needs to make the link's orders again in another process.
func (s *Orders) AppendState(dst []byte, r OrderRef, now Millis) []byte {
	dst = append(dst, stateVersion, 0)
	count := len(dst) - 1
	for slot := uint32(r); slot != 0; {
		o := s.order(slot)
		slot = o.chain
		dst[count]++
		dst = be32(dst, o.id)
		dst = be64(dst, o.next, o.end)
		dst = be32(dst, uint32(now-o.moved), uint32(now-o.touched))
		items := s.messages.items(&o.held)
		dst = be32(append(dst, o.holeCount), uint32(len(items)))
		for _, h := range s.holesOf(o) {
			dst = be64(dst, h.from, h.to)
		}
		for i := range items {
			m := &items[i]
			dst = be32(be64(dst, m.number), uint32(now-m.since), m.size)
			dst = append(dst, bytesAt(&s.bodies, m.body, int(m.size))...)
		}
	}
	return dst
}

func be64(dst []byte, list ...uint64) []byte {
	for _, v := range list {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

// LoadState makes the orders that the head of b tells of and returns how many bytes it took. It
// fails with ErrState, and has then made nothing.
func (s *Orders) LoadState(b []byte, now Millis) (r OrderRef, n int, err error) {
	if len(b) < orderHead || b[0] != stateVersion || b[1] > maxPackages+2 {
		return 0, 0, ErrState
	}
	n = orderHead
	for i := range int(b[1]) {
		size, ok := checkOrder(b[n:], i == 0)
		if !ok {
			return 0, 0, ErrState
		}
		n += size
	}
	rest, link := b[orderHead:n], (*uint32)(nil)
	for range b[1] {
		slot := s.orders.take(1) + 1
		o := &s.orders.at(1, slot-1)[0]
		if link == nil {
			r = OrderRef(slot)
			s.count++
		} else {
			*link = slot
		}
		rest = s.load(o, rest, now)
		link = &o.chain
	}
	return r, n, nil
}

// load fills an order in from bytes that checkOrder has seen, and returns what stands behind them.
func (s *Orders) load(o *order, b []byte, now Millis) []byte {
	*o = order{
		id: word(b, 0), next: long(b, 4), end: long(b, 12), used: true,
		moved: now - Millis(word(b, 20)), touched: now - Millis(word(b, 24)),
	}
	holes, held := int(b[28]), word(b, 29)
	b = b[savedOrder:]
	if holes > 0 {
		o.holes, o.holeCount = s.holes.take(1), uint8(holes)
	}
	for i := range holes {
		s.holesOf(o)[i] = hole{long(b, 0), long(b, 8)}
		b = b[savedHole:]
	}
	for range held {
		m := message{number: long(b, 0), since: now - Millis(word(b, 8)), size: word(b, 12)}
		b = b[savedMessage:]
		if m.size > 0 {
			var body []byte
			m.body, body = takeBytes(&s.bodies, int(m.size))
			copy(body, b[:m.size])
		}
		b = b[m.size:]
		if s.messages.full(&o.held) {
			s.messages.extend(&o.held)
		}
		o.held.tail++
		s.messages.items(&o.held)[o.held.len()-1] = m
		o.bytes += m.size
		s.held++
	}
	return b
}

func long(b []byte, at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }

// checkOrder returns the length of the saved order at the head of b; the first one is that of the
// versions.
func checkOrder(b []byte, first bool) (size int, ok bool) {
	if len(b) < savedOrder {
		return 0, false
	}
	next, end, holes, held := long(b, 4), long(b, 12), int(b[28]), word(b, 29)
	if (word(b, 0) == 0) != first || first && end != 0 || end != 0 && next > end || holes > maxHoles || held > maxHeldLoaded {
		return 0, false
	}
	size = savedOrder
	last := uint64(0)
	for range holes {
		if len(b)-size < savedHole {
			return 0, false
		}
		from, to := long(b, size), long(b, size+8)
		if from < last || to <= from || to > next {
			return 0, false
		}
		last = to
		size += savedHole
	}
	messages, ok := checkHeld(b[size:], held, end)
	return size + messages, ok && (!first || next != 0 || held == 0)
}

// checkHeld returns the length of n saved messages, whose numbers must grow and lie before end, if
// that is not 0.
func checkHeld(b []byte, n uint32, end uint64) (size int, ok bool) {
	last := uint64(0)
	for i := range n {
		if len(b)-size < savedMessage {
			return 0, false
		}
		number, long := long(b, size), word(b, size+12)
		if i > 0 && number <= last || end != 0 && number >= end || number == math.MaxUint64 {
			return 0, false
		}
		last = number
		size += savedMessage
		if long > MaxMessage || len(b)-size < int(long) {
			return 0, false
		}
		size += int(long)
	}
	return size, true
}
