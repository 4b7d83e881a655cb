package linkpool

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A saved pool: version (1), uniq of each place's first link (4, big-endian), then as varints the number of places that ever
// held a link, how many of them are free, for each place how far its uniq is from the first one, and the free places, the one
// that is taken last first. What the links are is their owner's to save.
const poolVersion = 1

// ErrState means that saved bytes are not those of a pool that fits.
var ErrState = errors.New("linkpool: not a saved pool")

// AppendState adds what LoadState needs to make the pool's places again in another process.
func (p *Pool[T]) AppendState(dst []byte) []byte {
	dst = append(dst, poolVersion)
	dst = binary.BigEndian.AppendUint32(dst, p.start)
	dst = binary.AppendUvarint(dst, uint64(p.used))
	dst = binary.AppendUvarint(dst, uint64(p.used-p.cursor))
	for _, u := range p.uniq[:p.used] {
		dst = binary.AppendUvarint(dst, uint64(u-p.start))
	}
	for i := p.used; i > p.cursor; i-- {
		dst = binary.AppendUvarint(dst, uint64(p.index[i-1]))
	}
	return dst
}

// LoadState makes the places from the start of b in a pool that nobody has used, and returns how many bytes it took. The links
// in them are zero until their owner has loaded them, or ended them by Del: each keeps its place and its uniq, and so do the
// free places. It believes nothing; with an error, which is ErrState, the pool is as it was.
func (p *Pool[T]) LoadState(b []byte) (n int, err error) {
	if p.used != 0 {
		panic("linkpool: a state for a pool that is in use")
	}
	if len(b) < 5 || b[0] != poolVersion {
		return 0, ErrState
	}
	in := reader{rest: b[5:]}
	used, free := in.number(MaxPlaces), in.number(MaxPlaces)
	if in.bad || free > used {
		return 0, ErrState
	}
	if int(used) > len(p.index) {
		return 0, fmt.Errorf("%w: %d places and room for %d", ErrState, used, len(p.index))
	}
	start := binary.BigEndian.Uint32(b[1:])
	for i := range used {
		p.uniq[i] = start + in.number(1<<32-1)
		p.live[i/wordBits] |= 1 << (i % wordBits)
	}
	for i := used; i > used-free; i-- {
		place := in.number(MaxPlaces - 1)
		if in.bad || place >= used || p.live[place/wordBits]>>(place%wordBits)&1 == 0 {
			in.bad = true
			break
		}
		p.live[place/wordBits] &^= 1 << (place % wordBits)
		p.index[i-1] = place
	}
	if in.bad {
		clear(p.live[:(used+wordBits-1)/wordBits])
		return 0, ErrState
	}
	p.start, p.used, p.cursor = start, used, used-free
	return len(b) - len(in.rest), nil
}

// reader is bytes that are read from the front; bad says that they were not what was asked for.
type reader struct {
	rest []byte
	bad  bool
}

// number reads a varint of limit at most, in its shortest form.
func (r *reader) number(limit uint64) uint32 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || v > limit || n > 1 && r.rest[n-1] == 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return uint32(v)
}
