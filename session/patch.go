package session

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// patchReader walks over an encoded SessionPatch without copying: each call
// of next gives one key that is set or deleted, in the order of the bytes.
// Fields of other numbers or kinds are skipped, as generated code does.
type patchReader struct {
	rest []byte
	fail bool // the bytes are no SessionPatch, or not UTF-8
}

// Field numbers of SessionPatch and of the entries of its map.
const (
	patchSet    = 1
	patchDelete = 2
	entryKey    = 1
	entryValue  = 2
)

// next returns ok false at the end and at the first fault.
func (r *patchReader) next() (key, value []byte, set, ok bool) {
	for len(r.rest) > 0 && !r.fail {
		number, bytes := r.field(&r.rest)
		if bytes == nil {
			continue
		}
		switch number {
		case patchSet:
			key, value = r.entry(bytes)
			return key, value, true, !r.fail
		case patchDelete:
			key = r.text(bytes)
			return key, nil, false, !r.fail
		}
	}
	return nil, nil, false, false
}

// field cuts one field off b; bytes is nil unless it is of the kind that has
// a length.
func (r *patchReader) field(b *[]byte) (number protowire.Number, bytes []byte) {
	number, kind, n := protowire.ConsumeTag(*b)
	if n < 0 || number > protowire.MaxValidNumber {
		r.fail = true
		return 0, nil
	}
	*b = (*b)[n:]
	if kind == protowire.BytesType {
		bytes, n = protowire.ConsumeBytes(*b)
	} else {
		n = protowire.ConsumeFieldValue(number, kind, *b)
	}
	if n < 0 {
		r.fail = true
		return 0, nil
	}
	*b = (*b)[n:]
	return number, bytes
}

// entry reads an entry of the map; a key or value that is missing is empty.
func (r *patchReader) entry(b []byte) (key, value []byte) {
	for len(b) > 0 && !r.fail {
		number, bytes := r.field(&b)
		if bytes == nil {
			continue
		}
		switch number {
		case entryKey:
			key = r.text(bytes)
		case entryValue:
			value = r.text(bytes)
		}
	}
	return key, value
}

func (r *patchReader) text(b []byte) []byte {
	if !utf8.Valid(b) {
		r.fail = true
	}
	return b
}

// checkPatch reads all of a patch before anything is changed: ErrPatch if it
// is broken anywhere, else ErrKey if it touches a key that is not a Manager's.
func checkPatch(patch []byte) error {
	var err error
	for r := (patchReader{rest: patch}); ; {
		key, _, _, ok := r.next()
		if r.fail {
			return ErrPatch
		}
		if !ok {
			return err
		}
		if own(key) {
			err = ErrKey
		}
	}
}

// applyPatch carries out a checked patch on the draft, deletes first. It
// stops as soon as the keys alone are over the limit, so that a huge patch costs a
// look at its bytes but no memory.
func (d *draft) applyPatch(patch []byte, limit int) error {
	d.reindex()
	for r := (patchReader{rest: patch}); ; {
		key, _, set, ok := r.next()
		if !ok {
			break
		}
		if !set {
			d.delete(key)
		}
	}
	added := 0
	for r := (patchReader{rest: patch}); ; {
		key, value, set, ok := r.next()
		if !ok {
			return nil
		}
		if set && d.set(key, value) {
			added += len(key)
		}
		if added > limit {
			return ErrFull
		}
	}
}
