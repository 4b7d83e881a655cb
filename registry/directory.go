package registry

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

// Link names one link of this process: its shard, and its place and uniq there.
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
	mu      sync.Mutex // guards what follows
	users   map[string]account
	devices int
	_       [40]byte // a cache line for each lock: reactors look up side by side
}

// NewDirectory returns one without links.
func NewDirectory() *Directory {
	d := &Directory{seed: maphash.MakeSeed()}
	for i := range d.parts {
		d.parts[i].users = make(map[string]account)
	}
	return d
}

func (d *Directory) part(user []byte) *part {
	return &d.parts[maphash.Bytes(d.seed, user)%parts]
}

// Put makes l the link of the user's device. If there was another one, it returns that and true: the caller closes it. It keeps
// neither slice.
func (d *Directory) Put(user, device []byte, l Link) (old Link, replaced bool) {
	p := d.part(user)
	p.mu.Lock()
	a := p.users[string(user)]
	i, found := a.find(device)
	var name Name
	if found {
		old, replaced = a.seats[i].Link, a.seats[i].Link != l
		a.seats[i].Link = l
		name = Name{string(user), a.seats[i].Device}
	} else {
		text := string(user) + string(device) // one allocation for both
		name = Name{text[:len(user)], text[len(user):]}
		a.add(Seat{name.Device, l})
		p.users[name.User] = a
		p.devices++
	}
	p.mu.Unlock()
	d.tell(name)
	if !replaced {
		old = Link{}
	}
	return old, replaced
}

// Remove takes l out, and returns false where it is not, or no longer, the link of the user's device.
func (d *Directory) Remove(user, device []byte, l Link) bool {
	p := d.part(user)
	p.mu.Lock()
	a := p.users[string(user)]
	i, found := a.find(device)
	if !found || a.seats[i].Link != l {
		p.mu.Unlock()
		return false
	}
	name := Name{string(user), a.seats[i].Device}
	a.remove(i)
	if len(a.seats) == 0 {
		delete(p.users, name.User)
	} else {
		p.users[name.User] = a
	}
	p.devices--
	p.mu.Unlock()
	d.tell(name)
	return true
}

// Links appends the links of all devices of the user to dst, in no order. It is one look-up and does not allocate where dst
// has room.
func (d *Directory) Links(user []byte, dst []Link) []Link {
	p := d.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.users[string(user)].seats {
		dst = append(dst, s.Link)
	}
	return dst
}

// Link returns the link of the user's device, and false where there is none. It does not allocate.
func (d *Directory) Link(user, device []byte) (Link, bool) {
	p := d.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.users[string(user)]
	if i, ok := a.find(device); ok {
		return a.seats[i].Link, true
	}
	return Link{}, false
}

// Seats returns the devices of the user and their links, in no order. It is for people who look: Links is for messages.
func (d *Directory) Seats(user []byte) []Seat {
	p := d.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.users[string(user)].seats)
}

// Users returns how many users have a link.
func (d *Directory) Users() int {
	return d.sum(func(p *part) int { return len(p.users) })
}

// Devices returns how many links there are.
func (d *Directory) Devices() int {
	return d.sum(func(p *part) int { return p.devices })
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
	for user, a := range p.users {
		for _, s := range a.seats {
			dst = append(dst, Name{user, s.Device})
		}
	}
	return dst
}

func (d *Directory) tell(name Name) {
	if f := d.changed.Load(); f != nil {
		(*f)(name)
	}
}
