package tuning

import (
	"cmp"
	"fmt"
	"slices"
)

// Bound is one resource of the box and how many links it is enough for.
type Bound struct {
	Resource string `json:"resource"`
	Key      string `json:"key,omitempty"` // the entry of the plan that sets it; empty: hardware, or another's setting
	Now      uint64 `json:"now"`           // links, as the box is
	Holds    uint64 `json:"holds"`         // links, once the plan is applied as far as it can be
	Reach    uint64 `json:"reach"`         // links, once others have done their part too: privileges, the unit, the administrator
	Why      string `json:"why"`
	Lift     string `json:"lift,omitempty"` // what would raise Holds
}

// bounds lists what limits the links, what ends first at the head. Rows that hold equally many keep the order here: hardware
// before settings. What cannot be seen here, as of a container's host, is not listed.
func (s *sizing) bounds(p *Plan) []Bound {
	all := []Bound{s.memoryBound(), s.cpuBound()}
	for _, optional := range []func() (Bound, bool){s.groupBound, s.networkBound} {
		if b, ok := optional(); ok {
			all = append(all, b)
		}
	}
	all = append(all, s.filesBound())
	all = append(all, s.settingBounds(p)...)
	slices.SortStableFunc(all, func(a, b Bound) int { return cmp.Compare(a.Holds, b.Holds) })
	return all
}

// fixed is a bound that no setting moves.
func fixed(resource string, links uint64, lift, why string) Bound {
	return Bound{Resource: resource, Now: links, Holds: links, Reach: links, Why: why, Lift: lift}
}

func (s *sizing) memoryBound() Bound {
	return fixed("memory", s.memory()/linkBytes, "more memory", fmt.Sprintf(
		"%s for links at %s bytes each: the kernel's %s, %s for a push in flight, %d of one in %d that stalls, the gateway's %d",
		size(s.memory()), group(linkBytes), group(idleBytes), group(pushBytes), stalledBytes/stalledOneOf, stalledOneOf, recordBytes))
}

// groupBound is the control group's memory, which its unit sets.
func (s *sizing) groupBound() (Bound, bool) {
	limit := s.m.Cgroup.memory()
	if limit == 0 {
		return Bound{}, false
	}
	b := fixed("memory of the control group", s.groupMemory()/linkBytes, "MemoryMax= and MemoryHigh= of the unit",
		fmt.Sprintf("%s of %s for links at %s bytes each", size(s.groupMemory()), size(limit), group(linkBytes)))
	b.Reach = s.memory() / linkBytes
	return b, true
}

func (s *sizing) cpuBound() Bound {
	return fixed("processors", s.cpuLinks(s.messages), "more CPUs, or fewer messages", fmt.Sprintf(
		"half the time of %s, at %d µs a heartbeat every %d s beside %s messages/s of %d µs",
		count(s.cpus(), "CPU"), heartbeatMicros, heartbeatEvery, group(s.messages), messageMicros))
}

// networkBound compares the load with the speed of the devices, where that is known. Sizes are those of heartbeats and of
// messages of 100 bytes, on the wire.
func (s *sizing) networkBound() (Bound, bool) {
	const (
		packetBits  = 8 * 84 // Ethernet, IP, TCP with timestamps, and gap
		messageBits = 8*184 + packetBits
	)
	speed := uint64(0)
	for i := range s.m.NICs {
		if s.m.NICs[i].SpeedMbit == 0 {
			return Bound{}, false
		}
		speed += uint64(s.m.NICs[i].SpeedMbit) * 1_000_000
	}
	if speed == 0 {
		return Bound{}, false
	}
	left := speed - min(s.messages*messageBits, speed)
	return fixed("network", left*heartbeatEvery/(3*packetBits), "a faster device", fmt.Sprintf(
		"%s Mbit/s for three packets a heartbeat beside %s messages/s of 100 bytes", group(speed/1_000_000), group(s.messages))), true
}

// filesBound is the process's limit, which its unit sets: the plan does not change it.
func (s *sizing) filesBound() Bound {
	own := filesOfProcess(0, s.reactors)
	links := s.m.Process.FilesHard - min(own, s.m.Process.FilesHard)
	b := fixed("open files of the process", links, "LimitNOFILE= of the unit",
		fmt.Sprintf("a link is a file, and %s are the gateway's own", group(own)))
	b.Key, b.Reach = filesKey, max(links, s.links)
	return b
}

// settingBounds are those of settings, from their entries: what they are, and what they will be.
func (s *sizing) settingBounds(p *Plan) []Bound {
	last := func(v []uint64) uint64 { return v[len(v)-1] }
	without := func(n uint64) func([]uint64) uint64 {
		return func(v []uint64) uint64 { return v[0] - min(n, v[0]) }
	}
	rows := []struct {
		key, resource, why string
		links              func([]uint64) uint64
	}{
		{"net.ipv4.tcp_mem", "memory of TCP", "a link with any data in flight is charged a page of " + size(s.m.Kernel.PageSize), last},
		{"fs.nr_open", "ceiling of open files", "no process may have more files than this", without(filesOfProcess(0, s.reactors))},
		{"fs.file-max", "open files of the machine", group(otherFiles) + " are left to other programs", without(otherFiles)},
		{"fs.epoll.max_user_watches", "epoll watches", "each link is one", last},
		{"net.netfilter.nf_conntrack_max", "connection tracking", "an entry for each link and for one that has just ended",
			func(v []uint64) uint64 { return v[0] / 2 }},
	}
	var all []Bound
	for _, r := range rows {
		e, _ := p.Entry(r.key)
		now, ok := numbers(e.Current)
		if !ok || e.Wanted == "" {
			continue
		}
		b := Bound{Resource: r.resource, Key: r.key, Why: r.why, Now: r.links(now)}
		b.Holds, b.Reach = b.Now, b.Now
		if wanted, ok := numbers(e.Wanted); ok {
			b.Reach = r.links(wanted)
		}
		if e.Status == Change {
			b.Holds = b.Reach
		} else if b.Holds < b.Reach {
			b.Lift = fmt.Sprintf("%s (%s: %s)", e.Key, e.Status, e.Note)
		}
		if b.Reach < s.links {
			b.Lift = "more memory: TCP gets four tenths of it at most"
		}
		all = append(all, b)
	}
	return all
}
