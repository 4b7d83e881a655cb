package tuning_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
	"edged/tuning"
)

// Interrupts get other numbers when a device is set up anew: what is put back is found by the vector's name.
func TestInterruptWithAnotherNumber(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	for _, move := range []struct{ from, to string }{{"proc/irq/26", "proc/irq/99"}, {"sys/kernel/irq/26", "sys/kernel/irq/99"},
		{"sys/devices/pci0000:00/0000:00:03.0/msi_irqs/26", "sys/devices/pci0000:00/0000:00:03.0/msi_irqs/99"}} {
		if err := os.Rename(filepath.Join(m.Root, move.from), filepath.Join(m.Root, move.to)); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.get(t, "proc/irq/99/smp_affinity_list"); got != "1" {
		t.Fatal("it was not pinned, but is", got)
	}
	m.revert(t)
	if got := m.get(t, "proc/irq/99/smp_affinity_list"); got != "0-7" {
		t.Error("put back:", got)
	}
}

// rename gives the machine's eth0 another name and index, as a driver that is loaded anew may.
func (m *machine) rename(t *testing.T, to string, index int) {
	t.Helper()
	net := filepath.Join(m.Root, "sys/class/net")
	if err := os.Rename(filepath.Join(net, "eth0"), filepath.Join(net, to)); err != nil {
		t.Fatal(err)
	}
	m.set(t, "sys/class/net/"+to+"/ifindex", string(rune('0'+index)))
	k := m.Net.Kernel.(*nictest.Kernel)
	for i := range k.All {
		if k.All[i].Name == "eth0" {
			k.All[i].Name, k.All[i].Index = to, index
		}
	}
	k.Default = []int{index}
	m.Driver.Known[to] = m.Driver.Known["eth0"]
	delete(m.Driver.Known, "eth0")
}

func TestDeviceWithAnotherName(t *testing.T) {
	for _, index := range []int{2, 7} { // renamed alone; registered anew
		m := open(t, "virtio4")
		before := m.Driver.Known["eth0"].Coalesce
		m.apply(t, tuning.Options{})
		m.rename(t, "wan0", index)
		if drift := m.drift(t); len(drift) > 0 && drift[0].Applied {
			t.Errorf("%+v", drift)
		}
		if res := m.revert(t); res.Count(tuning.Restored) != len(res.Outcomes) {
			t.Error(res)
		}
		if got := m.get(t, "sys/class/net/wan0/queues/tx-1/xps_cpus"); got != "0" {
			t.Error("xps_cpus is", got)
		}
		if got := m.Driver.Known["wan0"].Coalesce; got != before {
			t.Error("coalesce is", got)
		}
	}
}

func TestDeviceThatIsGone(t *testing.T) {
	m := open(t, "virtio4")
	m.apply(t, tuning.Options{})
	if err := os.RemoveAll(filepath.Join(m.Root, "sys/class/net/eth0")); err != nil {
		t.Fatal(err)
	}
	m.Net.Kernel.(*nictest.Kernel).All = nil
	delete(m.Driver.Known, "eth0")
	drift := m.drift(t)
	if len(drift) == 0 || drift[0].By != "the device is gone" {
		t.Errorf("%+v", drift)
	}
	res := m.revert(t)
	if res.Count(tuning.Gone) == 0 || res.Count(tuning.Restored) == 0 || res.Count(tuning.Refused) > 0 {
		t.Error(res.Summary())
	}
	if _, err := os.Stat(m.stateFile()); !os.IsNotExist(err) {
		t.Error("the state file waits for a device that is gone:", err)
	}
}

// channelDriver does what a real one does when channels change: interrupts and queue files begin anew.
type channelDriver struct {
	*nictest.Driver
	changed func()
}

// SetChannels implements nic.Driver.
func (d channelDriver) SetChannels(ctx context.Context, leaf nic.Leaf, want nic.Counts) error {
	err := d.Driver.SetChannels(ctx, leaf, want)
	if err == nil {
		d.changed()
	}
	return err
}

// A device whose channels change forgets where its interrupts went and what its queues were told. Apply asks for the map
// anew, and Revert brings back what was there at first.
func TestChannelsTakeTheirQueuesAlong(t *testing.T) {
	m := open(t, "mlx5")
	for q := range 63 { // somebody had been at work
		m.set(t, queueFile("tx", q, "xps_cpus"), "1")
		m.set(t, irqFile(131+q), "3")
	}
	before := m.picture(t)
	m.Net.Driver = channelDriver{m.Driver, func() {
		for q := range 63 {
			m.set(t, queueFile("tx", q, "xps_cpus"), "0")
			m.set(t, irqFile(131+q), "0-63")
		}
	}}
	res := m.apply(t, tuning.Options{})
	for _, q := range []int{0, 1, 31} {
		if got := m.get(t, irqFile(131+q)); got != formatInt(q) {
			t.Errorf("the interrupt of queue %d goes to %s", q, got)
		}
	}
	if got := m.get(t, irqFile(131+32)); got != "0-63" {
		t.Error("the interrupt of a queue that is no more goes to", got)
	}
	if res.Count(tuning.Changed) < 32*2 {
		t.Error(res.Summary())
	}
	if drift := m.drift(t); len(drift) > 0 {
		t.Errorf("%+v", drift)
	}
	m.revert(t)
	if d := differences(before, m.picture(t)); d != nil {
		t.Error(strings.Join(d, "\n"))
	}
}

func queueFile(direction string, q int, file string) string {
	return "sys/class/net/ens1f0/queues/" + direction + "-" + formatInt(q) + "/" + file
}

func irqFile(irq int) string { return "proc/irq/" + formatInt(irq) + "/smp_affinity_list" }

func formatInt(n int) string { return nic.FormatCPUs([]int{n}) }

// irqbalance moves what edged pinned: Verify says so.
func TestDriftByOthers(t *testing.T) {
	m := open(t, "owned")
	m.apply(t, tuning.Options{})
	m.set(t, "proc/irq/51/smp_affinity_list", "5")
	m.set(t, "proc/sys/net/ipv4/tcp_synack_retries", "9")
	m.set(t, "etc/sysctl.d/91-late.conf", "net.ipv4.tcp_synack_retries=9")
	m.set(t, "proc/sys/net/ipv4/tcp_max_orphans", "17")
	want := map[string]string{
		"net.ipv4.tcp_synack_retries":          "/etc/sysctl.d/91-late.conf:1 sets 9",
		"net.ipv4.tcp_max_orphans":             "no file sets this value; tuned runs, with profile gateway",
		"eth0/irq/mlx5_comp1@pci:0000:03:00.0": "irqbalance runs and moves interrupts",
	}
	drift := m.drift(t)
	for _, d := range drift {
		if d.By != want[d.Key] || !d.Applied {
			t.Errorf("%+v; want %s", d, want[d.Key])
		}
	}
	if len(drift) != len(want) {
		t.Errorf("%d drifted, want %d", len(drift), len(want))
	}
	var b strings.Builder
	if err := tuning.WriteDrift(&b, drift); err != nil || !strings.Contains(b.String(), "irqbalance runs") {
		t.Error(b.String(), err)
	}
	b.Reset()
	if err := tuning.WriteDrift(&b, nil); err != nil || b.String() != "all is as planned\n" {
		t.Error(b.String(), err)
	}
}

// A device of which the map is not certain keeps its interrupts.
func TestUnmappedDeviceIsLeft(t *testing.T) {
	m := open(t, "ixgbe")
	for irq := 70; irq < 103; irq++ {
		m.set(t, "sys/kernel/irq/"+formatInt(irq)+"/actions", "unheard-of")
	}
	_, plan := m.plan(t)
	for _, e := range plan.Entries {
		if e.Kind == tuning.KindIRQ || strings.Contains(e.Key, "xps_cpus") {
			t.Errorf("%s: %s", e.Key, e.Status)
		}
	}
	if !slices.ContainsFunc(plan.Advice, func(a tuning.Advice) bool { return a.Subject == "eth2" && strings.Contains(a.Why, "not pinned") }) {
		t.Errorf("%+v", plan.Advice)
	}
}
