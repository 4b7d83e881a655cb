package nic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Map returns what is known of leaf's queues: who serves them is asked of the netlink family netdev, and where that does not
// tell the interrupt, it is found by its name among those of the device. What the box does not tell is missing in the Device
// and is no error; an error says that the interface is gone (ErrGone) or that ctx ended.
func (h Host) Map(ctx context.Context, leaf Leaf) (Device, error) {
	a, err := h.driver().Ask(ctx, leaf)
	if err != nil {
		if errors.Is(err, ErrGone) || ctx.Err() != nil {
			return Device{}, err
		}
		return Device{}, fmt.Errorf("ask about %s: %w", leaf.Name, err)
	}
	m := mapping{sys: h.sys(), leaf: leaf, answers: a, irqs: interrupts{h.sys(), h.proc()}}
	m.hardware = m.sys.find(leaf, a.Bus)
	m.shown = m.sys.is(leaf, a.Bus)
	m.physical = leaf.Physical || m.hardware.dir != ""
	d := m.device()
	m.queues(&d)
	m.masks(&d)
	return d, nil
}

// virtioCoalesce is the feature without which a virtio device tells how long it holds its interrupts back and takes no other
// value (VIRTIO_NET_F_NOTF_COAL in include/uapi/linux/virtio_net.h; virtnet_set_coalesce).
const virtioCoalesce = 53

// mapping is what one Map gathers.
type mapping struct {
	sys      sysfs
	irqs     interrupts
	leaf     Leaf
	answers  Answers
	hardware hardware
	shown    bool // sysfs speaks of this interface
	physical bool
}

// device fills in all but the queues.
func (m *mapping) device() Device {
	a := m.answers
	d := Device{
		Name: m.leaf.Name, Index: m.leaf.Index, Driver: a.Driver, Node: -1,
		Channels: a.Channels, Rings: a.Rings, Coalesce: a.Coalesce, Features: a.Features, RSSTable: a.RSSTable,
		Refused: a.Refused,
	}
	if !m.physical {
		return d
	}
	if d.Driver == "" {
		if to, err := os.Readlink(m.sys.path(d.Name, "device/driver")); err == nil && m.shown {
			d.Driver = filepath.Base(to)
		}
	}
	if m.shown && d.Driver == "virtio_net" && m.sys.lacksFeature(d.Name, virtioCoalesce) {
		d.Coalesce, d.Refused = Coalesce{}, maps.Clone(d.Refused)
		if d.Refused == nil {
			d.Refused = map[string]syscall.Errno{}
		}
		d.Refused[AskCoalesce] = syscall.EOPNOTSUPP
	}
	d.Bus, d.Node, d.LocalCPUs = m.hardware.bus, m.hardware.node(), m.hardware.localCPUs()
	d.Vectors = m.irqs.of(m.hardware, d.Name)
	d.SpeedMbit = m.leaf.SpeedMbit
	if d.SpeedMbit == 0 && a.Speed < math.MaxInt32 && !paravirtual[d.Driver] {
		d.SpeedMbit = int(a.Speed)
	}
	return d
}

// maxQueues bounds what is believed: the kernel counts queues in 16 bits.
const maxQueues = 1<<16 - 1

// counts returns the numbers of RX and of TX queues. What the family netdev lists is true; else the channels are: some mlx5
// kernels show twice as many in sysfs. A driver without channels leaves that.
func (m *mapping) counts() (rx, tx int) {
	for _, q := range m.answers.Queues {
		if n := min(q.Index+1, maxQueues); q.TX {
			tx = max(tx, n)
		} else {
			rx = max(rx, n)
		}
	}
	now := m.answers.Channels.Now
	if rx == 0 {
		rx = min(now.Combined+now.RX, maxQueues)
	}
	if tx == 0 {
		tx = min(now.Combined+now.TX, maxQueues)
	}
	if !m.shown {
		return rx, tx
	}
	files, _ := os.ReadDir(m.sys.path(m.leaf.Name, "queues"))
	count := func(prefix string) int {
		return len(slices.DeleteFunc(slices.Clone(files), func(e os.DirEntry) bool { return !strings.HasPrefix(e.Name(), prefix) }))
	}
	if rx == 0 {
		rx = count("rx-")
	}
	if tx == 0 {
		tx = count("tx-")
	}
	return rx, tx
}

// queues fills in the queues and whether they are mapped.
func (m *mapping) queues(d *Device) {
	rx, tx := m.counts()
	d.RX, d.TX = m.told(false, rx), m.told(true, tx)
	o := owner{name: d.Name, virtio: m.hardware.virtio, sharers: m.hardware.sharers(), rx: rx, tx: tx}
	c := o.assign(d.Vectors)
	place := places(m.sys)
	for i := range d.RX {
		m.fill(&d.RX[i], d.Vectors, c.rx[i], place)
	}
	for i := range d.TX {
		m.fill(&d.TX[i], d.Vectors, c.tx[i], place)
	}
	d.Why = m.why(d, c)
	d.Mapped = d.Why == ""
}

// told returns n queues with what the family netdev tells of them.
func (m *mapping) told(tx bool, n int) []Queue {
	queues := make([]Queue, n)
	irqs := map[uint32]int{}
	for _, napi := range m.answers.NAPIs {
		irqs[napi.ID] = napi.IRQ
	}
	for i := range queues {
		queues[i] = Queue{Index: i, Node: -1}
	}
	for _, q := range m.answers.Queues {
		if q.TX == tx && q.Index >= 0 && q.Index < n {
			queues[q.Index].NAPI = q.NAPI
			queues[q.Index].IRQ = irqs[q.NAPI]
		}
	}
	return queues
}

// fill finds the interrupt of q, which vectors[named] is by its name where named is not -1, and its CPU.
func (m *mapping) fill(q *Queue, vectors []Vector, named int, place topology) {
	v := Vector{}
	switch {
	case q.IRQ != 0:
		q.How = ByNetdev
		i := slices.IndexFunc(vectors, func(v Vector) bool { return v.IRQ == q.IRQ })
		if i >= 0 {
			v = vectors[i]
		} else {
			v = m.irqs.vector(q.IRQ)
		}
	case named >= 0:
		q.How, v = ByName, vectors[named]
	case !m.physical && len(place.online) > 0:
		q.How, v.CPUs = ByGuess, []int{place.online[q.Index%len(place.online)]}
	default:
		q.How = Unmapped
	}
	q.IRQ, q.Vector, q.CPUs = v.IRQ, v.Name, v.CPUs
	if len(q.CPUs) > 0 {
		q.Node = place.nodeOf(q.CPUs[0])
	}
}

// why says what keeps d from being mapped, nothing where it is.
func (m *mapping) why(d *Device, c claim) string {
	who := d.Name
	if d.Driver != "" {
		who += " (" + d.Driver + ")"
	}
	if len(d.RX) == 0 {
		return who + " tells no queues"
	}
	for _, q := range d.RX {
		switch {
		case q.How == ByGuess:
			return who + " has no interrupts: queue i is taken for the CPU i mod the number of CPUs"
		case q.How == Unmapped && c.why != "":
			if !m.leaf.Up {
				return who + " is down; it " + c.why
			}
			return who + " " + c.why
		case q.How == Unmapped:
			return fmt.Sprintf("%s does not tell the interrupt of RX queue %d", who, q.Index)
		case len(q.CPUs) == 0:
			return fmt.Sprintf("%s: the CPUs of interrupt %d of RX queue %d cannot be read", who, q.IRQ, q.Index)
		}
	}
	return ""
}

// masks fills in RPS, RFS and XPS.
func (m *mapping) masks(d *Device) {
	if !m.shown {
		return
	}
	for i := range d.RX {
		q := &d.RX[i]
		dir := "queues/rx-" + strconv.Itoa(i) + "/"
		q.Mask = m.sys.mask(d.Name, dir+"rps_cpus")
		q.Flows = m.sys.number(d.Name, dir+"rps_flow_cnt")
	}
	for i := range d.TX {
		d.TX[i].Mask = m.sys.mask(d.Name, "queues/tx-"+strconv.Itoa(i)+"/xps_cpus")
	}
}

// mask reads a file that holds a mask of CPUs, nil where it cannot.
func (s sysfs) mask(name, file string) []int {
	text, err := s.read(name, file)
	if err != nil {
		return nil
	}
	cpus, err := ParseMask(text)
	if err != nil {
		return nil
	}
	return cpus
}

// topology is the box's CPUs.
type topology struct {
	online []int
	nodes  map[int]int // by CPU; empty where the kernel knows no nodes
}

func places(s sysfs) topology {
	dir := filepath.Join(string(s), "devices", "system")
	list := func(file string) []int {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil
		}
		cpus, _ := ParseCPUs(string(b))
		return cpus
	}
	t := topology{online: list("cpu/online"), nodes: map[int]int{}}
	for _, node := range list("node/online") {
		for _, cpu := range list("node/node" + strconv.Itoa(node) + "/cpulist") {
			t.nodes[cpu] = node
		}
	}
	return t
}

// nodeOf returns the NUMA node of a CPU, -1 where it is unknown.
func (t topology) nodeOf(cpu int) int {
	if node, ok := t.nodes[cpu]; ok {
		return node
	}
	return -1
}

// QueueStats returns the counters of leaf's queues, RX before TX, each ordered by index: equal shares are the sign of a hash
// that spreads well. The error is EOPNOTSUPP where the driver counts no queues, as those of veth and loopback.
func (h Host) QueueStats(ctx context.Context, leaf Leaf) ([]QueueStats, error) {
	stats, err := h.driver().Stats(ctx, leaf)
	if err != nil {
		return nil, fmt.Errorf("read queue counters of %s: %w", leaf.Name, err)
	}
	slices.SortFunc(stats, func(a, b QueueStats) int {
		if a.TX != b.TX {
			if b.TX {
				return -1
			}
			return 1
		}
		return a.Index - b.Index
	})
	return stats, nil
}
