package delivery

import (
	"fmt"
	"math"
	"time"
)

// OrderLimits bound what is held back for each order, and for how long.
type OrderLimits struct {
	Gap      time.Duration // how long a missing message is waited for
	Messages int           // held back
	Bytes    int           // of them; one alone may have more
}

const (
	// DefaultHeld is the usual OrderLimits.Messages.
	DefaultHeld = 4096
	// MaxMessage is the longest message that is held back; a longer one passes at once.
	MaxMessage = 1 << 18

	maxPackages = 8 // of one link at a time
	maxHoles    = 8 // of one order
	lingerGaps  = 10
)

// OrderRef is all that a link holds of its orders; 0 is none.
type OrderRef uint32

// Position is the place of a message in its package.
type Position struct {
	Package uint32 // 0: no package
	Seq     uint32 // from 0
	Count   uint32 // messages of the package; 0: nobody knows
}

// Verdict is what is to be done with a message that has come.
type Verdict uint8

// After each of them Pop must be called until it has nothing more.
const (
	Pass   Verdict = iota // it is its turn: send it
	Late                  // its turn was given up: send it with the flag `late`
	Double                // it had its turn: drop it
	Held                  // kept, because an earlier one is missing
	Gap                   // kept, and the first to be: what is missing should be asked for
)

// Released is a message that Pop found to be in turn.
type Released struct {
	Package uint32 // 0: it was held for its version
	Number  uint64 // version, or place in the package
	Message []byte // as it was given; the store's, good until the next call but Passed
	Gap     bool   // what is missing before it was given up just now
	Late    bool   // its own turn was given up before
}

// order is a sequence of numbers in which each is to be passed once: the versions of a link's
// device, or the places of one package.
type order struct {
	next  uint64 // the number whose turn it is; of versions 0: not known
	end   uint64 // of a package: its count; 0: not known
	held  list   // of messages, by number
	bytes uint32 // of them

	moved   Millis // when a number last came in turn; means something only while something is held
	touched Millis // when anything last happened

	holes     uint32 // slot; with holeCount > 0
	holeCount uint8
	id        uint32 // of the package; 0: this is the order of versions
	chain     uint32 // slot + 1 of the link's next package
	used      bool
}

// message is one that is held back.
type message struct {
	number uint64
	body   uint32 // slot
	size   uint32
	since  Millis // since when something before it is known to be missing
}

// hole is the numbers [from, to) whose turn was given up.
type hole struct{ from, to uint64 }

// Orders is what is held back for all links of a shard, owned by the shard's thread.
type Orders struct {
	limits   OrderLimits // static
	gap      uint32      // static: Gap in ms
	orders   slab[order]
	messages slab[message]
	holes    slab[hole]
	bodies   slab[byte]

	count, held int
	doubles     uint64
}

// NewOrders returns a store without orders. A gap that Config.Validate would refuse, or limits
// below 1, panic.
func NewOrders(l OrderLimits) *Orders {
	if l.Gap < minGap || l.Gap > maxTime || l.Messages < 1 || l.Bytes < 1 {
		panic(fmt.Sprintf("delivery: order limits %+v", l))
	}
	s := &Orders{limits: l, gap: millis(l.Gap)}
	s.orders.step, s.messages.step, s.holes.step, s.bodies.step = 1, 2, maxHoles, 16
	return s
}

// Start says that the client has every version up to and including this one, so that the next in
// turn is the one after it. With version 0 it says that this is still being found out: what comes
// is held, as if version 1 were missing. Held messages that the client has are dropped.
func (s *Orders) Start(r OrderRef, now Millis, version uint64) OrderRef {
	if version == math.MaxUint64 {
		return r
	}
	r, o := s.gate(r, now)
	if version+1 > o.next {
		o.next, o.moved = version+1, now
	}
	o.touched = now
	s.forgetHoles(o, version+1)
	for items := s.messages.items(&o.held); len(items) > 0 && items[0].number <= version; items = items[1:] {
		s.doubles++
		s.shift(o)
	}
	return r
}

// Version takes a message that comes by itself, and copies it if it is held. While a link has no
// order of versions, the first one begins it. Version 0 is none, and passes.
func (s *Orders) Version(r OrderRef, now Millis, version uint64, msg []byte) (OrderRef, Verdict) {
	if !ordered(version) {
		return r, Pass
	}
	r, o := s.gate(r, now)
	if o.next == 0 {
		o.next = version
	}
	return r, s.take(o, now, version, msg)
}

// Passed takes the version of a message that is sent in the order of its package. It is never held:
// what lies before it is not in the package, so its turn is given up.
func (s *Orders) Passed(r OrderRef, now Millis, version uint64) (OrderRef, Verdict) {
	if !ordered(version) {
		return r, Pass
	}
	r, o := s.gate(r, now)
	if o.next == 0 {
		o.next = version
	}
	if version > o.next {
		s.skip(o, version)
	}
	return r, s.take(o, now, version, nil)
}

// ordered leaves the last number free, so that there is always a next one.
func ordered(version uint64) bool { return version != 0 && version != math.MaxUint64 }

// Missing returns the versions [from, to) that the first held one waits for; ok is false when there
// are none. They should be asked for after a Gap, and again when Pop has nothing more and there is
// another gap.
func (s *Orders) Missing(r OrderRef) (from, to uint64, ok bool) {
	if r == 0 {
		return 0, 0, false
	}
	o := s.order(uint32(r))
	items := s.messages.items(&o.held)
	if len(items) == 0 || items[0].number <= o.next {
		return 0, 0, false
	}
	return o.next, items[0].number, true
}

// Turn returns the version whose turn it is; 0 where that is not known.
func (s *Orders) Turn(r OrderRef) uint64 {
	if r == 0 {
		return 0
	}
	return s.order(uint32(r)).next
}

// Whole returns the version up to which every turn was taken, none given up; 0 where that is not known.
func (s *Orders) Whole(r OrderRef) uint64 {
	if r == 0 {
		return 0
	}
	o := s.order(uint32(r))
	if holes := s.holesOf(o); len(holes) > 0 {
		return holes[0].from - 1
	}
	return max(o.next, 1) - 1
}

// Reopen says that a version which had its turn did not reach the client after all. If it was the last one that had, its turn
// comes again; else it counts as one whose turn was given up, so that it may come late.
func (s *Orders) Reopen(r OrderRef, version uint64) {
	if r == 0 || !ordered(version) {
		return
	}
	o := s.order(uint32(r))
	if holes := s.holesOf(o); version+1 == o.next && (len(holes) == 0 || holes[len(holes)-1].to != o.next) {
		o.next = version
	} else if version < o.next {
		s.reopen(o, version)
	}
}

// Gone says that the versions [from, to) will never come, as the log does not have them any more. Nothing waits for them, and
// Whole counts them as taken. One that is held all the same keeps its turn.
func (s *Orders) Gone(r OrderRef, now Millis, from, to uint64) OrderRef {
	if from >= to {
		return r
	}
	r, o := s.gate(r, now)
	s.cutHoles(o, from, to)
	if o.next == 0 || o.next >= from && o.next < to {
		if items := s.messages.items(&o.held); len(items) > 0 {
			to = min(to, items[0].number)
		}
		if to > o.next {
			o.next, o.moved = to, now
		}
	}
	o.touched = now
	return r
}

// GiveUp says that no version before oldest will come any more: the log does not reach back to
// them. Then the first gap ends there, and Pop goes on without a wait.
func (s *Orders) GiveUp(r OrderRef, now Millis, oldest uint64) OrderRef {
	if _, to, ok := s.Missing(r); ok {
		if o := s.order(uint32(r)); oldest > o.next {
			s.skip(o, min(oldest, to))
			o.touched = now
		}
	}
	return r
}

// InPackage takes a message of a package, and copies it if it is held. One that says nonsense about
// its place passes.
func (s *Orders) InPackage(r OrderRef, now Millis, at Position, msg []byte) (OrderRef, Verdict) {
	if at.Package == 0 || at.Count != 0 && at.Seq >= at.Count {
		return r, Pass
	}
	r, gate := s.gate(r, now)
	o, packages := s.find(gate, at.Package)
	if o == nil && packages > maxPackages {
		return r, Pass // Pop, which makes room, was not called
	} else if o == nil {
		o = s.open(gate, now, at)
	} else if o.end != 0 && uint64(at.Seq) >= o.end {
		return r, Pass
	}
	return r, s.take(o, now, uint64(at.Seq), msg)
}

// take decides about number n of an order. A message that is nil is never held.
func (s *Orders) take(o *order, now Millis, n uint64, msg []byte) Verdict {
	o.touched = now
	switch {
	case n < o.next:
		if s.fill(o, n) {
			return Late
		}
		return Double
	case n == o.next:
		o.next, o.moved = n+1, now
		return Pass
	case len(msg) > MaxMessage:
		return Pass
	}
	return s.hold(o, now, n, msg)
}

// hold keeps a message whose turn has not come.
func (s *Orders) hold(o *order, now Millis, n uint64, msg []byte) Verdict {
	items := s.messages.items(&o.held)
	i := len(items)
	for lo := 0; lo < i; {
		if mid := int(uint(lo+i) >> 1); items[mid].number < n {
			lo = mid + 1
		} else {
			i = mid
		}
	}
	since := now
	if i < len(items) {
		if items[i].number == n {
			return Double
		}
		since = items[i].since // what lies before the later one is missing for as long already
	}
	if s.messages.full(&o.held) {
		s.messages.extend(&o.held)
	}
	o.held.tail++
	items = s.messages.items(&o.held)
	copy(items[i+1:], items[i:])
	items[i] = message{number: n, size: uint32(len(msg)), since: since}
	if len(msg) > 0 {
		var body []byte
		items[i].body, body = takeBytes(&s.bodies, len(msg))
		copy(body, msg)
	}
	o.bytes += uint32(len(msg))
	s.held++
	if len(items) == 1 {
		o.moved = now // it may be from weeks ago, and must not seem to lie ahead
		return Gap
	}
	return Held
}

// Len returns the number of links that have an order, and Held that of the messages held back.
func (s *Orders) Len() int { return s.count }

// Held returns the number of messages that are held back for all links.
func (s *Orders) Held() int { return s.held }

// Doubles returns how many held messages were dropped because another copy of them had passed.
// Those that Verdict names are the caller's to count.
func (s *Orders) Doubles() uint64 { return s.doubles }
