package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"edged/nic"
)

// sample is what the kernel has counted up to a moment, since it was started: softnet_stat for each CPU, SNMP for this network
// namespace, and the queues of the devices that count.
type sample struct {
	at     time.Time
	cpus   []uint64          // packets that each CPU has processed, of those that are online
	counts map[string]uint64 // by the names of counted
	queues map[string][]uint64
}

// counted are the counters of a sample that are shown, in that order. Beyond accepted and packets, each is a thing that
// should not happen.
var counted = []struct {
	name, title string
	bad         bool
	hint        string // what it means for those who connect
}{
	{"accepted", "connections accepted", false, ""},
	{"packets", "packets processed", false, ""},
	{"listen_overflows", "connections dropped: a listener's queue was full", true, "reactors do not accept as fast as clients come, or net.core.somaxconn is low"},
	{"softnet_dropped", "packets dropped: a CPU's backlog was full", true, "net.core.netdev_max_backlog is low, or one CPU gets all packets"},
	{"nic_missed", "packets missed: a device had no room", true, "its rings are short, or its CPU does not keep up"},
	{"memory_drops", "packets dropped: TCP had no memory", true, "net.ipv4.tcp_mem is low"},
	{"memory_pressures", "times that TCP came under memory pressure", true, "net.ipv4.tcp_mem is low"},
	{"orphan_resets", "connections reset: out of memory or orphans", true, "net.ipv4.tcp_mem or tcp_max_orphans is low"},
	{"softnet_squeezed", "softirqs that ended with work left", false, ""},
}

// sampler reads samples of a box.
type sampler struct {
	proc   string
	sys    string
	host   nic.Host
	leaves []nic.Leaf
}

// sampler returns one for the devices of this box that carry its links.
func (t *tune) sampler() sampler {
	s := sampler{proc: t.proc(), sys: t.box.Root + "/sys", host: t.box.Net}
	if t.box.Root != "" {
		s.host.Proc, s.host.Sys = s.proc, s.sys
	}
	set, err := s.host.Resolve(t.cfg.Tuning.Interfaces)
	if err == nil { // else: a sample without devices
		s.leaves = set.Leaves
	}
	return s
}

func (s sampler) read(ctx context.Context) sample {
	now := sample{at: time.Now(), counts: map[string]uint64{}, queues: map[string][]uint64{}}
	for _, line := range lines(s.proc + "/net/softnet_stat") {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		processed := hexadecimal(f[0])
		now.cpus = append(now.cpus, processed)
		now.counts["packets"] += processed
		now.counts["softnet_dropped"] += hexadecimal(f[1])
		now.counts["softnet_squeezed"] += hexadecimal(f[2])
	}
	snmp := pairs(lines(s.proc+"/net/snmp"), "Tcp:")
	ext := pairs(lines(s.proc+"/net/netstat"), "TcpExt:")
	now.counts["accepted"] = snmp["PassiveOpens"]
	now.counts["listen_overflows"] = ext["ListenOverflows"]
	now.counts["memory_drops"] = ext["PruneCalled"] + ext["RcvPruned"] + ext["TCPRcvQDrop"] + ext["TCPZeroWindowDrop"]
	now.counts["memory_pressures"] = ext["TCPMemoryPressures"]
	now.counts["orphan_resets"] = ext["TCPAbortOnMemory"]
	for _, leaf := range s.leaves {
		missed, _ := os.ReadFile(s.sys + "/class/net/" + leaf.Name + "/statistics/rx_missed_errors")
		n, _ := strconv.ParseUint(strings.TrimSpace(string(missed)), 10, 64) // a device that does not tell has missed none
		now.counts["nic_missed"] += n
		stats, err := s.host.QueueStats(ctx, leaf)
		if err != nil {
			continue // it does not count them
		}
		for _, q := range stats {
			if !q.TX {
				now.queues[leaf.Name] = append(now.queues[leaf.Name], q.Packets)
			}
		}
	}
	return now
}

func lines(file string) []string {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}

func hexadecimal(word string) uint64 {
	n, _ := strconv.ParseUint(word, 16, 64) // what is none counts as nothing
	return n
}

// pairs reads the two lines of one protocol of /proc/net/snmp and netstat: names, then values.
func pairs(all []string, protocol string) map[string]uint64 {
	values := map[string]uint64{}
	var names []string
	for _, line := range all {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != protocol {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := 1; i < len(f) && i < len(names); i++ {
			values[names[i]], _ = strconv.ParseUint(f[i], 10, 64) // MaxConn is -1, and of no interest
		}
	}
	return values
}

// traffic is what happened between two samples.
type traffic struct {
	Seconds float64            `json:"seconds"`
	Rates   map[string]float64 `json:"rates"`           // a second, by the names of counted
	Queues  map[string]float64 `json:"queues"`          // busiest receive queue of a device against the mean: 1 is even; devices that count
	CPUs    float64            `json:"cpus"`            // the same of the CPUs' packets
	Bad     []string           `json:"bad,omitempty"`   // names of what should not have happened, and did
	Few     bool               `json:"few,omitempty"`   // so few packets that an uneven share says nothing
	Total   map[string]uint64  `json:"total,omitempty"` // since the box was started, at the end
}

// fewPackets a second say nothing about how they are spread.
const fewPackets = 100

func between(before, after sample) traffic {
	l := traffic{Seconds: after.at.Sub(before.at).Seconds(), Rates: map[string]float64{}, Queues: map[string]float64{}, Total: after.counts}
	for _, c := range counted {
		n := float64(after.counts[c.name] - min(before.counts[c.name], after.counts[c.name]))
		l.Rates[c.name] = n / max(l.Seconds, 1e-3)
		if c.bad && n > 0 {
			l.Bad = append(l.Bad, c.name)
		}
	}
	l.CPUs = skew(before.cpus, after.cpus)
	for device, queues := range after.queues {
		if s := skew(before.queues[device], queues); s > 0 {
			l.Queues[device] = s
		}
	}
	l.Few = l.Rates["packets"] < fewPackets
	return l
}

// skew is the largest of the differences against their mean; 0 where nothing can be said.
func skew(before, after []uint64) float64 {
	if len(before) != len(after) || len(after) < 2 {
		return 0
	}
	var sum, most uint64
	for i := range after {
		n := after[i] - min(before[i], after[i])
		sum += n
		most = max(most, n)
	}
	if sum == 0 {
		return 0
	}
	return float64(most) * float64(len(after)) / float64(sum)
}

// watch measures the load for so long.
func (s sampler) watch(ctx context.Context, length time.Duration) (traffic, error) {
	before := s.read(ctx)
	select {
	case <-time.After(length):
	case <-ctx.Done():
		return traffic{}, ctx.Err()
	}
	return between(before, s.read(ctx)), nil
}

// measure watches the load if that was asked for.
func (a *application) measure(ctx context.Context, when string) (*traffic, error) {
	if a.flags.measure == 0 {
		return nil, nil
	}
	fmt.Fprintf(a.out, "measuring the load %s, for %v\n", when, a.flags.measure)
	l, err := a.sampler().watch(ctx, a.flags.measure)
	if err != nil {
		return nil, fmt.Errorf("measure the load %s: %w", when, err)
	}
	return &l, nil
}

// writeDifference sets two loads beside each other.
func writeDifference(w io.Writer, before, after traffic) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "A SECOND\tBEFORE\tAFTER")
	for _, c := range counted {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.title, rate(before.Rates[c.name]), rate(after.Rates[c.name]))
	}
	fmt.Fprintf(t, "busiest CPU's packets, against the mean\t%s\t%s\n", share(before.CPUs), share(after.CPUs))
	for _, device := range sortedKeys(after.Queues) {
		fmt.Fprintf(t, "busiest receive queue of %s\t%s\t%s\n", device, share(before.Queues[device]), share(after.Queues[device]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if before.Few || after.Few {
		_, err := fmt.Fprintf(w, "Fewer than %d packets a second: this says little about the settings.\n", fewPackets)
		return err
	}
	return nil
}

func sortedKeys(m map[string]float64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func rate(n float64) string {
	if n > 0 && n < 10 {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return thousands(uint64(n + 0.5))
}

func share(n float64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " ×"
}

// thousands writes a number with commas.
func thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
