package gateway

import (
	"bytes"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"edged/batch"
	"edged/wire"
)

// tooLarge is what a Manager is told of a message that no frame holds.
const tooLarge = "longer than max_frame"

// letter is a push as it goes out, to one link or to many.
type letter struct {
	ack     batch.Ack
	flags   wire.Flags // all but those of the acknowledgement
	version uint64
	msgID   []byte
	payload []byte
	ttl     time.Duration
	saved   int // bytes, by gzip
}

// pushFault says why a push cannot be meant.
func pushFault(p *batch.Push) string {
	switch {
	case len(p.MsgID) > maxMsgID:
		return "msg_id longer than 255 bytes"
	case p.Ack < batch.AckNone || p.Ack > batch.AckSampled:
		return "an ack mode that nobody knows"
	case p.Ack == batch.AckRequired && len(p.MsgID) == 0:
		return "a required acknowledgement needs a msg_id"
	}
	return ""
}

const maxMsgID = 255

// write makes the letter of a push that passed pushFault. To many links without an acknowledgement no stamp goes out. Where
// the payload is worth it, it is compressed into z, and the letter good until z is used again.
func (p *letter) write(of *batch.Push, many bool, gzipMin int, z *zipper) {
	*p = letter{ack: of.Ack, payload: of.Payload, ttl: min(time.Duration(of.TTLMs)*time.Millisecond, maxTTL)}
	if (of.Version != 0 || len(of.MsgID) != 0) && !(many && of.Ack == batch.AckNone) {
		p.flags |= wire.FlagStamped
		p.version, p.msgID = of.Version, of.MsgID
	}
	if worthZipping(of, gzipMin) {
		if small := z.compress(of.Payload); len(small) < len(of.Payload) {
			p.saved = len(of.Payload) - len(small)
			p.payload = small
			p.flags |= wire.FlagGzip
		}
	}
}

// body is the length of the frame's body.
func (p *letter) body() int {
	return 1 + wire.PushLen(wire.Push{Flags: p.flags, MsgID: p.msgID, Payload: p.payload})
}

// maxTTL is the longest that a window can count.
const maxTTL = 20 * 24 * time.Hour

// worthZipping says whether a payload may become smaller, so that write needs a zipper.
func worthZipping(of *batch.Push, gzipMin int) bool {
	return of.AllowGzip && len(of.Payload) >= gzipMin && !compressed(of.Payload)
}

// letter returns the letter of a push, good until the item is another one. A push for several links of a user is compressed once.
func (s *shard) letter(d *batch.DownItem) *letter {
	if s.writtenOf == d {
		return &s.written
	}
	if s.zipper == nil && worthZipping(&d.Push, s.g.delivery.GzipMin) {
		s.zipper = zippers.Get().(*zipper)
	}
	s.written.write(&d.Push, false, s.g.delivery.GzipMin, s.zipper)
	s.writtenOf = d
	return &s.written
}

// trimZipper gives the tables back.
func (s *shard) trimZipper() {
	if s.zipper != nil {
		zippers.Put(s.zipper)
		s.zipper, s.writtenOf = nil, nil
	}
}

// compressed says whether bytes begin as those of a format do that gzip makes no smaller.
func compressed(b []byte) bool {
	for _, magic := range [...]string{"\x1f\x8b", "PK\x03\x04", "\x28\xb5\x2f\xfd", "\x89PNG", "\xff\xd8\xff", "GIF8", "BZh", "\xfd7zXZ", "OggS"} {
		if len(b) >= len(magic) && string(b[:len(magic)]) == magic {
			return true
		}
	}
	return len(b) > 12 && (string(b[4:8]) == "ftyp" || string(b[8:12]) == "WEBP")
}

// zipper compresses one payload at a time.
type zipper struct {
	w   *gzip.Writer
	out bytes.Buffer
}

// zippers lends them: one has some hundred KiB of tables. A shard keeps the one that it needed until Trim.
var zippers = sync.Pool{New: func() any {
	z := &zipper{}
	z.w, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is one that there is
	return z
}}

// compress returns b as gzip, good until the next call.
func (z *zipper) compress(b []byte) []byte {
	z.out.Reset()
	z.w.Reset(&z.out)
	if _, err := z.w.Write(b); err != nil {
		return b
	}
	if z.w.Close() != nil {
		return b
	}
	return z.out.Bytes()
}
