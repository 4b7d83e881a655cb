package batch

// Items walks over the `items` fields of one batch, in their order. It is a value: a copy walks on its own.
type Items struct {
	c   cursor
	tag uint32
}

// UpItems is the items of an Upstream of which b is the encoding or any run of whole fields.
func UpItems(b []byte) Items {
	return Items{c: cursor{rest: b}, tag: upstreamItems}
}

// DownItems is the items of a Downstream of which b is the encoding or any run of whole fields.
func DownItems(b []byte) Items {
	return Items{c: cursor{rest: b}, tag: downstreamItems}
}

// Next returns the next item: item is the encoded UpItem or DownItem, raw the same with its tag and length, to be copied
// into another batch as it is. Both alias the batch. It returns false at the end and at bytes that are no field (see Err).
func (it *Items) Next() (item, raw []byte, ok bool) {
	for {
		before := it.c.rest
		if !it.c.next() {
			return nil, nil, false
		}
		if it.c.tag == it.tag {
			n := len(before) - len(it.c.rest)
			return it.c.data, before[:n:n], true
		}
	}
}

// Count returns how many items are left.
func (it Items) Count() (n int) {
	for it.skip() {
		n++
	}
	return n
}

// skip passes over one item.
func (it *Items) skip() bool {
	b := it.c.rest
	if len(b) > 1 && uint32(b[0]) == it.tag {
		if size, k := varint(b[1:]); k > 0 && size <= uint64(len(b)-1-k) {
			it.c.rest = b[1+k+int(size):]
			return true
		}
	}
	_, _, ok := it.Next()
	return ok
}

// Left returns how many bytes of the batch, other fields than items included, have not been walked over yet.
func (it *Items) Left() int { return len(it.c.rest) }

// Err returns ErrMalformed if Next ended at bytes that are no field. Items that came from ParseUpstream or
// ParseDownstream were checked there: for those it is always nil.
func (it *Items) Err() error {
	if it.c.bad {
		return ErrMalformed
	}
	return nil
}

// Link names one link of a gateway: api/manager.proto LinkRef, PROTOCOL.md 1.3.
type Link struct {
	Index, Uniq uint32
}

func (l Link) size() int {
	return sizeUint(uint64(l.Index)) + sizeUint(uint64(l.Uniq))
}

// append writes the link as the field tag; it is present even if both numbers are zero.
func (l Link) append(dst []byte, tag uint32) []byte {
	dst = appendHead(dst, tag, l.size())
	dst = appendUint(dst, linkRefIndex, uint64(l.Index))
	return appendUint(dst, linkRefUniq, uint64(l.Uniq))
}

// plain reads a LinkRef whose fields stand in their order, once each.
func (l *Link) plain(b []byte) bool {
	if len(b) > 0 && b[0] == byte(linkRefIndex) {
		v, n := varint(b[1:])
		if n == 0 {
			return false
		}
		l.Index, b = uint32(v), b[1+n:]
	}
	if len(b) > 0 && b[0] == byte(linkRefUniq) {
		v, n := varint(b[1:])
		if n == 0 {
			return false
		}
		l.Uniq, b = uint32(v), b[1+n:]
	}
	return len(b) == 0
}

// merge reads an encoded LinkRef over what l holds.
func (l *Link) merge(b []byte) bool {
	c := cursor{rest: b}
	for c.next() {
		switch c.tag {
		case linkRefIndex:
			l.Index = uint32(c.num)
		case linkRefUniq:
			l.Uniq = uint32(c.num)
		}
	}
	return !c.bad
}
