package nic_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
)

// card is a PCI device with interrupts 10, 11 and so on, of the names that are given, on CPUs 0, 1 and so on.
type card struct {
	names    []string
	rx, tx   int
	virtio   string // name of the virtio device
	siblings int    // further interfaces of the same function
	cpus     int    // 0: as many as names
}

func (c card) open(t *testing.T) (nic.Host, *nictest.Driver) {
	t.Helper()
	var b strings.Builder
	dir := "sys/devices/pci0000:00/0000:00:01.0"
	own := filepath.Join(dir, c.virtio)
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("sys/class/net/eth0 -> ../../../%s/net/eth0", own)
	line("%s/net/eth0/device -> ../../../%s", own, filepath.Base(own))
	line("%s/net/eth0/ifindex = 2", own)
	for i := range c.siblings {
		line("%s/net/eth%d/ifindex = %d", own, i+1, i+3)
	}
	if c.cpus == 0 {
		c.cpus = len(c.names)
	}
	line("sys/devices/system/cpu/online = 0-%d", max(c.cpus-1, 0))
	for i, name := range c.names {
		line("%s/msi_irqs/%d = msix", dir, 10+i)
		line("sys/kernel/irq/%d/actions = %s", 10+i, name)
		line("proc/irq/%d/smp_affinity_list = 0-%d", 10+i, c.cpus-1)
		line("proc/irq/%d/effective_affinity_list = %d", 10+i, i%c.cpus)
	}
	root := t.TempDir()
	if err := nictest.Expand(root, b.String()); err != nil {
		t.Fatal(err)
	}
	d := &nictest.Driver{Known: map[string]nic.Answers{"eth0": {
		Driver: "card", Bus: "0000:00:01.0", Channels: nic.Channels{Now: nic.Counts{RX: c.rx, TX: c.tx}},
	}}}
	return nic.Host{Sys: filepath.Join(root, "sys"), Proc: filepath.Join(root, "proc"), Kernel: &nictest.Kernel{}, Driver: d}, d
}

var eth0 = nic.Leaf{Index: 2, Name: "eth0", Physical: true, Up: true}

func irqs(queues []nic.Queue) []int {
	numbers := make([]int, len(queues))
	for i, q := range queues {
		numbers[i] = q.IRQ
	}
	return numbers
}

// row returns format with the numbers from first to last.
func row(format string, first, last int) []string {
	var names []string
	for i := first; i <= last; i++ {
		names = append(names, fmt.Sprintf(format, i))
	}
	return names
}

func TestNames(t *testing.T) {
	join := slices.Concat[[]string]
	for _, c := range []struct {
		name   string
		card   card
		rx, tx []int  // interrupts; 0: unmapped
		why    string // contained in Why; empty: mapped
	}{
		{"combined", card{names: row("eth0-TxRx-%d", 0, 3), rx: 4, tx: 4}, []int{10, 11, 12, 13}, []int{10, 11, 12, 13}, ""},
		{"in any order", card{names: []string{"eth0-TxRx-2", "eth0", "eth0-TxRx-0", "eth0-TxRx-1"}, rx: 3, tx: 3},
			[]int{12, 13, 10}, []int{12, 13, 10}, ""},
		{"more than ten", card{names: row("eth0-TxRx-%d", 0, 11), rx: 12, tx: 1},
			[]int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}, []int{10}, ""},
		{"renamed interface", card{names: row("i40e-old7-TxRx-%d", 0, 1), rx: 2, tx: 2}, []int{10, 11}, []int{10, 11}, ""},
		{"other spellings", card{names: row("eth0-fp-%d", 0, 1), rx: 2, tx: 2}, []int{10, 11}, []int{10, 11}, ""},
		{"rxtx", card{names: row("eth0-rxtx-%d", 0, 1), rx: 2, tx: 2}, []int{10, 11}, []int{10, 11}, ""},
		{"mana", card{names: append([]string{"mana_hwc@pci:7870:00:00.0"}, row("mana_q%d@pci:7870:00:00.0", 0, 1)...), rx: 2, tx: 2},
			[]int{11, 12}, []int{11, 12}, ""},
		{"parted", card{names: join(row("eth0-rx-%d", 0, 1), row("eth0-tx-%d", 0, 2)), rx: 2, tx: 3}, []int{10, 11}, []int{12, 13, 14}, ""},
		{"counted from one", card{names: join([]string{"idpf-Mailbox-0"}, row("idpf-eth0-TxRx-%d", 1, 4)), rx: 4, tx: 4},
			[]int{11, 12, 13, 14}, []int{11, 12, 13, 14}, ""},
		{"counted from two", card{names: row("eth0-TxRx-%d", 2, 3), rx: 2, tx: 2}, []int{0, 0}, []int{0, 0}, "each its own"},
		{"spare vectors", card{names: row("mlx5_comp%d@pci:0000:00:01.0", 0, 7), rx: 2, tx: 2}, []int{10, 11}, []int{10, 11}, ""},
		{"spare vectors without the first", card{names: row("mlx5_comp%d@pci:0000:00:01.0", 1, 2), rx: 2, tx: 2},
			[]int{0, 0}, []int{0, 0}, "each its own"},
		{"more than queues, from one", card{names: row("eth0-TxRx-%d", 1, 3), rx: 2, tx: 2}, []int{0, 0}, []int{0, 0}, "each its own"},
		{"shared vectors", card{names: row("eth0-TxRx-%d", 0, 1), rx: 4, tx: 4}, []int{0, 0, 0, 0}, []int{0, 0, 0, 0}, "each its own"},
		{"one is missing", card{names: []string{"eth0-TxRx-0", "eth0-TxRx-2"}, rx: 2, tx: 2}, []int{0, 0}, []int{0, 0}, "each its own"},
		{"one is there twice", card{names: []string{"eth0-TxRx-0", "eth0-TxRx-1", "old-TxRx-1"}, rx: 2, tx: 2},
			[]int{0, 0}, []int{0, 0}, "each its own"},
		{"flow director alone", card{names: []string{"i40e-0000:00:01.0:fdir-TxRx-0"}, rx: 1, tx: 1}, []int{0}, []int{0}, "do not tell"},
		{"several handlers", card{names: []string{"ahci,eth0-rx-0", "eth0-rx-1"}, rx: 2, tx: 0}, []int{10, 11}, []int{}, ""},
		{"RX without TX", card{names: row("eth0-rx-%d", 0, 1), rx: 2, tx: 2}, []int{10, 11}, []int{0, 0}, ""},
		{"named after itself", card{names: []string{"eth0"}, rx: 1, tx: 1}, []int{10}, []int{10}, ""},
		{"but with two queues", card{names: []string{"eth0"}, rx: 2, tx: 1}, []int{0, 0}, []int{0}, "do not tell"},
		{"and a second vector", card{names: []string{"eth0", "eth0-event"}, rx: 1, tx: 1}, []int{0}, []int{0}, "2 interrupts"},
		{"no names", card{names: []string{"", ""}, rx: 1, tx: 1}, []int{0}, []int{0}, "do not tell"},
		{"no interrupts", card{rx: 1, tx: 1, cpus: 2}, []int{0}, []int{0}, "no interrupts that can be found"},
		{"no queues", card{names: row("eth0-TxRx-%d", 0, 1)}, []int{}, []int{}, "tells no queues"},
		{"too large a number", card{names: []string{"eth0-TxRx-99999999999999999999"}, rx: 1, tx: 1}, []int{0}, []int{0}, "do not tell"},
		{"own function of two", card{names: join(row("eth1-TxRx-%d", 0, 1), row("eth0-TxRx-%d", 0, 1)), rx: 2, tx: 2, siblings: 1},
			[]int{12, 13}, []int{12, 13}, ""},
		{"of a longer name", card{names: row("eth01-TxRx-%d", 0, 1), rx: 2, tx: 2, siblings: 1}, []int{0, 0}, []int{0, 0}, "do not tell"},
		{"driver before the name", card{names: row("ice-eth0-TxRx-%d", 0, 1), rx: 2, tx: 2, siblings: 1}, []int{10, 11}, []int{10, 11}, ""},
		{"mlx4", card{names: row("mlx4-%d@0000:00:01.0", 1, 2), rx: 2, tx: 2}, []int{0, 0}, []int{0, 0}, "do not tell"},
		{"virtio", card{names: []string{"virtio7-config", "virtio7-input.0", "virtio7-output.0"}, rx: 1, tx: 1, virtio: "virtio7"},
			[]int{11}, []int{12}, ""},
		{"of another virtio", card{names: []string{"virtio70-input.0", "virtio70-output.0"}, rx: 1, tx: 1, virtio: "virtio7"},
			[]int{0}, []int{0}, "do not tell"},
		{"virtio without MSI-X", card{names: []string{"virtio7"}, rx: 2, tx: 2, virtio: "virtio7"}, []int{10, 10}, []int{10, 10}, ""},
		{"gve", card{names: append(row("gve-ntfy-blk%d@pci:0000:00:01.0", 0, 3), "gve-mgmnt@pci:0000:00:01.0"), rx: 2, tx: 1},
			[]int{12, 13}, []int{10}, ""},
		{"older gve", card{names: row("eth0-ntfy-block.%d", 0, 3), rx: 1, tx: 2}, []int{12}, []int{10, 11}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, _ := c.card.open(t)
			d, err := host.Map(t.Context(), eth0)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(irqs(d.RX), c.rx) || !slices.Equal(irqs(d.TX), c.tx) {
				t.Errorf("interrupts are %v and %v, want %v and %v", irqs(d.RX), irqs(d.TX), c.rx, c.tx)
			}
			if d.Mapped != (c.why == "") || !strings.Contains(d.Why, c.why) || d.Mapped && d.Why != "" {
				t.Errorf("mapped %v, why %q; want %q", d.Mapped, d.Why, c.why)
			}
			if len(d.Vectors) != len(c.card.names) {
				t.Errorf("%d vectors of %d", len(d.Vectors), len(c.card.names))
			}
			claims(t, d)
		})
	}
}

// claims checks what holds for every map: what is claimed of a queue belongs together.
func claims(t *testing.T, d nic.Device) {
	t.Helper()
	for _, q := range slices.Concat(d.RX, d.TX) {
		switch {
		case q.How == nic.Unmapped && (q.IRQ != 0 || q.CPUs != nil || q.Vector != ""):
			t.Errorf("%+v claims what is not known", q)
		case q.How == nic.ByGuess && (q.IRQ != 0 || len(q.CPUs) != 1):
			t.Errorf("%+v is no guess", q)
		case (q.How == nic.ByNetdev || q.How == nic.ByName) && q.IRQ == 0:
			t.Errorf("%+v has no interrupt", q)
		case !slices.Contains([]string{nic.Unmapped, nic.ByGuess, nic.ByName, nic.ByNetdev}, q.How):
			t.Errorf("%+v was found in no way", q)
		}
	}
}

// TestNetdevFirst has the kernel's word differ from the names.
func TestNetdevFirst(t *testing.T) {
	host, driver := card{names: row("eth0-TxRx-%d", 0, 3), rx: 4, tx: 4}.open(t)
	driver.Known["eth0"] = nic.Answers{
		Driver: "card", Bus: "0000:00:01.0", Channels: nic.Channels{Now: nic.Counts{Combined: 4}},
		Queues: []nic.AnsweredQueue{
			{Index: 1, NAPI: 502}, {Index: 0, NAPI: 501}, {Index: 2, NAPI: 503}, // RX: the last has a NAPI without interrupt
			{TX: true, Index: 0, NAPI: 501}, {TX: true, Index: 1},
		},
		NAPIs: []nic.AnsweredNAPI{{ID: 501, IRQ: 13}, {ID: 502, IRQ: 99}, {ID: 503}},
	}
	d, err := host.Map(t.Context(), eth0)
	if err != nil {
		t.Fatal(err)
	}
	how := func(q nic.Queue) string { return fmt.Sprintf("%s %d %d %q %v", q.How, q.NAPI, q.IRQ, q.Vector, q.CPUs) }
	want := []string{`netdev 501 13 "eth0-TxRx-3" [3]`, `netdev 502 99 "" []`, `sysfs 503 12 "eth0-TxRx-2" [2]`,
		`netdev 501 13 "eth0-TxRx-3" [3]`, `sysfs 0 11 "eth0-TxRx-1" [1]`}
	var got []string
	for _, q := range slices.Concat(d.RX, d.TX) {
		got = append(got, how(q))
	}
	if !slices.Equal(got, want) {
		t.Errorf("queues are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d.Mapped || !strings.Contains(d.Why, "the CPUs of interrupt 99 of RX queue 1 cannot be read") {
		t.Errorf("mapped %v: %s", d.Mapped, d.Why)
	}
	driver.Known["eth0"] = nic.Answers{
		Queues: []nic.AnsweredQueue{{Index: 0, NAPI: 501}}, NAPIs: []nic.AnsweredNAPI{{ID: 501, IRQ: 13}},
		Refused: map[string]syscall.Errno{nic.AskEthtool: syscall.ENOENT},
	}
	if d, err = host.Map(t.Context(), eth0); err != nil || !d.Mapped || d.Refused[nic.AskEthtool] != syscall.ENOENT {
		t.Errorf("%+v, %v", d, err)
	}
}
