package netpoll

// Thin takes whole pieces out of the output of c that the kernel has not taken yet, until n bytes are freed or the end is
// reached, and returns how many they were and their bytes. It shows the pieces to drop, the oldest first, and takes out those
// for which drop returns true; what is left stays in order. A piece of which the kernel already has a part is neither shown
// nor taken out. drop is lent all of the piece or at least its first 64 bytes, and calls no method of the loop.
//
// Thin costs as much as copying what waits behind the first piece that it takes out: let n be a good part of that. Backlog is
// not called; where nothing is left of what the kernel refused, that comes as soon as the kernel has room.
func (l *Loop) Thin(c Conn, n int, drop func(piece []byte) bool) (dropped, freed int) {
	r := l.live(c)
	if r == nil || r.pending == 0 || l.group.cfg.Piece == nil {
		return 0, 0
	}
	from, left := l.firstPiece(r)
	to := from
	for freed < n {
		size := l.pieceAt(from, left)
		if size == 0 {
			break
		}
		next := l.skip(from, size)
		switch {
		case drop(l.showPiece(from, size)):
			dropped++
			freed += size
		case freed == 0:
			to = next
		default:
			to = l.move(to, from, size)
		}
		from = next
		left -= size
	}
	if freed != 0 {
		l.note(c, r)
		l.endAt(r, l.move(to, from, left), freed)
	}
	return dropped, freed
}

// firstPiece returns where the first whole piece of the output begins, and how many bytes wait from there on.
func (l *Loop) firstPiece(r *conn) (p place, left int) {
	first := l.at(r.out)
	torn := int(first.torn)
	return l.skip(place{r.out, first.off}, torn), int(r.pending) - torn
}

// pieceAt returns the length of the piece at p, behind which the output ends after left bytes; 0 where none begins.
func (l *Loop) pieceAt(p place, left int) int {
	cfg := &l.group.cfg
	if left < cfg.PieceHead {
		return 0
	}
	n := cfg.Piece(l.peek(p, cfg.PieceHead, l.work.head[:]))
	if n < 0 || n > left {
		return 0
	}
	return n
}

func (l *Loop) showPiece(p place, size int) []byte {
	b := l.peek(p, min(size, seenHead), l.work.head[:])
	size = min(size, len(b))
	return b[:size:size]
}

// endAt makes end the end of the output, from which freed bytes are gone.
func (l *Loop) endAt(r *conn, end place, freed int) {
	if r.pending -= uint32(freed); r.pending == 0 {
		l.dropOutput(r)
		return
	}
	last := l.at(end.ref)
	last.data = last.data[:end.at]
	l.giveBackFrom(last.next)
	last.next = 0
	r.outLast = end.ref
}

// tear returns how many bytes are left of a piece that a send of n bytes, which still lie here, cuts in two. Where no piece
// begins, all that waits counts as one: what is written from now on begins behind it.
func (l *Loop) tear(r *conn, n int) int {
	if l.group.cfg.Piece == nil {
		return 0
	}
	p, left := l.firstPiece(r)
	after := int(r.pending) - n
	for left > after {
		size := l.pieceAt(p, left)
		if size == 0 {
			return after
		}
		p = l.skip(p, size)
		left -= size
	}
	return after - left
}
