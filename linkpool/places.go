package linkpool

import "encoding/binary"

// Used returns how many places ever held a link: the places below it.
func (p *Pool[T]) Used() int { return int(p.used) }

// Start returns the uniq of each place's first link.
func (p *Pool[T]) Start() uint32 { return p.start }

// Uniq returns the uniq of the link in that place, or of its last one while it is free. The place must be below Used.
func (p *Pool[T]) Uniq(place uint32) uint32 { return p.uniq[place] }

// Age has the next link of each free place get a uniq that is so much higher: for who does not know which names an owner before
// gave out last.
func (p *Pool[T]) Age(by uint32) {
	for _, place := range p.index[p.cursor:p.used] {
		p.uniq[place] += by
	}
	p.start += by
}

// Places is what is known of a pool's places one by one, for LoadState. The zero one is of a pool that nobody has used.
type Places struct {
	start uint32
	uniq  []uint32
	free  []uint32
}

// NewPlaces begins with none of a pool that was started with that uniq.
func NewPlaces(start uint32) *Places { return &Places{start: start} }

// Add tells of the next place: of its link, or of its last one where it is free.
func (x *Places) Add(uniq uint32, free bool) {
	if free {
		x.free = append(x.free, uint32(len(x.uniq)))
	}
	x.uniq = append(x.uniq, uniq)
}

// AppendState adds what Pool.AppendState would. Of the free places the first one is taken next.
func (x *Places) AppendState(dst []byte) []byte {
	dst = append(dst, poolVersion)
	dst = binary.BigEndian.AppendUint32(dst, x.start)
	dst = binary.AppendUvarint(dst, uint64(len(x.uniq)))
	dst = binary.AppendUvarint(dst, uint64(len(x.free)))
	for _, u := range x.uniq {
		dst = binary.AppendUvarint(dst, uint64(u-x.start))
	}
	for i := len(x.free) - 1; i >= 0; i-- {
		dst = binary.AppendUvarint(dst, uint64(x.free[i]))
	}
	return dst
}
