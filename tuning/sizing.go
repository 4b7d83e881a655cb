package tuning

import (
	"fmt"
	"math"
	"slices"
)

// Prices of a link in memory, bytes. The kernel's are those of an IPv4 connection with its file and its epoll entry on a
// kernel with 4 KiB pages; IPv6 is 5 % more.
const (
	idleBytes    = 4100  // the kernel's, of a silent link
	pushBytes    = 1100  // the kernel's, of one small push that is not yet acknowledged
	stalledBytes = 80000 // the kernel's, of a link whose peer stopped reading: TCP_NOTSENT_LOWAT and 64 KB of one last buffer
	stalledOneOf = 100   // so many links have one such among them
	recordBytes  = 420   // the gateway's, of a link that is logged in with a session of 220 bytes: docs/PERFORMANCE.md
	linkBytes    = idleBytes + pushBytes + stalledBytes/stalledOneOf + recordBytes
)

// Prices in processor time, microseconds (docs/PERFORMANCE.md, doubled for what softirqs take beside), of which
// half of the box is spent at most: the rest is for storms.
const (
	heartbeatMicros = 20
	messageMicros   = 5
	cpuShare        = 0.5
	heartbeatEvery  = 25 // seconds
)

// sizing is a Machine and a Goal, with what is worked out of them before any setting is.
type sizing struct {
	m        *Machine
	goal     Goal
	links    uint64
	messages uint64 // a second
	reactors int
}

func newSizing(m *Machine, g Goal) *sizing {
	s := &sizing{m: m, goal: g, links: uint64(g.Links), messages: uint64(g.MessagesPerSecond)}
	s.reactors = s.reactorCount()
	if s.links == 0 {
		s.links = roundDown(s.hardware())
	}
	if s.messages == 0 {
		spare := s.cpuMicros() - float64(s.links)*heartbeatMicros/heartbeatEvery
		s.messages = roundDown(uint64(max(spare, 0) / messageMicros))
	}
	return s
}

// reactorCount is one for each receive queue that the plan leads to, at most one for each CPU.
func (s *sizing) reactorCount() int {
	if s.goal.Reactors > 0 {
		return s.goal.Reactors
	}
	cpus := max(int(math.Ceil(s.cpus())), 1)
	queues := 0
	for i := range s.m.NICs {
		queues = max(queues, s.queues(&s.m.NICs[i]))
	}
	if queues <= 1 {
		return cpus // one queue, or none that is known: links are spread by a hash
	}
	return min(queues, cpus)
}

// hardware returns how many links the box can hold whatever its settings are. Where no rate of messages is asked for, half of
// the processor time is kept for messages.
func (s *sizing) hardware() uint64 {
	links := min(s.groupMemory()/linkBytes, s.pageLinks())
	if s.messages == 0 {
		return min(links, s.cpuLinks(0)/2)
	}
	return min(links, s.cpuLinks(s.messages))
}

// memory returns the bytes that links may take: the box's without a fifth for the rest of it.
func (s *sizing) memory() uint64 {
	const least = 256 << 20
	return s.m.RAM - min(max(s.m.RAM/5, least), s.m.RAM)
}

// groupMemory returns what the control group leaves to links, at most memory: a quarter stays free, because the kernel
// throttles and kills at the group's limit.
func (s *sizing) groupMemory() uint64 {
	if limit := s.m.Cgroup.memory(); limit > 0 {
		return min(s.memory(), limit*10/13)
	}
	return s.memory()
}

// pageLinks is how many links can have data in flight at once when tcp_mem is as large as it is ever made.
func (s *sizing) pageLinks() uint64 { return s.m.RAM / s.m.Kernel.PageSize * 4 / 10 }

// cpus is how many processors the gateway may use.
func (s *sizing) cpus() float64 {
	n := float64(max(len(s.m.CPU.Allowed), 1))
	if quota := s.m.Cgroup.CPUs; quota > 0 {
		n = min(n, quota)
	}
	return n
}

// cpuMicros is the processor time of a second that the gateway may take.
func (s *sizing) cpuMicros() float64 { return s.cpus() * cpuShare * 1e6 }

// cpuLinks is how many links can heartbeat beside so many messages.
func (s *sizing) cpuLinks(messages uint64) uint64 {
	spare := s.cpuMicros() - float64(messages)*messageMicros
	return uint64(max(spare, 0) * heartbeatEvery / heartbeatMicros)
}

// packets returns the packets a second, both ways, of a load: a heartbeat is three (data, answer with its ACK, ACK), a
// message two (data, ACK).
func packets(links, messages uint64) uint64 { return 3*links/heartbeatEvery + 2*messages }

// congestion is the congestion control that will be in force.
func (s *sizing) congestion() string {
	if s.goal.Congestion != "" {
		return s.goal.Congestion
	}
	return s.m.sysctl("net.ipv4.tcp_congestion_control").Value
}

// speedMbit is that of the fastest device; 0: unknown.
func (s *sizing) speedMbit() int {
	speed := 0
	for i := range s.m.NICs {
		speed = max(speed, s.m.NICs[i].SpeedMbit)
	}
	return speed
}

// ownsQueues says whether each reactor has a receive queue of its own to be steered to.
func (s *sizing) ownsQueues() bool {
	return slices.ContainsFunc(s.m.NICs, func(n NIC) bool { return n.Mapped && s.queues(&n) > 1 })
}

// pinned says whether reactors are pinned to the CPUs of their queues.
func (s *sizing) pinned() bool { return s.ownsQueues() }

// usesBacklog says whether packets pass the per-CPU backlog: virtual devices, and steering by software, now or as planned.
func (s *sizing) usesBacklog() bool {
	for i := range s.m.NICs {
		n := &s.m.NICs[i]
		if !n.Leaf.Physical || s.steers(n) || s.wantsSteering(n) && s.goal.AllowNIC {
			return true
		}
	}
	return len(s.m.NICs) == 0
}

// squeezed says whether softirqs are cut short often: more than once in 10,000 packets.
func (s *sizing) squeezed() bool {
	n := s.m.Softnet
	return n.Processed >= squeezeFrom && n.Squeezed*squeezeShare > n.Processed
}

func (s *sizing) softirqs() string {
	n := s.m.Softnet
	return fmt.Sprintf("softirqs were cut short %s times in %s packets", group(n.Squeezed), group(n.Processed))
}

// roundDown keeps two digits of n: a plan should not change because the next kernel leaves a page less.
func roundDown(n uint64) uint64 {
	scale := uint64(1)
	for n/scale >= 100 {
		scale *= 10
	}
	return n / scale * scale
}
