package batch

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed says that bytes are not the message that they should be. Nothing of them is to be used.
var ErrMalformed = errors.New("batch: malformed message")

// maxTag is the greatest field number with any wire type.
const maxTag = uint64(protowire.MaxValidNumber)<<3 | 7

// cursor walks over the fields of one message. After next said true, tag names the field and its wire type; num is the
// value of a varint, data that of a bytes, string or message field. A field that has a known number but another wire type
// therefore has an unknown tag and is passed over, as protobuf wants it. After next said false, bad tells the end of the
// message from bytes that are none.
type cursor struct {
	rest []byte
	data []byte
	num  uint64
	tag  uint32
	bad  bool
}

func (c *cursor) next() bool {
	b := c.rest
	if len(b) == 0 {
		return false
	}
	tag, n := varint(b)
	if n == 0 || tag < 1<<3 || tag > maxTag {
		return c.fail()
	}
	b = b[n:]
	c.tag = uint32(tag)
	switch c.tag & 7 {
	case varintType:
		if c.num, n = varint(b); n == 0 {
			return c.fail()
		}
	case bytesType:
		var size uint64
		size, n = varint(b)
		if n == 0 || size > uint64(len(b)-n) {
			return c.fail()
		}
		end := n + int(size)
		// The capacity ends with the field: whoever appends to what was parsed gets a copy, and not the next field.
		c.data = b[n:end:end]
		n = end
	default:
		// Fixed-width numbers and groups: nothing of ours, so speed does not matter.
		n = protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), b)
		if n < 0 {
			return c.fail()
		}
	}
	c.rest = b[n:]
	return true
}

func (c *cursor) fail() bool {
	c.rest, c.bad = nil, true
	return false
}

// text takes the field as a string, which must be UTF-8.
func (c *cursor) text(to *[]byte) bool {
	*to = c.data
	return utf8.Valid(c.data)
}

// str is text for what outlives the input: it copies.
func (c *cursor) str(to *string) bool {
	*to = string(c.data)
	return utf8.Valid(c.data)
}

// wellFormed says whether b is a message, whatever its fields.
func wellFormed(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
	}
	return !c.bad
}

// joint puts an embedded message together that may come in parts: the concatenation of the parts is the encoding of the
// merged message. One part, the usual case, is lent; more are copied, in amortised linear time.
type joint struct {
	b     []byte
	owned bool
}

func (j *joint) add(part []byte) {
	switch {
	case len(part) == 0:
	case len(j.b) == 0:
		j.b = part
	case j.owned:
		j.b = append(j.b, part...)
	default:
		// What was lent has its capacity cut (cursor.next), so this append copies.
		j.b, j.owned = append(j.b, part...), true
	}
}
