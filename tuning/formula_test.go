package tuning_test

import (
	"testing"

	"edged/tuning"
)

// worked is a gateway for a million links on 16 GiB and 8 CPUs whose kernel has its defaults.
func worked() (*tuning.Machine, tuning.Goal) {
	cpus := []int{0, 1, 2, 3, 4, 5, 6, 7}
	m := &tuning.Machine{
		Kernel:   tuning.Kernel{PageSize: 4096},
		RAM:      16 << 30,
		CPU:      tuning.CPU{Online: cpus, Allowed: cpus},
		Process:  tuning.Process{FilesSoft: 1024, FilesHard: 524288},
		Settings: map[string]tuning.Setting{},
	}
	for key, value := range map[string]string{
		"fs/nr_open": "1048576", "fs/file-max": "1617013", "fs/epoll/max_user_watches": "3735552",
		"net/core/somaxconn": "4096", "net/ipv4/tcp_mem": "188724 251633 377448", "net/ipv4/tcp_max_orphans": "65536",
		"net/netfilter/nf_conntrack_max": "262144", "net/netfilter/nf_conntrack_count": "17",
		"net/ipv4/tcp_ehash_entries": "131072", "vm/min_free_kbytes": "67584",
	} {
		m.Settings["proc/sys/"+key] = tuning.Setting{Value: value}
	}
	return m, tuning.Goal{Config: tuning.Config{Links: 1_000_000}}
}

func TestMillionLinksOnSixteenGibibytes(t *testing.T) {
	p := tuning.Compute(worked())
	for key, want := range map[string]string{
		"net.ipv4.tcp_mem":               "838860 1258291 1677721",
		"fs.nr_open":                     "1065536",
		"fs.file-max":                    "2065536",
		"fs.epoll.max_user_watches":      "3735552",
		"net.ipv4.tcp_max_orphans":       "500000",
		"net.netfilter.nf_conntrack_max": "2000000",
		"net.core.somaxconn":             "65535",
		"RLIMIT_NOFILE":                  "1001056",
		"vm.min_free_kbytes":             "167772",
	} {
		if e, ok := p.Entry(key); !ok || e.Wanted != want {
			t.Errorf("%s: %q wanted, want %q", key, e.Wanted, want)
		}
	}
	if len(p.Advice) == 0 || p.Advice[0].Do != "LimitNOFILE=1001056" {
		t.Errorf("advice: %+v", p.Advice)
	}
}

func TestCapacityIsNeverLowered(t *testing.T) {
	m, g := worked()
	g.Links = 10
	for _, e := range tuning.Compute(m, g).Changes() {
		if e.Key != "net.core.somaxconn" && e.Key != "vm.min_free_kbytes" {
			t.Errorf("%s: %s, to be %s for ten links", e.Key, e.Current, e.Wanted)
		}
	}
}
