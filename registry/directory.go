package registry

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Link names one link of this process: its shard, and its place and uniq there, which package linkpool bounds.
type Link struct {
	Shard       int
	Place, Uniq uint32
}

// Name is one device of a user.
type Name struct{ User, Device string }

// Directory is the links of this process by user and device, one for each. Its methods may be called from every thread; each
// takes one of many locks for as long as it looks at one user.
type Directory struct {
	seed    maphash.Seed                    // static after NewDirectory
	changed atomic.Pointer[func(name Name)] // of Routes; called after a change, without a lock
	parts   [parts]part                     // by the user's hash
}

const parts = 256

// part is the users of one hash.
type part struct {
	mu   sync.Mutex // guards what follows
	book book
	_    [40]byte // a cache line for each lock: reactors look up side by side
}

// NewDirectory returns one without links.
func NewDirectory() *Directory {
	d := &Directory{seed: maphash.MakeSeed()}
	for i := range d.parts {
		d.parts[i].book.seed = d.seed
	}
	return d
}

func (d *Directory) part(user []byte) (*part, uint64) {
	h := maphash.Bytes(d.seed, user)
	return &d.parts[h%parts], h
}

// Put makes l the link of the user's device. If there was another one, it returns that and true: the caller closes it. It keeps
// neither slice.
func (d *Directory) Put(user, device []byte, l Link) (old Link, replaced bool) {
	p, h := d.part(user)
	p.mu.Lock()
	if i, r := p.book.find(h, user, device); i >= 0 {
		if old = p.book.link(r); old != l {
			replaced = true
		} else {
			old = Link{}
		}
		p.book.setLink(r, l)
	} else {
		p.book.add(h, user, device, l)
	}
	p.mu.Unlock()
	d.tell(user, device)
	return old, replaced
}

// Remove takes l out, and returns false where it is not, or no longer, the link of the user's device.
func (d *Directory) Remove(user, device []byte, l Link) bool {
	p, h := d.part(user)
	p.mu.Lock()
	i, r := p.book.find(h, user, device)
	if i < 0 || p.book.link(r) != l {
		p.mu.Unlock()
		return false
	}
	p.book.remove(h, i)
	p.mu.Unlock()
	d.tell(user, device)
	return true
}

// Links appends the links of all devices of the user to dst, in no order. It is one look-up and does not allocate where dst
// has room.
func (d *Directory) Links(user []byte, dst []Link) []Link {
	p, h := d.part(user)
	p.mu.Lock()
	i, r := p.book.first(h, user)
	for more := i >= 0; more; r, more = p.book.following(r) {
		dst = append(dst, p.book.link(r))
	}
	p.mu.Unlock()
	return dst
}

// Link returns the link of the user's device, and false where there is none. It does not allocate.
func (d *Directory) Link(user, device []byte) (l Link, ok bool) {
	p, h := d.part(user)
	p.mu.Lock()
	i, r := p.book.find(h, user, device)
	if i >= 0 {
		l = p.book.link(r)
	}
	p.mu.Unlock()
	return l, i >= 0
}

// Seats returns the devices of the user and their links, in no order. It is for people who look: Links is for messages.
func (d *Directory) Seats(user []byte) (all []Seat) {
	p, h := d.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	i, r := p.book.first(h, user)
	for more := i >= 0; more; r, more = p.book.following(r) {
		all = append(all, Seat{string(p.book.deviceOf(r)), p.book.link(r)})
	}
	return all
}

// Users returns how many users have a link.
func (d *Directory) Users() int {
	return d.sum(func(p *part) int { return p.book.users })
}

// Devices returns how many links there are.
func (d *Directory) Devices() int {
	return d.sum(func(p *part) int { return p.book.live })
}

func (d *Directory) sum(count func(*part) int) (n int) {
	for i := range d.parts {
		p := &d.parts[i]
		p.mu.Lock()
		n += count(p)
		p.mu.Unlock()
	}
	return n
}

// names appends the names of part i to dst.
func (d *Directory) names(i int, dst []Name) []Name {
	p := &d.parts[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.book.cells {
		if c.mark != 0 {
			r := p.book.record(c.at())
			dst = append(dst, Name{string(p.book.userOf(r)), string(p.book.deviceOf(r))})
		}
	}
	return dst
}

// Changes is the names whose links change while nobody writes their routes.
type Changes struct {
	mu    sync.Mutex // guards what follows
	names map[Name]struct{}
}

// Collect gathers the changes from now until NewRoutes is called, which is for who Detaches a Routes: it comes before that.
func (d *Directory) Collect() *Changes {
	c := &Changes{names: make(map[Name]struct{})}
	add := c.Add
	d.changed.Store(&add)
	return c
}

// Add makes n one of the changes: for what Detach gives back.
func (c *Changes) Add(n Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names[n] = struct{}{}
}

// Len returns how many names there are.
func (c *Changes) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names)
}

// Each calls f with each name, in no order.
func (c *Changes) Each(f func(n Name)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.names {
		f(n)
	}
}

func (d *Directory) tell(user, device []byte) {
	if f := d.changed.Load(); f != nil {
		(*f)(Name{string(user), string(device)})
	}
}
