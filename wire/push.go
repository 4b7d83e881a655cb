package wire

import (
	"encoding/binary"
	"fmt"
)

// Flags is the first byte of a PUSH. Bits 6 and 7 are unused: a reader passes
// over them.
type Flags byte

// The flags of section 1.2.
const (
	FlagAck     Flags = 1 << iota // the client must acknowledge the tid
	FlagGzip                      // the payload, and only it, is gzip
	FlagSampled                   // set with FlagAck: the ACK is for statistics, nobody retries
	FlagAgain                     // this tid was sent before on this link
	FlagLate                      // the message came after its turn was given up
	FlagStamped                   // version and msg_id stand before the payload
)

const (
	pushFixed = 1 + 4             // flags, tid
	pushStamp = pushFixed + 8 + 1 // and version, length of msg_id
	maxMsgID  = 1<<8 - 1
)

// Push is the rest of a PUSH.
type Push struct {
	Flags Flags
	TID   uint32
	// Version and MsgID are on the wire only with FlagStamped; version 0 means none.
	Version uint64
	MsgID   []byte
	Payload []byte
}

// PushLen is the length of the rest that AppendPush writes for p; the body is
// one byte longer. By it a caller knows what is too large before it appends.
func PushLen(p Push) int {
	if p.Flags&FlagStamped == 0 {
		return pushFixed + len(p.Payload)
	}
	return pushStamp + len(p.MsgID) + len(p.Payload)
}

// AppendPush appends p as a frame. The flags are the caller's: without
// FlagStamped version and msg_id stay behind. A msg_id over 255 bytes, or a
// PushLen over MaxRest, panics.
func AppendPush(dst []byte, p Push) []byte {
	return append(AppendPushHead(dst, p), p.Payload...)
}

// AppendPushHead appends the frame up to its payload, which is to follow: what of a push to many is each link's own.
func AppendPushHead(dst []byte, p Push) []byte {
	dst = AppendHead(dst, KindPush, PushLen(p))
	dst = append(dst, byte(p.Flags))
	dst = binary.BigEndian.AppendUint32(dst, p.TID)
	if p.Flags&FlagStamped != 0 {
		if len(p.MsgID) > maxMsgID {
			panic(fmt.Sprintf("wire: msg_id of %d bytes", len(p.MsgID)))
		}
		dst = binary.BigEndian.AppendUint64(dst, p.Version)
		dst = append(dst, byte(len(p.MsgID)))
		dst = append(dst, p.MsgID...)
	}
	return dst
}

// ParsePush reads the rest of a PUSH; MsgID and Payload alias it. It fails with
// ErrShort only, and never after CheckGateway.
func ParsePush(rest []byte) (Push, error) {
	head, err := pushHead(rest)
	if err != nil {
		return Push{}, err
	}
	p := Push{
		Flags:   Flags(rest[0]),
		TID:     binary.BigEndian.Uint32(rest[1:]),
		Payload: rest[head:],
	}
	if p.Flags&FlagStamped != 0 {
		p.Version = binary.BigEndian.Uint64(rest[pushFixed:])
		p.MsgID = rest[pushStamp:head:head]
	}
	return p, nil
}

// pushHead returns how many bytes of the rest stand before the payload.
func pushHead(rest []byte) (int, error) {
	if len(rest) < pushFixed {
		return 0, ErrShort
	}
	if Flags(rest[0])&FlagStamped == 0 {
		return pushFixed, nil
	}
	if len(rest) < pushStamp {
		return 0, ErrShort
	}
	head := pushStamp + int(rest[pushStamp-1])
	if len(rest) < head {
		return 0, ErrShort
	}
	return head, nil
}
