package manager

// stash holds batches that were received and cannot be handled yet, oldest first.
type stash struct {
	batches [][]byte
	bytes   int
}

func (q *stash) len() int { return len(q.batches) }

// push keeps a copy of b. It returns false when the stash is full.
func (q *stash) push(b []byte) bool {
	if q.bytes+len(b) > maxStash {
		return false
	}
	q.bytes += len(b)
	q.batches = append(q.batches, append([]byte(nil), b...))
	return true
}

func (q *stash) pop() []byte {
	b := q.batches[0]
	q.batches[0] = nil
	q.batches = q.batches[1:]
	q.bytes -= len(b)
	return b
}
