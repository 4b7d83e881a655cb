package health

import "time"

// Reader is a reader of signals for tests outside.
type Reader struct{ r *reader }

func NewReader(on Terms, root string, note func(msg string, attrs ...any)) Reader {
	return Reader{newReader(on, root, note)}
}

func (r Reader) Read(now time.Time, reactors []int) (s Signals) {
	r.r.read(now, reactors, &s)
	return s
}

func (r Reader) Close() { r.r.close() }
