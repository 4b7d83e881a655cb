package netpoll

// seenHead is how much of a piece is shown to Thin's drop at least, and the most that Config.PieceHead may ask for.
const seenHead = 64

// place is a byte of a connection's output or its end. The end of a buffer and the beginning of the next one are the same
// place and are named by the former: a place is never the beginning of a buffer but of the first.
type place struct {
	ref bufRef
	at  int
}

// skip returns the place n bytes behind p; as many there are.
func (b *buffers) skip(p place, n int) place {
	for {
		e := b.at(p.ref)
		left := len(e.data) - p.at
		if n <= left {
			return place{p.ref, p.at + n}
		}
		n -= left
		p = place{e.next, 0}
	}
}

// peek returns n bytes from p on, or all if there are fewer, and more where they lie in one buffer. Those that do not are
// copied to room.
func (b *buffers) peek(p place, n int, room []byte) []byte {
	e := b.at(p.ref)
	if p.at == len(e.data) && e.next != 0 {
		p = place{e.next, 0}
		e = b.at(p.ref)
	}
	if len(e.data)-p.at >= n || e.next == 0 {
		return e.data[p.at:]
	}
	room = room[:0]
	for p.ref != 0 && len(room) < n {
		e = b.at(p.ref)
		in := e.data[p.at:]
		room = append(room, in[:min(n-len(room), len(in))]...)
		p = place{e.next, 0}
	}
	return room
}

// move copies n bytes to an earlier place of the same output and returns the end of the copy. Each buffer is filled to its
// capacity before the next one is begun, so that what stays holds no more of them than it needs; as none ever held more than
// its capacity, the copy does not overtake what is still to be read.
func (b *buffers) move(to, from place, n int) place {
	for n > 0 {
		dst, src := b.at(to.ref), b.at(from.ref)
		switch {
		case from.at == len(src.data):
			from = place{src.next, 0}
			continue
		case to.at == cap(dst.data):
			to = place{dst.next, 0}
			continue
		}
		room := dst.data[to.at:cap(dst.data)]
		k := copy(room[:min(n, len(room))], src.data[from.at:])
		n -= k
		from.at += k
		to.at += k
		if to.at > len(dst.data) {
			dst.data = dst.data[:to.at]
		}
	}
	return to
}
