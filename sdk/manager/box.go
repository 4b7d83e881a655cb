package manager

import (
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"edged/batch"
	"edged/wire"
)

// maxItem bounds one operation: gRPC's default limit for a message is 4 MiB, and what the other side refuses as a whole
// would be repeated for ever.
const maxItem = 1 << 20

// box collects operations as encoded items. It belongs to a lane, under its lock, or to the handler's side of a stream.
type box struct {
	buf   []byte
	last  int // where the last item begins
	count int // items in buf
	kv    []batch.KV
	text  []byte // strings on their way into a batch type that wants bytes
}

// begin remembers where the next item begins; end takes it back if it became too large.
func (b *box) begin() { b.last = len(b.buf) }

func (b *box) end() error {
	if len(b.buf)-b.last > maxItem {
		b.buf = b.buf[:b.last]
		return ErrTooLarge
	}
	b.count++
	return nil
}

// over says whether the last item has to go into the next batch.
func (b *box) over() bool { return len(b.buf) > maxItems && b.last > 0 }

// cut drops the items before the last one, which have been sent away.
func (b *box) cut() {
	b.buf = b.buf[:copy(b.buf, b.buf[b.last:])]
	b.last, b.count = 0, 1
}

// reset empties the box. A buffer that one large item made is not kept.
func (b *box) reset() {
	if cap(b.buf) > 4*maxItems {
		b.buf = nil
	}
	b.buf, b.last, b.count = b.buf[:0], 0, 0
}

func (b *box) data(t batch.Target, ref uint64, payload []byte) error {
	if len(payload) > wire.MaxBody-1 {
		return ErrTooLarge
	}
	b.begin()
	b.buf = batch.AppendDataTo(b.buf, t, ref, payload)
	return b.end()
}

func (b *box) push(t batch.Target, ref uint64, p *Push) error {
	switch {
	case len(p.Payload) > maxItem:
		return ErrTooLarge // before it is copied; whether it fits a frame is known after gzip, to the gateway
	case len(p.MsgID) > math.MaxUint8:
		return ErrTooLarge
	case !utf8.ValidString(p.MsgID):
		return ErrText
	}
	b.text = append(b.text[:0], p.MsgID...)
	b.begin()
	b.buf = batch.AppendPush(b.buf, t, ref, batch.Push{
		Payload:   p.Payload,
		MsgID:     b.text,
		Ack:       p.Ack,
		AllowGzip: p.AllowGzip,
		TTLMs:     millis(p.TTL),
	})
	return b.end()
}

func (b *box) patch(t batch.Target, ref uint64, set map[string]string, del []string) error {
	b.kv = b.kv[:0]
	for k, v := range set {
		b.kv = append(b.kv, batch.KV{Key: k, Value: v})
	}
	return b.patchKV(t, ref, del)
}

// patchKV is patch with what is to be set in b.kv, which it empties.
func (b *box) patchKV(t batch.Target, ref uint64, del []string) error {
	defer clear(b.kv)
	for _, kv := range b.kv {
		if !utf8.ValidString(kv.Key) || !utf8.ValidString(kv.Value) {
			return ErrText
		}
	}
	for _, k := range del {
		if !utf8.ValidString(k) {
			return ErrText
		}
	}
	b.begin()
	b.buf = batch.AppendPatchTo(b.buf, t, ref, b.kv, del)
	return b.end()
}

// change is patch with typed changes. Of two changes of one key the last one counts: a patch has no order.
func (b *box) change(t batch.Target, changes []Change) error {
	b.kv = b.kv[:0]
	var del []string
	for i, c := range changes {
		later := slices.ContainsFunc(changes[i+1:], func(o Change) bool { return o.key == c.key })
		switch {
		case later:
		case c.gone:
			del = append(del, c.key)
		default:
			b.kv = append(b.kv, batch.KV{Key: c.key, Value: c.value})
		}
	}
	return b.patchKV(t, 0, del)
}

func (b *box) bind(l batch.Link, ref uint64, user, device string, synced uint64) error {
	if !utf8.ValidString(user) || !utf8.ValidString(device) {
		return ErrText
	}
	b.text = append(append(b.text[:0], user...), device...)
	n := len(user)
	b.begin()
	b.buf = batch.AppendBind(b.buf, l, ref, batch.Bind{User: b.text[:n], Device: b.text[n:], Synced: synced})
	return b.end()
}

func (b *box) room(t batch.Target, ref uint64, room string, join bool) error {
	if !utf8.ValidString(room) {
		return ErrText
	}
	b.begin()
	if join {
		b.buf = batch.AppendJoin(b.buf, t, ref, room)
	} else {
		b.buf = batch.AppendLeave(b.buf, t, ref, room)
	}
	return b.end()
}

func (b *box) close(t batch.Target, ref uint64, r wire.Reason, retryAfter time.Duration, text string) error {
	if !utf8.ValidString(text) {
		return ErrText
	}
	b.text = append(b.text[:0], text...)
	b.begin()
	b.buf = batch.AppendClose(b.buf, t, ref, batch.Close{
		Reason:       uint32(r),
		RetryAfterMs: millis(retryAfter),
		Text:         b.text,
	})
	return b.end()
}

// millis is d in whole milliseconds, as far as 32 bits go; a part of one counts as a whole.
func millis(d time.Duration) uint32 {
	ms := (max(d, 0) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(ms, math.MaxUint32))
}

// first is the optional reference number of an operation.
func first(ref []uint64) uint64 {
	if len(ref) == 0 {
		return 0
	}
	return ref[0]
}
