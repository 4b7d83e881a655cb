package delivery

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound the window of each link and say how it retries.
type Limits struct {
	Retry  time.Duration // wait for an ACK of the first send, at least
	Tries  int           // sends of one push, the first included
	Window int           // unacknowledged pushes of a link, sampled ones included
	Bytes  int           // their msg_ids and frames together; one push alone always fits
	TTL    time.Duration // of a push that names none; 0: until its tries are used up
}

const (
	// DefaultBytes is the usual Limits.Bytes: as much as the kernel keeps for a link that does not
	// read.
	DefaultBytes = 256 << 10
	// MaxMsgID and MaxFrame bound what Send takes: the protocol's msg_id, and the protocol's
	// largest frame with the head of any transport.
	MaxMsgID = 255
	MaxFrame = 65535 + 14
)

// ErrFull means that the link has too many unacknowledged pushes, or too many bytes of them.
var ErrFull = errors.New("delivery: window full")

// Ref is all that a link holds of its window; the zero Ref is that of a new link.
//
//	31        24 23                 0
//	+-----------+--------------------+
//	| patience  | slot + 1           |
//	+-----------+--------------------+
//
// The slot is that of the window in its Windows. A link without unacknowledged pushes has none;
// what is left of it is the patience, which is 0 too unless the link has shown that it needs longer
// than Limits.Retry: see patience.go.
type Ref uint32

const (
	slotBits = 24
	slotMask = 1<<slotBits - 1
)

// Open reports whether the link has unacknowledged pushes.
func (r Ref) Open() bool { return r&slotMask != 0 }

// Push is what Send keeps of a push.
type Push struct {
	TID     uint32
	Sampled bool          // its ACK is wanted for statistics only: it is never repeated
	TTL     time.Duration // for how long it is worth repeating, 20 days at most; 0: Limits.TTL
	MsgID   []byte
	Frame   []byte // whatever the caller wants to have back when it is to be repeated; not kept when Sampled
}

// Receipt is one push that was acknowledged. MsgID is the store's, good until its next change.
type Receipt struct {
	TID     uint32
	MsgID   []byte
	Sampled bool
	Tries   int           // how often it was sent
	Took    time.Duration // since it was sent first
}

// Answer is what an ACK of one tid came to.
type Answer uint8

// Every tid of an ACK is exactly one of these.
const (
	Acked     Answer = iota // the link waited for it
	Duplicate               // sent before, but nobody waits for it: a duplicate, too late, or none was wanted
	Unknown                 // never sent on this link
)

// window is the unacknowledged pushes of one link. It exists while there is one.
type window struct {
	list    list   // of records in the order of their tids, the first and last one live
	live    uint32 // of them not acknowledged
	samples uint32 // of the live ones
	bytes   uint32 // of their bodies

	next     Millis // Due has nothing to do before
	soonest  Millis // scanning: the earliest wake of what was looked at
	scan     uint32 // scanning: the tid from which Due goes on
	scanning bool

	srtt, rttvar uint32 // ms, as in RFC 6298; srtt 0: not measured since the window was opened
	base         uint32 // ms: the first wait of the next push
}

// record is one push. Its body is the msg_id and the frame.
type record struct {
	tid   uint32
	body  uint32 // slot
	size  uint32 // of the body
	first Millis // when it was sent first
	due   Millis // when it is to be repeated or given up
	end   Millis // when it is not worth repeating any more
	base  uint32 // ms: its first wait, which doubles from try to try
	msgID uint8  // bytes
	tries uint8  // sends so far; 0: gone, and the rest means nothing
	flags uint8
}

const flagSampled = 1

func (p *record) sampled() bool { return p.flags&flagSampled != 0 }

func (p *record) wake() Millis { return earlier(p.due, p.end) }

// Windows is the windows of all links of a shard, owned by the shard's thread.
type Windows struct {
	limits  Limits // static
	retry   uint32 // static: Limits.Retry in ms
	ttl     uint32 // static: Limits.TTL in ms
	windows slab[window]
	records slab[record]
	bodies  slab[byte]

	open, live int
	bytes      int
	displaced  uint64
}

// NewWindows returns a store without windows. Limits that Config.Validate would refuse, less than
// one byte, or a negative TTL panic.
func NewWindows(l Limits) *Windows {
	if l.Retry < minRetry || l.Retry > maxTime || l.Tries < 1 || l.Tries > maxTries ||
		l.Window < 1 || l.Window > maxWindow || l.Bytes < 1 || l.TTL < 0 {
		panic(fmt.Sprintf("delivery: limits %+v", l))
	}
	s := &Windows{limits: l, retry: millis(l.Retry), ttl: millis(l.TTL)}
	if s.ttl == 0 {
		s.ttl = millis(maxAhead)
	}
	s.windows.step, s.records.step, s.bodies.step = 1, 2, 16
	return s
}

// Send keeps a push that is sent now, for as long as its ACK is waited for. The tids of a link must
// grow from call to call. It fails with ErrFull only, and the push is then not to be sent with the
// flag `ack`. A sampled push is refused where a required one would be, and gives way to one: see
// Displaced.
//
// The caller keeps the Ref that is returned, in every case, and sees to it that Due is called at
// Next.
func (s *Windows) Send(r Ref, now Millis, p *Push) (Ref, error) {
	frame := p.Frame
	if p.Sampled {
		frame = nil
	}
	size := len(p.MsgID) + len(frame)
	if len(p.MsgID) > MaxMsgID || len(frame) > MaxFrame {
		panic(fmt.Sprintf("delivery: push with a msg_id of %d and a frame of %d bytes", len(p.MsgID), len(frame)))
	}
	var w *window
	if !r.Open() {
		r, w = s.openWindow(r)
	} else if w = s.window(r); !s.makeRoom(w, size, p.Sampled) {
		return r, ErrFull
	}
	q := s.add(w, p.TID)
	*q = record{tid: p.TID, size: uint32(size), first: now, base: w.base, msgID: uint8(len(p.MsgID)), tries: 1}
	q.end = now.after(s.life(p.TTL))
	if q.due = now.after(w.base); p.Sampled {
		q.flags = flagSampled
		q.due = now.after(s.span(w.base))
	}
	if size > 0 {
		var body []byte
		q.body, body = takeBytes(&s.bodies, size)
		copy(body[copy(body, p.MsgID):], frame)
	}
	s.book(w, q)
	return r, nil
}

// book counts a record that was added.
func (s *Windows) book(w *window, p *record) {
	s.wakeAt(w, p.wake())
	w.live++
	w.bytes += p.size
	s.live++
	s.bytes += int(p.size)
	if p.sampled() {
		w.samples++
	}
}

// wakeAt brings the look at a window forward.
func (s *Windows) wakeAt(w *window, at Millis) {
	if w.live == 0 {
		w.next = at
		return
	}
	w.next = earlier(w.next, at)
	w.soonest = earlier(w.soonest, at) // means something only while scanning
}

func (s *Windows) life(ttl time.Duration) uint32 {
	if ttl <= 0 {
		return s.ttl
	}
	return millis(ttl)
}

// Ack takes one acknowledged tid of a link whose next PUSH will have the tid next. Only after Acked
// is rc filled in. Other answers change nothing.
func (s *Windows) Ack(r Ref, now Millis, tid, next uint32, rc *Receipt) (Ref, Answer) {
	if r.Open() {
		w := s.window(r)
		items := s.records.items(&w.list)
		if i := find(items, tid); i < len(items) && items[i].tid == tid && items[i].tries > 0 {
			p := &items[i]
			took := now - p.first
			*rc = Receipt{
				TID: tid, MsgID: s.body(p)[:p.msgID], Sampled: p.sampled(),
				Tries: int(p.tries), Took: time.Duration(took) * time.Millisecond,
			}
			if p.tries == 1 {
				s.measure(w, uint32(took))
			} else {
				s.doubt(w, p.base)
			}
			return s.remove(r, w, i), Acked
		}
	}
	if tid < next {
		return r, Duplicate
	}
	return r, Unknown
}

// Forget takes a push back that could not be written after all. It says nothing about the link's round trips.
func (s *Windows) Forget(r Ref, tid uint32) Ref {
	if !r.Open() {
		return r
	}
	w := s.window(r)
	items := s.records.items(&w.list)
	if i := find(items, tid); i < len(items) && items[i].tid == tid && items[i].tries > 0 {
		return s.remove(r, w, i)
	}
	return r
}

// Each calls f for every unacknowledged push of a link in the order of their tids, until it returns false. The frame is nil
// where the push is sampled. f must not change the store.
func (s *Windows) Each(r Ref, f func(tid uint32, frame []byte) bool) {
	if !r.Open() {
		return
	}
	w := s.window(r)
	items := s.records.items(&w.list)
	for i := range items {
		p := &items[i]
		if p.tries == 0 {
			continue
		}
		frame := s.body(p)[p.msgID:]
		if p.sampled() {
			frame = nil
		}
		if !f(p.tid, frame) {
			return
		}
	}
}

// find returns the place of the first record whose tid is not before tid. Tids wrap: they are
// compared by their distance from the first one.
func find(items []record, tid uint32) int {
	if len(items) == 0 || int32(tid-items[0].tid) <= 0 {
		return 0
	}
	from, lo, hi := items[0].tid, 1, len(items)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if items[mid].tid-from < tid-from {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// Next returns when Due must be called for the link; ok is false while it has no unacknowledged
// pushes. It may be earlier than Due finds something to do, as an ACK does not look for the next in
// turn.
func (s *Windows) Next(r Ref) (at Millis, ok bool) {
	if !r.Open() {
		return 0, false
	}
	return s.window(r).next, true
}

// Outstanding returns how many unacknowledged pushes a link has, and the bytes of them.
func (s *Windows) Outstanding(r Ref) (pushes, bytes int) {
	if !r.Open() {
		return 0, 0
	}
	w := s.window(r)
	return int(w.live), int(w.bytes)
}

// Len returns the number of links with unacknowledged pushes, and Pushes that of the pushes.
func (s *Windows) Len() int { return s.open }

// Pushes returns the number of unacknowledged pushes of all links.
func (s *Windows) Pushes() int { return s.live }

// Bytes returns the sum of their msg_ids and frames.
func (s *Windows) Bytes() int { return s.bytes }

// Held returns the memory that all of it lies in, free places included.
func (s *Windows) Held() int {
	return s.windows.held*windowSize + s.records.held*recordSize + s.bodies.held
}

// Displaced returns how many sampled pushes were forgotten because a required one needed their
// room.
func (s *Windows) Displaced() uint64 { return s.displaced }
