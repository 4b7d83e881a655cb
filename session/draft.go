package session

import (
	"bytes"
	"hash/maphash"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Tags of api/manager.proto: UpItem.session, Session.values and the two
// fields of its entries.
const (
	fieldTag = 2<<3 | 2
	entryTag = 1<<3 | 2
	keyTag   = 1<<3 | 2
	valueTag = 2<<3 | 2
)

// draft is a session that is being changed. A Store has one and uses it for
// one change after the other, so that a change allocates nothing.
type draft struct {
	pairs []pair
	// index finds a pair by its key: open addressing, number of the pair +1,
	// at most half full. It is built by reindex, for whoever calls find or set: a patch has no
	// bound but that of a Downstream batch, too many keys to compare each with each.
	index []uint32
	seed  maphash.Seed
	buf   []byte // what encode returns
}

// pair borrows its bytes from the store's slots or from the caller, for the
// time of one change.
type pair struct {
	key, value []byte
	hash       uint32
	own        bool // a key of the gateway: it has no dot
	gone       bool // deleted by this change
}

func own(key []byte) bool { return bytes.IndexByte(key, '.') < 0 }

// size returns the bytes of a pair's entry after the entry's tag and length.
func (p *pair) size() int {
	return 2 + protowire.SizeBytes(len(p.key)) + protowire.SizeBytes(len(p.value))
}

// reset forgets the change, and what it borrowed.
func (d *draft) reset() {
	clear(d.pairs)
	d.pairs = d.pairs[:0]
	d.index = d.index[:0]
}

func (d *draft) add(key, value []byte) {
	d.pairs = append(d.pairs, pair{key: key, value: value, own: own(key)})
}

// load adds the pairs of an encoded session field, or says that it is none as
// encode makes them. Order, repeated keys and the shortest form of numbers are left
// to whoever does not trust the bytes.
func (d *draft) load(field []byte) bool {
	if len(field) == 0 {
		return true
	}
	body, ok := cut(&field, fieldTag)
	if !ok || len(field) > 0 {
		return false
	}
	for len(body) > 0 {
		entry, ok := cut(&body, entryTag)
		if !ok {
			return false
		}
		key, isKey := cut(&entry, keyTag)
		value, isValue := cut(&entry, valueTag)
		if !isKey || !isValue || len(entry) > 0 {
			return false
		}
		d.add(key, value)
	}
	return true
}

// cut takes one field off b, which must have the given tag and be of the kind
// that has a length.
func cut(b *[]byte, tag byte) (value []byte, ok bool) {
	if len(*b) == 0 || (*b)[0] != tag {
		return nil, false
	}
	value, n := protowire.ConsumeBytes((*b)[1:])
	if n < 0 {
		return nil, false
	}
	*b = (*b)[1+n:]
	return value, true
}

// put writes one of the gateway's keys. These are few: no index.
func (d *draft) put(key, value []byte) {
	for i := range d.pairs {
		if bytes.Equal(d.pairs[i].key, key) {
			d.pairs[i].value = value
			return
		}
	}
	d.add(key, value)
}

// reindex builds the index anew with room for growth, and says whether
// every key stands there once.
func (d *draft) reindex() (unique bool) {
	size := 64
	for size < 4*len(d.pairs) {
		size *= 2
	}
	d.index = slices.Grow(d.index[:0], size)[:size]
	clear(d.index)
	unique = true
	for i := range d.pairs {
		p := &d.pairs[i]
		if p.hash == 0 {
			p.hash = d.hash(p.key)
		}
		at, n := d.probe(p.key, p.hash)
		unique = unique && n == 0
		d.index[at] = uint32(i) + 1
	}
	return unique
}

func (d *draft) hash(key []byte) uint32 {
	return uint32(maphash.Bytes(d.seed, key)) | 1 // 0: not yet known
}

// probe returns the place of a key in the index and what stands there: 0, or
// the number of its pair +1.
func (d *draft) probe(key []byte, hash uint32) (at, n uint32) {
	mask := uint32(len(d.index) - 1)
	for at = hash >> 1 & mask; ; at = (at + 1) & mask {
		n = d.index[at]
		if n == 0 || d.pairs[n-1].hash == hash && bytes.Equal(d.pairs[n-1].key, key) {
			return at, n
		}
	}
}

// delete marks a key as gone, if it is there.
func (d *draft) delete(key []byte) {
	if _, n := d.probe(key, d.hash(key)); n != 0 {
		d.pairs[n-1].gone = true
	}
}

// set writes a key, at its old place if it had one, and says if it is new.
func (d *draft) set(key, value []byte) (added bool) {
	hash := d.hash(key)
	at, n := d.probe(key, hash)
	if n != 0 {
		p := &d.pairs[n-1]
		p.value, p.gone = value, false
		return false
	}
	d.pairs = append(d.pairs, pair{key: key, value: value, hash: hash, own: own(key)})
	d.index[at] = uint32(len(d.pairs))
	if 2*len(d.pairs) > len(d.index) {
		d.reindex()
	}
	return true
}

// bytes returns the size of the session as the limit counts it.
func (d *draft) bytes() int {
	sum := 0
	for i := range d.pairs {
		if p := &d.pairs[i]; !p.gone {
			sum += len(p.key) + len(p.value)
		}
	}
	return sum
}

// valid says whether every key is there and everything is UTF-8.
func (d *draft) valid() bool {
	for i := range d.pairs {
		p := &d.pairs[i]
		if len(p.key) == 0 || !utf8.Valid(p.key) || !utf8.Valid(p.value) {
			return false
		}
	}
	return true
}

// encode returns the session field, the gateway's keys first. The bytes are
// good until the next encode.
func (d *draft) encode() []byte {
	body := 0
	for i := range d.pairs {
		if p := &d.pairs[i]; !p.gone {
			body += 1 + protowire.SizeBytes(p.size())
		}
	}
	b := append(d.buf[:0], fieldTag)
	b = protowire.AppendVarint(b, uint64(body))
	b = d.appendPairs(b, true)
	b = d.appendPairs(b, false)
	d.buf = b
	return b
}

func (d *draft) appendPairs(b []byte, own bool) []byte {
	for i := range d.pairs {
		p := &d.pairs[i]
		if p.gone || p.own != own {
			continue
		}
		b = append(b, entryTag)
		b = protowire.AppendVarint(b, uint64(p.size()))
		b = append(b, keyTag)
		b = protowire.AppendBytes(b, p.key)
		b = append(b, valueTag)
		b = protowire.AppendBytes(b, p.value)
	}
	return b
}
