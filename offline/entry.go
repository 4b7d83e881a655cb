package offline

import (
	"encoding/binary"
	"errors"
	"time"

	"edged/batch"
)

// The layout of an entry, told in the package comment. The head is written by Redis, the tail by us.
const (
	entryFormat = 1
	headBytes   = 25 // format, version, stored, expires
	fixedBytes  = headBytes + 2

	ackBits  = 0b011
	gzipFlag = 0b100
	allFlags = ackBits | gzipFlag
)

// maxVersion is the largest integer up to which a double, the score of a sorted set, holds each.
const maxVersion = 1<<53 - 1

const (
	maxMsgID   = 255     // bytes, PROTOCOL.md §1.2
	maxPayload = 1 << 20 // far above a frame: gzip may shrink it into one
)

// Entry is one stored message.
type Entry struct {
	Version uint64
	Stored  time.Time // by the clock of Redis, in milliseconds
	Expires time.Time // zero: never
	Expired bool      // by the clock of Redis, when it was pulled: it takes its version and is not wanted any more

	MsgID     []byte // empty: none
	Ack       batch.Ack
	AllowGzip bool
	Payload   []byte
}

var errEntry = errors.New("no entry of a known format")

// ParseEntry reads one member of a log. MsgID and Payload are parts of b. Expired is left false: that takes a clock.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) < fixedBytes || b[0] != entryFormat {
		return Entry{}, errEntry
	}
	version, stored, expires := binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:]), binary.BigEndian.Uint64(b[17:])
	flags, n := b[headBytes], int(b[headBytes+1])
	if version == 0 || version > maxVersion || stored > maxVersion || expires > maxVersion ||
		flags&^byte(allFlags) != 0 || batch.Ack(flags&ackBits) > batch.AckSampled || len(b) < fixedBytes+n {
		return Entry{}, errEntry
	}
	e := Entry{
		Version:   version,
		Stored:    time.UnixMilli(int64(stored)),
		MsgID:     b[fixedBytes : fixedBytes+n : fixedBytes+n],
		Ack:       batch.Ack(flags & ackBits),
		AllowGzip: flags&gzipFlag != 0,
		Payload:   b[fixedBytes+n:],
	}
	if expires != 0 {
		e.Expires = time.UnixMilli(int64(expires))
	}
	return e, nil
}

// AppendEntry appends what ParseEntry reads. Expired is not part of it.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, entryFormat)
	dst = binary.BigEndian.AppendUint64(dst, e.Version)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Stored.UnixMilli()))
	var expires uint64
	if !e.Expires.IsZero() {
		expires = uint64(e.Expires.UnixMilli())
	}
	dst = binary.BigEndian.AppendUint64(dst, expires)
	return appendTail(dst, e.Ack, e.AllowGzip, string(e.MsgID), e.Payload)
}

// appendTail appends what follows the head. The msg_id has at most maxMsgID bytes.
func appendTail(dst []byte, ack batch.Ack, gzip bool, msgID string, payload []byte) []byte {
	flags := byte(ack)
	if gzip {
		flags |= gzipFlag
	}
	dst = append(dst, flags, byte(len(msgID)))
	dst = append(dst, msgID...)
	return append(dst, payload...)
}
