package tuning

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"edged/nic"
)

// beside are sysctls that plans depend on and never change.
var beside = []string{"net.netfilter.nf_conntrack_count", "net.ipv4.tcp_available_congestion_control"}

// Inspect reads what the box is: some hundred small files, and what Adapters asks the kernel. interfaces names those whose queues
// matter. It changes nothing. It returns an error only where the box cannot be read at all; what is not there is told
// in the Machine, with its reason.
func (b *Box) Inspect(ctx context.Context, interfaces []string) (*Machine, error) {
	m := &Machine{Settings: map[string]Setting{}}
	if m.RAM = b.memTotal(); m.RAM == 0 {
		return nil, errors.New("read the box: " + b.path("proc/meminfo") + " tells no MemTotal")
	}
	m.Kernel = b.kernel()
	m.CPU = b.cpus()
	m.Process = b.process()
	m.Cgroup = b.cgroup()
	m.Container = b.container()
	m.Daemons = b.daemons()
	m.Softnet = b.softnet()
	for i := range knobs {
		m.Settings[knobs[i].path()] = b.setting(knobs[i].path(), knobs[i].want != nil)
	}
	for _, key := range beside {
		m.Settings[sysctlPath(key)] = b.setting(sysctlPath(key), false)
	}
	m.Owners = b.owners(m.Daemons.Tuned)
	b.devices(ctx, m, interfaces)
	return m, nil
}

func (b *Box) kernel() Kernel {
	k := Kernel{
		Release: b.read("proc/sys/kernel/osrelease"), BootID: b.read("proc/sys/kernel/random/boot_id"),
		PageSize: b.pageSize,
	}
	if k.PageSize == 0 {
		k.PageSize = uint64(os.Getpagesize())
	}
	switch {
	case b.probe != nil:
		k.Features = b.probe()
	case b.real():
		k.Features = probeFeatures()
	}
	k.Features.MigrateReq = b.setting(sysctlPath("net.ipv4.tcp_migrate_req"), false).Errno == ""
	return k
}

func (b *Box) memTotal() uint64 {
	for _, line := range b.lines("proc/meminfo") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			return number(f[1]) << 10
		}
	}
	return 0
}

// cpus reads the processors. Where sysfs does not tell the cores, each CPU is one.
func (b *Box) cpus() CPU {
	c := CPU{Online: cpuList(b.read("sys/devices/system/cpu/online"))}
	c.Allowed = cpuList(b.statusField(b.pid(), "Cpus_allowed_list"))
	if len(c.Online) == 0 {
		c.Online = c.Allowed
	}
	c.Allowed = slices.DeleteFunc(c.Allowed, func(cpu int) bool { return !slices.Contains(c.Online, cpu) })
	if len(c.Allowed) == 0 {
		c.Allowed = c.Online
	}
	seen := map[int]bool{}
	for _, cpu := range c.Online {
		if seen[cpu] {
			continue
		}
		core := cpuList(b.read("sys/devices/system/cpu/cpu" + strconv.Itoa(cpu) + "/topology/thread_siblings_list"))
		if !slices.Contains(core, cpu) {
			core = []int{cpu}
		}
		for _, sibling := range core {
			seen[sibling] = true
		}
		c.Cores = append(c.Cores, core)
	}
	for _, name := range b.disk().List("sys/devices/system/node") {
		digits, ok := strings.CutPrefix(name, "node")
		node, err := strconv.Atoi(digits)
		if !ok || err != nil || node > 1<<10 {
			continue
		}
		for len(c.Nodes) <= node {
			c.Nodes = append(c.Nodes, nil)
		}
		c.Nodes[node] = cpuList(b.read("sys/devices/system/node/" + name + "/cpulist"))
	}
	if len(c.Nodes) == 0 {
		c.Nodes = [][]int{c.Online}
	}
	return c
}

// softnet adds up /proc/net/softnet_stat: a line for each CPU, hexadecimal (net/core/net-procfs.c).
func (b *Box) softnet() Softnet {
	var sum Softnet
	for _, line := range b.lines("proc/net/softnet_stat") {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		for i, to := range []*uint64{&sum.Processed, &sum.Dropped, &sum.Squeezed} {
			n, _ := strconv.ParseUint(f[i], 16, 64) // what is none counts as nothing
			*to += n
		}
	}
	return sum
}

// container names what this is a container of; empty where nothing says so.
func (b *Box) container() string {
	if name := b.read("run/systemd/container"); name != "" {
		return name
	}
	environ, _ := b.disk().Read("proc/1/environ") // only root may
	for variable := range strings.SplitSeq(environ, "\x00") {
		if name, ok := strings.CutPrefix(variable, "container="); ok && name != "" {
			return name
		}
	}
	for _, mark := range []struct{ path, name string }{{".dockerenv", "docker"}, {"run/.containerenv", "podman"}} {
		if _, err := b.disk().Read(mark.path); err == nil {
			return mark.name
		}
	}
	groups, _ := b.disk().Read("proc/1/cgroup")
	for _, name := range []string{"docker", "kubepods", "lxc"} {
		if strings.Contains(groups, "/"+name) {
			return name
		}
	}
	return ""
}

// devices adds the network devices, and the files of their queues and interrupts.
func (b *Box) devices(ctx context.Context, m *Machine, interfaces []string) {
	note := func(err error) { m.Notes = append(m.Notes, "network devices: "+err.Error()) }
	host := b.net()
	set, err := host.Resolve(interfaces)
	if err != nil {
		note(err)
		return
	}
	for _, name := range set.Missing {
		m.Notes = append(m.Notes, "there is no network device "+name)
	}
	for _, leaf := range set.Leaves {
		d, err := host.Map(ctx, leaf)
		if err != nil {
			note(err)
			continue
		}
		n := NIC{Device: d, Leaf: leaf}
		stats := "sys/class/net/" + n.Name + "/statistics/"
		n.Missed, n.Packets = number(b.read(stats+"rx_missed_errors")), number(b.read(stats+"rx_packets"))
		b.queueFiles(m, n)
		m.NICs = append(m.NICs, n)
	}
}

// queueFiles reads what packet steering and interrupts are set by.
func (b *Box) queueFiles(m *Machine, n NIC) {
	for q := range n.RX {
		for _, file := range []string{"rps_cpus", "rps_flow_cnt"} {
			path := queuePath(n.Name, "rx", q, file)
			m.Settings[path] = b.setting(path, true)
		}
	}
	for q := range n.TX {
		path := queuePath(n.Name, "tx", q, "xps_cpus")
		m.Settings[path] = b.setting(path, true)
	}
	for _, q := range slices.Concat(n.RX, n.TX) {
		if q.IRQ != 0 {
			m.Settings[irqPath(q.IRQ)] = b.setting(irqPath(q.IRQ), true)
		}
	}
}

// cpuList reads a list such as "0-3,8"; nil where it is none.
func cpuList(text string) []int {
	cpus, err := nic.ParseCPUs(text)
	if err != nil || len(cpus) == 0 {
		return nil
	}
	return cpus
}
