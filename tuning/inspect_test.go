package tuning_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"edged/nic"
	"edged/tuning"
)

// inspect reads a box of some files beside the least that it needs.
func inspect(t *testing.T, files map[string]string) *tuning.Machine {
	t.Helper()
	m := memory{"proc/meminfo": "MemTotal:       16371712 kB\nMemFree: 1 kB\n"}
	for path, content := range files {
		m[path] = content
	}
	found, err := m.box().Inspect(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestControlGroups(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  tuning.Cgroup
	}{
		{"none", nil, tuning.Cgroup{}},
		{"the tightest of those above", map[string]string{
			"proc/self/cgroup": "0::/system.slice/edged.service",
			"sys/fs/cgroup/system.slice/edged.service/memory.max":  "max",
			"sys/fs/cgroup/system.slice/edged.service/memory.high": "8589934592",
			"sys/fs/cgroup/system.slice/edged.service/cpu.max":     "400000 100000",
			"sys/fs/cgroup/system.slice/memory.max":                "4294967296",
			"sys/fs/cgroup/system.slice/cpu.max":                   "max 100000",
		}, tuning.Cgroup{Path: "/system.slice/edged.service", MemoryMax: 4 << 30, MemoryHigh: 8 << 30, CPUs: 4}},
		{"the old hierarchy", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/box\n4:memory:/box/a\n1:name=systemd:/\n0::/",
			"sys/fs/cgroup/memory/box/a/memory.limit_in_bytes":   "9223372036854771712",
			"sys/fs/cgroup/memory/box/memory.limit_in_bytes":     "1073741824",
			"sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us":     "150000",
			"sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us":    "100000",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":         "-1",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":        "100000",
			"sys/fs/cgroup/memory/other/a/memory.limit_in_bytes": "1",
		}, tuning.Cgroup{Path: "/", MemoryMax: 1 << 30, CPUs: 1.5}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := inspect(t, test.files).Cgroup; got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

func TestContainers(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"":               {"proc/1/cgroup": "0::/init.scope", "proc/1/environ": "HOME=/\x00TERM=linux\x00"},
		"systemd-nspawn": {"run/systemd/container": "systemd-nspawn\n"},
		"lxc":            {"proc/1/environ": "A=b\x00container=lxc\x00"},
		"docker":         {".dockerenv": ""},
		"podman":         {"run/.containerenv": "engine=podman"},
		"kubepods":       {"proc/1/cgroup": "4:memory:/kubepods/besteffort/pod7"},
	} {
		if got := inspect(t, files).Container; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOwners(t *testing.T) {
	found := inspect(t, map[string]string{
		"etc/sysctl.d/10-a.conf":     "net.core.somaxconn=1024\n",
		"run/sysctl.d/20-b.conf":     "net/core/somaxconn = 2048 # no comment\n",
		"usr/lib/sysctl.d/10-a.conf": "net.core.somaxconn = 9\nfs.nr_open = 9\n", // masked by its namesake
		"usr/lib/sysctl.d/30-c.conf": "net.ipv4.tcp_*mem = 1 2 3\n-net.ipv4.tcp_rmem\n",
		"etc/sysctl.d/README":        "net.core.somaxconn = 7\n",
		"etc/sysctl.d/60-edged.conf": "-net.core.somaxconn = 65535\n",
		"etc/sysctl.conf":            "vm.swappiness = 1\n",
		"etc/tuned/active_profile":   "a b\n",
		"usr/lib/tuned/a/tuned.conf": "[sysctl]\nnet.core.somaxconn=>512\n", // tuned does not run
		"proc/1/comm":                "systemd\n",
	})
	want := map[string][]tuning.Owner{
		"net.core.somaxconn": {
			{By: "sysctl.d", File: "/etc/sysctl.d/10-a.conf", Line: 1, Value: "1024"},
			{By: "sysctl.d", File: "/run/sysctl.d/20-b.conf", Line: 1, Value: "2048 # no comment"},
		},
		"net.ipv4.tcp_mem":  {{By: "sysctl.d", File: "/usr/lib/sysctl.d/30-c.conf", Line: 1, Value: "1 2 3"}},
		"net.ipv4.tcp_wmem": {{By: "sysctl.d", File: "/usr/lib/sysctl.d/30-c.conf", Line: 1, Value: "1 2 3"}},
		"vm.swappiness":     {{By: "sysctl.d", File: "/etc/sysctl.conf", Line: 1, Value: "1"}},
	}
	if !reflect.DeepEqual(found.Owners, want) {
		t.Errorf("%v\nwant %v", found.Owners, want)
	}
}

func TestTunedProfilesIncludeOthers(t *testing.T) {
	found := inspect(t, map[string]string{
		"proc/77/comm":                       "tuned\n",
		"etc/tuned/active_profile":           "shop\n",
		"etc/tuned/profiles/shop/tuned.conf": "[main]\ninclude=base,shop\n[sysctl]\nvm.swappiness = 30\n[vm]\nvm.swappiness=1\n",
		"usr/lib/tuned/base/tuned.conf":      "[sysctl]\n# vm.swappiness=2\nvm.swappiness=10\nnet/core/somaxconn=>2048\n",
	})
	if o := found.Owners["vm.swappiness"]; len(o) != 2 || o[0].Value != "10" || o[1].Value != "30" || o[1].By != "tuned" {
		t.Errorf("%+v", o)
	}
	if o := found.Owners["net.core.somaxconn"]; len(o) != 1 || o[0].File != "/usr/lib/tuned/base/tuned.conf" || o[0].Line != 4 {
		t.Errorf("%+v", o)
	}
}

func TestDaemons(t *testing.T) {
	found := inspect(t, map[string]string{
		"proc/77/comm": "irqbalance\n", "proc/sys/kernel/comm": "x",
		"etc/default/irqbalance":   "#IRQBALANCE_ARGS=\"--banirq=1\"\nIRQBALANCE_ARGS=\"--banirq=7 --hintpolicy=ignore --banirq=8\"\n",
		"etc/sysconfig/irqbalance": "IRQBALANCE_ARGS='--banirq=9'\n",
	})
	if want := (tuning.Daemons{Irqbalance: true, BannedIRQs: []int{7, 8, 9}}); !reflect.DeepEqual(found.Daemons, want) {
		t.Errorf("%+v, want %+v", found.Daemons, want)
	}
}

func TestProcessors(t *testing.T) {
	found := inspect(t, map[string]string{
		"sys/devices/system/cpu/online":                             "0-3,6",
		"proc/self/status":                                          "Name:\tx\nUid:\t5\t6\t7\t8\nCapEff:\t0000000001001000\nCpus_allowed_list:\t1-3,9\n",
		"sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,2",
		"sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "1,3",
		"sys/devices/system/node/node0/cpulist":                     "0-3",
		"sys/devices/system/node/node2/cpulist":                     "6",
		"sys/devices/system/node/possible":                          "0-7",
	})
	want := tuning.CPU{
		Online: []int{0, 1, 2, 3, 6}, Allowed: []int{1, 2, 3},
		Cores: [][]int{{0, 2}, {1, 3}, {6}}, Nodes: [][]int{{0, 1, 2, 3}, nil, {6}},
	}
	if !reflect.DeepEqual(found.CPU, want) {
		t.Errorf("%+v\nwant %+v", found.CPU, want)
	}
	if cores := found.CPU.PhysicalCores(0); !reflect.DeepEqual(cores, []int{2, 1}) {
		t.Error("physical cores:", cores)
	}
	if p := found.Process; p.UID != 6 || !p.NetAdmin || !p.SysResource {
		t.Errorf("%+v", p)
	}
}

func TestBoxThatCannotBeRead(t *testing.T) {
	m := memory{}
	if _, err := m.box().Inspect(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "MemTotal") {
		t.Error(err)
	}
}

// silent is a kernel that tells nothing of devices, as where netlink is denied.
type silent struct{}

// Links implements nic.Kernel.
func (silent) Links() ([]nic.Link, error) { return nil, syscall.EAFNOSUPPORT }

// DefaultRoutes implements nic.Kernel.
func (silent) DefaultRoutes() ([]int, error) { return nil, syscall.EAFNOSUPPORT }

func TestDevicesThatCannotBeAsked(t *testing.T) {
	b := memory{"proc/meminfo": "MemTotal: 1000000 kB"}.box()
	b.Net.Kernel = silent{}
	found, err := b.Inspect(context.Background(), nil)
	if err != nil || len(found.Notes) != 1 || !strings.Contains(found.Notes[0], "network devices") {
		t.Error(found.Notes, err)
	}
	if errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Error("no plan for a box of which only the devices are not known")
	}
	m := open(t, "vps")
	m.Goal.Interfaces = []string{"eth0", "eth9"}
	if found, _ := m.plan(t); len(found.Notes) != 1 || !strings.Contains(found.Notes[0], "eth9") {
		t.Error(found.Notes)
	}
}

// This box is inspected as it is: whatever it is, there is a plan.
func TestThisBox(t *testing.T) {
	b := &tuning.Box{}
	found, err := b.Inspect(t.Context(), []string{nic.Auto})
	if err != nil {
		t.Fatal(err)
	}
	if found.RAM == 0 || len(found.CPU.Allowed) == 0 || found.Process.FilesHard == 0 || !found.Kernel.Features.ReuseportBPF {
		t.Errorf("%+v", found)
	}
	p := tuning.Compute(found, tuning.Goal{Config: tuning.Default()})
	if p.Links == 0 || p.Now == 0 || len(p.Entries) < 50 {
		t.Errorf("%d links, now %d, %d entries", p.Links, p.Now, len(p.Entries))
	}
}

func BenchmarkPlan(b *testing.B) {
	for b.Loop() {
		found, err := (&tuning.Box{}).Inspect(b.Context(), []string{nic.Auto})
		if err != nil {
			b.Fatal(err)
		}
		tuning.Compute(found, tuning.Goal{Config: tuning.Default()})
	}
}

// BenchmarkPlans makes the plans of all machines of testdata: each is to take less than 100 ms.
func BenchmarkPlans(b *testing.B) {
	for _, name := range machineNames(b) {
		b.Run(name, func(b *testing.B) {
			m := open(b, name)
			for b.Loop() {
				m.plan(b)
			}
		})
	}
}
