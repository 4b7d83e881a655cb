package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The sizes that the protocol sets (section 1.1).
const (
	// HeadLen is the size of the length in front of a body.
	HeadLen = 2
	// MaxBody is the largest body that a head can announce.
	MaxBody = 1<<16 - 1
	// MaxRest is the largest rest: a body without its kind.
	MaxRest = MaxBody - 1
)

// Kind says what the rest of a body is: its first byte.
type Kind byte

// The kinds of section 1.2.
const (
	KindHello   Kind = 1
	KindWelcome Kind = 2
	KindData    Kind = 3
	KindPush    Kind = 4
	KindAck     Kind = 5
	KindBye     Kind = 6
	KindPing    Kind = 7
	KindPong    Kind = 8
)

// String names the kind as metrics and logs do; all unknown kinds share a name,
// so that a peer cannot make up new ones.
func (k Kind) String() string {
	switch k {
	case KindHello:
		return "hello"
	case KindWelcome:
		return "welcome"
	case KindData:
		return "data"
	case KindPush:
		return "push"
	case KindAck:
		return "ack"
	case KindBye:
		return "bye"
	case KindPing:
		return "ping"
	case KindPong:
		return "pong"
	}
	return "unknown"
}

// What can be wrong with a frame. Each one ends the link with BYE 3.
var (
	// ErrTooLong means that a head announces more than max_frame.
	ErrTooLong = errors.New("frame longer than max_frame")
	// ErrKind means that no such kind exists.
	ErrKind = errors.New("unknown kind")
	// ErrDirection means that this side may not send the kind.
	ErrDirection = errors.New("kind not allowed in this direction")
	// ErrShort means that the rest is shorter than the least of its kind.
	ErrShort = errors.New("frame too short for its kind")
	// ErrSize means that the rest is long enough, but not of a size that its kind can have.
	ErrSize = errors.New("frame size does not fit its kind")
)

// Split cuts the first frame off b. The body aliases b, and n is what the frame
// takes of b, head included. While b holds no whole frame, n is 0 and err nil;
// the caller comes again with the same bytes and more behind them. A heartbeat
// has n == HeadLen and an empty body. A head that announces more than max gives
// ErrTooLong at once, so that nobody waits for, or stores, what will be refused.
func Split(b []byte, max int) (body []byte, n int, err error) {
	if len(b) < HeadLen {
		return nil, 0, nil
	}
	size := int(b[0])<<8 | int(b[1])
	if size > max {
		return nil, 0, ErrTooLong
	}
	n = HeadLen + size
	if n > len(b) {
		return nil, 0, nil
	}
	return b[HeadLen:n:n], n, nil
}

// AppendHeartbeat appends the frame of no body.
func AppendHeartbeat(dst []byte) []byte {
	return append(dst, 0, 0)
}

// Append appends a frame of kind k. The caller has checked that rest has at most
// MaxRest bytes and that the frame obeys max_frame: a longer rest panics.
func Append(dst []byte, k Kind, rest []byte) []byte {
	return append(AppendHead(dst, k, len(rest)), rest...)
}

// AppendHead appends the head and the kind of a frame whose rest, restLen bytes,
// the caller appends next. A restLen that no head can announce panics.
func AppendHead(dst []byte, k Kind, restLen int) []byte {
	if uint(restLen) > MaxRest {
		panic(fmt.Sprintf("wire: %v frame with a rest of %d bytes", k, restLen))
	}
	size := restLen + 1
	return append(dst, byte(size>>8), byte(size), byte(k))
}

// AppendPing appends a PING that carries v.
func AppendPing(dst []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendHead(dst, KindPing, 4), v)
}

// AppendPong appends the PONG that answers a PING of v.
func AppendPong(dst []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendHead(dst, KindPong, 4), v)
}

// ParsePing returns the value of a PING or PONG whose body was checked.
func ParsePing(rest []byte) uint32 {
	return binary.BigEndian.Uint32(rest)
}

// MaxAcks is how many tids one ACK can carry.
const MaxAcks = MaxRest / 4

// AppendAck appends one ACK of all tids, at most MaxAcks of them. Without tids
// it appends nothing, because an empty ACK is a protocol error.
func AppendAck(dst []byte, tids ...uint32) []byte {
	if len(tids) == 0 {
		return dst
	}
	dst = AppendHead(dst, KindAck, 4*len(tids))
	for _, tid := range tids {
		dst = binary.BigEndian.AppendUint32(dst, tid)
	}
	return dst
}

// AckTID returns the tid at place i of an ACK whose body was checked. The ACK
// holds len(rest)/4 of them.
func AckTID(rest []byte, i int) uint32 {
	return binary.BigEndian.Uint32(rest[4*i:])
}
