package netpoll

// FD returns the descriptor of c, for who keeps a duplicate of it elsewhere; -1 for a stale c. It is open until Closed returns at
// least.
func (l *Loop) FD(c Conn) int {
	if r := l.known(c); r != nil {
		return int(r.fd)
	}
	return -1
}

// Unused returns how many bytes of c its handler has left unused.
func (l *Loop) Unused(c Conn) int {
	if r := l.known(c); r != nil && r.in != 0 {
		return len(l.buffers.at(r.in).data)
	}
	return 0
}

// note has Config.Note told of a connection at the end of the turn.
func (l *Loop) note(c Conn, r *conn) {
	if l.group.cfg.Note != nil && r.flags&noted == 0 {
		r.flags |= noted
		l.work.noted = append(l.work.noted, c)
	}
}

func (l *Loop) tellNoted() {
	for _, c := range l.work.noted {
		if r := l.find(c); r != nil {
			r.flags &^= noted
		}
	}
	l.group.cfg.Note(l, l.work.noted)
	l.work.noted = l.work.noted[:0]
}
