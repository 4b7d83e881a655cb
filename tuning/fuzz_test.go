package tuning_test

import (
	"cmp"
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"edged/nic"
	"edged/nic/nictest"
	"edged/tuning"
)

// memory is a box's files that are nowhere.
type memory map[string]string

// Read implements tuning.Files.
func (m memory) Read(path string) (string, error) {
	content, ok := m[path]
	if !ok {
		return "", fs.ErrNotExist
	}
	return content, nil
}

// Denied implements tuning.Files.
func (m memory) Denied(string) error { return nil }

// Write implements tuning.Files.
func (m memory) Write(path, value string) error { m[path] = value; return nil }

// List implements tuning.Files.
func (m memory) List(dir string) []string {
	var names []string
	for path := range m {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// box returns a box of these files, without devices.
func (m memory) box() *tuning.Box {
	b := &tuning.Box{Root: "/nowhere", Net: nic.Host{Kernel: &nictest.Kernel{}, Driver: &nictest.Driver{}}}
	tuning.Replace(b, m, tuning.Features{}, 4096)
	return b
}

// Whatever the kernel's files say, a plan can be made, and no capacity in it is lower than it is.
func FuzzSettings(f *testing.F) {
	f.Add("4096", "188976\t251970\t377952", "always [madvise] never", "Max open files 1024 524288 files")
	f.Add("18446744073709551615", "18446744073709551615 1 1", "[", "Max open files unlimited unlimited files")
	f.Add("-1", "1 2", "", "")
	f.Fuzz(func(t *testing.T, number, vector, word, limits string) {
		m := memory{
			"proc/meminfo": "MemTotal: 16371712 kB", "proc/self/limits": limits, "proc/self/status": "Cpus_allowed_list: " + number,
			"proc/net/softnet_stat": vector, "proc/self/cgroup": "0::/x", "sys/fs/cgroup/x/memory.max": number,
			"sys/fs/cgroup/x/cpu.max": vector, "sys/devices/system/cpu/online": word,
			"sys/kernel/mm/transparent_hugepage/enabled": word,
			"proc/sys/net/core/somaxconn":                number, "proc/sys/fs/nr_open": number, "proc/sys/net/ipv4/tcp_mem": vector,
			"proc/sys/net/ipv4/tcp_rmem": vector, "proc/sys/net/ipv4/ip_local_reserved_ports": word,
			"proc/sys/net/ipv4/tcp_ehash_entries": number, "proc/sys/net/ipv4/tcp_fin_timeout": number,
		}
		found, err := m.box().Inspect(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		p := tuning.Compute(found, tuning.Goal{Ports: []uint16{40000}})
		for _, key := range []string{"net.core.somaxconn", "fs.nr_open", "net.ipv4.tcp_mem"} {
			e, _ := p.Entry(key)
			now, wanted := strings.Fields(e.Current), strings.Fields(e.Wanted)
			if len(now) != len(wanted) || strings.Trim(e.Current, "0123456789 ") != "" || len(slices.MaxFunc(now, longer)) > 19 {
				continue // what is no number is replaced
			}
			for i := range now {
				if longer(wanted[i], now[i]) < 0 {
					t.Errorf("%s: %s, wanted %s", key, e.Current, e.Wanted)
				}
			}
		}
		if err := p.WriteTable(&strings.Builder{}, true); err != nil {
			t.Error(err)
		}
		if err := p.WriteCapacity(&strings.Builder{}); err != nil {
			t.Error(err)
		}
	})
}

// longer compares decimals without reading them.
func longer(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// Whatever administrators' files say, who sets what is told with a line that there is.
func FuzzOwners(f *testing.F) {
	f.Add("net.core.somaxconn = 1\n-net/ipv4/tcp_mem=1 2 3\n# x\n;\nnet.ipv4.tcp_* = 3\n-net.ipv4.tcp_mem", "[main]\ninclude=a, b\n[sysctl]\nvm.swappiness=>10\n")
	f.Add("=\n-=\n-", "[sysctl\n=\n[]\n]")
	f.Fuzz(func(t *testing.T, file, profile string) {
		m := memory{
			"proc/meminfo": "MemTotal: 16371712 kB", "proc/7/comm": "tuned", "etc/tuned/active_profile": "a",
			"etc/tuned/a/tuned.conf": profile, "usr/lib/tuned/b/tuned.conf": profile,
			"etc/sysctl.d/90-a.conf": file, "etc/sysctl.conf": file, "etc/default/irqbalance": file,
		}
		found, err := m.box().Inspect(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for key, owners := range found.Owners {
			for _, o := range owners {
				lines := strings.Split(m[strings.TrimPrefix(o.File, "/")], "\n")
				if o.Line < 1 || o.Line > len(lines) || !strings.Contains(lines[o.Line-1], "=") {
					t.Errorf("%s is set by %+v", key, o)
				}
			}
		}
	})
}
