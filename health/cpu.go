package health

import (
	"bytes"
	"time"
)

const mostCPUs = 8192 // NR_CPUS at its largest

// Columns of /proc/net/softnet_stat (softnet_seq_show in net/core/net-procfs.c).
const (
	softnetDropped = 1
	softnetCPU     = 12 // Linux 5.10; before, lines are all there is to go by
)

// softnet adds up the packets that were dropped because a CPU's backlog was full. The kernel's counters have 32 bits and
// there is a line for each CPU that is on.
type softnet struct {
	cpus  []softnetCounter
	total uint64
}

type softnetCounter struct {
	cpu     uint32
	dropped uint32
}

// take takes in the file and returns the drops since the first one.
func (s *softnet) take(b []byte) Events {
	known := false
	for number := uint32(0); len(b) > 0; number++ {
		var line []byte
		line, b = nextLine(b)
		if cpu, dropped, ok := parseSoftnet(line, number); ok {
			s.count(cpu, dropped)
			known = true
		}
	}
	return Events{Total: s.total, Known: known}
}

func (s *softnet) count(cpu, dropped uint32) {
	for i := range s.cpus {
		c := &s.cpus[i]
		if c.cpu != cpu {
			continue
		}
		if d := dropped - c.dropped; d < 1<<31 { // more is a counter that began again
			s.total += uint64(d)
		}
		c.dropped = dropped
		return
	}
	if len(s.cpus) < mostCPUs {
		s.cpus = append(s.cpus, softnetCounter{cpu, dropped})
	}
}

// parseSoftnet reads one line; number stands for the CPU where the line does not tell it.
func parseSoftnet(line []byte, number uint32) (cpu, dropped uint32, ok bool) {
	cpu = number
	for column := 0; column <= softnetCPU; column++ {
		var field []byte
		field, line = nextField(line)
		if len(field) == 0 {
			break
		}
		v, fine := parseHex(field)
		switch {
		case !fine:
			return 0, 0, false
		case column == softnetDropped:
			dropped, ok = v, true
		case column == softnetCPU:
			cpu = v
		}
	}
	return cpu, dropped, ok
}

// softirqs finds the CPU that spends most of its time in softirqs, out of /proc/stat.
type softirqs struct{ cpus []cpuTime }

// cpuTime is in ticks of the clock, since boot.
type cpuTime struct {
	cpu            uint64
	softirq, total uint64
}

// take takes in the file and returns the largest share of softirqs in the time since the last one.
func (s *softirqs) take(b []byte) Gauge {
	g := Gauge{}
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		now, ok := parseCPU(line)
		if !ok {
			continue
		}
		if share, ok := s.share(now); ok {
			g.Used, g.Limit = max(g.Used, share), 1
		}
	}
	return g
}

func (s *softirqs) share(now cpuTime) (share float64, ok bool) {
	for i := range s.cpus {
		before := s.cpus[i]
		if before.cpu != now.cpu {
			continue
		}
		s.cpus[i] = now
		if now.total <= before.total || now.softirq < before.softirq {
			return 0, false
		}
		return min(float64(now.softirq-before.softirq)/float64(now.total-before.total), 1), true
	}
	if len(s.cpus) < mostCPUs {
		s.cpus = append(s.cpus, now)
	}
	return 0, false
}

// parseCPU reads a line such as "cpu0 user nice system idle iowait irq softirq steal guest guest_nice". The guests' time is
// in user and nice already.
func parseCPU(line []byte) (t cpuTime, ok bool) {
	name, rest := nextField(line)
	digits, found := bytes.CutPrefix(name, []byte("cpu"))
	if !found {
		return t, false
	}
	if t.cpu, ok = parseNumber(digits); !ok {
		return t, false // the sum of all CPUs
	}
	for column := range 8 {
		var v uint64
		if v, rest, ok = nextNumber(rest); !ok || t.total+v < t.total {
			return cpuTime{}, false
		}
		t.total += v
		if column == 6 {
			t.softirq = v
		}
	}
	return t, true
}

// parseSchedstat returns the time that a thread was on a CPU, out of /proc/self/task/N/schedstat. A kernel that does not
// keep it prints zeros.
func parseSchedstat(b []byte) (used time.Duration, ok bool) {
	ns, _, ok := nextNumber(b)
	if !ok || ns == 0 || ns > 1<<62 {
		return 0, false
	}
	return time.Duration(ns), true
}

// parseThreadStat returns the same out of /proc/self/task/N/stat, in steps of 10 ms: its clock has 100 ticks a second on
// every architecture that Go runs on. The name, which may hold anything, ends at the last parenthesis.
func parseThreadStat(b []byte) (used time.Duration, ok bool) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return 0, false
	}
	b = b[end+1:]
	var ticks uint64
	for column := 3; column <= 15; column++ {
		var field []byte
		field, b = nextField(b)
		if column < 14 { // 14 is utime, 15 is stime
			continue
		}
		v, ok := parseNumber(field)
		if !ok || v > 1<<48 {
			return 0, false
		}
		ticks += v
	}
	return time.Duration(ticks) * 10 * time.Millisecond, true
}
