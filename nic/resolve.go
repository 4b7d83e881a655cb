package nic

import (
	"fmt"
	"slices"
)

// Resolve returns the leaves that names stand for. Auto stands for all physical interfaces, or, where there is none, for
// those of the default route; an empty list means Auto. An interface that stands upon others (VLAN, bond, bridge, macvlan)
// is replaced by what it stands upon, and what is named on two ways is there once. A loopback is never a leaf.
//
// A name that is not there is told in Missing and is no error: interfaces come later than daemons. An error says that the
// kernel could not be asked.
func (h Host) Resolve(names []string) (Set, error) {
	links, err := h.links()
	if err != nil {
		return Set{}, fmt.Errorf("list interfaces: %w", err)
	}
	t := newTree(h.sys(), links)
	set := Set{Source: Configured}
	found := map[int]bool{}
	if len(names) == 0 || slices.Contains(names, Auto) {
		if set.Source, err = h.auto(t, found); err != nil {
			return Set{}, err
		}
	}
	for _, name := range names {
		if name == Auto {
			continue
		}
		if l := t.named(name); l == nil || l.Loopback {
			set.Missing = append(set.Missing, name)
		} else {
			t.descend(l, found)
		}
	}
	set.Leaves = t.leaves(found)
	return set, nil
}

// auto adds to found what Auto stands for.
func (h Host) auto(t *tree, found map[int]bool) (source string, err error) {
	for i := range t.links {
		if t.links[i].Device {
			found[t.links[i].Index] = true
		}
	}
	if len(found) > 0 {
		return Physical, nil
	}
	routes, err := h.defaultRoutes()
	if err != nil {
		return "", fmt.Errorf("find the default route: %w", err)
	}
	for _, index := range routes {
		if l := t.byIndex[index]; l != nil && !l.Loopback {
			t.descend(l, found)
		}
	}
	return Virtual, nil
}

// tree is one picture of all interfaces and of what stands upon what.
type tree struct {
	sys     sysfs
	links   []Link
	byIndex map[int]*Link
	lower   map[int][]int // by index; may name an interface twice
}

// newTree completes links by what sysfs alone knows.
func newTree(sys sysfs, links []Link) *tree {
	t := &tree{sys: sys, links: links, byIndex: make(map[int]*Link, len(links)), lower: map[int][]int{}}
	byName := make(map[string]int, len(links))
	for i := range links {
		t.byIndex[links[i].Index] = &links[i]
		byName[links[i].Name] = links[i].Index
	}
	for i := range links {
		l := &links[i]
		if l.Lower != 0 && !paired(l.Kind) {
			t.lower[l.Index] = append(t.lower[l.Index], l.Lower)
		}
		if l.Master != 0 {
			t.lower[l.Master] = append(t.lower[l.Master], l.Index)
		}
		if !sys.shows(l) {
			continue
		}
		l.Device = l.Device || sys.hasDevice(l.Name)
		for _, name := range sys.lower(l.Name) { // what netlink tells per kind only, as for vxlan
			t.lower[l.Index] = append(t.lower[l.Index], byName[name])
		}
	}
	return t
}

// paired says whether an interface of that kind names its peer where others name what they stand upon.
func paired(kind string) bool { return kind == "veth" || kind == "netkit" || kind == "vxcan" }

func (t *tree) named(name string) *Link {
	for i := range t.links {
		if t.links[i].Name == name {
			return &t.links[i]
		}
	}
	for i := range t.links {
		if slices.Contains(t.links[i].AltNames, name) {
			return &t.links[i]
		}
	}
	return nil
}

// descend adds to found the leaves below l, or l itself where it is one. Of a bridge between devices and the interfaces of
// guests the devices alone count: what a guest sends leaves through them.
func (t *tree) descend(l *Link, found map[int]bool) {
	below := map[int]bool{}
	t.walk(l, map[int]bool{}, below)
	physical := false
	for index := range below {
		physical = physical || t.byIndex[index].Device
	}
	for index := range below {
		if !physical || t.byIndex[index].Device {
			found[index] = true
		}
	}
}

// walk collects the ends below l, each once however many ways lead there.
func (t *tree) walk(l *Link, seen, ends map[int]bool) {
	if seen[l.Index] {
		return
	}
	seen[l.Index] = true
	end := true
	if !l.Device {
		for _, index := range t.lower[l.Index] {
			if below := t.byIndex[index]; below != nil && below != l && !below.Loopback {
				end = false
				t.walk(below, seen, ends)
			}
		}
	}
	if end {
		ends[l.Index] = true
	}
}

// leaves describes what was found. A device that is a member of another device of the set is left out: that one's counters
// contain it (netvsc and net_failover with their virtual function).
func (t *tree) leaves(found map[int]bool) []Leaf {
	var leaves []Leaf
	for i := range t.links {
		l := &t.links[i]
		master := t.byIndex[l.Master]
		if !found[l.Index] || l.Loopback || master != nil && master.Device && found[l.Master] {
			continue
		}
		leaf := Leaf{Index: l.Index, Name: l.Name, Perm: l.Perm, MTU: l.MTU, Physical: l.Device, Up: l.Up}
		if leaf.Perm == "" {
			leaf.Perm = l.Address
		}
		if master != nil && master.Backup {
			leaf.Group = master.Index
		}
		if l.Device && t.sys.shows(l) {
			leaf.SpeedMbit = t.sys.speed(l.Name)
		}
		leaves = append(leaves, leaf)
	}
	slices.SortFunc(leaves, func(a, b Leaf) int { return a.Index - b.Index })
	return leaves
}
