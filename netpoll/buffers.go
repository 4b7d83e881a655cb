package netpoll

import "math/bits"

// Buffers are lent in powers of two. A freed one is kept for the next borrower while the kept ones stay under keepBytes,
// so that a burst does not hold its memory for ever.
const (
	minBufferBits = 8
	maxBufferBits = 20
	maxBuffer     = 1 << maxBufferBits
	maxConfigured = maxBuffer / 2 // for each size of Config: kept input and what is read behind it share one buffer
	bufferClasses = maxBufferBits - minBufferBits + 1
	keepBytes     = 8 << 20
)

// bufRef names a lent buffer; 0 is none. Connections hold these, so that their records have no pointers.
type bufRef uint32

type buffer struct {
	data []byte // len: filled
	off  int    // sent or used up to here
	next bufRef // the next one of the same connection's output
	torn uint32 // in the first one of an output: bytes from off to where its first whole piece begins
}

// buffers is one loop's stock.
type buffers struct {
	table []buffer // by bufRef; entry 0 is never lent
	empty []bufRef // entries without memory
	kept  [bufferClasses][]bufRef
	bytes int // of all entries
	idle  int // of the kept ones
}

func (b *buffers) at(r bufRef) *buffer { return &b.table[r] }

func bufferClass(n int) int {
	if n <= 1<<minBufferBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// lend returns an empty buffer with room for n bytes, n at most maxBuffer.
func (b *buffers) lend(n int) bufRef {
	class := bufferClass(n)
	size := 1 << (class + minBufferBits)
	if k := len(b.kept[class]); k > 0 {
		r := b.kept[class][k-1]
		b.kept[class] = b.kept[class][:k-1]
		b.idle -= size
		return r
	}
	r := b.entry()
	b.table[r] = buffer{data: make([]byte, 0, size)}
	b.bytes += size
	return r
}

func (b *buffers) entry() bufRef {
	if k := len(b.empty); k > 0 {
		r := b.empty[k-1]
		b.empty = b.empty[:k-1]
		return r
	}
	if len(b.table) == 0 {
		b.table = append(b.table, buffer{})
	}
	b.table = append(b.table, buffer{})
	return bufRef(len(b.table) - 1)
}

// giveBack takes a lent buffer back.
func (b *buffers) giveBack(r bufRef) {
	e := &b.table[r]
	size := cap(e.data)
	if b.idle+size > keepBytes {
		*e = buffer{}
		b.bytes -= size
		b.empty = append(b.empty, r)
		return
	}
	e.data, e.off, e.next, e.torn = e.data[:0], 0, 0, 0
	b.idle += size
	class := bufferClass(size)
	b.kept[class] = append(b.kept[class], r)
}

// giveBackFrom takes back a lent buffer and all behind it.
func (b *buffers) giveBackFrom(r bufRef) {
	for r != 0 {
		next := b.table[r].next
		b.giveBack(r)
		r = next
	}
}

// trim drops the memory that is kept for the next borrower.
func (b *buffers) trim() {
	for class := range b.kept {
		for _, r := range b.kept[class] {
			b.bytes -= cap(b.table[r].data)
			b.table[r] = buffer{}
			b.empty = append(b.empty, r)
		}
		b.kept[class] = nil
	}
	b.idle = 0
}
