package nic

import "errors"

// Auto is the name that stands for all physical interfaces.
const Auto = "auto"

// Where the leaves of a Set come from.
const (
	Physical   = "physical"   // Auto, and there are devices
	Configured = "configured" // names
	Virtual    = "virtual"    // Auto, and there is no device: the default route's interfaces, as in a container
)

// ErrGone says that there is no interface of that index any more, or that its name now belongs to another one. A new
// interface of the same name has a new index and new counters: Resolve again.
var ErrGone = errors.New("interface is gone")

// Leaf is an interface that counts packets which no other leaf counts.
type Leaf struct {
	Index     int
	Name      string
	Perm      string // permanent hardware address, else the current one; empty where there is none
	MTU       int    // bytes
	SpeedMbit int    // 0: unknown, or not a limit that means anything
	Physical  bool   // there is a device behind it
	Up        bool   // set up by the administrator, and the kernel says it can send or does not know
	Group     int    // index of the active-backup bond it belongs to, of whose members one carries traffic; 0: none
}

// Set is what Resolve found.
type Set struct {
	Leaves  []Leaf   // ordered by index; none twice; none at all where Auto finds neither a device nor a default route
	Source  string   // Physical, Configured or Virtual
	Missing []string // configured names that do not exist, or that are a loopback, which is never counted
}

// SpeedMbit returns what the leaves that are up can carry together in one direction, in Mbit/s: the sum of their speeds, of
// an active-backup bond the fastest one's. It is 0 where none is up or one of them has no known speed.
func (s Set) SpeedMbit() int {
	sum := 0
	groups := map[int]int{}
	for _, l := range s.Leaves {
		switch {
		case !l.Up:
		case l.SpeedMbit == 0:
			return 0
		case l.Group != 0:
			groups[l.Group] = max(groups[l.Group], l.SpeedMbit)
		default:
			sum += l.SpeedMbit
		}
	}
	for _, speed := range groups {
		sum += speed
	}
	return sum
}
