package batch

import "unicode/utf8"

// SessionValue returns what an encoded Session (UpItem.Session) holds under key. It returns false if the session has no
// such key or is malformed. It is always read to its end: of a key that comes twice the last value holds, as in protobuf.
func SessionValue(session []byte, key string) (value []byte, ok bool) {
	c := cursor{rest: session}
	for c.next() {
		if c.tag != sessionValues {
			continue
		}
		k, v, good := parseEntry(c.data)
		if !good {
			return nil, false
		}
		if string(k) == key {
			value, ok = v, true
		}
	}
	if c.bad {
		return nil, false
	}
	return value, ok
}

// SessionEach calls f for each entry of an encoded Session until f returns false. Keys have no order; of a key that comes
// twice the last value holds, as in protobuf. It returns ErrMalformed when it meets bytes that are no entry: what f was
// told until then is not to be used.
func SessionEach(session []byte, f func(key, value []byte) bool) error {
	c := cursor{rest: session}
	for c.next() {
		if c.tag != sessionValues {
			continue
		}
		k, v, good := parseEntry(c.data)
		if !good {
			return ErrMalformed
		}
		if !f(k, v) {
			return nil
		}
	}
	if c.bad {
		return ErrMalformed
	}
	return nil
}

// parseEntry reads one entry of a map<string, string>. A key or value that is left out is empty.
func parseEntry(b []byte) (key, value []byte, ok bool) {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case entryKey:
			key = c.data
		case entryValue:
			value = c.data
		default:
			continue
		}
		if !utf8.Valid(c.data) {
			return nil, nil, false
		}
	}
	return key, value, !c.bad
}

// validPatch says whether b is a SessionPatch, down to the last string.
func validPatch(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case patchSet:
			if _, _, ok := parseEntry(c.data); !ok {
				return false
			}
		case patchDelete:
			if !utf8.Valid(c.data) {
				return false
			}
		}
	}
	return !c.bad
}
