package tuning

import (
	"math"
	"slices"
	"strings"
)

// Kind says what sort of setting an Entry is, and with it how it is read and written.
type Kind string

// The kinds, in the order in which they are applied.
const (
	KindSysctl   Kind = "sysctl"   // a file of /proc/sys
	KindLimit    Kind = "limit"    // of the gateway's process: its unit sets it
	KindOption   Kind = "option"   // of a socket: the gateway sets it on its listeners, and links inherit it
	KindSysfs    Kind = "sysfs"    // a file of /sys that is not a device's
	KindChannels Kind = "channels" // how many queues a device has
	KindRings    Kind = "rings"    // how long they are
	KindCoalesce Kind = "coalesce" // how long a device waits before it interrupts
	KindOffload  Kind = "offload"  // work that a device may do for the kernel
	KindIRQ      Kind = "irq"      // on which CPU an interrupt is handled
	KindQueue    Kind = "queue"    // a file of a device's queue: packet steering
)

// Status is what is to be done about an Entry.
type Status string

// The states of an Entry.
const (
	OK           Status = "ok"            // it is as wanted, or better
	Change       Status = "change"        // Apply would change it
	NoPermission Status = "no-permission" // it should be changed, but this process may not
	Absent       Status = "absent"        // there is no such setting here
	AdminOwned   Status = "admin-owned"   // somebody else's file sets it; Apply leaves it unless forced
	Kept         Status = "kept"          // it is not edged's to change, or nothing speaks for changing it
)

// Entry is one setting of the plan.
type Entry struct {
	Kind    Kind   `json:"kind"`
	Key     string `json:"key"`              // as sysctl(8) writes it; of a device NAME/channels, NAME/irq/VECTOR, NAME/queues/rx-0/rps_cpus
	Device  string `json:"device,omitempty"` // interface whose setting it is
	Current string `json:"current"`
	Wanted  string `json:"wanted,omitempty"` // empty: whatever it is
	Status  Status `json:"status"`
	Why     string `json:"why"`            // one sentence
	Note    string `json:"note,omitempty"` // what stands in the way: a refusal, or who owns it
	Source  string `json:"source,omitempty"`
	Risk    string `json:"risk,omitempty"`
}

// Advice is what edged cannot or will not do itself: a line for a unit, the kernel's command line, another program's
// configuration.
type Advice struct {
	Subject string `json:"subject"`
	Do      string `json:"do"`
	Why     string `json:"why"`
}

// Plan is what Compute works out of a Machine and a Goal. Entries are in the order in which Apply goes through them.
type Plan struct {
	Goal     Goal     `json:"goal"`
	Links    uint64   `json:"links"`    // what the settings are computed for: the goal, or what the box can hold
	Messages uint64   `json:"messages"` // a second
	Packets  uint64   `json:"packets"`  // a second, both ways, that such a load is
	Reactors int      `json:"reactors"`
	Now      uint64   `json:"now"`      // links that the box can hold as it is
	Holds    uint64   `json:"holds"`    // once the plan is applied as far as it can be
	Reach    uint64   `json:"reach"`    // once others have done their part too
	Capacity []Bound  `json:"capacity"` // what ends first comes first
	Entries  []Entry  `json:"entries"`
	Advice   []Advice `json:"advice,omitempty"`
}

// Entry returns the entry of key.
func (p Plan) Entry(key string) (Entry, bool) {
	i := slices.IndexFunc(p.Entries, func(e Entry) bool { return e.Key == key })
	if i < 0 {
		return Entry{}, false
	}
	return p.Entries[i], true
}

// Changes returns the entries that Apply would change.
func (p Plan) Changes() []Entry {
	var changes []Entry
	for _, e := range p.Entries {
		if e.Status == Change {
			changes = append(changes, e)
		}
	}
	return changes
}

// Compute makes the plan of what m needs to do for g. It reads and changes nothing.
func Compute(m *Machine, g Goal) Plan {
	s := newSizing(m, g)
	p := Plan{Goal: g, Links: s.links, Messages: s.messages, Packets: packets(s.links, s.messages), Reactors: s.reactors}
	for i := range knobs {
		p.Entries = append(p.Entries, s.entry(&knobs[i]))
	}
	p.Entries = append(p.Entries, s.limitEntry())
	p.Entries = append(p.Entries, s.optionEntries()...)
	p.Entries = append(p.Entries, s.deviceEntries()...)
	slices.SortStableFunc(p.Entries, func(a, b Entry) int { return a.stage() - b.stage() })
	p.Capacity = s.bounds(&p)
	p.Now, p.Holds, p.Reach = math.MaxUint64, math.MaxUint64, math.MaxUint64
	for _, b := range p.Capacity {
		p.Now, p.Holds, p.Reach = min(p.Now, b.Now), min(p.Holds, b.Holds), min(p.Reach, b.Reach)
	}
	p.Advice = s.advice(&p)
	return p
}

// stage is the place of an entry in the order of Apply: ceilings before what they limit, a device's queues before what
// belongs to a queue, and all of it before the gateway listens.
func (e *Entry) stage() int {
	switch {
	case strings.HasPrefix(e.Key, "fs."):
		return 0
	case e.Kind == KindLimit:
		return 1
	case strings.HasPrefix(e.Key, "vm."), strings.HasPrefix(e.Key, "kernel."), e.Kind == KindSysfs:
		return 2
	case strings.HasPrefix(e.Key, "net.core."):
		return 3
	case e.Key == "net.ipv4.tcp_mem":
		return 4
	case e.Kind == KindSysctl:
		return 5
	case e.Kind == KindChannels:
		return 6
	case e.Kind == KindRings:
		return 7
	case e.Kind == KindCoalesce:
		return 8
	case e.Kind == KindOffload:
		return 9
	case e.Kind == KindIRQ:
		return 10
	case e.Kind == KindQueue:
		return 11
	}
	return 12 // socket options: nothing is applied
}
