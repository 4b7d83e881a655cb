package tuning_test

import (
	"slices"
	"strings"
	"testing"

	"edged/tuning"
)

func boundOf(p tuning.Plan, resource string) (tuning.Bound, bool) {
	i := slices.IndexFunc(p.Capacity, func(b tuning.Bound) bool { return b.Resource == resource })
	if i < 0 {
		return tuning.Bound{}, false
	}
	return p.Capacity[i], true
}

func TestBounds(t *testing.T) {
	set := func(key, value string) func(*tuning.Machine, *tuning.Goal) {
		return func(m *tuning.Machine, _ *tuning.Goal) {
			m.Settings["proc/sys/"+key] = tuning.Setting{Value: value}
		}
	}
	tests := []struct {
		name, resource  string
		change          func(*tuning.Machine, *tuning.Goal)
		now, holds, end uint64 // links
	}{
		{"four fifths of the memory", "memory", nil, 2_140_793, 2_140_793, 2_140_793},
		{"at least 256 MiB for others", "memory", func(m *tuning.Machine, _ *tuning.Goal) { m.RAM = 512 << 20 }, 41812, 41812, 41812},
		{"less memory than that", "memory", func(m *tuning.Machine, _ *tuning.Goal) { m.RAM = 128 << 20 }, 0, 0, 0},
		{"MemoryMax=", "memory of the control group", func(m *tuning.Machine, _ *tuning.Goal) { m.Cgroup.MemoryMax = 1 << 30 }, 128_653, 128_653, 2_140_793},
		{"MemoryHigh= below", "memory of the control group", func(m *tuning.Machine, _ *tuning.Goal) {
			m.Cgroup.MemoryMax, m.Cgroup.MemoryHigh = 1<<30, 1<<29
		}, 64_326, 64_326, 2_140_793},
		{"half the processors", "processors", nil, 2_500_000, 2_500_000, 2_500_000}, // beside the messages that are left
		{"fewer beside more messages", "processors", func(_ *tuning.Machine, g *tuning.Goal) { g.MessagesPerSecond = 400_000 }, 2_500_000, 2_500_000, 2_500_000},
		{"CPUQuota=", "processors", func(m *tuning.Machine, g *tuning.Goal) { m.Cgroup.CPUs, g.MessagesPerSecond = 2, 100_000 }, 625_000, 625_000, 625_000},
		{"a page for each link", "memory of TCP", nil, 377_448, 1_677_721, 1_677_721},
		{"large pages", "memory of TCP", func(m *tuning.Machine, _ *tuning.Goal) { m.Kernel.PageSize = 65536 }, 377_448, 377_448, 377_448},
		{"LimitNOFILE=", "open files of the process", nil, 523_232, 523_232, 1_000_000},
		{"fs.nr_open", "ceiling of open files", nil, 1_047_520, 1_064_480, 1_064_480},
		{"fs.file-max", "open files of the machine", set("fs/file-max", "100000"), 34_464, 2_000_000, 2_000_000},
		{"less than others' files", "open files of the machine", set("fs/file-max", "1000"), 0, 2_000_000, 2_000_000},
		{"epoll's watches", "epoll watches", set("fs/epoll/max_user_watches", "90000"), 90_000, 1_200_000, 1_200_000},
		{"tracked", "connection tracking", nil, 131_072, 1_000_000, 1_000_000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, g := worked()
			g.Reactors = 8
			g.MessagesPerSecond = 400_000
			if test.change != nil {
				test.change(m, &g)
			}
			b, ok := boundOf(tuning.Compute(m, g), test.resource)
			if !ok || b.Now != test.now || b.Holds != test.holds || b.Reach != test.end {
				t.Errorf("%s: now %d, planned %d, at most %d; want %d, %d, %d", test.resource, b.Now, b.Holds, b.Reach, test.now, test.holds, test.end)
			}
		})
	}
}

// What ends first comes first, and the plan holds no more than that.
func TestWhatEndsFirstComesFirst(t *testing.T) {
	for _, name := range machineNames(t) {
		_, p := open(t, name).plan(t)
		if !slices.IsSortedFunc(p.Capacity, func(a, b tuning.Bound) int { return int(min(a.Holds, 1<<40)) - int(min(b.Holds, 1<<40)) }) {
			t.Errorf("%s: %+v", name, p.Capacity)
		}
		if p.Holds != p.Capacity[0].Holds {
			t.Errorf("%s holds %d, its first bound %d", name, p.Holds, p.Capacity[0].Holds)
		}
	}
}

// A setting that may not be changed is one that the plan cannot raise.
func TestBoundThatCannotBeRaised(t *testing.T) {
	m, g := worked()
	m.Settings["proc/sys/fs/nr_open"] = tuning.Setting{Value: "65536", Denied: tuning.EROFS}
	p := tuning.Compute(m, g)
	b, _ := boundOf(p, "ceiling of open files")
	if b.Holds != b.Now || b.Reach <= b.Now || !strings.Contains(b.Lift, "read-only") {
		t.Errorf("%+v", b)
	}
	if p.Capacity[0].Resource != b.Resource || p.Holds != b.Holds {
		t.Errorf("%d, first %+v", p.Holds, p.Capacity[0])
	}
	var text strings.Builder
	if err := p.WriteCapacity(&text); err != nil || !strings.Contains(text.String(), "raised by: fs.nr_open (no-permission: read-only here") {
		t.Error(text.String(), err)
	}
}

func TestBoxTooSmallForItsGoal(t *testing.T) {
	m, g := worked()
	g.Links = 50_000_000
	p := tuning.Compute(m, g)
	if p.Reach >= p.Links {
		t.Errorf("holds %d", p.Reach)
	}
	var text strings.Builder
	if err := p.WriteCapacity(&text); err != nil || !strings.Contains(text.String(), "This box cannot hold 50,000,000 links.") {
		t.Error(text.String(), err)
	}
}

// A goal of nothing is what the box can hold: with the plan and others' part it holds what the plan is for.
func TestGoalOfNothing(t *testing.T) {
	for _, name := range machineNames(t) {
		m := open(t, name)
		m.Goal.Links, m.Goal.MessagesPerSecond = 0, 0
		_, p := m.plan(t)
		if p.Links == 0 || p.Reach < p.Links {
			t.Errorf("%s: a plan for %d links, and %d are held", name, p.Links, p.Reach)
		}
		if p.Messages == 0 || p.Packets != 3*p.Links/25+2*p.Messages {
			t.Errorf("%s: %d messages, %d packets", name, p.Messages, p.Packets)
		}
	}
}

func TestAdvice(t *testing.T) {
	nic := func(m *tuning.Machine) *tuning.NIC {
		m.NICs = []tuning.NIC{{}}
		m.NICs[0].Name, m.NICs[0].Leaf.Physical = "eth0", true
		return &m.NICs[0]
	}
	tests := []struct {
		name    string
		change  func(*tuning.Machine, *tuning.Goal)
		subject string
		do, why string
	}{
		{"files", nil, "edged.service", "LimitNOFILE=1001056", "524,288 files"},
		{"control group", func(m *tuning.Machine, _ *tuning.Goal) { m.Cgroup.MemoryHigh = 2 << 30 }, "edged.service", "MemoryHigh= and MemoryMax= of 7.8 GiB or none", "allows 2 GiB"},
		{"quota", func(m *tuning.Machine, _ *tuning.Goal) { m.Cgroup.CPUs = 2.5 }, "edged.service", "no CPUQuota=", "2.5 CPUs"},
		{"container", func(m *tuning.Machine, _ *tuning.Goal) { m.Container = "lxc" }, "the host", "run edged tune apply there", "lxc"},
		{"its limits", func(m *tuning.Machine, _ *tuning.Goal) { m.Container = "lxc" }, "the container", "LimitNOFILE=1001056", "524,288"},
		{"tracking", nil, "firewall", "NOTRACK for the gateway's ports", "each link is an entry"},
		{"hash", nil, "kernel command line", "thash_entries=1048576", "a chain of 7.6"},
		{"privileges", func(m *tuning.Machine, _ *tuning.Goal) {
			m.Process.UID = 1000
			m.Settings["proc/sys/fs/nr_open"] = tuning.Setting{Value: "1024", Denied: tuning.EACCES}
		}, "you", "edged tune apply as root", "user 1000"},
		{"CPUs that are kept from it", func(m *tuning.Machine, _ *tuning.Goal) {
			n := nic(m)
			n.Mapped = true
			n.RX = append(n.RX, queue(9), queue(3), queue(8))
		}, "edged.service", "CPUAffinity= and AllowedCPUs= with 8-9", "may not run on"},
		{"a map that is not known", func(m *tuning.Machine, _ *tuning.Goal) { nic(m).Why = "eth0 tells no queues" }, "eth0", "nothing", "eth0 tells no queues"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, g := worked()
			if test.change != nil {
				test.change(m, &g)
			}
			p := tuning.Compute(m, g)
			if !slices.ContainsFunc(p.Advice, func(a tuning.Advice) bool {
				return a.Subject == test.subject && a.Do == test.do && strings.Contains(a.Why, test.why)
			}) {
				t.Errorf("%+v", p.Advice)
			}
		})
	}
	m, g := worked()
	g.Links = 1000
	m.Settings["proc/sys/net/netfilter/nf_conntrack_count"] = tuning.Setting{Value: "0"}
	if p := tuning.Compute(m, g); len(p.Advice) > 0 {
		t.Errorf("nothing is to be done, yet %+v", p.Advice)
	}
}

// The table for every day has what is to be done and what cannot be, and none of the rest.
func TestTableForEveryDay(t *testing.T) {
	_, plan := open(t, "owned").plan(t)
	var b strings.Builder
	if err := plan.WriteTable(&b, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/table.txt", []byte(b.String()))
}
