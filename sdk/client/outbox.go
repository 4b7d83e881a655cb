package client

import (
	"slices"
	"sync"

	"edged/wire"
)

// maxControl bounds the acknowledgements and PONGs that wait to be sent. A gateway that asks for so many without reading
// the answers has broken.
const maxControl = 64 << 10

// mostAcks is how many acknowledgements go into one frame: few enough for any max_frame, which is 64 at least.
const mostAcks = 15

// outbox holds the frames that wait for a link. Callers of Send fill it and the link's writer empties it.
type outbox struct {
	ready chan struct{} // room for one: there is something to take
	limit int           // static

	mu      sync.Mutex
	data    []byte   // whole frames
	longest int      // body of them
	control []byte   // whole frames of the present link, which go before the data
	acks    []uint32 // of the present link, which go before both
	queued  uint64   // bytes of data ever put
	taken   uint64   // of them, bytes ever taken
	max     int      // longest body that the gateway takes, as far as known
	closed  error    // why nothing is taken any more
}

func (b *outbox) init(limit int) {
	b.ready, b.limit, b.max = make(chan struct{}, 1), limit, wire.MaxBody
}

// put queues a DATA frame. end is its place in the stream of all of them: it is taken once taken has reached end.
func (b *outbox) put(payload []byte) (end uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body := 1 + len(payload)
	switch {
	case b.closed != nil:
		return 0, b.closed
	case body > b.max:
		return 0, ErrTooLong
	case len(b.data) != 0 && len(b.data)+wire.HeadLen+body > b.limit:
		return 0, ErrFull
	}
	before := len(b.data)
	b.data = wire.Append(b.data, wire.KindData, payload)
	b.longest = max(b.longest, body)
	b.queued += uint64(len(b.data) - before)
	b.ring()
	return b.queued, nil
}

// putControl queues a frame of the present link; false: too many wait.
func (b *outbox) putControl(frame []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.roomLocked(len(frame)) {
		return false
	}
	b.control = append(b.control, frame...)
	b.ring()
	return true
}

// putAck queues the acknowledgement of a push of the present link; false: too much waits. Those that wait together go out
// in one frame.
func (b *outbox) putAck(tid uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.roomLocked(4) {
		return false
	}
	b.acks = append(b.acks, tid)
	b.ring()
	return true
}

func (b *outbox) roomLocked(n int) bool { return len(b.control)+4*len(b.acks)+n <= maxControl }

func (b *outbox) ring() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// newLink forgets what was for the link before and what its gateway allowed.
func (b *outbox) newLink() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.control, b.acks, b.max = b.control[:0], b.acks[:0], wire.MaxBody
}

// welcome sets what the gateway takes, and has the writer look at what has waited.
func (b *outbox) welcome(maxFrame uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if maxFrame > 0 && maxFrame < wire.MaxBody {
		b.max = int(maxFrame)
	}
	b.ring()
}

// take appends what waits to dst: control frames, and the data too once the link is up. Frames that were queued before the
// gateway told its max_frame and are longer are left out: it would end the link for them. dropped is their number.
func (b *outbox) take(dst []byte, data bool) (out []byte, dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for acks := range slices.Chunk(b.acks, mostAcks) {
		dst = wire.AppendAck(dst, acks...)
	}
	dst = append(dst, b.control...)
	b.acks, b.control = b.acks[:0], b.control[:0]
	if !data {
		return dst, 0
	}
	if b.longest <= b.max {
		dst = append(dst, b.data...)
	} else {
		dst, dropped = appendShort(dst, b.data, b.max)
	}
	b.data, b.longest, b.taken = b.data[:0], 0, b.queued
	return dst, dropped
}

func appendShort(dst, frames []byte, max int) (out []byte, dropped int) {
	for len(frames) > 0 {
		body, n, _ := wire.Split(frames, wire.MaxBody)
		if len(body) > max {
			dropped++
		} else {
			dst = append(dst, frames[:n]...)
		}
		frames = frames[n:]
	}
	return dst, dropped
}

func (b *outbox) takenSoFar() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// close refuses everything from now on.
func (b *outbox) close(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = why
}
