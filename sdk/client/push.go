package client

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"edged/wire"
)

// Push is a message that the Manager sent by its own accord. MsgID and Payload are lent for the call.
type Push struct {
	TID     uint32 // number of the push on its link
	Version uint64 // of a stored message; 0: none
	MsgID   []byte // nil where the gateway did not tell it
	Payload []byte // unpacked
	Late    bool   // it came after its turn was given up: later versions may have been handed over before it
}

// tids remembers which of the last pushes of a link came.
type tids struct {
	next uint32 // after the highest one
	seen [tidWindow / 64]uint64
}

// tidWindow is four times what a gateway keeps unacknowledged by default.
const tidWindow = 1024

// fresh notes a tid and says whether it is there for the first time. One that lies so far back that nothing is known of it
// counts as a double.
func (t *tids) fresh(tid uint32) bool {
	if ahead := tid - t.next; int32(ahead) >= 0 {
		if ahead >= tidWindow {
			t.seen = [tidWindow / 64]uint64{}
		} else {
			for ; t.next != tid; t.next++ { // skipped: they may still come
				t.clear(t.next)
			}
		}
		t.next = tid + 1
		t.set(tid)
		return true
	}
	if t.next-tid > tidWindow || t.has(tid) {
		return false
	}
	t.set(tid)
	return true
}

func (t *tids) has(tid uint32) bool { return t.seen[tid%tidWindow/64]&(1<<(tid%64)) != 0 }
func (t *tids) set(tid uint32)      { t.seen[tid%tidWindow/64] |= 1 << (tid % 64) }
func (t *tids) clear(tid uint32)    { t.seen[tid%tidWindow/64] &^= 1 << (tid % 64) }

// keptBuffer is how large a buffer may be to be kept for the next payload.
const keptBuffer = 1 << 20

// inflater unpacks payloads into a buffer of its own.
type inflater struct {
	reader *gzip.Reader
	source bytes.Reader
	out    bytes.Buffer
}

// unpack returns the payload of a push of at most limit bytes, which lives until the next call.
func (f *inflater) unpack(packed []byte, limit int) ([]byte, error) {
	f.source.Reset(packed)
	var err error
	if f.reader == nil {
		f.reader, err = gzip.NewReader(&f.source)
	} else {
		err = f.reader.Reset(&f.source)
	}
	if err != nil {
		f.reader = nil
		return nil, err
	}
	if f.out.Cap() > keptBuffer {
		f.out = bytes.Buffer{}
	}
	f.out.Reset()
	n, err := io.Copy(&f.out, io.LimitReader(f.reader, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(limit) {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return f.out.Bytes(), nil
}

// push hands a push over and acknowledges it.
func (l *link) push(rest []byte) error {
	p, err := wire.ParsePush(rest)
	if err != nil {
		return fmt.Errorf("%w: push: %w", ErrProtocol, err)
	}
	c := l.c
	c.count.pushes.Add(1)
	if c.o.OnPush == nil {
		c.count.unwanted.Add(1)
		return nil
	}
	if p.Flags&wire.FlagGzip != 0 {
		if p.Payload, err = l.inflate.unpack(p.Payload, c.o.MaxPayload); err != nil {
			c.count.garbled.Add(1) // without an acknowledgement the Manager learns that it did not arrive
			return nil
		}
	}
	if !l.tids.fresh(p.TID) || !c.hand(p) {
		c.count.doubles.Add(1)
	}
	if p.Flags&wire.FlagAck == 0 {
		return nil
	}
	c.count.acks.Add(1)
	if !c.out.putAck(p.TID) {
		return ErrStalled
	}
	return nil
}

// hand gives a push to the application; false: it had it before.
func (c *Client) hand(p wire.Push) bool {
	j := c.record.judge(p)
	if j.rewound {
		c.count.rewinds.Add(1)
	}
	if j.gap.From != 0 {
		c.count.missed.Add(j.gap.To - j.gap.From + 1)
		if c.o.Hole != nil {
			c.o.Hole(j.gap.From, j.gap.To)
		}
	}
	if j.double {
		return false
	}
	late := j.late || p.Flags&wire.FlagLate != 0
	if late {
		c.count.late.Add(1)
	}
	c.o.OnPush(Push{p.TID, p.Version, p.MsgID, p.Payload, late})
	c.record.done(p)
	return true
}
