package registry

import "time"

// MaxMarks is how many names may wait.
const MaxMarks = maxMarks

// Walk is the resync without what writes.
type Walk struct{ w *walk }

// NewWalk begins at full rate.
func NewWalk(d *Directory, rate int, period time.Duration, now time.Time) Walk {
	return Walk{newWalk(d, rate, period, now)}
}

// Due returns whose turn it is.
func (w Walk) Due(now time.Time) []Name { return w.w.due(now, nil) }

// Restart is what a lost lease does.
func (w Walk) Restart(now time.Time) { w.w.restart(now) }

// Hurrying reports whether a round at full rate is under way.
func (w Walk) Hurrying() bool { return w.w.hurrying() }

// Marks is the names that wait, told by how they were given in: fresh or tried.
type Marks struct{ m marks }

// NewMarks returns none.
func NewMarks() *Marks { return &Marks{marks{why: make(map[Name]reason)}} }

// Add is a change.
func (m *Marks) Add(n Name) { m.m.add(n, change) }

// Visit is the resync coming by.
func (m *Marks) Visit(n Name) { m.m.add(n, visit) }

// Take returns up to n names and, for each, whether its bind writes over others.
func (m *Marks) Take(n int) (names []Name, changed []bool) {
	for _, k := range m.m.take(n, nil) {
		names, changed = append(names, k.Name), append(changed, k.why&change != 0)
	}
	return names, changed
}

// GiveBack returns names that were taken as changes.
func (m *Marks) GiveBack(names ...Name) {
	for _, n := range names {
		m.m.giveBack([]mark{{n, change | unsure}})
	}
}

// Size, Dropped, TakeMissed and End are those of the writer.
func (m *Marks) Size() int { return m.m.size() }

// Dropped is how many names were refused.
func (m *Marks) Dropped() uint64 { return m.m.dropped }

// TakeMissed reports whether some were, since it was called last.
func (m *Marks) TakeMissed() bool { return m.m.takeMissed() }

// End refuses all from now on.
func (m *Marks) End() bool { return m.m.end() }
