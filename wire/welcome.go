package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ErrWelcome means that the rest of a WELCOME is no protobuf Welcome.
var ErrWelcome = errors.New("malformed welcome")

// Welcome is the rest of a WELCOME: what a client learns when its link is bound.
type Welcome struct {
	LinkID       []byte
	Heartbeat    time.Duration // on the wire in whole milliseconds, as IdleTimeout is
	IdleTimeout  time.Duration
	MaxFrame     uint32 // the largest body
	ServerTimeMs uint64 // Unix time
}

// The protobuf tags of Welcome in api/client.proto: field<<3 | wire type.
const (
	tagLinkID      = 1<<3 | bytesType
	tagHeartbeat   = 2<<3 | varintType
	tagIdleTimeout = 3<<3 | varintType
	tagMaxFrame    = 4<<3 | varintType
	tagServerTime  = 5<<3 | varintType
)

// The wire types of protobuf. The two of groups are missing on purpose: proto3
// cannot declare a group, so nothing that a gateway sends can hold one.
const (
	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
	fixed32Type = 5
)

const maxField = 1<<29 - 1 // the highest field number of protobuf

// AppendWelcome appends w as a frame, byte for byte as generated code writes it:
// fields in order, zero values left out. A link ID that does not fit a frame
// panics.
func AppendWelcome(dst []byte, w Welcome) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, byte(KindWelcome))
	if len(w.LinkID) > 0 {
		dst = append(dst, tagLinkID)
		dst = binary.AppendUvarint(dst, uint64(len(w.LinkID)))
		dst = append(dst, w.LinkID...)
	}
	dst = appendVarint(dst, tagHeartbeat, uint64(millis(w.Heartbeat)))
	dst = appendVarint(dst, tagIdleTimeout, uint64(millis(w.IdleTimeout)))
	dst = appendVarint(dst, tagMaxFrame, uint64(w.MaxFrame))
	dst = appendVarint(dst, tagServerTime, w.ServerTimeMs)
	size := len(dst) - start - HeadLen
	if size > MaxBody {
		panic(fmt.Sprintf("wire: welcome frame with a link ID of %d bytes", len(w.LinkID)))
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(size))
	return dst
}

func appendVarint(dst []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, tag), v)
}

// ParseWelcome reads the rest of a WELCOME; LinkID aliases it. As generated code
// does, it takes fields in any order, the last of a kind wins, unknown ones are
// passed over, and a link ID that is not UTF-8 is refused.
func ParseWelcome(rest []byte) (Welcome, error) {
	var w Welcome
	for len(rest) > 0 {
		f, n := parseField(rest)
		if n == 0 {
			return Welcome{}, ErrWelcome
		}
		rest = rest[n:]
		switch f.tag {
		case tagLinkID:
			if !utf8.Valid(f.bytes) {
				return Welcome{}, ErrWelcome
			}
			w.LinkID = f.bytes
		case tagHeartbeat:
			w.Heartbeat = time.Duration(uint32(f.varint)) * time.Millisecond
		case tagIdleTimeout:
			w.IdleTimeout = time.Duration(uint32(f.varint)) * time.Millisecond
		case tagMaxFrame:
			w.MaxFrame = uint32(f.varint)
		case tagServerTime:
			w.ServerTimeMs = f.varint
		}
	}
	return w, nil
}

// field is one field of a protobuf message; only the value of its type is set,
// and neither for the fixed types, which Welcome does not have.
type field struct {
	tag    uint64
	varint uint64
	bytes  []byte
}

// parseField reads the first field of b and says how long it is; 0 means that
// there is no valid one.
func parseField(b []byte) (f field, n int) {
	f.tag, n = binary.Uvarint(b)
	if n <= 0 || f.tag>>3 == 0 || f.tag>>3 > maxField {
		return field{}, 0
	}
	value := b[n:]
	switch f.tag & 7 {
	case varintType:
		v, used := binary.Uvarint(value)
		if used <= 0 {
			return field{}, 0
		}
		f.varint = v
		return f, n + used
	case bytesType:
		size, used := binary.Uvarint(value)
		if used <= 0 || size > uint64(len(value)-used) {
			return field{}, 0
		}
		end := used + int(size)
		f.bytes = value[used:end:end]
		return f, n + end
	case fixed64Type:
		return fixed(f, n+8, len(b))
	case fixed32Type:
		return fixed(f, n+4, len(b))
	}
	return field{}, 0
}

// fixed passes over a field that ends at end, if so much is there.
func fixed(f field, end, have int) (field, int) {
	if end > have {
		return field{}, 0
	}
	return f, end
}
