package nic

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hardware is where a leaf's device lies in sysfs.
type hardware struct {
	dir    string // of the function that owns the interrupts; empty: there is none, or it cannot be found
	bus    string // its address
	virtio string // "virtio2" where the interface's own device is one
}

// find returns where leaf's device lies. Another network namespace's sysfs does not have the interface, but the bus is the same
// everywhere.
func (s sysfs) find(leaf Leaf, bus string) hardware {
	dir, err := filepath.EvalSymlinks(s.path(leaf.Name, "device"))
	if err != nil || !s.is(leaf, bus) {
		dir, err = filepath.EvalSymlinks(filepath.Join(string(s), "bus", "pci", "devices", bus))
		if err != nil || !plain(bus) {
			return hardware{bus: bus}
		}
		if below, _ := filepath.Glob(filepath.Join(dir, "virtio*")); len(below) == 1 {
			dir = below[0]
		}
	}
	h := hardware{dir: dir}
	if base := filepath.Base(dir); strings.HasPrefix(base, "virtio") {
		h.virtio, h.dir = base, filepath.Dir(dir) // the PCI function, or the platform device, has the interrupts and the node
	}
	h.bus = filepath.Base(h.dir)
	return h
}

// plain says whether name can be that of a directory entry.
func plain(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsRune(name, '/')
}

// is says whether this sysfs speaks of leaf, as shows does of a Link.
func (s sysfs) is(leaf Leaf, bus string) bool {
	if !plain(leaf.Name) || s.number(leaf.Name, "ifindex") != leaf.Index {
		return false
	}
	address, _ := s.read(leaf.Name, "address")
	permanent, _ := s.read(leaf.Name, "bonding_slave/perm_hwaddr")
	if leaf.Perm == "" || leaf.Perm == address || leaf.Perm == permanent {
		return true
	}
	device, err := filepath.EvalSymlinks(s.path(leaf.Name, "device")) // an address that somebody changed
	return err == nil && bus != "" && strings.Contains(device+"/", "/"+bus+"/")
}

// sharers counts the interfaces of the device.
func (h hardware) sharers() int {
	if h.dir == "" {
		return 0
	}
	found, _ := os.ReadDir(filepath.Join(h.dir, h.virtio, "net"))
	return len(found)
}

// vectors returns the numbers of the device's interrupts, where it has MSI or the bus tells the line.
func (h hardware) vectors() []int {
	if h.dir == "" {
		return nil
	}
	numbers := entries(filepath.Join(h.dir, "msi_irqs"))
	if irq, err := strconv.Atoi(h.read("irq")); len(numbers) == 0 && err == nil && irq > 0 {
		return []int{irq}
	}
	return numbers
}

func (h hardware) read(file string) string {
	if h.dir == "" {
		return ""
	}
	b, _ := os.ReadFile(filepath.Join(h.dir, file))
	return strings.TrimSpace(string(b))
}

// node returns the NUMA node of the device, -1 where it is unknown.
func (h hardware) node() int {
	n, err := strconv.Atoi(h.read("numa_node"))
	if err != nil {
		return -1
	}
	return n
}

// localCPUs returns the CPUs near the device, nil where they are unknown.
func (h hardware) localCPUs() []int {
	cpus, err := ParseCPUs(h.read("local_cpulist"))
	if err != nil || len(cpus) == 0 {
		return nil
	}
	return cpus
}

// interrupts is where the kernel tells of them.
type interrupts struct {
	sys  sysfs
	proc string
}

// of returns the vectors of the device of the interface name, ordered by number. Without MSI there is one, of which the
// device or, where no bus tells, the name of its handler knows.
func (x interrupts) of(h hardware, name string) []Vector {
	if numbers := h.vectors(); len(numbers) > 0 {
		vectors := make([]Vector, 0, len(numbers))
		for _, irq := range numbers {
			vectors = append(vectors, x.vector(irq))
		}
		return vectors
	}
	var vectors []Vector
	for _, irq := range entries(filepath.Join(x.proc, "irq")) {
		if handles(x.name(irq), name) || h.virtio != "" && handles(x.name(irq), h.virtio) {
			vectors = append(vectors, x.vector(irq))
		}
	}
	return vectors
}

// handles says whether one of the handlers is called device, or that and something more.
func handles(handlers, device string) bool {
	for name := range strings.SplitSeq(handlers, ",") {
		if rest, ok := strings.CutPrefix(name, device); ok && (rest == "" || rest[0] == '-') {
			return true
		}
	}
	return false
}

// entries returns the numbers among the names in a directory, ordered.
func entries(dir string) []int {
	found, _ := os.ReadDir(dir)
	var numbers []int
	for _, e := range found {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// vector reads one. Where the effective CPU is none of those that are allowed, the interrupt has been moved and has not come
// since: the kernel takes the new CPU with the next one (irq_move_masked_irq), and until then shows the old, on an idle queue
// for long. Not every architecture tells effective CPUs, and an interrupt that is off has none.
func (x interrupts) vector(irq int) Vector {
	v := Vector{IRQ: irq, Name: x.name(irq)}
	v.Allowed = x.cpus(irq, "smp_affinity_list")
	v.CPUs = x.cpus(irq, "effective_affinity_list")
	moved := v.Allowed != nil && !slices.ContainsFunc(v.CPUs, func(cpu int) bool { return slices.Contains(v.Allowed, cpu) })
	if len(v.CPUs) == 0 || moved {
		v.CPUs = v.Allowed
	}
	return v
}

// name returns the handlers of an interrupt with commas between them. Where sysfs does not tell them, as on kernels without
// SPARSE_IRQ, procfs has a directory for each.
func (x interrupts) name(irq int) string {
	b, err := os.ReadFile(filepath.Join(string(x.sys), "kernel", "irq", strconv.Itoa(irq), "actions"))
	if err == nil {
		return strings.TrimSpace(string(b))
	}
	var handlers []string
	found, _ := os.ReadDir(filepath.Join(x.proc, "irq", strconv.Itoa(irq)))
	for _, e := range found {
		if e.IsDir() {
			handlers = append(handlers, e.Name())
		}
	}
	return strings.Join(handlers, ",")
}

// cpus reads a list, nil where it cannot be read or is empty.
func (x interrupts) cpus(irq int, file string) []int {
	b, err := os.ReadFile(filepath.Join(x.proc, "irq", strconv.Itoa(irq), file))
	if err != nil {
		return nil
	}
	cpus, err := ParseCPUs(string(b))
	if err != nil || len(cpus) == 0 {
		return nil
	}
	return cpus
}
