package tuning_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/tuning"
)

// queue is one whose interrupt goes to a CPU.
func queue(cpu int) nic.Queue {
	return nic.Queue{IRQ: 40 + cpu, Vector: "eth0-TxRx-" + formatInt(cpu), CPUs: []int{cpu}}
}

// card is a machine of 8 CPUs, of which n and n+4 are one core, with a device of so many queues.
func card(queues int, change func(*tuning.Machine, *tuning.NIC)) (*tuning.Machine, tuning.Goal) {
	m, g := worked()
	m.CPU.Cores = [][]int{{0, 4}, {1, 5}, {2, 6}, {3, 7}}
	m.CPU.Nodes = [][]int{{0, 1, 4, 5}, {2, 3, 6, 7}}
	m.Process.NetAdmin = true
	n := tuning.NIC{Leaf: nic.Leaf{Physical: true, Name: "eth0"}}
	n.Name, n.Driver, n.Node, n.Mapped = "eth0", "igc", -1, true
	n.Channels = nic.Channels{Now: nic.Counts{Combined: queues}, Max: nic.Counts{Combined: 8}}
	for i := range queues {
		n.RX, n.TX = append(n.RX, queue(i)), append(n.TX, queue(i))
		m.Settings["proc/irq/"+formatInt(40+i)+"/smp_affinity_list"] = tuning.Setting{Value: formatInt(i)}
		for _, file := range []string{"rx-" + formatInt(i) + "/rps_cpus", "rx-" + formatInt(i) + "/rps_flow_cnt", "tx-" + formatInt(i) + "/xps_cpus"} {
			m.Settings["sys/class/net/eth0/queues/"+file] = tuning.Setting{Value: "0"}
		}
	}
	if change != nil {
		change(m, &n)
	}
	m.NICs = []tuning.NIC{n}
	g.AllowNIC = true
	return m, g
}

func wantedOf(p tuning.Plan, key string) string {
	e, _ := p.Entry("eth0/" + key)
	return e.Wanted
}

func TestChannels(t *testing.T) {
	tests := []struct {
		name   string
		change func(*tuning.Machine, *tuning.NIC)
		want   string
	}{
		{"one for each core", nil, "combined 4"},
		{"no more than there can be", func(_ *tuning.Machine, n *tuning.NIC) { n.Channels.Max.Combined = 3 }, "combined 3"},
		{"no more than the hash reaches", func(m *tuning.Machine, n *tuning.NIC) {
			n.Driver, n.Channels.Max.Combined = "ixgbe", 63
			m.CPU.Cores = nil
			for cpu := range 40 {
				m.CPU.Cores, m.CPU.Allowed = append(m.CPU.Cores, []int{cpu}), append(m.CPU.Allowed, cpu)
			}
		}, "combined 16"},
		{"cores that may be used", func(m *tuning.Machine, _ *tuning.NIC) { m.CPU.Allowed = []int{1, 5, 6} }, "combined 2"},
		{"apart", func(_ *tuning.Machine, n *tuning.NIC) {
			n.Channels = nic.Channels{Now: nic.Counts{RX: 2, TX: 2}, Max: nic.Counts{RX: 8, TX: 3}}
		}, "rx 4 tx 3"},
		{"not told", func(_ *tuning.Machine, n *tuning.NIC) { n.Channels = nic.Channels{} }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := tuning.Compute(card(2, test.change))
			if got := wantedOf(p, "channels"); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// Queues near the device get the CPUs of its node first; two threads of one core get one queue.
func TestQueuesGoNearTheDevice(t *testing.T) {
	p := tuning.Compute(card(4, func(m *tuning.Machine, n *tuning.NIC) { n.Node = 1 }))
	var got []string
	for i := range 4 {
		got = append(got, wantedOf(p, "irq/eth0-TxRx-"+formatInt(i)))
	}
	if want := []string{"2", "3", "0", "1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := wantedOf(p, "queues/tx-0/xps_cpus"); got != "4" { // CPU 2
		t.Error("xps_cpus:", got)
	}
}

func TestOneQueueForSeveralCPUs(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*tuning.Machine, *tuning.NIC)
		want   string
	}{
		"all but its own":           {nil, "fe"},
		"of its node":               {func(_ *tuning.Machine, n *tuning.NIC) { n.Node = 0 }, "32"},
		"of those that may be used": {func(m *tuning.Machine, n *tuning.NIC) { m.CPU.Allowed = []int{0, 1} }, "2"},
		"not known where it is":     {func(_ *tuning.Machine, n *tuning.NIC) { n.Mapped = false }, "ff"},
		"one CPU":                   {func(m *tuning.Machine, _ *tuning.NIC) { m.CPU.Allowed = []int{0} }, ""},
	} {
		m, g := card(1, func(m *tuning.Machine, n *tuning.NIC) {
			n.Channels = nic.Channels{Now: nic.Counts{Combined: 1}, Max: nic.Counts{Combined: 1}}
			if test.change != nil {
				test.change(m, n)
			}
		})
		p := tuning.Compute(m, g)
		if got := wantedOf(p, "queues/rx-0/rps_cpus"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if e, ok := p.Entry("eth0/queues/tx-0/xps_cpus"); ok {
			t.Errorf("%s: the only TX queue is everybody's, and yet %+v", name, e)
		}
	}
}

func TestReactors(t *testing.T) {
	for _, test := range []struct {
		name   string
		queues int
		change func(*tuning.Machine, *tuning.Goal)
		want   int
	}{
		{"one for each queue to come", 2, nil, 4},
		{"one for each queue that is", 2, func(_ *tuning.Machine, g *tuning.Goal) { g.AllowNIC = false }, 2},
		{"channels that may not be set", 2, func(m *tuning.Machine, _ *tuning.Goal) { m.Process.NetAdmin = false }, 2},
		{"as asked for", 2, func(_ *tuning.Machine, g *tuning.Goal) { g.Reactors = 3 }, 3},
		{"no queues", 0, func(m *tuning.Machine, _ *tuning.Goal) { m.NICs = nil }, 8},
		{"a quota", 0, func(m *tuning.Machine, _ *tuning.Goal) { m.NICs, m.Cgroup.CPUs = nil, 2.5 }, 3},
		{"fewer CPUs than queues", 4, func(m *tuning.Machine, g *tuning.Goal) { m.CPU.Allowed, g.AllowNIC = []int{2}, false }, 1},
	} {
		m, g := card(test.queues, nil)
		if test.change != nil {
			test.change(m, &g)
		}
		if got := tuning.Compute(m, g).Reactors; got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestRingsAndCoalescing(t *testing.T) {
	told := func(change func(*tuning.NIC)) func(*tuning.Machine, *tuning.NIC) {
		return func(_ *tuning.Machine, n *tuning.NIC) {
			n.Rings = nic.Rings{RX: 256, TX: 512, RXMax: 2048, TXMax: 2048}
			n.Coalesce = nic.Coalesce{Has: nic.RXUsecs, RXUsecs: 3}
			n.Packets = 1_000_000
			change(n)
		}
	}
	tests := []struct {
		name   string
		change func(*tuning.NIC)
		key    string
		want   string
		status tuning.Status
	}{
		{"long enough", func(n *tuning.NIC) { n.Missed = 1 }, "rings", "", tuning.Kept},
		{"too short", func(n *tuning.NIC) { n.Missed = 2 }, "rings", "rx 2048 tx 512", tuning.Change},
		{"never shorter", func(n *tuning.NIC) { n.Missed, n.Rings.RX, n.Rings.RXMax = 2, 8192, 8192 }, "rings", "rx 8192 tx 512", tuning.OK},
		{"as long as is good", func(n *tuning.NIC) { n.Missed, n.Rings.RXMax = 2, 8192 }, "rings", "rx 4096 tx 512", tuning.Change},
		{"not told", func(n *tuning.NIC) { n.Rings = nic.Rings{} }, "rings", "", tuning.Absent},
		{"too often", func(*tuning.NIC) {}, "coalesce", "rx-usecs 40", tuning.Change},
		{"good", func(n *tuning.NIC) { n.Coalesce.RXUsecs = 50 }, "coalesce", "rx-usecs 50", tuning.OK},
		{"too seldom", func(n *tuning.NIC) { n.Coalesce.RXUsecs = 200 }, "coalesce", "rx-usecs 40", tuning.Change},
		{"could adapt", func(n *tuning.NIC) { n.Coalesce.Has |= nic.AdaptiveRX }, "coalesce", "adaptive-rx on rx-usecs 3", tuning.Change},
		{"adapts", func(n *tuning.NIC) { n.Coalesce.Has, n.Coalesce.AdaptiveRX = n.Coalesce.Has|nic.AdaptiveRX, true }, "coalesce", "adaptive-rx on rx-usecs 3", tuning.OK},
		{"no coalescing", func(n *tuning.NIC) { n.Coalesce = nic.Coalesce{} }, "coalesce", "", tuning.Absent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, _ := tuning.Compute(card(4, told(test.change))).Entry("eth0/" + test.key)
			if e.Wanted != test.want || e.Status != test.status {
				t.Errorf("%q, %s; want %q, %s", e.Wanted, e.Status, test.want, test.status)
			}
		})
	}
}

func TestOffloads(t *testing.T) {
	m, g := card(4, func(_ *tuning.Machine, n *tuning.NIC) {
		n.Features = []nic.Feature{{Name: nic.GRO}, {Name: nic.LRO, On: true}, {Name: nic.TSO, On: true}, {Name: nic.GSO, Fixed: true}, {Name: "rx-checksum"}}
	})
	p := tuning.Compute(m, g)
	for name, want := range map[string]tuning.Status{nic.GRO: tuning.Change, nic.LRO: tuning.Change, nic.TSO: tuning.OK, nic.GSO: tuning.Absent} {
		if e, _ := p.Entry("eth0/offload/" + name); e.Status != want {
			t.Errorf("%s: %s, want %s", name, e.Status, want)
		}
	}
	if _, ok := p.Entry("eth0/offload/rx-checksum"); ok {
		t.Error("rx-checksum is none of edged's business")
	}
}

// A question that the kernel refused is told with its reason.
func TestRefusedQuestions(t *testing.T) {
	m, g := card(4, func(_ *tuning.Machine, n *tuning.NIC) {
		n.Channels = nic.Channels{}
		n.Refused = map[string]syscall.Errno{nic.AskChannels: syscall.EPERM, nic.AskRings: syscall.EOPNOTSUPP}
	})
	p := tuning.Compute(m, g)
	for key, want := range map[string]string{"channels": "needs CAP_NET_ADMIN", "rings": "no such setting", "coalesce": "no such setting"} {
		if e, _ := p.Entry("eth0/" + key); e.Status != tuning.Absent || !strings.Contains(e.Note, want) {
			t.Errorf("%s: %s, %s; want %s", key, e.Status, e.Note, want)
		}
	}
}

func TestWhatStandsInTheWayOfDevices(t *testing.T) {
	find := func(m *tuning.Machine, g tuning.Goal, key string) tuning.Entry {
		e, _ := tuning.Compute(m, g).Entry("eth0/" + key)
		return e
	}
	m, g := card(4, func(m *tuning.Machine, n *tuning.NIC) {
		m.Process.NetAdmin = false
		n.Channels.Now.Combined = 8
		m.Settings["sys/class/net/eth0/queues/tx-1/xps_cpus"] = tuning.Setting{Value: "0", Denied: tuning.EACCES}
		m.Settings["proc/irq/41/smp_affinity_list"] = tuning.Setting{Value: "0-7"}
		delete(m.Settings, "proc/irq/42/smp_affinity_list")
		delete(m.Settings, "sys/class/net/eth0/queues/tx-2/xps_cpus")
		m.Daemons.Irqbalance = true
	})
	for key, want := range map[string]tuning.Status{
		"channels": tuning.NoPermission, "queues/tx-1/xps_cpus": tuning.NoPermission, "irq/eth0-TxRx-1": tuning.Kept,
		"irq/eth0-TxRx-2": tuning.Absent, "queues/tx-2/xps_cpus": tuning.Absent, "queues/tx-0/xps_cpus": tuning.Change,
	} {
		if e := find(m, g, key); e.Status != want {
			t.Errorf("%s: %s (%s), want %s", key, e.Status, e.Note, want)
		}
	}
	m.Daemons.BannedIRQs = []int{41}
	if e := find(m, g, "irq/eth0-TxRx-1"); e.Status != tuning.Change {
		t.Errorf("banned in irqbalance: %s (%s)", e.Status, e.Note)
	}
	g.AllowNIC = false
	if e := find(m, g, "queues/tx-0/xps_cpus"); e.Status != tuning.Kept || !strings.Contains(e.Note, "allow_nic") {
		t.Errorf("without leave: %+v", e)
	}
}
