package tuning

import (
	"slices"

	"edged/nic"
)

// Machine is what Inspect found: all that a plan depends on. It is a value; nobody changes it after Inspect returned.
type Machine struct {
	Kernel    Kernel             `json:"kernel"`
	RAM       uint64             `json:"ram"` // bytes
	CPU       CPU                `json:"cpu"`
	Process   Process            `json:"process"`
	Cgroup    Cgroup             `json:"cgroup"`
	Container string             `json:"container,omitempty"` // "docker", "lxc", …; empty: none was recognised
	Settings  map[string]Setting `json:"-"`                   // by path below the root; what is not there has its Errno
	Owners    map[string][]Owner `json:"-"`                   // who sets a sysctl, by its dotted key; the last one wins
	Daemons   Daemons            `json:"daemons"`
	Softnet   Softnet            `json:"softnet"`
	NICs      []NIC              `json:"nics"`
	Notes     []string           `json:"notes,omitempty"` // what could not be found out, and why
}

// Kernel is what runs the box. Nothing is decided by Release: whether a thing is there is tried.
type Kernel struct {
	Release  string   `json:"release"`
	PageSize uint64   `json:"page_size"` // bytes
	BootID   string   `json:"boot_id,omitempty"`
	Features Features `json:"features"`
}

// Features are abilities of the kernel that were tried.
type Features struct {
	ReuseportBPF bool `json:"reuseport_bpf"` // SO_ATTACH_REUSEPORT_CBPF: a new link goes to the reactor of its queue
	EpollParams  bool `json:"epoll_params"`  // EPIOCSPARAMS: busy polling for one epoll
	MigrateReq   bool `json:"migrate_req"`   // net.ipv4.tcp_migrate_req: a listener's queue can move to another one
	NetdevGenl   bool `json:"netdev_genl"`   // the netdev family of generic netlink: queues tell their NAPI and interrupt
}

// CPU is the processors, as lists of their numbers in order.
type CPU struct {
	Online  []int   `json:"online"`
	Allowed []int   `json:"allowed"` // those that this process may run on: affinity and cpuset
	Cores   [][]int `json:"cores"`   // the online threads of each physical core
	Nodes   [][]int `json:"nodes"`   // those of each NUMA node, by its number; one node where the kernel knows none
}

// PhysicalCores returns one allowed CPU of each physical core that has one, those of node first, which is -1 where that is not
// known.
func (c CPU) PhysicalCores(node int) []int {
	var near, far []int
	for _, core := range c.Cores {
		for _, cpu := range core {
			if !slices.Contains(c.Allowed, cpu) {
				continue
			}
			if node < 0 || node >= len(c.Nodes) || slices.Contains(c.Nodes[node], cpu) {
				near = append(near, cpu)
			} else {
				far = append(far, cpu)
			}
			break
		}
	}
	return append(near, far...)
}

// Process is the process that is asked about: this one, or a running gateway.
type Process struct {
	UID         int    `json:"uid"`
	NetAdmin    bool   `json:"net_admin"`    // CAP_NET_ADMIN: net.* sysctls and devices
	SysResource bool   `json:"sys_resource"` // CAP_SYS_RESOURCE: may raise its own hard limits
	FilesSoft   uint64 `json:"files_soft"`   // RLIMIT_NOFILE
	FilesHard   uint64 `json:"files_hard"`
}

// Cgroup is the tightest of each limit over the process's control group and those above it. 0: no limit.
type Cgroup struct {
	Path       string  `json:"path,omitempty"`
	MemoryMax  uint64  `json:"memory_max,omitempty"`  // bytes; beyond it the kernel kills
	MemoryHigh uint64  `json:"memory_high,omitempty"` // bytes; beyond it the kernel throttles, TCP too
	CPUs       float64 `json:"cpus,omitempty"`        // what CPUQuota= allows
}

// memory returns the least limit of the group; 0: none.
func (c Cgroup) memory() uint64 {
	if c.MemoryMax == 0 || c.MemoryHigh == 0 {
		return max(c.MemoryMax, c.MemoryHigh)
	}
	return min(c.MemoryMax, c.MemoryHigh)
}

// Setting is one file of /proc or /sys that holds a value.
type Setting struct {
	Value  string `json:"value"`            // whitespace collapsed
	Errno  Errno  `json:"errno,omitempty"`  // why it cannot be read; then there is no Value
	Denied Errno  `json:"denied,omitempty"` // why it cannot be opened for writing
}

// Owner is somebody else who sets a sysctl: a file, and the value it gives.
type Owner struct {
	By    string `json:"by"`    // "sysctl.d" or "tuned"
	File  string `json:"file"`  // path
	Line  int    `json:"line"`  // from 1
	Value string `json:"value"` // whitespace collapsed
}

// Daemons are the programs that change what edged would.
type Daemons struct {
	Tuned      string `json:"tuned,omitempty"`       // the active profile; empty: tuned does not run
	Irqbalance bool   `json:"irqbalance"`            // it runs
	BannedIRQs []int  `json:"banned_irqs,omitempty"` // that its configuration keeps it away from
}

// Softnet is the sum over all CPUs of /proc/net/softnet_stat, since boot.
type Softnet struct {
	Processed uint64 `json:"processed"` // packets
	Dropped   uint64 `json:"dropped"`   // because a CPU's backlog was full
	Squeezed  uint64 `json:"squeezed"`  // times that a softirq ended with work left
}

// NIC is a network device that carries the box's traffic, with what a plan needs beside its map of queues.
type NIC struct {
	nic.Device
	Leaf    nic.Leaf
	Missed  uint64 // packets that the device had no room for
	Packets uint64 // received
}

// setting returns what is known of the file; one that was not asked for counts as not there.
func (m *Machine) setting(path string) Setting {
	if s, ok := m.Settings[path]; ok {
		return s
	}
	return Setting{Errno: ENOENT}
}

// sysctl returns the setting of a dotted key.
func (m *Machine) sysctl(key string) Setting { return m.setting(sysctlPath(key)) }
