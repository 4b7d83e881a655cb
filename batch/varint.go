package batch

import "math/bits"

// The arithmetic below is the price of every field, so each function is small enough to be inlined.

// sizeVarint is the length of v as a varint: one byte for each seven bits, and one for zero.
func sizeVarint(v uint64) int {
	return (9*bits.Len64(v|1) + 64) / 64
}

func appendVarint(dst []byte, v uint64) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// varint reads the varint at the head of b and says how long it is; 0: there is none.
func varint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return longVarint(b)
}

// longVarint is varint without the short cut. Ten bytes carry 70 bits: the tenth may add one bit only.
func longVarint(b []byte) (v uint64, n int) {
	for i, c := range b[:min(len(b), 10)] {
		v |= uint64(c&0x7f) << (7 * i)
		if c >= 0x80 {
			continue
		}
		if i == 9 && c > 1 {
			return 0, 0
		}
		return v, i + 1
	}
	return 0, 0
}

// The functions below write or measure one field. What is zero or empty is left out, as proto3 wants it, except by those
// whose name says present: members of a oneof and of lists exist even if empty.

func sizeUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + sizeVarint(v)
}

func appendUint(dst []byte, tag uint32, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendVarint(append(dst, byte(tag)), v)
}

// enum is an enumeration's value on the wire: negative ones, which nobody defines, travel as 64 bits.
func enum[E ~int32](e E) uint64 {
	return uint64(int64(e))
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func sizePresent(n int) int {
	return 1 + sizeVarint(uint64(n)) + n
}

// appendHead writes tag and length of a field whose n bytes the caller appends.
func appendHead(dst []byte, tag uint32, n int) []byte {
	return appendVarint(append(dst, byte(tag)), uint64(n))
}

func appendPresent[T ~string | ~[]byte](dst []byte, tag uint32, v T) []byte {
	return append(appendHead(dst, tag, len(v)), v...)
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return sizePresent(n)
}

func appendBytes[T ~string | ~[]byte](dst []byte, tag uint32, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	return appendPresent(dst, tag, v)
}
