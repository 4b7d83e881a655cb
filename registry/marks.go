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

// marks is the names that wait, each once: those that were not tried yet before those that Redis did not take, so that a node
// of a Cluster which is away delays nobody but its own users. Reactors add to it, the writer takes from it.
type marks struct {
	mu      sync.Mutex // guards what follows
	why     map[Name]reason
	fresh   line // each name in why is in one of the two
	tried   line
	ended   bool
	dropped uint64
	missed  bool // some were dropped since takeMissed
}

// line is names, first in first out.
type line struct {
	names []Name
	head  int // those before it were taken
}

func (l *line) size() int { return len(l.names) - l.head }

func (l *line) pop() Name {
	n := l.names[l.head]
	l.names[l.head] = Name{}
	l.head++
	if l.head*2 > len(l.names) {
		kept := copy(l.names, l.names[l.head:])
		clear(l.names[kept:])
		l.names, l.head = l.names[:kept], 0
	}
	return n
}

// add makes a name wait. It is dropped where too many do, and after the end.
func (m *marks) add(n Name, why reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	old, waits := m.why[n]
	if !waits && len(m.why) >= maxMarks {
		m.dropped++
		m.missed = true
		return
	}
	m.why[n] = old | why
	if !waits {
		m.fresh.names = append(m.fresh.names, n)
	}
}

// giveBack makes names wait again that were taken. It drops none, also after the end.
func (m *marks) giveBack(list []mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range list {
		old, waits := m.why[k.Name]
		m.why[k.Name] = old | k.why
		if !waits {
			m.tried.names = append(m.tried.names, k.Name)
		}
	}
}

// take appends up to n names to dst, at least a quarter of them tried ones where there are so many.
func (m *marks) take(n int, dst []mark) []mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := min(m.fresh.size(), n-min(n/4, m.tried.size()))
	for range fresh {
		dst = append(dst, m.pop(&m.fresh))
	}
	for range min(m.tried.size(), n-fresh) {
		dst = append(dst, m.pop(&m.tried))
	}
	return dst
}

func (m *marks) pop(from *line) mark {
	n := from.pop()
	why := m.why[n]
	delete(m.why, n)
	return mark{n, why}
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
