package manager

import (
	"errors"
	"sync"
	"time"
)

// receiptPatience is how long a gateway may take for its first receipt of all before we believe that it gives none.
const receiptPatience = 10 * time.Second

var errReceived = errors.New("manager: a receipt for a batch that was never sent")

// lane is both directions of one reactor of one epoch. It outlives its streams: what has no receipt when a stream breaks
// is sent again on the next one, in the old order and with the old numbers.
//
// Bytes go down like this: operations are appended to box; what box holds becomes a frame when it is full or when its
// turn to be sent has come; frames are numbered when they are sent first and stay until their receipt.
type lane struct {
	of      *epoch
	reactor uint32

	// turn holds a token while a stream serves the lane. Who holds it calls the handlers and alone changes received.
	turn   chan struct{}
	holder *stream // the newest stream; guarded by the Manager's mu

	mu       sync.Mutex
	idle     sync.Cond // sending has become false
	stream   *stream   // nil: none is up
	sending  bool      // somebody is in SendMsg, without mu
	box      box
	frames   fifo
	sent     int    // how many of frames are sent on this stream and wait for their receipt
	bytes    int    // what frames cost
	seq      uint64 // last number given out
	received uint64 // last seq of the gateway that was taken in
	due      bool   // received has grown since it was last sent
	// When the first numbered batch was sent; how that decides about a gateway without receipts, see full.
	since     time.Time
	receipted bool
	unkept    bool
}

func newLane(of *epoch, reactor uint32) *lane {
	l := &lane{of: of, reactor: reactor, turn: make(chan struct{}, 1)}
	l.idle.L = &l.mu
	return l
}

// attach makes s the lane's stream and sends hello over it, which nothing may overtake. What has no receipt is to be sent
// after it, again or for the first time.
func (l *lane) attach(s *stream, hello *frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream, l.sent = s, 0
	l.of.up.Add(1) // before the gateway hears of it
	l.sending = true
	l.mu.Unlock()
	err := s.gs.SendMsg(hello)
	l.mu.Lock()
	l.sending = false
	l.idle.Broadcast()
	return err
}

// detach undoes attach, once.
func (l *lane) detach(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == s {
		l.stream = nil
		l.of.up.Add(-1)
	}
}

// settle makes the lane the home of a shard whose items come over it, unless another one with a stream is: as long as
// that works, changing over could only disturb the order.
func (l *lane) settle(shard int) {
	home := &l.of.homes[shard]
	if now := home.Load(); now != l && (now == nil || !now.up()) {
		home.Store(l)
	}
}

func (l *lane) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream != nil
}

// claim locks the lane for an operation on box, which put ends.
func (l *lane) claim() error {
	l.mu.Lock()
	if l.fullLocked() {
		l.mu.Unlock()
		l.of.m.count.full.Add(1)
		return ErrFull
	}
	return nil
}

// put ends what claim began, with the operation's own error.
func (l *lane) put(err error) error {
	if err == nil && l.box.over() {
		l.enframeLocked(l.box.buf[:l.box.last], l.box.count-1)
		l.box.cut()
	}
	s := l.stream
	if l.sending || err != nil {
		s = nil // who is sending looks again before it stops
	}
	l.mu.Unlock()
	if s != nil {
		s.wakeSender()
	}
	return err
}

// full says whether as much waits as may wait.
func (l *lane) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fullLocked()
}

// fullLocked gives up keeping for a gateway that gives no receipts: for ever full would be worse than at most once. It is
// not asked for the time unless the lane is full.
func (l *lane) fullLocked() bool {
	if l.bytes+len(l.box.buf) < l.of.m.keep {
		return false
	}
	if l.sent == 0 || l.receipted || time.Since(l.since) < receiptPatience {
		return true
	}
	l.unkept = true
	l.of.m.count.unkept.Add(uint64(l.sent))
	for ; l.sent > 0; l.sent-- {
		l.popLocked()
	}
	return l.bytes+len(l.box.buf) >= l.of.m.keep
}

// add takes items of a handler's batch over, behind what waits already. over says that twice the bound waits: time for
// the handlers to stop writing.
func (l *lane) add(items []byte, count int) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(items, count)
	return l.bytes > 2*l.of.m.keep
}

// finish ends a batch of the gateway: seq is taken in, and items are what the handlers wrote last. It returns how many
// frames wait to be sent.
func (l *lane) finish(seq uint64, items []byte, count int) (waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(items, count)
	if seq != 0 {
		l.received = seq
		l.due = l.of.m.receipt
	}
	waiting = l.frames.len() - l.sent
	if len(l.box.buf) > 0 {
		waiting++
	}
	return waiting
}

func (l *lane) addLocked(items []byte, count int) {
	if len(items) == 0 {
		return
	}
	if n := len(l.box.buf); n > 0 && n+len(items) > maxItems {
		l.enframeLocked(l.box.buf, l.box.count)
		l.box.reset()
	}
	if len(items) > maxItems || len(l.box.buf) == 0 && !l.sending {
		l.enframeLocked(items, count)
		return
	}
	l.box.buf = append(l.box.buf, items...)
	l.box.count += count
}

func (l *lane) enframeLocked(items []byte, count int) {
	f := l.of.m.frames.get(items, count)
	l.bytes += f.size()
	l.frames.push(f)
}

func (l *lane) popLocked() {
	f := l.frames.pop()
	l.bytes -= f.size()
	f.release()
}

// owe says that the gateway did not see our last receipt.
func (l *lane) owe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = l.of.m.receipt
}

// receipt takes in what the gateway says that it has got.
func (l *lane) receipt(received uint64) error {
	if received == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if received > l.seq {
		return errReceived
	}
	l.receipted = true
	for l.frames.len() > 0 {
		if seq := l.frames.at(0).seq; seq == 0 || seq > received {
			break
		}
		l.popLocked()
		l.sent = max(l.sent-1, 0) // a stream ago it was sent, on this one perhaps not yet
	}
	return nil
}

// pump sends what waits, at most `most` frames, unless somebody does so already. Lone receipts are for the sender
// goroutine alone: until it comes to run, one may stand for several.
func (l *lane) pump(s *stream, most int, receipts bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sending || l.stream != s {
		return nil
	}
	l.sending = true
	var err error
	for ; most > 0 && err == nil; most-- {
		f := l.nextLocked(receipts)
		if f == nil {
			break
		}
		l.mu.Unlock()
		err = s.gs.SendMsg(f)
		l.mu.Lock()
	}
	l.sending = false
	l.idle.Broadcast()
	if err == nil && (l.waitingLocked() || l.due) {
		s.wakeSender()
	}
	return err
}

// flush sends all that waits, after whoever is at it now.
func (l *lane) flush(s *stream) error {
	l.mu.Lock()
	for l.sending {
		l.idle.Wait()
	}
	most := l.frames.len() - l.sent + 2 // and one of box, and a receipt; not what comes meanwhile for ever
	l.mu.Unlock()
	return l.pump(s, most, true)
}

func (l *lane) waitingLocked() bool {
	return l.sent < l.frames.len() || len(l.box.buf) > 0
}

// nextLocked takes the next frame to be sent, numbered and with a reference for gRPC; nil if there is none.
func (l *lane) nextLocked(receipts bool) *frame {
	m := l.of.m
	if l.sent == l.frames.len() && len(l.box.buf) > 0 {
		l.enframeLocked(l.box.buf, l.box.count)
		l.box.reset()
	}
	var f *frame
	switch {
	case l.sent < l.frames.len():
		f = l.numberLocked()
	case receipts && l.due:
		f = m.frames.get(nil, 0)
		f.number(0, l.received)
		m.count.receipts.Add(1)
	default:
		return nil
	}
	l.due = false
	m.count.batchesOut.Add(1)
	m.count.itemsOut.Add(uint64(f.count))
	m.count.bytesOut.Add(uint64(len(f.b)))
	return f
}

// numberLocked makes the first frame that is not sent ready for it.
func (l *lane) numberLocked() *frame {
	received := l.received
	if !l.of.m.receipt {
		received = 0
	}
	f := l.frames.at(l.sent)
	if !l.of.m.receipt || l.unkept {
		l.frames.pop() // sent is 0 where nothing is kept
		l.bytes -= f.size()
		f.number(0, received)
		return f
	}
	seq := f.seq
	if seq == 0 {
		l.seq++
		seq = l.seq
		if seq == 1 {
			l.since = time.Now()
		}
	} else {
		f = l.againLocked(f)
	}
	l.sent++
	f.number(seq, received)
	f.refs.Add(1)
	return f
}

// againLocked returns the next frame for a second sending: f itself, or a copy of it if the transport of a broken stream
// still holds f.
func (l *lane) againLocked(f *frame) *frame {
	l.of.m.count.resent.Add(1)
	if f.sole() {
		return f
	}
	twin := l.of.m.frames.get(f.b[:f.items], f.count)
	l.bytes += twin.size() - f.size()
	l.frames.set(l.sent, twin)
	f.release()
	return twin
}

// discard drops all that waits or is kept, because the epoch is over.
func (l *lane) discard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.frames.len()
	if len(l.box.buf) > 0 {
		n++
	}
	l.of.m.count.discarded.Add(uint64(n))
	l.box = box{}
	for l.frames.len() > 0 {
		l.popLocked()
	}
	l.sent = 0
}

// fifo is a queue of frames that does not allocate once it has grown.
type fifo struct {
	s    []*frame
	head int
}

func (q *fifo) len() int            { return len(q.s) - q.head }
func (q *fifo) at(i int) *frame     { return q.s[q.head+i] }
func (q *fifo) set(i int, f *frame) { q.s[q.head+i] = f }

func (q *fifo) push(f *frame) {
	if len(q.s) == cap(q.s) && q.head > len(q.s)/2 {
		n := copy(q.s, q.s[q.head:])
		clear(q.s[n:])
		q.s, q.head = q.s[:n], 0
	}
	q.s = append(q.s, f)
}

func (q *fifo) pop() *frame {
	f := q.s[q.head]
	q.s[q.head] = nil
	q.head++
	if q.head == len(q.s) {
		q.s, q.head = q.s[:0], 0
	}
	return f
}
