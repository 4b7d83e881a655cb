package tuning

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Sample is what the kernel has counted since boot, at one moment.
type Sample struct {
	Time      time.Time
	Softnet   Softnet
	Accepted  uint64              // connections that were accepted by the kernel (Tcp PassiveOpens)
	Overflows uint64              // that found an accept queue full (TcpExt ListenOverflows)
	Drops     uint64              // that were dropped for any reason before they were accepted (TcpExt ListenDrops)
	Memory    uint64              // packets thrown away and connections reset for lack of TCP's memory
	Missed    uint64              // packets that a device had no room for
	Queues    map[string][]uint64 // packets of each receive queue, by device; of those that count them
}

// Sample reads the counters of the calling thread's network namespace, and of the devices that interfaces names.
func (b *Box) Sample(ctx context.Context, interfaces []string) Sample {
	s := Sample{Time: time.Now(), Softnet: b.softnet(), Queues: map[string][]uint64{}}
	snmp, netstat := b.counters("proc/net/snmp"), b.counters("proc/net/netstat")
	s.Accepted = snmp["Tcp:PassiveOpens"]
	s.Overflows = netstat["TcpExt:ListenOverflows"]
	s.Drops = netstat["TcpExt:ListenDrops"]
	for _, name := range []string{"TCPAbortOnMemory", "PruneCalled", "RcvPruned", "OfoPruned", "TCPMemoryPressures"} {
		s.Memory += netstat["TcpExt:"+name]
	}
	set, err := b.net().Resolve(interfaces)
	if err != nil {
		return s // what is left of it says enough
	}
	for _, leaf := range set.Leaves {
		s.Missed += number(b.read("sys/class/net/" + leaf.Name + "/statistics/rx_missed_errors"))
		stats, err := b.net().QueueStats(ctx, leaf)
		if err != nil {
			continue
		}
		for _, q := range stats {
			if !q.TX {
				s.Queues[leaf.Name] = append(s.Queues[leaf.Name], q.Packets)
			}
		}
	}
	return s
}

// counters reads a file of pairs of lines, names and values, as /proc/net/snmp.
func (b *Box) counters(path string) map[string]uint64 {
	all := map[string]uint64{}
	lines := b.lines(path)
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for k := 1; k < len(names) && k < len(values); k++ {
			all[names[0]+names[k]] = number(values[k]) // some are negative: nothing that is looked for
		}
	}
	return all
}

// Effects are the rates of an interval, each a second.
type Effects struct {
	Seconds   float64 `json:"seconds"`
	Accepted  float64 `json:"accepted"`
	Overflows float64 `json:"overflows"`
	Drops     float64 `json:"drops"`
	Memory    float64 `json:"memory"`
	Backlog   float64 `json:"backlog_drops"` // of CPUs whose backlog was full
	Squeezed  float64 `json:"squeezed"`
	Missed    float64 `json:"missed"`
	Skew      float64 `json:"skew"` // the busiest receive queue's packets against the mean of its device's; 0: not known
}

// Since returns what happened between an earlier sample and s. A counter that began anew in between, as a device's does when it
// is reset, counts from there.
func (s Sample) Since(earlier Sample) Effects {
	e := Effects{Seconds: s.Time.Sub(earlier.Time).Seconds()}
	if e.Seconds <= 0 {
		return e
	}
	rate := func(now, then uint64) float64 { return float64(grown(now, then)) / e.Seconds }
	e.Accepted, e.Overflows, e.Drops = rate(s.Accepted, earlier.Accepted), rate(s.Overflows, earlier.Overflows), rate(s.Drops, earlier.Drops)
	e.Memory, e.Missed = rate(s.Memory, earlier.Memory), rate(s.Missed, earlier.Missed)
	e.Backlog, e.Squeezed = rate(s.Softnet.Dropped, earlier.Softnet.Dropped), rate(s.Softnet.Squeezed, earlier.Softnet.Squeezed)
	for device, packets := range s.Queues {
		e.Skew = max(e.Skew, skew(packets, earlier.Queues[device]))
	}
	return e
}

func grown(now, then uint64) uint64 {
	if now < then {
		return now
	}
	return now - then
}

// skew is the largest growth of a queue against their mean; 0 where none grew.
func skew(now, then []uint64) float64 {
	grew := slices.Clone(now)
	sum := uint64(0)
	for i := range grew {
		if i < len(then) {
			grew[i] = grown(now[i], then[i])
		}
		sum += grew[i]
	}
	if sum == 0 {
		return 0
	}
	return float64(slices.Max(grew)) * float64(len(grew)) / float64(sum)
}

// WriteEffects writes how a change of settings showed, as a table for people. The load may have changed too: it says so.
func WriteEffects(w io.Writer, before, after Effects) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Over %.3g s before and %.3g s after, each a second; the load is what it was at the time.\n\n", before.Seconds, after.Seconds)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "BEFORE\tAFTER\t\t")
	row := func(what string, x, y float64) { fmt.Fprintf(t, "%.4g\t%.4g\t\t %s\n", x, y, what) }
	row("connections accepted", before.Accepted, after.Accepted)
	row("found the accept queue full", before.Overflows, after.Overflows)
	row("dropped before they were accepted", before.Drops, after.Drops)
	row("cuts for lack of TCP's memory", before.Memory, after.Memory)
	row("packets dropped because a CPU's backlog was full", before.Backlog, after.Backlog)
	row("softirqs that ended with packets left", before.Squeezed, after.Squeezed)
	row("packets that a device had no room for", before.Missed, after.Missed)
	if before.Skew > 0 || after.Skew > 0 {
		row("times the mean is the busiest receive queue", before.Skew, after.Skew)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, unpadded(b.String()))
	return err
}
