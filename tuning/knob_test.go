package tuning_test

import (
	"slices"
	"strings"
	"testing"

	"edged/tuning"
)

// with returns the entry of key in the plan of the worked machine after change, whose setting of key is now.
func with(t *testing.T, key, now string, change func(*tuning.Machine, *tuning.Goal)) tuning.Entry {
	t.Helper()
	m, g := worked()
	m.Settings["proc/sys/"+strings.ReplaceAll(key, ".", "/")] = tuning.Setting{Value: now}
	if rest, ok := strings.CutPrefix(key, "/sys/"); ok {
		m.Settings["sys/"+rest] = tuning.Setting{Value: now}
	}
	if change != nil {
		change(m, &g)
	}
	e, ok := tuning.Compute(m, g).Entry(key)
	if !ok {
		t.Fatal("no entry", key)
	}
	return e
}

// A table of cases, long because the knobs are many.
func TestKnobs(t *testing.T) {
	bbr := func(m *tuning.Machine, _ *tuning.Goal) {
		m.Settings["proc/sys/net/ipv4/tcp_congestion_control"] = tuning.Setting{Value: "bbr"}
	}
	fast := func(mbit int) func(*tuning.Machine, *tuning.Goal) {
		return func(m *tuning.Machine, g *tuning.Goal) {
			bbr(m, g)
			m.NICs = []tuning.NIC{{}}
			m.NICs[0].SpeedMbit = mbit
		}
	}
	virtual := func(m *tuning.Machine, _ *tuning.Goal) { m.NICs = []tuning.NIC{{}} }
	physical := func(m *tuning.Machine, _ *tuning.Goal) {
		m.NICs = []tuning.NIC{{}}
		m.NICs[0].Leaf.Physical = true
	}
	fewPackets := func(m *tuning.Machine, _ *tuning.Goal) {
		m.Softnet = tuning.Softnet{Processed: 99_999, Squeezed: 50_000}
	}
	squeezed := func(n uint64) func(*tuning.Machine, *tuning.Goal) {
		return func(m *tuning.Machine, _ *tuning.Goal) { m.Softnet = tuning.Softnet{Processed: 1_000_000, Squeezed: n} }
	}
	buffer := func(n int) func(*tuning.Machine, *tuning.Goal) {
		return func(_ *tuning.Machine, g *tuning.Goal) { g.Buffer = n }
	}
	ports := func(all ...uint16) func(*tuning.Machine, *tuning.Goal) {
		return func(_ *tuning.Machine, g *tuning.Goal) { g.Ports = all }
	}
	nodes := func(m *tuning.Machine, g *tuning.Goal) {
		m.CPU.Nodes = [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}}
	}
	one := func(_ *tuning.Machine, g *tuning.Goal) { g.Reactors = 1 }
	congestion := func(name string) func(*tuning.Machine, *tuning.Goal) {
		return func(m *tuning.Machine, g *tuning.Goal) { g.Congestion = name }
	}
	tests := []struct {
		key, now string
		change   func(*tuning.Machine, *tuning.Goal)
		want     string // empty: left alone
	}{
		// capacities are raised and never lowered
		{"net.core.somaxconn", "128", nil, "65535"},
		{"net.core.somaxconn", "262144", nil, "262144"},
		{"fs.nr_open", "1073741816", nil, "1073741816"},
		{"fs.file-max", "9223372036854775807", nil, "9223372036854775807"},
		{"fs.file-max", "100000", nil, "2065536"},
		{"fs.epoll.max_user_watches", "500000", nil, "1200000"},
		{"vm.min_free_kbytes", "1048576", nil, "1048576"},
		{"net.ipv4.tcp_max_tw_buckets", "65536", nil, "250000"},
		{"net.ipv4.tcp_max_orphans", "65536", nil, "500000"},
		{"net.ipv4.tcp_max_syn_backlog", "128", nil, "65535"},

		// vectors are raised number by number, and written whole
		{"net.ipv4.tcp_mem", "900000 1000000 1100000", nil, "900000 1258291 1677721"},
		{"net.ipv4.tcp_mem", "3000000 4000000 5000000", nil, "3000000 4000000 5000000"},
		{"net.ipv4.tcp_mem", "12", nil, "838860 1258291 1677721"},
		{"net.ipv4.tcp_rmem", "4096 131072 33554432", nil, "4096 131072 1048576"},
		{"net.ipv4.tcp_rmem", "4096 87380 174760", nil, "4096 87380 174760"},
		{"net.ipv4.tcp_rmem", "9000 131072 100", nil, "4096 131072 1048576"}, // the kernel takes a most below the first
		{"net.ipv4.tcp_wmem", "4096 16384 4194304", nil, "4096 16384 262144"},

		// bounds are lowered and never raised
		{"net.ipv4.tcp_synack_retries", "5", nil, "3"},
		{"net.ipv4.tcp_synack_retries", "2", nil, "2"},
		{"net.ipv4.tcp_fin_timeout", "60", nil, "15"},
		{"net.ipv4.tcp_fin_timeout", "5", nil, "5"},
		{"net.ipv4.tcp_orphan_retries", "0", nil, "3"}, // 0 means 8
		{"net.ipv4.tcp_orphan_retries", "1", nil, "1"},
		{"vm.swappiness", "60", nil, "10"},
		{"vm.swappiness", "1", nil, "1"},

		// the one right value
		{"net.ipv4.tcp_syncookies", "0", nil, "1"},
		{"net.ipv4.tcp_syncookies", "2", nil, "1"},
		{"net.ipv4.tcp_abort_on_overflow", "1", nil, "0"},
		{"net.ipv4.tcp_no_metrics_save", "0", nil, "1"},

		// what depends on the machine or on the goal
		{"net.ipv4.tcp_slow_start_after_idle", "1", nil, "0"},
		{"net.ipv4.tcp_slow_start_after_idle", "1", bbr, ""},
		{"net.ipv4.tcp_migrate_req", "0", nil, "1"},
		{"net.ipv4.tcp_migrate_req", "0", one, ""},
		{"net.core.netdev_max_backlog", "1000", virtual, "10000"},
		{"net.core.netdev_max_backlog", "1000", physical, ""},
		{"net.core.netdev_max_backlog", "1000", nil, "10000"}, // no device is known: lo carries the traffic
		{"net.core.netdev_max_backlog", "30000", virtual, "30000"},
		{"net.core.netdev_budget", "300", squeezed(100), ""},
		{"net.core.netdev_budget", "300", squeezed(101), "600"},
		{"net.core.netdev_budget", "300", fewPackets, ""},
		{"net.core.netdev_budget_usecs", "2000", squeezed(500), "8000"},
		{"net.core.rmem_max", "212992", nil, ""},
		{"net.core.rmem_max", "212992", buffer(1 << 20), "2097152"},
		{"net.core.wmem_max", "4194304", buffer(1 << 20), "4194304"},
		{"net.core.default_qdisc", "pfifo_fast", bbr, ""},
		{"net.core.default_qdisc", "pfifo_fast", fast(1000), ""},
		{"net.core.default_qdisc", "pfifo_fast", fast(10_000), "fq"},
		{"net.ipv4.tcp_congestion_control", "cubic", nil, ""},
		{"net.ipv4.tcp_congestion_control", "cubic", congestion("bbr"), "bbr"},
		{"net.ipv4.tcp_congestion_control", "bbr", congestion("bbr"), "bbr"},
		{"net.ipv4.ip_local_reserved_ports", "", ports(7000, 80), ""},
		{"net.ipv4.ip_local_reserved_ports", "", ports(7000, 40001, 40000), "40000-40001"},
		{"net.ipv4.ip_local_reserved_ports", "50000-50003,8080", ports(40000), "8080,40000,50000-50003"},
		{"net.ipv4.ip_local_reserved_ports", "40000", ports(40000), ""},
		{"kernel.numa_balancing", "1", nil, ""},
		{"kernel.numa_balancing", "1", nodes, ""}, // two nodes, but no map that reactors could be pinned by
		{"net.core.rps_sock_flow_entries", "0", nil, "0"},
		{"net.core.rps_sock_flow_entries", "32768", nil, ""},
		{"/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never", nil, "madvise"},
		{"/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]", nil, ""},

		// what edged never touches
		{"net.ipv4.tcp_tw_reuse", "0", nil, ""},
		{"net.ipv4.tcp_keepalive_time", "7200", nil, ""},
		{"net.ipv4.tcp_notsent_lowat", "4294967295", nil, ""},
		{"net.core.busy_poll", "50", nil, ""},
		{"vm.overcommit_memory", "2", nil, ""},
	}
	for _, test := range tests {
		e := with(t, test.key, test.now, test.change)
		status := tuning.Change
		switch {
		case test.want == "":
			status = tuning.Kept
		case test.want == test.now:
			status = tuning.OK
		}
		if e.Wanted != test.want || e.Status != status {
			t.Errorf("%s = %q: wanted %q, %s; expected %q, %s", test.key, test.now, e.Wanted, e.Status, test.want, status)
		}
	}
}

func TestUnknownCongestionControlSaysWhatThereIs(t *testing.T) {
	e := with(t, "net.ipv4.tcp_congestion_control", "cubic", func(m *tuning.Machine, g *tuning.Goal) {
		g.Congestion = "bbr"
		m.Settings["proc/sys/net/ipv4/tcp_available_congestion_control"] = tuning.Setting{Value: "reno cubic"}
	})
	if e.Status != tuning.Change || !strings.Contains(e.Why, "the kernel has reno cubic") {
		t.Errorf("%+v", e)
	}
}

// capacities are keys whose number must never go down.
var capacities = []string{
	"fs.nr_open", "fs.file-max", "fs.epoll.max_user_watches", "vm.min_free_kbytes", "net.core.somaxconn", "net.core.netdev_max_backlog",
	"net.core.rmem_max", "net.core.wmem_max", "net.ipv4.tcp_mem", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_max_orphans",
	"net.ipv4.tcp_max_tw_buckets", "net.netfilter.nf_conntrack_max", "RLIMIT_NOFILE",
}

// What every entry of every machine's plan must be.
func TestEveryEntry(t *testing.T) {
	for _, name := range machineNames(t) {
		m := open(t, name)
		for _, links := range []int{0, 1, 100_000, 100_000_000} {
			m.Goal.Links = links
			found, plan := m.plan(t)
			seen := map[string]bool{}
			for _, e := range plan.Entries {
				if seen[e.Key] {
					t.Errorf("%s: %s is there twice", name, e.Key)
				}
				seen[e.Key] = true
				checkEntry(t, name, e)
				if _, err := tuning.Explain(found, plan, e.Key); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if plan.Now > plan.Holds || plan.Holds > plan.Reach {
				t.Errorf("%s for %d links: holds %d now, %d planned, %d at most", name, links, plan.Now, plan.Holds, plan.Reach)
			}
		}
	}
}

func checkEntry(t *testing.T, name string, e tuning.Entry) {
	t.Helper()
	states := []tuning.Status{tuning.OK, tuning.Change, tuning.NoPermission, tuning.Absent, tuning.AdminOwned, tuning.Kept}
	needsNote := e.Status == tuning.NoPermission || e.Status == tuning.Absent || e.Status == tuning.AdminOwned
	switch {
	case !slices.Contains(states, e.Status):
		t.Errorf("%s: %s is %q", name, e.Key, e.Status)
	case e.Why == "" || strings.ContainsAny(e.Why, "\n") || strings.HasSuffix(e.Why, "."):
		t.Errorf("%s: %s: %q is no sentence of a table", name, e.Key, e.Why)
	case needsNote != (e.Note != "") && e.Status != tuning.Kept:
		t.Errorf("%s: %s is %s, note %q", name, e.Key, e.Status, e.Note)
	case e.Source == "":
		t.Errorf("%s: %s has no source", name, e.Key)
	case e.Status == tuning.Change && e.Wanted == e.Current:
		t.Errorf("%s: %s is to be changed into what it is", name, e.Key)
	case e.Status == tuning.Change && e.Kind == tuning.KindSysctl && e.Current != "" &&
		len(strings.Fields(e.Wanted)) != len(strings.Fields(e.Current)):
		t.Errorf("%s: %s: %q for %q is not the whole vector", name, e.Key, e.Wanted, e.Current)
	}
	if !slices.Contains(capacities, e.Key) || e.Wanted == "" {
		return
	}
	now, wanted := strings.Fields(e.Current), strings.Fields(e.Wanted)
	for i := range now {
		if longer(wanted[i], now[i]) < 0 {
			t.Errorf("%s: %s would be lowered from %s to %s", name, e.Key, e.Current, e.Wanted)
		}
	}
}

// Without allow_nic nothing of a device changes, whatever the machine.
func TestDevicesNeedLeave(t *testing.T) {
	for _, name := range machineNames(t) {
		m := open(t, name)
		m.Goal.AllowNIC = false
		_, plan := m.plan(t)
		for _, e := range plan.Changes() {
			if e.Device != "" {
				t.Errorf("%s: %s would be changed", name, e.Key)
			}
		}
		m.apply(t, tuning.Options{Force: true})
		if sets := m.Driver.Sets(); len(sets) > 0 {
			t.Errorf("%s: %v", name, sets)
		}
		for _, w := range m.Files.writes {
			if !strings.HasPrefix(w, "proc/sys/") && !strings.HasPrefix(w, "sys/kernel/mm/") {
				t.Errorf("%s: written %s", name, w)
			}
		}
	}
}
