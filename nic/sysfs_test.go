package nic_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"edged/nic"
)

var errDenied = errors.New("netlink is denied")

// leaf resolves what must be the one leaf.
func leaf(t *testing.T, h nic.Host, name string) nic.Leaf {
	t.Helper()
	set, err := h.Resolve([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Leaves) != 1 {
		t.Fatalf("%s stands for %q", name, names(set))
	}
	return set.Leaves[0]
}

func TestSpeed(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int
	}{
		{"a device", map[string]string{"device/driver": "-> ../../bus/pci/drivers/mlx5_core", "speed": "25000"}, 25000},
		{"driver not told", map[string]string{"device/vendor": "0x8086", "speed": "1000"}, 1000},
		{"unknown", map[string]string{"device/driver": "-> e1000e", "speed": "-1"}, 0},
		{"unknown, unsigned", map[string]string{"device/driver": "-> e1000e", "speed": "4294967295"}, 0},
		{"unknown, as the old uint16", map[string]string{"device/driver": "-> e1000e", "speed": "0"}, 0},
		{"no file", map[string]string{"device/driver": "-> e1000e"}, 0},
		{"no number", map[string]string{"device/driver": "-> e1000e", "speed": "fast"}, 0},
		{"down, where the read fails", map[string]string{"device/driver": "-> e1000e", "speed/is": "a directory, EISDIR"}, 0},
		{"not a device", map[string]string{"speed": "10000"}, 0}, // a veth says so
		{"virtio", map[string]string{"device/driver": "-> ../virtio/virtio_net", "speed": "100000"}, 0},
		{"ENA", map[string]string{"device/driver": "-> ena", "speed": "5000"}, 0},
		{"VMware", map[string]string{"device/driver": "-> vmxnet3", "speed": "10000"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := newSysfs(t)
			tree.add("eth0", 2, c.files)
			if got := leaf(t, nic.Host{Sys: tree.root, Kernel: fakeKernel{links: []nic.Link{ether(2, "eth0")}}}, "eth0"); got.SpeedMbit != c.want {
				t.Errorf("speed is %d, want %d", got.SpeedMbit, c.want)
			}
		})
	}
}

// TestSysfsOfAnotherNamespace has a /sys that speaks of interfaces that only look like those of the kernel.
func TestSysfsOfAnotherNamespace(t *testing.T) {
	physical := map[string]string{"device/driver": "-> mlx5_core", "speed": "25000", "address": "02:00:00:00:00:02"}
	tree := newSysfs(t)
	tree.add("eth0", 2, physical)
	for _, c := range []struct {
		name    string
		index   int
		address string
		want    bool
	}{
		{"the same", 2, "02:00:00:00:00:02", true},
		{"address not told", 2, "", true},
		{"another index", 3, "02:00:00:00:00:02", false},
		{"another address", 2, "02:00:00:00:00:03", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ether(c.index, "eth0")
			l.Address = c.address
			host := nic.Host{Sys: tree.root, Kernel: fakeKernel{links: []nic.Link{l}}}
			if got := leaf(t, host, "eth0"); got.Physical != c.want || (got.SpeedMbit != 0) != c.want {
				t.Errorf("leaf is %+v", got)
			}
			l.Device = true // the kernel's own word counts in any case
			host.Kernel = fakeKernel{links: []nic.Link{l}}
			if got := leaf(t, host, "eth0"); !got.Physical || (got.SpeedMbit != 0) != c.want {
				t.Errorf("leaf is %+v where netlink tells of the device", got)
			}
		})
	}
}

// TestLowerOfSysfs has an interface whose lower one netlink tells in no way that is common to all kinds.
func TestLowerOfSysfs(t *testing.T) {
	tree := newSysfs(t)
	tree.add("vxlan7", 5, map[string]string{"lower_eth0": "-> ../eth0", "lower_gone": "-> ../gone"})
	links := []nic.Link{device(2, "eth0"), ether(5, "vxlan7")}
	set, err := nic.Host{Sys: tree.root, Kernel: fakeKernel{links: links}}.Resolve([]string{"vxlan7"})
	if err != nil || !slices.Equal(names(set), []string{"eth0"}) {
		t.Errorf("leaves are %q, %v", names(set), err)
	}
}

// TestResolveFromSysfs is a box where netlink is denied.
func TestResolveFromSysfs(t *testing.T) {
	tree := newSysfs(t)
	tree.add("lo", 1, map[string]string{"flags": "0x9", "operstate": "unknown", "address": "00:00:00:00:00:00"})
	tree.add("eth0", 2, map[string]string{"device/driver": "-> mlx5_core", "speed": "25000", "master": "-> ../bond0", "mtu": "9000"})
	tree.add("eth1", 3, map[string]string{"device/driver": "-> mlx5_core", "master": "-> ../bond0", "operstate": "down"})
	tree.add("bond0", 4, map[string]string{"bonding/mode": "active-backup 1", "lower_eth0": "-> ../eth0", "lower_eth1": "-> ../eth1"})
	tree.add("bond0.7", 5, map[string]string{"lower_bond0": "-> ../bond0", "uevent": "DEVTYPE=vlan\nINTERFACE=bond0.7\nIFINDEX=5"})
	tree.add("tun0", 6, map[string]string{"operstate": "unknown", "address": ""})
	tree.add("off0", 7, map[string]string{"operstate": "unknown", "flags": "0x1002"})
	host := nic.Host{Sys: tree.root, Kernel: fakeKernel{err: errDenied}}

	eth0 := nic.Leaf{Index: 2, Name: "eth0", Perm: "02:00:00:00:00:02", MTU: 9000, SpeedMbit: 25000, Physical: true, Up: true, Group: 4}
	eth1 := nic.Leaf{Index: 3, Name: "eth1", Perm: "02:00:00:00:00:03", MTU: 1500, Physical: true, Group: 4}
	tun0 := nic.Leaf{Index: 6, Name: "tun0", MTU: 1500, Up: true}
	off0 := nic.Leaf{Index: 7, Name: "off0", Perm: "02:00:00:00:00:07", MTU: 1500}
	for _, c := range []struct {
		ask  []string
		want nic.Set
	}{
		{[]string{"auto"}, nic.Set{Leaves: []nic.Leaf{eth0, eth1}, Source: nic.Physical}},
		{[]string{"bond0.7", "lo"}, nic.Set{Leaves: []nic.Leaf{eth0, eth1}, Source: nic.Configured, Missing: []string{"lo"}}},
		{[]string{"tun0", "off0"}, nic.Set{Leaves: []nic.Leaf{tun0, off0}, Source: nic.Configured}},
	} {
		if got, err := host.Resolve(c.ask); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("Resolve(%q) = %+v, %v; want %+v", c.ask, got, err, c.want)
		}
	}
}

func TestSetSpeed(t *testing.T) {
	up := func(speed, group int) nic.Leaf { return nic.Leaf{SpeedMbit: speed, Group: group, Up: true} }
	down := nic.Leaf{SpeedMbit: 40000}
	for _, c := range []struct {
		name   string
		leaves []nic.Leaf
		want   int
	}{
		{"none", nil, 0},
		{"sum", []nic.Leaf{up(10000, 0), up(1000, 0)}, 11000},
		{"one is down", []nic.Leaf{up(10000, 0), down}, 10000},
		{"all are down", []nic.Leaf{down, down}, 0},
		{"one is unknown", []nic.Leaf{up(10000, 0), up(0, 0)}, 0},
		{"active-backup", []nic.Leaf{up(1000, 7), up(10000, 7)}, 10000},
		{"two of them and another", []nic.Leaf{up(1000, 7), up(10000, 7), up(100, 8), up(100, 8), up(10, 0)}, 10110},
	} {
		if got := (nic.Set{Leaves: c.leaves}).SpeedMbit(); got != c.want {
			t.Errorf("%s: %d Mbit/s, want %d", c.name, got, c.want)
		}
	}
}
