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
	Why      string `json:"why"`
	Lift     string `json:"lift,omitempty"` // what would raise Holds
}

// bounds lists what limits the links, what ends first at the head. Rows that hold equally many keep the order here: hardware
// before settings.
func (s *sizing) bounds(p *Plan) []Bound {
	all := []Bound{s.memoryBound(), s.cpuBound(), s.pagesBound(p)}
	if b, ok := s.networkBound(); ok {
		all = append(all, b)
	}
	all = append(all, s.filesBound())
	all = append(all, s.settingBounds(p)...)
	slices.SortStableFunc(all, func(a, b Bound) int { return cmp.Compare(a.Holds, b.Holds) })
	return all
}

func (s *sizing) memoryBound() Bound {
	links := s.memoryLinks()
	b := Bound{
		Resource: "memory", Now: links, Holds: links, Lift: "more memory",
		Why: fmt.Sprintf("%s for links at %s bytes each: the kernel's %d, %d for a push in flight, %d of one in %d that stalls, the gateway's %d",
			size(s.memory()), group(linkBytes), idleBytes, pushBytes, stalledBytes/stalledOneOf, stalledOneOf, recordBytes),
	}
	if limit := s.m.Cgroup.memory(); limit > 0 && limit*10/13 == s.memory() {
		b.Resource, b.Lift = "memory of the control group", "MemoryMax= and MemoryHigh= of the unit"
	}
	return b
}

func (s *sizing) cpuBound() Bound {
	links := s.cpuLinks(s.messages)
	return Bound{
		Resource: "processors", Now: links, Holds: links, Lift: "more CPUs, or fewer messages",
		Why: fmt.Sprintf("half of %.4g CPUs, at %d µs a heartbeat every %d s beside %s messages/s of %d µs",
			s.cpus(), heartbeatMicros, heartbeatEvery, group(s.messages), messageMicros),
	}
}

// networkBound compares the load with the speed of the devices, where that is known. Sizes are those of small messages, of
// 100 bytes, and of heartbeats, on the wire.
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
	links := left * heartbeatEvery / (3 * packetBits)
	return Bound{
		Resource: "network", Now: links, Holds: links, Lift: "a faster device",
		Why: fmt.Sprintf("%s Mbit/s: three packets a heartbeat beside %s messages/s of 100 bytes", group(speed/1_000_000), group(s.messages)),
	}, true
}

func (s *sizing) pagesBound(p *Plan) Bound {
	b := s.settingBound(p, "net.ipv4.tcp_mem", "memory of TCP", func(v []uint64) uint64 { return v[len(v)-1] })
	b.Why = fmt.Sprintf("a link with any data in flight is charged a page of %s", size(s.m.Kernel.PageSize))
	if s.links > b.Holds {
		b.Lift = "more memory: four tenths of it are the most that is given to TCP"
	}
	return b
}

// filesBound is the process's limit, which its unit sets: the plan does not change it.
func (s *sizing) filesBound() Bound {
	need := filesOfProcess(0, s.reactors)
	links := s.m.Process.FilesHard - min(need, s.m.Process.FilesHard)
	return Bound{
		Resource: "open files of the process", Key: filesKey, Now: links, Holds: links, Lift: "LimitNOFILE= of the unit",
		Why: fmt.Sprintf("a link is a file, and %d are the gateway's own", need),
	}
}

// settingBound reads one setting's bound from its entry: what it is, and what it will be.
func (s *sizing) settingBound(p *Plan, key, resource string, links func([]uint64) uint64) Bound {
	b := Bound{Resource: resource, Key: key}
	e, _ := p.Entry(key)
	v, ok := numbers(e.Current)
	if !ok { // not to be seen here: a container's host decides, and this says nothing
		b.Now, b.Holds = s.links, s.links
		b.Lift = "the host's: " + key + " cannot be seen here"
		return b
	}
	b.Now = links(v)
	b.Holds = b.Now
	if w, ok := numbers(e.Wanted); ok && (e.Status == Change || e.Status == OK) {
		b.Holds = links(w)
	}
	if b.Holds < s.links {
		b.Lift = key + ": " + string(e.Status)
		if e.Note != "" {
			b.Lift += ", " + e.Note
		}
	}
	return b
}

func (s *sizing) settingBounds(p *Plan) []Bound {
	last := func(v []uint64) uint64 { return v[len(v)-1] }
	less := func(n uint64) func([]uint64) uint64 {
		return func(v []uint64) uint64 { return v[0] - min(n, v[0]) }
	}
	rows := []struct {
		key, resource, why string
		links              func([]uint64) uint64
	}{
		{"fs.nr_open", "ceiling of open files", "no process may have more files than this", less(filesOfProcess(0, s.reactors))},
		{"fs.file-max", "open files of the machine", fmt.Sprintf("%s are left to other programs", group(otherFiles)), less(otherFiles)},
		{"fs.epoll.max_user_watches", "epoll watches", "each link is one", last},
		{"net.netfilter.nf_conntrack_max", "connection tracking", "an entry for each link and for one that has just ended",
			func(v []uint64) uint64 { return v[0] / 2 }},
	}
	var all []Bound
	for _, r := range rows {
		if e, _ := p.Entry(r.key); r.key == "net.netfilter.nf_conntrack_max" && (e.Status == Absent || e.Status == Kept) {
			continue
		}
		b := s.settingBound(p, r.key, r.resource, r.links)
		b.Why = r.why
		all = append(all, b)
	}
	return all
}
