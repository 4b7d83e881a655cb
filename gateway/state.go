package gateway

import (
	"encoding/binary"
	"errors"

	"edged/handover"
)

// What a gateway hands over lies in these sections, beside those of the packages below it:
//
//	gateway     who it is, its listeners, what it has to store for devices: state_gateway.go
//	shard/N     places, links, rooms, Managers, drain and counters of one reactor: state_shard.go
//
// Each is a row of records (handover.Begin); the body of one begins with a byte that says what it is. What a reader does not
// know it leaves out, so that a later release may add kinds. All integers are little-endian; a text is its length (u16) and its
// bytes.

// Versions of the sections that this package writes and reads.
const (
	stateVersion = 1
	oldestState  = 1
)

// errState is what every error of a loader wraps. It refuses the hand-over as a whole; what is wrong with one link ends that
// link alone.
var errState = errors.New("gateway: the predecessor's state cannot be read")

// record appends one record, whose body begins with its kind and is written by f.
func record(b []byte, kind byte, f func(b []byte) []byte) []byte {
	b, start := handover.Begin(b, stateVersion)
	b = f(append(b, kind))
	handover.End(b, start)
	return b
}

// eachRecord calls f with the kind and the rest of every record of a section.
func eachRecord(b []byte, f func(kind byte, in *input) error) error {
	for len(b) > 0 {
		r, rest, err := handover.Next(b)
		if err != nil {
			return errors.Join(errState, err)
		}
		b = rest
		if r.Version < oldestState || r.Version > stateVersion || len(r.Body) == 0 {
			continue
		}
		if err := f(r.Body[0], &input{rest: r.Body[1:]}); err != nil {
			return err
		}
	}
	return nil
}

// input is bytes that are read from the front; bad says that there were fewer than was asked for, or others.
type input struct {
	rest []byte
	bad  bool
}

func (in *input) bytes(n int) []byte {
	if in.bad || n > len(in.rest) {
		in.bad = true
		return nil
	}
	b := in.rest[:n:n]
	in.rest = in.rest[n:]
	return b
}

func (in *input) u8() byte {
	if b := in.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (in *input) u16() uint16 {
	if b := in.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (in *input) u32() uint32 {
	if b := in.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (in *input) u64() uint64 {
	if b := in.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (in *input) flag() bool {
	v := in.u8()
	in.bad = in.bad || v > 1
	return v == 1
}

func (in *input) text() []byte { return in.bytes(int(in.u16())) }

// took notes that another package has read n bytes from the front, or could not.
func (in *input) took(n int, err error) {
	if in.bytes(n); err != nil {
		in.bad = true
	}
}

func u16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }
func u32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func u64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

func yesNo(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// text appends what is shorter than 64 KiB; the rest of a longer one is cut off.
func text[T string | []byte](b []byte, s T) []byte {
	s = s[:min(len(s), 1<<16-1)]
	return append(u16(b, uint16(len(s))), s...)
}
