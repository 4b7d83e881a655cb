package registry

import "sync"

// reason is why the route of a name is to be written. The bits of several are kept.
type reason uint8

const (
	visit  reason = 0      // the resync came by: another gateway's live route stands
	change reason = 1 << 0 // the link is new or has ended: a bind writes over whatever is there
	unsure reason = 1 << 1 // a write of it had no answer, and may have been carried out
)

// mark is a name whose route is to be written.
type mark struct {
	Name
	why reason
}

// maxMarks bounds the names that wait: some 30 MB with all that belongs to them.
const maxMarks = 1 << 18

// marks is the names that wait, first in first out, each once. Reactors add to it, the writer takes from it.
type marks struct {
	mu      sync.Mutex // guards what follows
	why     map[Name]reason
	order   []Name // those from head on are in why
	head    int
	ended   bool
	dropped uint64
	missed  bool // some were dropped since taken last
}

// add makes a name wait, and is false if it was dropped because too many do.
func (m *marks) add(n Name, why reason) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return true
	}
	old, waits := m.why[n]
	if !waits && len(m.why) >= maxMarks {
		m.dropped++
		m.missed = true
		return false
	}
	m.put(n, old|why, waits)
	return true
}

func (m *marks) put(n Name, why reason, waits bool) {
	m.why[n] = why
	if !waits {
		m.order = append(m.order, n)
	}
}

// giveBack makes names wait again that were taken. It drops none, also after the end.
func (m *marks) giveBack(list []mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range list {
		old, waits := m.why[k.Name]
		m.put(k.Name, old|k.why, waits)
	}
}

// take appends up to n of those that waited longest to dst.
func (m *marks) take(n int, dst []mark) []mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; n > 0 && m.head < len(m.order); n-- {
		name := m.order[m.head]
		dst = append(dst, mark{name, m.why[name]})
		m.order[m.head] = Name{}
		m.head++
		delete(m.why, name)
	}
	if m.head*2 > len(m.order) {
		kept := copy(m.order, m.order[m.head:])
		clear(m.order[kept:])
		m.order, m.head = m.order[:kept], 0
	}
	return dst
}

// size is how many names wait.
func (m *marks) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.why)
}

// takeMissed reports whether names were dropped since it was called last.
func (m *marks) takeMissed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	missed := m.missed
	m.missed = false
	return missed
}

// end refuses what is added from now on. It returns false if it was called before.
func (m *marks) end() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := !m.ended
	m.ended = true
	return first
}
