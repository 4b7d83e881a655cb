package tuning

import "strings"

const gibibyte = 1 << 30

// minFreeKbytes returns vm.min_free_kbytes: a hundredth of the memory, at most 1 GiB. Sockets are made in softirqs, which cannot
// wait for memory (GFP_ATOMIC) and take it from this reserve alone.
func minFreeKbytes(ram uint64) uint64 { return min(ram/100, gibibyte) / 1024 }

// chosen returns the alternative that is in force in a file such as transparent_hugepage/enabled: "always [madvise] never".
func chosen(value string) string {
	if _, rest, ok := strings.Cut(value, "["); ok {
		if word, _, ok := strings.Cut(rest, "]"); ok {
			return word
		}
	}
	return value
}

var memoryKnobs = []knob{
	{
		key: "vm.min_free_kbytes", scope: machine, unit: "KiB",
		rule:   "a hundredth of the memory, at most 1 GiB, never lowered",
		why:    "packets and sockets are made where the kernel cannot wait for memory, and come from this reserve",
		risk:   "so much memory is no longer there for programs",
		source: "Documentation/admin-guide/sysctl/vm.rst",
		want:   func(s *sizing, now string) (string, string) { return raised(now, minFreeKbytes(s.m.RAM)), "" },
	},
	{
		key: "vm.swappiness", scope: machine, unit: "weight of swapping against dropping file pages",
		rule:   "at most 10",
		why:    "a gateway whose records are swapped out stalls all links of a reactor",
		source: "Documentation/admin-guide/sysctl/vm.rst; tuned's throughput-performance has the same",
		want:   func(_ *sizing, now string) (string, string) { return lowered(now, 10), "" },
	},
	{
		key: "vm.overcommit_memory", scope: machine, unit: "mode",
		why:    "links take kernel memory, which this does not limit",
		source: "Documentation/admin-guide/sysctl/vm.rst",
	},
	{
		key: "vm.max_map_count", scope: machine, unit: "mappings of one process",
		why:    "a gateway maps few, however many links it has",
		source: "Documentation/admin-guide/sysctl/vm.rst",
	},
	{
		key: "kernel.numa_balancing", scope: machine, unit: "0 or 1",
		rule:   "0 where reactors are pinned and there are several NUMA nodes",
		why:    "reactors are pinned: moving their memory about, and the page faults by which the kernel looks for it, only cost",
		source: "Documentation/admin-guide/sysctl/kernel.rst; tuned's network-latency has the same",
		want: func(s *sizing, _ string) (string, string) {
			if len(s.m.CPU.Nodes) < 2 {
				return "", "there is one NUMA node"
			}
			if !s.pinned() {
				return "", "reactors are not pinned where queues are not mapped to CPUs"
			}
			return "0", ""
		},
	},
	{
		key: "kernel.sched_autogroup_enabled", scope: machine, unit: "0 or 1",
		why:    "it has no effect on a service: its control group decides",
		source: "man 7 sched",
	},
	{
		key: "/sys/kernel/mm/transparent_hugepage/enabled", scope: machine, unit: "always, madvise or never",
		rule:   "madvise instead of always",
		why:    "with always, the gateway's sparse memory is rounded up to pages of 2 MiB",
		source: "Documentation/admin-guide/mm/transhuge.rst",
		want: func(_ *sizing, now string) (string, string) {
			if chosen(now) != "always" {
				return "", "only always costs memory"
			}
			return "madvise", ""
		},
	},
}
