package dispatch

// boots remembers which processes wrote a report lately, newest first. It is how two processes under one gateway ID are told
// from one that was started anew: a boot that comes back after another one, with a higher seq than before, is alive beside it.
type boots struct {
	seen []writer
}

// writer is one process as its last report named it.
type writer struct {
	boot, address string
	seq           uint64
}

// maxBoots bounds the memory: so many processes under one ID are recognised.
const maxBoots = 4

// see takes in who wrote the report that is there now. If w is alive beside another process, it returns that one and true.
func (b *boots) see(w writer) (other writer, twin bool) {
	for i, old := range b.seen {
		if old.boot != w.boot {
			continue
		}
		other = b.seen[0]
		copy(b.seen[1:i+1], b.seen[:i])
		b.seen[0] = w
		return other, i > 0 && w.seq > old.seq
	}
	if len(b.seen) < maxBoots {
		b.seen = append(b.seen, writer{})
	}
	copy(b.seen[1:], b.seen)
	b.seen[0] = w
	return writer{}, false
}
