package nic_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"edged/nic"
)

// fakeKernel tells what a test wants told.
type fakeKernel struct {
	links  []nic.Link
	routes []int
	err    error
}

func (k fakeKernel) Links() ([]nic.Link, error)    { return slices.Clone(k.links), k.err }
func (k fakeKernel) DefaultRoutes() ([]int, error) { return k.routes, k.err }

func ether(index int, name string) nic.Link {
	return nic.Link{Index: index, Name: name, MTU: 1500, Up: true}
}

func device(index int, name string) nic.Link {
	l := ether(index, name)
	l.Device = true
	return l
}

// on is a virtual interface made upon another one.
func on(index int, name, kind string, lower int) nic.Link {
	l := ether(index, name)
	l.Kind, l.Lower = kind, lower
	return l
}

func member(l nic.Link, master int) nic.Link {
	l.Master = master
	return l
}

func backup(l nic.Link) nic.Link {
	l.Kind, l.Backup = "bond", true
	return l
}

var loopback = nic.Link{Index: 1, Name: "lo", MTU: 65536, Up: true, Loopback: true}

func names(s nic.Set) []string {
	var names []string
	for _, l := range s.Leaves {
		names = append(names, l.Name)
	}
	return names
}

func TestResolve(t *testing.T) {
	bonded := []nic.Link{
		loopback, member(device(2, "eth0"), 4), member(device(3, "eth1"), 4), ether(4, "bond0"),
		on(5, "bond0.7", "vlan", 4), on(6, "bond0.8", "vlan", 4), device(9, "eth2"),
	}
	guests := []nic.Link{
		loopback, member(device(2, "eth0"), 3), ether(3, "br0"), member(ether(4, "tap0"), 3), member(ether(5, "veth0"), 3),
	}
	inside := []nic.Link{loopback, on(2, "eth0", "veth", 2), on(3, "eth0.5", "vlan", 2), on(4, "peer", "veth", 2)}
	looped := []nic.Link{loopback, on(2, "a", "vlan", 3), on(3, "b", "vlan", 2), on(4, "self", "vlan", 4)}
	accelerated := []nic.Link{loopback, device(2, "eth0"), member(device(3, "vf0"), 2)}
	renamed := device(2, "enp3s0")
	renamed.AltNames = []string{"eth0", "uplink"}

	for _, c := range []struct {
		name    string
		links   []nic.Link
		routes  []int
		ask     []string
		want    []string
		source  string
		missing []string
	}{
		{"auto takes devices alone", bonded, nil, []string{"auto"}, []string{"eth0", "eth1", "eth2"}, nic.Physical, nil},
		{"no name is auto", bonded, nil, nil, []string{"eth0", "eth1", "eth2"}, nic.Physical, nil},
		{"vlan on bond", bonded, nil, []string{"bond0.7"}, []string{"eth0", "eth1"}, nic.Configured, nil},
		{"a leaf once", bonded, nil, []string{"bond0.8", "eth1", "bond0.7", "bond0", "eth1"}, []string{"eth0", "eth1"}, nic.Configured, nil},
		{"a leaf", bonded, nil, []string{"eth2"}, []string{"eth2"}, nic.Configured, nil},
		{"missing", bonded, nil, []string{"eth2", "eth7", "eth8"}, []string{"eth2"}, nic.Configured, []string{"eth7", "eth8"}},
		{"auto and a name", bonded, nil, []string{"eth7", "auto"}, []string{"eth0", "eth1", "eth2"}, nic.Physical, []string{"eth7"}},
		{"loopback by name", bonded, nil, []string{"lo"}, nil, nic.Configured, []string{"lo"}},
		{"bridge with guests", guests, nil, []string{"br0"}, []string{"eth0"}, nic.Configured, nil},
		{"a guest's own", guests, nil, []string{"tap0"}, []string{"tap0"}, nic.Configured, nil},
		{"container", inside, []int{2}, []string{"auto"}, []string{"eth0"}, nic.Virtual, nil},
		{"container with a vlan", inside, []int{3}, []string{"auto"}, []string{"eth0"}, nic.Virtual, nil},
		{"two default routes", inside, []int{3, 4}, []string{"auto"}, []string{"eth0", "peer"}, nic.Virtual, nil},
		{"no default route", inside, nil, []string{"auto"}, nil, nic.Virtual, nil},
		{"default route by loopback", inside, []int{1}, []string{"auto"}, nil, nic.Virtual, nil},
		{"default route that has gone", inside, []int{77}, []string{"auto"}, nil, nic.Virtual, nil},
		{"a peer is not below", inside, nil, []string{"peer"}, []string{"peer"}, nic.Configured, nil},
		{"a ring ends", looped, nil, []string{"a", "self"}, []string{"self"}, nic.Configured, nil},
		{"a device that counts its member", accelerated, nil, []string{"auto"}, []string{"eth0"}, nic.Physical, nil},
		{"that member by name", accelerated, nil, []string{"vf0"}, []string{"vf0"}, nic.Configured, nil},
		{"further names", []nic.Link{renamed}, nil, []string{"uplink"}, []string{"enp3s0"}, nic.Configured, nil},
		{"nothing at all", nil, nil, []string{"auto", "eth0"}, nil, nic.Virtual, []string{"eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := nic.Host{Sys: t.TempDir(), Kernel: fakeKernel{links: c.links, routes: c.routes}}
			set, err := host.Resolve(c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(names(set), c.want) || set.Source != c.source || !slices.Equal(set.Missing, c.missing) {
				t.Errorf("Resolve(%q) = %q from %s, missing %q; want %q from %s, missing %q",
					c.ask, names(set), set.Source, set.Missing, c.want, c.source, c.missing)
			}
		})
	}
}

func TestResolveDescribes(t *testing.T) {
	eth0 := member(device(2, "eth0"), 4)
	eth0.Address, eth0.Perm = "02:00:00:00:00:99", "02:00:00:00:00:01"
	eth1 := member(device(3, "eth1"), 4)
	eth1.Address, eth1.Up, eth1.MTU = "02:00:00:00:00:02", false, 9000
	links := []nic.Link{eth1, backup(ether(4, "bond0")), eth0}

	set, err := nic.Host{Sys: t.TempDir(), Kernel: fakeKernel{links: links}}.Resolve([]string{"bond0"})
	if err != nil {
		t.Fatal(err)
	}
	want := []nic.Leaf{
		{Index: 2, Name: "eth0", Perm: "02:00:00:00:00:01", MTU: 1500, Physical: true, Up: true, Group: 4},
		{Index: 3, Name: "eth1", Perm: "02:00:00:00:00:02", MTU: 9000, Physical: true, Up: false, Group: 4},
	}
	if !reflect.DeepEqual(set.Leaves, want) {
		t.Errorf("leaves are %+v, want %+v", set.Leaves, want)
	}
}

func TestResolveKernelFails(t *testing.T) {
	broken := errors.New("broken")
	if _, err := (nic.Host{Sys: t.TempDir(), Kernel: fakeKernel{err: broken}}).Resolve(nil); !errors.Is(err, broken) {
		t.Errorf("without netlink and sysfs: %v, want %v", err, broken)
	}
	tree := newSysfs(t)
	tree.add("eth0", 2, map[string]string{"device/driver": "-> mlx5_core", "speed": "25000"})
	set, err := nic.Host{Sys: tree.root, Kernel: fakeKernel{err: broken}}.Resolve(nil)
	if err != nil || len(set.Leaves) != 1 || set.Leaves[0].SpeedMbit != 25000 {
		t.Errorf("without netlink: %+v, %v", set, err)
	}
}

// sysfsTree is a made-up /sys.
type sysfsTree struct {
	t    *testing.T
	root string
}

func newSysfs(t *testing.T) sysfsTree {
	t.Helper()
	tree := sysfsTree{t, t.TempDir()}
	tree.put("class/net/bonding_masters", "") // a file, as the bonding module makes it
	return tree
}

// put writes a file; text of "-> X" makes a link to X.
func (s sysfsTree) put(name, text string) {
	s.t.Helper()
	name = filepath.Join(s.root, name)
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if to, ok := cutLink(text); ok && err == nil {
		err = os.Symlink(to, name)
	} else if err == nil {
		err = os.WriteFile(name, []byte(text+"\n"), 0o644)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func cutLink(text string) (string, bool) {
	if len(text) > 3 && text[:3] == "-> " {
		return text[3:], true
	}
	return "", false
}

// add makes an interface that is up; files are named from its directory.
func (s sysfsTree) add(name string, index int, files map[string]string) {
	s.t.Helper()
	all := map[string]string{
		"ifindex": strconv.Itoa(index), "address": "02:00:00:00:00:0" + strconv.Itoa(index%10), "flags": "0x1003", "mtu": "1500",
		"operstate": "up",
	}
	for file, text := range files {
		all[file] = text
	}
	for file, text := range all {
		s.put("class/net/"+name+"/"+file, text)
	}
}
