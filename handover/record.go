package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A section of many equal things, as links, is a row of records: length of the body (u32), version (u16), body. One that its
// owner cannot load costs that one thing and not the section.
const recordHead = 6

// ErrRecord is what Next returns where a section is no row of records.
var ErrRecord = errors.New("handover: no record")

// Record is one thing of a section.
type Record struct {
	Version uint16
	Body    []byte
}

// Begin appends the head of a record to b, to which the body is appended then; End, given the same start, closes it.
//
//	b, start := handover.Begin(b, 3)
//	b = link.AppendState(b)
//	handover.End(b, start)
func Begin(b []byte, version uint16) (grown []byte, start int) {
	start = len(b)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint16(b, version), start
}

// End writes the length of the record that begins at start and ends with b.
func End(b []byte, start int) {
	n := len(b) - start - recordHead
	if n < 0 || n > math.MaxInt32 {
		panic(fmt.Sprintf("handover: a record from %d to %d", start, len(b)))
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(n))
}

// Next returns the first record of b and what stands behind it. The body is b's own. An error wraps ErrRecord: nothing behind
// it can be read.
func Next(b []byte) (r Record, rest []byte, err error) {
	if len(b) < recordHead {
		return Record{}, nil, fmt.Errorf("%w: %d bytes left", ErrRecord, len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-recordHead) {
		return Record{}, nil, fmt.Errorf("%w: %d bytes of %d", ErrRecord, n, len(b)-recordHead)
	}
	end := recordHead + int(n)
	return Record{binary.LittleEndian.Uint16(b[4:]), b[recordHead:end:end]}, b[end:], nil
}
