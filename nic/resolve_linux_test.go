package nic_test

import (
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"edged/nic"
)

// resolve resolves in the namespace.
func (s *space) resolve(names ...string) (set nic.Set) {
	s.t.Helper()
	s.must("resolve", func() (err error) { set, err = nic.Resolve(names); return err })
	return set
}

// wantLeaves compares names of leaves, in any order.
func (s *space) wantLeaves(ask string, want ...string) {
	s.t.Helper()
	got := names(s.resolve(ask))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Errorf("%s stands for %q, want %q", ask, got, want)
	}
}

func TestResolveVLANOnBond(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	s.veth("vb", "pb")
	bond := netlink.NewLinkBond(named("bond9"))
	bond.Mode = netlink.BOND_MODE_ACTIVE_BACKUP
	s.add(bond)
	s.enslave("bond9", "va", "vb")
	s.add(&netlink.Vlan{LinkAttrs: s.on("bond9.5", "bond9"), VlanId: 5})
	s.add(&netlink.Vlan{LinkAttrs: s.on("bond9.6", "bond9"), VlanId: 6})
	s.up("va", "vb", "pa", "pb", "bond9")

	s.settle("va", "vb")
	set := s.resolve("bond9.5", "bond9.6", "bond9", "vb")
	if !slices.Equal(names(set), []string{"va", "vb"}) && !slices.Equal(names(set), []string{"vb", "va"}) {
		t.Errorf("leaves are %q", names(set))
	}
	for _, l := range set.Leaves {
		if l.Group != s.index("bond9") || l.Physical || l.SpeedMbit != 0 || !l.Up {
			t.Errorf("leaf is %+v", l)
		}
	}
}

func TestResolveVLAN(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	s.add(&netlink.Vlan{LinkAttrs: s.on("va.5", "va"), VlanId: 5})
	s.wantLeaves("va.5", "va")
}

func TestResolveBridgeAndMacvlan(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	s.veth("vb", "pb")
	s.add(&netlink.Bridge{LinkAttrs: named("br9")})
	s.wantLeaves("br9", "br9") // with nothing below it is one itself
	s.enslave("br9", "va", "vb")
	s.add(&netlink.Macvlan{LinkAttrs: s.on("mv9", "br9"), Mode: netlink.MACVLAN_MODE_BRIDGE})
	s.wantLeaves("br9", "va", "vb")
	s.wantLeaves("mv9", "va", "vb")
	s.wantLeaves("pa", "pa") // the peer is not below
	s.add(&netlink.Macvlan{LinkAttrs: s.on("mv8", "pa"), Mode: netlink.MACVLAN_MODE_PRIVATE})
	s.wantLeaves("mv8", "pa")
	if set := s.resolve("lo", "none", "pb"); !slices.Equal(set.Missing, []string{"lo", "none"}) || set.Source != nic.Configured {
		t.Errorf("set is %+v", set)
	}
}

func TestResolveVXLAN(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	s.add(&netlink.Vxlan{LinkAttrs: named("vx9"), VxlanId: 9, VtepDevIndex: s.index("va"), Port: 4789})
	s.wantLeaves("vx9", "va")
}

// TestResolveMacvlanFromOutside has an interface whose lower one lies in another namespace, under an index that is used here
// as well.
func TestResolveMacvlanFromOutside(t *testing.T) {
	inside, outside := newSpace(t), newSpace(t)
	for _, s := range []*space{inside, outside} {
		s.veth("va", "pa")
	}
	if inside.index("va") != outside.index("va") {
		t.Fatal("indexes differ from namespace to namespace")
	}
	mv := &netlink.Macvlan{LinkAttrs: outside.on("mv9", "va"), Mode: netlink.MACVLAN_MODE_PRIVATE}
	outside.add(mv)
	outside.must("move", func() error { return netlink.LinkSetNsFd(mv, inside.ns) })
	inside.wantLeaves("mv9", "mv9")
}

func TestResolveDefaultRoute(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	s.veth("vb", "pb")
	s.up("va", "pa", "vb", "pb", "lo")
	if set := s.resolve("auto"); len(set.Leaves) != 0 || set.Source != nic.Virtual {
		t.Errorf("without a route: %+v", set)
	}
	s.address("va", "192.0.2.1/25")
	s.address("vb", "192.0.2.129/25")
	s.route("192.0.2.130", "vb", 200)
	s.wantLeaves("auto", "vb")
	s.settle("va")
	s.route("192.0.2.2", "va", 100)
	set := s.resolve("auto")
	va, vb := s.link("va").Attrs(), s.index("vb")
	want := nic.Leaf{Index: va.Index, Name: "va", Perm: va.HardwareAddr.String(), MTU: 1500, Up: true}
	if len(set.Leaves) != 1 || set.Leaves[0] != want || set.Source != nic.Virtual {
		t.Errorf("set is %+v, want %+v", set, want)
	}
	s.must("route by both", func() error {
		return netlink.RouteReplace(&netlink.Route{Dst: everywhere, Priority: 50, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: va.Index, Gw: net.IPv4(192, 0, 2, 2)},
			{LinkIndex: vb, Gw: net.IPv4(192, 0, 2, 130)},
		}})
	})
	s.wantLeaves("auto", "va", "vb")
}

var everywhere = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}

func (s *space) address(name, cidr string) {
	s.t.Helper()
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		s.t.Fatal(err)
	}
	l := s.link(name)
	s.must("give an address to "+name, func() error { return netlink.AddrAdd(l, a) })
}

// route makes a default route.
func (s *space) route(gateway, name string, metric int) {
	s.t.Helper()
	r := &netlink.Route{Dst: everywhere, Gw: net.ParseIP(gateway), LinkIndex: s.index(name), Priority: metric}
	s.must("route by "+name, func() error { return netlink.RouteAdd(r) })
}

func TestResolveUpAndDown(t *testing.T) {
	s := newSpace(t)
	s.veth("va", "pa")
	check := func(when string, want bool) {
		t.Helper()
		if set := s.resolve("va"); len(set.Leaves) != 1 {
			t.Fatalf("%s: %+v", when, set)
		}
		s.await(when, func() bool { return s.resolve("va").Leaves[0].Up == want })
	}
	check("never up", false)
	s.up("va")
	check("peer is down", false) // lowerlayerdown
	s.up("pa")
	check("both up", true)
	s.down("pa")
	check("peer went down", false)
	s.up("pa")
	check("peer is back", true)
	s.down("va")
	check("down", false)
	s.rename("va", "vz")
	if set := s.resolve("va", "vz"); !slices.Equal(names(set), []string{"vz"}) || !slices.Equal(set.Missing, []string{"va"}) {
		t.Errorf("renamed: %+v", set)
	}
}

// TestForeignSysfs looks from a namespace whose /sys is the box's.
func TestForeignSysfs(t *testing.T) {
	s := newSpace(t)
	s.veth("eth0", "pa")
	s.must("unmount", func() error { return unix.Unmount("/sys", unix.MNT_DETACH) })
	if set := s.resolve("eth0", "auto"); len(set.Leaves) != 1 || set.Leaves[0].Physical || set.Source != nic.Virtual {
		t.Errorf("set is %+v", set)
	}
	s.up("eth0", "pa")
	s.sendFrames("eth0", 3, 100)
	if c := s.mustRead(s.reader(nic.ViaStats), s.index("eth0"), "eth0"); c.TxPackets != 3 {
		t.Errorf("counts %+v", c)
	}
}
