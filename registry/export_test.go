package registry

import (
	"hash/maphash"
	"time"
)

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

// Book is a part of a Directory whose users have the hashes that the caller gives them.
type Book struct{ b book }

// NewBook returns an empty one.
func NewBook() *Book { return &Book{book{seed: maphash.MakeSeed()}} }

// Put is Directory.Put of a user who is not there.
func (b *Book) Put(h uint64, user, device []byte, l Link) { b.b.add(h, user, device, l) }

// Find returns a device's link.
func (b *Book) Find(h uint64, user, device []byte) (Link, bool) {
	i, r := b.b.find(h, user, device)
	if i < 0 {
		return Link{}, false
	}
	return b.b.link(r), true
}

// Remove takes out a device that is there.
func (b *Book) Remove(h uint64, user, device []byte) {
	i, _ := b.b.find(h, user, device)
	b.b.remove(h, i)
}

// Devices returns a user's devices.
func (b *Book) Devices(h uint64, user []byte) (all []string) {
	i, r := b.b.first(h, user)
	for more := i >= 0; more; r, more = b.b.following(r) {
		all = append(all, string(b.b.deviceOf(r)))
	}
	return all
}

// Count returns how many users and devices there are, and how many bytes their text and table have.
func (b *Book) Count() (users, devices, bytes int) {
	return b.b.users, b.b.live, cap(b.b.text) + 6*cap(b.b.cells)
}
