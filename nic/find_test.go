package nic_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
)

// deaf is a Driver whose Ask fails.
type deaf struct {
	nic.Driver
	err error
}

func (d deaf) Ask(context.Context, nic.Leaf) (nic.Answers, error) { return nic.Answers{}, d.err }

func TestMapErrors(t *testing.T) {
	m := nictest.Open(t, "virtio4")
	if _, err := m.Host.Map(t.Context(), nic.Leaf{Index: 9, Name: "gone0"}); err != nic.ErrGone {
		t.Errorf("interface that is gone: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Host.Map(ended, m.Leaves(t)[0]); err != context.Canceled {
		t.Errorf("ended context: %v", err)
	}
	broken := errors.New("broken")
	m.Host.Driver = deaf{err: broken}
	if _, err := m.Host.Map(t.Context(), m.Leaves(t)[0]); !errors.Is(err, broken) || !strings.Contains(err.Error(), "ens3") {
		t.Errorf("driver that fails: %v", err)
	}
}

// TestQueueCounts has the number of queues told in several ways, of which the first that tells is believed.
func TestQueueCounts(t *testing.T) {
	m := nictest.Open(t, "mlx5-old") // sysfs shows 16 RX queues
	leaf := m.Leaves(t)[0]
	for _, c := range []struct {
		name    string
		answers nic.Answers
		rx, tx  int
		mapped  bool
	}{
		{"netdev", nic.Answers{Queues: []nic.AnsweredQueue{{Index: 0}, {Index: 1}, {TX: true, Index: 2}},
			Channels: nic.Channels{Now: nic.Counts{Combined: 8}}}, 2, 3, true},
		{"channels", nic.Answers{Channels: nic.Channels{Now: nic.Counts{Combined: 4, RX: 1}}}, 5, 4, true},
		{"files", nic.Answers{}, 16, 8, false},
	} {
		m.Driver.Known["eth0"] = c.answers
		d, err := m.Host.Map(t.Context(), leaf)
		if err != nil || len(d.RX) != c.rx || len(d.TX) != c.tx || d.Mapped != c.mapped || d.Driver != "mlx5_core" {
			t.Errorf("%s: %d RX, %d TX, mapped %v (%s), driver %q, %v", c.name, len(d.RX), len(d.TX), d.Mapped, d.Why, d.Driver, err)
		}
		claims(t, d)
	}
}

// TestAnotherNamespace has a sysfs that shows other interfaces than the kernel tells of: the bus is the same, and from there
// the interrupts are found, but no file of the other interface is read or written.
func TestAnotherNamespace(t *testing.T) {
	for _, c := range []struct {
		name  string
		leaf  nic.Leaf
		shown bool
	}{
		{"the same", nic.Leaf{Index: 2, Name: "ens3", Perm: "52:54:00:11:22:33"}, true},
		{"no address", nic.Leaf{Index: 2, Name: "ens3"}, true},
		{"a changed address", nic.Leaf{Index: 2, Name: "ens3", Perm: "52:54:00:99:99:99"}, true}, // the bus says it is the same
		{"another index", nic.Leaf{Index: 7, Name: "ens3", Perm: "52:54:00:11:22:33"}, false},
		{"another name", nic.Leaf{Index: 2, Name: "eth0", Perm: "52:54:00:11:22:33"}, false},
		{"a name that is a path", nic.Leaf{Index: 2, Name: "../net/ens3"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := nictest.Open(t, "virtio4")
			c.leaf.Physical = true
			m.Driver.Known[c.leaf.Name] = m.Driver.Known["ens3"]
			if err := nictest.Expand(m.Root, "sys/bus/pci/devices/0000:00:03.0 -> ../../../devices/pci0000:00/0000:00:03.0"); err != nil {
				t.Fatal(err)
			}
			d, err := m.Host.Map(t.Context(), c.leaf)
			if err != nil || !d.Mapped || !slices.Equal(irqs(d.RX), []int{26, 27, 28, 29}) || d.Bus != "0000:00:03.0" {
				t.Errorf("%+v, %v", d, err)
			}
			if shown := d.RX[0].Mask != nil; shown != c.shown {
				t.Errorf("mask of RX queue 0 is %v", d.RX[0].Mask)
			}
			if err := m.Host.SetRPS(c.leaf, 0, []int{1}); c.leaf.Index != 2 && !errors.Is(err, syscall.ENODEV) {
				t.Errorf("set RPS: %v", err)
			}
		})
	}
}

// TestOtherDevice has an address that is another interface's and a device that is not the bus's.
func TestOtherDevice(t *testing.T) {
	m := nictest.Open(t, "virtio4")
	a := m.Driver.Known["ens3"]
	a.Bus = "0000:00:0a.0"
	m.Driver.Known["ens3"] = a
	d, err := m.Host.Map(t.Context(), nic.Leaf{Index: 2, Name: "ens3", Perm: "02:00:00:00:00:01", Physical: true, Up: true})
	if err != nil || d.Mapped || len(d.Vectors) != 0 || d.Bus != "0000:00:0a.0" || d.RX[0].Mask != nil {
		t.Errorf("%+v, %v", d, err)
	}
	claims(t, d)
}

// TestBondMembers resolves what an operator names, and maps what is below it.
func TestBondMembers(t *testing.T) {
	m := nictest.Open(t, "bond")
	leaves := m.Leaves(t, "bond0.7")
	if len(leaves) != 2 {
		t.Fatalf("bond0.7 stands for %+v", leaves)
	}
	for _, leaf := range leaves {
		d, err := m.Host.Map(t.Context(), leaf)
		if err != nil || d.Bus == "" || d.RX[0].Mask == nil || d.SpeedMbit != 10000 {
			t.Errorf("%s: %+v, %v", leaf.Name, d, err)
		}
	}
}

// TestPartsMissing takes files away one by one: what is not there is not told, and nothing else changes.
func TestPartsMissing(t *testing.T) {
	for _, c := range []struct {
		gone  string
		check func(d nic.Device) bool
	}{
		{"sys/devices/system/node", func(d nic.Device) bool { return d.Mapped && d.RX[0].Node == -1 }},
		{"sys/devices/system/cpu", func(d nic.Device) bool { return d.Mapped }},
		{"sys/devices/pci0000:00/0000:00:03.0/local_cpulist", func(d nic.Device) bool { return d.Mapped && d.LocalCPUs == nil }},
		{"sys/devices/pci0000:00/0000:00:03.0/msi_irqs", func(d nic.Device) bool { return d.Mapped }}, // found by name
		{"sys/kernel/irq", func(d nic.Device) bool { return !d.Mapped && len(d.Vectors) == 9 }},
		{"proc/irq", func(d nic.Device) bool {
			return !d.Mapped && strings.Contains(d.Why, "cannot be read") && d.RX[0].IRQ == 26
		}},
		{"sys/class/net/ens3/queues", func(d nic.Device) bool { return d.Mapped && d.RX[0].Mask == nil && d.TX[3].Mask == nil }},
		{"sys/class/net", func(d nic.Device) bool { return !d.Mapped && len(d.RX) == 4 && d.RX[0].How == nic.Unmapped }},
		{"sys", func(d nic.Device) bool { return !d.Mapped && len(d.RX) == 4 && d.SpeedMbit == 0 && d.Node == -1 }},
	} {
		t.Run(c.gone, func(t *testing.T) {
			m := nictest.Open(t, "virtio4")
			leaf := m.Leaves(t)[0]
			if err := os.RemoveAll(filepath.Join(m.Root, c.gone)); err != nil {
				t.Fatal(err)
			}
			d, err := m.Host.Map(t.Context(), leaf)
			if err != nil || !c.check(d) {
				t.Errorf("%+v, %v", d, err)
			}
			claims(t, d)
		})
	}
}

// TestEffectiveAffinity has the CPUs that may handle an interrupt, and those that do.
func TestEffectiveAffinity(t *testing.T) {
	for _, c := range []struct {
		name, allowed, effective string
		want                     []int
	}{
		{"one of many", "0-7", "5", []int{5}},
		{"several", "0-7", "6-7", []int{6, 7}},
		{"off", "2", "", []int{2}},
		{"no list", "2", "odd", []int{2}},
		{"moved, and not come since", "3", "0", []int{3}},
		{"moved to one of several", "3-4", "0", []int{3, 4}},
		{"only the effective is told", "odd", "4", []int{4}},
		{"nothing is told", "odd", "odd", nil},
	} {
		m := nictest.Open(t, "virtio4")
		err := nictest.Expand(m.Root, "in proc/irq/26\nsmp_affinity_list = "+c.allowed+"\neffective_affinity_list = "+c.effective)
		if err != nil {
			t.Fatal(err)
		}
		d, err := m.Host.Map(t.Context(), m.Leaves(t)[0])
		if err != nil || !slices.Equal(d.RX[0].CPUs, c.want) || !slices.Equal(d.Vectors[1].CPUs, c.want) || d.Mapped != (c.want != nil) {
			t.Errorf("%s: on %v of %v, mapped %v, %v", c.name, d.RX[0].CPUs, d.Vectors[1].Allowed, d.Mapped, err)
		}
	}
}

func TestMapSpeed(t *testing.T) {
	m := nictest.Open(t, "ixgbe")
	leaf := m.Leaves(t)[0]
	for _, c := range []struct {
		leaf   int // what sysfs said
		asked  uint32
		driver string
		want   int
	}{
		{10000, 0, "ixgbe", 10000},
		{0, 25000, "ixgbe", 25000},
		{0, 4294967295, "ixgbe", 0},
		{0, 0, "ixgbe", 0},
		{0, 25000, "virtio_net", 0},
		{0, 16000, "gve", 0},
	} {
		a := m.Driver.Known["eth2"]
		a.Speed, a.Driver = c.asked, c.driver
		m.Driver.Known["eth2"], leaf.SpeedMbit = a, c.leaf
		if d, err := m.Host.Map(t.Context(), leaf); err != nil || d.SpeedMbit != c.want {
			t.Errorf("%+v: %d Mbit/s, %v", c, d.SpeedMbit, err)
		}
	}
}

func TestQueueStats(t *testing.T) {
	m := nictest.Open(t, "virtio4")
	leaf := m.Leaves(t)[0]
	slices.Reverse(m.Driver.Counted["ens3"])
	stats, err := m.Host.QueueStats(t.Context(), leaf)
	if err != nil || len(stats) != 8 {
		t.Fatalf("%+v, %v", stats, err)
	}
	for i, s := range stats {
		if s.TX != (i >= 4) || s.Index != i%4 {
			t.Errorf("place %d has %+v", i, s)
		}
	}
	if stats[3].Packets != 5000 || stats[7].Bytes != 76800 {
		t.Errorf("%+v", stats)
	}
	veth := nictest.Open(t, "veth")
	if _, err := veth.Host.QueueStats(t.Context(), veth.Leaves(t)[0]); !errors.Is(err, syscall.EOPNOTSUPP) || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("counters of a veth: %v", err)
	}
}
