package tuning

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"edged/nic"
)

// What is wanted of a device.
const (
	ringLength  = 4096 // descriptors
	missedShare = 1_000_000
	leastUsecs  = 30
	usualUsecs  = 40
	mostUsecs   = 50
)

// rssQueues is how many receive queues the hash of a driver's hardware reaches, where that is less than it may have
// (scylladb's perftune has the same numbers).
var rssQueues = map[string]int{"ixgbe": 16, "ixgbevf": 4, "i40e": 64, "i40evf": 16, "iavf": 16}

// deviceEntries are those of the physical devices, in the order of their indexes; virtual ones have no queues of their own.
func (s *sizing) deviceEntries() []Entry {
	var all []Entry
	for i := range s.m.NICs {
		n := &s.m.NICs[i]
		if !n.Leaf.Physical {
			continue
		}
		all = append(all, s.channelsEntry(n), s.ringsEntry(n), s.coalesceEntry(n))
		all = append(all, s.offloadEntries(n)...)
		all = append(all, s.irqEntries(n)...)
		all = append(all, s.queueEntries(n)...)
	}
	return all
}

// queues is how many receive queues the device has once the plan is applied.
func (s *sizing) queues(n *NIC) int {
	if want := s.wantedQueues(n); want > 0 && s.goal.AllowNIC && s.m.Process.NetAdmin {
		return want
	}
	return len(n.RX)
}

// wantedQueues is one for each physical core that the gateway may use, as far as the device goes: two threads of one core gain
// nothing from two queues, and fewer interrupts cost less (Documentation/networking/scaling.rst). 0: not known.
func (s *sizing) wantedQueues(n *NIC) int {
	most := n.Channels.Max.Combined
	if most == 0 {
		most = n.Channels.Max.RX
	}
	if limit := rssQueues[n.Driver]; limit > 0 {
		most = min(most, limit)
	}
	return min(most, len(s.m.CPU.PhysicalCores(n.Node)))
}

// cpuOf is the CPU of the device's queue i and of its reactor: those near the device first. The only queue of a device, whose
// packets are steered by software, stays where it is.
func (s *sizing) cpuOf(n *NIC, i int) int {
	if s.wantsSteering(n) && n.Mapped && len(n.RX[0].CPUs) == 1 {
		return n.RX[0].CPUs[0]
	}
	cores := s.m.CPU.PhysicalCores(n.Node)
	if len(cores) == 0 {
		return 0
	}
	return cores[i%len(cores)]
}

// gate turns a change that needs allow_nic or a capability into what stands in the way.
func (s *sizing) gate(e *Entry) {
	switch {
	case e.Status != Change:
	case !s.goal.AllowNIC:
		e.Status, e.Note = Kept, "[tuning] allow_nic is false"
	case !s.m.Process.NetAdmin && (e.Kind == KindChannels || e.Kind == KindRings || e.Kind == KindCoalesce || e.Kind == KindOffload):
		e.Status, e.Note = NoPermission, EPERM.atOpen(e.Kind)
	}
}

// refused makes an entry of a setting that the driver does not tell.
func refused(e Entry, n *NIC, question string) Entry {
	errno := EOPNOTSUPP
	if number := n.Refused[question]; number != 0 && number != syscall.EOPNOTSUPP {
		errno = errnoOf(number)
	}
	e.Status, e.Note = Absent, errno.atOpen(e.Kind)
	return e
}

// countsText writes numbers of channels as the value of a setting.
func countsText(c nic.Counts) string {
	var parts []string
	add := func(name string, n int) {
		if n > 0 {
			parts = append(parts, name+" "+strconv.Itoa(n))
		}
	}
	add("rx", c.RX)
	add("tx", c.TX)
	add("combined", c.Combined)
	return strings.Join(parts, " ")
}

// parseCounts reads such a value.
func parseCounts(value string) nic.Counts {
	var c nic.Counts
	f := strings.Fields(value)
	for i := 0; i+1 < len(f); i += 2 {
		n := int(number(f[i+1]))
		switch f[i] {
		case "rx":
			c.RX = n
		case "tx":
			c.TX = n
		case "combined":
			c.Combined = n
		}
	}
	return c
}

func (s *sizing) channelsEntry(n *NIC) Entry {
	e := Entry{
		Kind: KindChannels, Key: n.Name + "/channels", Device: n.Name, Current: countsText(n.Channels.Now),
		Why:    "a queue for each physical core, so that interrupt, softirq, reactor and link stay on one",
		Source: "Documentation/networking/scaling.rst; ethtool CHANNELS_SET",
		Risk:   "many devices drop their link for up to some seconds",
	}
	want := s.wantedQueues(n)
	if want == 0 {
		return refused(e, n, nic.AskChannels)
	}
	wanted := n.Channels.Now
	if n.Channels.Max.Combined > 0 {
		wanted.Combined = want
	} else {
		wanted.RX = want
		if n.Channels.Max.TX > 0 {
			wanted.TX = min(want, n.Channels.Max.TX)
		}
	}
	e.Wanted = countsText(wanted)
	s.judge(&e, Setting{})
	s.gate(&e)
	return e
}

// ringsText writes lengths as the value of a setting.
func ringsText(rx, tx int) string { return fmt.Sprintf("rx %d tx %d", rx, tx) }

func (s *sizing) ringsEntry(n *NIC) Entry {
	e := Entry{
		Kind: KindRings, Key: n.Name + "/rings", Device: n.Name, Current: ringsText(n.Rings.RX, n.Rings.TX),
		Why:    fmt.Sprintf("%s of %s packets were missed because the ring was full", group(n.Missed), group(n.Packets)),
		Source: "ethtool RINGS_SET",
		Risk:   "many devices drop their link for up to some seconds; longer rings fall out of the CPU's cache",
	}
	switch {
	case n.Rings.RXMax == 0:
		e.Current, e.Why = "", "packets wait in it until the softirq comes"
		return refused(e, n, nic.AskRings)
	case n.Missed*missedShare <= n.Packets:
		e.Why = fmt.Sprintf("it is long enough: %s of %s packets were missed", group(n.Missed), group(n.Packets))
	default:
		e.Wanted = ringsText(max(n.Rings.RX, min(n.Rings.RXMax, ringLength)), n.Rings.TX)
	}
	s.judge(&e, Setting{})
	s.gate(&e)
	return e
}

func (s *sizing) coalesceEntry(n *NIC) Entry {
	e := Entry{
		Kind: KindCoalesce, Key: n.Name + "/coalesce", Device: n.Name, Current: n.Coalesce.String(),
		Why:    "the device interrupts at once while it is quiet, and less often while it is busy",
		Source: "ethtool COALESCE_SET",
	}
	wanted := n.Coalesce
	switch has := n.Coalesce.Has; {
	case has&nic.AdaptiveRX != 0:
		wanted.AdaptiveRX = true
	case has&nic.RXUsecs != 0:
		e.Why = "interrupts wait some tens of microseconds for company; the device does not adapt by itself"
		if wanted.RXUsecs < leastUsecs || wanted.RXUsecs > mostUsecs {
			wanted.RXUsecs = usualUsecs
		}
	default:
		return refused(e, n, nic.AskCoalesce)
	}
	e.Wanted = wanted.String()
	s.judge(&e, Setting{})
	s.gate(&e)
	return e
}

// offloads are those that matter to a gateway, and how they should be. LRO merges packets so that they cannot be told apart
// again, which a box that forwards any must not do; GRO does the same and can be undone.
var offloads = []struct {
	name, want, why string
}{
	{nic.GRO, "on", "packets of one link that come together are handled together"},
	{nic.LRO, "off", "what it merges cannot be forwarded; GRO does its work"},
	{nic.TSO, "on", "the device cuts large writes into packets"},
	{nic.GSO, "on", "large writes pass the stack as one"},
}

func (s *sizing) offloadEntries(n *NIC) []Entry {
	var entries []Entry
	for _, o := range offloads {
		for _, f := range n.Features {
			if f.Name != o.name {
				continue
			}
			e := Entry{
				Kind: KindOffload, Key: n.Name + "/offload/" + f.Name, Device: n.Name, Current: strings.TrimPrefix(f.String(), f.Name+" "),
				Wanted: o.want, Why: o.why, Source: "Documentation/networking/segmentation-offloads.rst",
			}
			s.judge(&e, Setting{})
			if e.Status == Change && f.Fixed {
				e.Status, e.Note = Absent, EOPNOTSUPP.atWrite(KindOffload, e.Wanted)
			}
			s.gate(&e)
			entries = append(entries, e)
		}
	}
	return entries
}

// irqEntries put the interrupt of queue i on the CPU of queue i. Without a certain map there are none: to move the wrong
// one is worse than to move none.
func (s *sizing) irqEntries(n *NIC) []Entry {
	if !n.Mapped {
		return nil
	}
	var entries []Entry
	seen := map[int]bool{}
	for _, queues := range [][]nic.Queue{n.RX, n.TX} {
		for i, q := range queues {
			if i >= s.queues(n) || q.IRQ == 0 || seen[q.IRQ] {
				continue
			}
			seen[q.IRQ] = true
			entries = append(entries, s.irqEntry(n, q, s.cpuOf(n, i)))
		}
	}
	return entries
}

func (s *sizing) irqEntry(n *NIC, q nic.Queue, cpu int) Entry {
	now := s.m.setting(irqPath(q.IRQ))
	e := Entry{
		Kind: KindIRQ, Key: n.Name + "/irq/" + q.Vector, Device: n.Name, Current: now.Value, Wanted: strconv.Itoa(cpu),
		Why:    "the interrupt of a queue goes to the CPU of its reactor",
		Source: "Documentation/core-api/irq/irq-affinity.rst",
	}
	if now.Errno != "" {
		e.Status, e.Note = Absent, now.Errno.atOpen(KindIRQ)
		return e
	}
	s.judge(&e, now)
	s.gate(&e)
	if e.Status == Change && s.m.Daemons.Irqbalance && !slices.Contains(s.m.Daemons.BannedIRQs, q.IRQ) {
		e.Status, e.Note = Kept, "irqbalance runs and would move it back"
	}
	return e
}

// irqPath is where the CPUs stand that an interrupt may go to.
func irqPath(irq int) string { return "proc/irq/" + strconv.Itoa(irq) + "/smp_affinity_list" }

// queuePath is where a file of a queue lies: direction "rx" or "tx".
func queuePath(device, direction string, i int, file string) string {
	return "sys/class/net/" + device + "/" + queueFile(direction, i, file)
}

func queueFile(direction string, i int, file string) string {
	return "queues/" + direction + "-" + strconv.Itoa(i) + "/" + file
}

// steers says whether packets of the device are moved to other CPUs by software now.
func (s *sizing) steers(n *NIC) bool {
	for i := range n.RX {
		if len(n.RX[i].Mask) > 0 {
			return true
		}
	}
	return false
}

// wantsSteering says whether the device has one queue for several CPUs, which software has to spread.
func (s *sizing) wantsSteering(n *NIC) bool {
	return n.Leaf.Physical && s.queues(n) == 1 && len(s.m.CPU.Allowed) > 1
}

// queueEntries are the files of the device's queues.
func (s *sizing) queueEntries(n *NIC) []Entry {
	var entries []Entry
	for i := range n.RX {
		if i < s.queues(n) {
			entries = append(entries, s.receiveEntries(n, i)...)
		}
	}
	for i := range n.TX {
		if i < s.queues(n) && n.Mapped && len(n.TX) > 1 { // a single one is everybody's, and its file cannot be read
			entries = append(entries, s.queueEntry(n, "tx", i, "xps_cpus", nic.FormatMask([]int{s.cpuOf(n, i)}),
				"what a reactor sends leaves by the queue of its CPU"))
		}
	}
	return entries
}

func (s *sizing) receiveEntries(n *NIC, i int) []Entry {
	if s.wantsSteering(n) {
		mask := nic.FormatMask(s.others(n))
		return []Entry{s.queueEntry(n, "rx", i, "rps_cpus", mask, "one queue feeds several reactors: the other CPUs share the work of its softirq")}
	}
	var entries []Entry
	const why = "the reactor is on the CPU of the queue, and steering by software would take packets away from it"
	if s.queues(n) > 1 {
		entries = append(entries,
			s.queueEntry(n, "rx", i, "rps_cpus", "0", why),
			s.queueEntry(n, "rx", i, "rps_flow_cnt", "0", why))
	}
	return entries
}

// others are the CPUs near the device, without the one that its only queue interrupts.
func (s *sizing) others(n *NIC) []int {
	near := s.m.CPU.Allowed
	if n.Node >= 0 && n.Node < len(s.m.CPU.Nodes) {
		near = slices.DeleteFunc(slices.Clone(near), func(cpu int) bool { return !slices.Contains(s.m.CPU.Nodes[n.Node], cpu) })
	}
	busy := -1
	if n.Mapped {
		busy = s.cpuOf(n, 0)
	}
	rest := slices.DeleteFunc(slices.Clone(near), func(cpu int) bool { return cpu == busy })
	if len(rest) == 0 {
		return near
	}
	return rest
}

func (s *sizing) queueEntry(n *NIC, direction string, i int, file, wanted, why string) Entry {
	now := s.m.setting(queuePath(n.Name, direction, i, file))
	e := Entry{
		Kind: KindQueue, Key: n.Name + "/" + queueFile(direction, i, file), Device: n.Name, Current: now.Value, Wanted: wanted,
		Why: why, Source: "Documentation/networking/scaling.rst",
	}
	if now.Errno != "" {
		e.Status, e.Note = Absent, now.Errno.atOpen(KindQueue)
		return e
	}
	s.judge(&e, now)
	s.gate(&e)
	return e
}
