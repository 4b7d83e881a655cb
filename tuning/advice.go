package tuning

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edged/nic"
)

// advice is what remains to be done by others, what helps most first.
func (s *sizing) advice(p *Plan) []Advice {
	var all []Advice
	add := func(subject, do, why string, args ...any) {
		all = append(all, Advice{Subject: subject, Do: do, Why: fmt.Sprintf(why, args...)})
	}
	if s.m.Process.UID != 0 && slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.Status == NoPermission && e.Kind != KindLimit }) {
		add("you", "edged tune apply as root", "user %d may not change what needs changing", s.m.Process.UID)
	}
	unit := "edged.service"
	if s.m.Container != "" {
		unit = "the container"
	}
	if need := filesOfProcess(s.links, s.reactors); s.m.Process.FilesHard < need {
		add(unit, fmt.Sprintf("LimitNOFILE=%d", need), "the process may open %s files, and %s links need more",
			group(s.m.Process.FilesHard), group(s.links))
	}
	if limit, need := s.m.Cgroup.memory(), s.links*linkBytes*13/10; limit > 0 && limit < need {
		add(unit, "MemoryHigh= and MemoryMax= of "+size(need)+" or none", "the control group allows %s: the kernel throttles TCP at that limit as it does at tcp_mem's", size(limit))
	}
	if s.m.Cgroup.CPUs > 0 {
		add(unit, "no CPUQuota=", "a reactor that used up its %.4g CPUs stands still until the next period", s.m.Cgroup.CPUs)
	}
	all = append(all, s.cpuAdvice()...)
	if s.m.Container != "" {
		add("the host", "run edged tune apply there", "this is a container (%s): what belongs to the whole machine is set on it", s.m.Container)
	}
	if s.tracks() {
		add("firewall", "NOTRACK for the gateway's ports", "connections are tracked: each link is an entry of a table that drops packets when it is full")
	}
	if a, ok := s.hashAdvice(); ok {
		all = append(all, a)
	}
	if a, ok := s.balanceAdvice(p); ok {
		all = append(all, a)
	}
	for i := range s.m.NICs {
		if n := &s.m.NICs[i]; n.Leaf.Physical && !n.Mapped && n.Why != "" {
			add(n.Name, "nothing", "which CPU its queues interrupt is not known (%s): reactors are not pinned to them", n.Why)
		}
	}
	return all
}

// cpuAdvice compares where the gateway may run with where packets arrive.
func (s *sizing) cpuAdvice() []Advice {
	var outside []int
	for i := range s.m.NICs {
		for _, q := range s.m.NICs[i].RX {
			for _, cpu := range q.CPUs {
				if s.m.NICs[i].Mapped && !slices.Contains(s.m.CPU.Allowed, cpu) && !slices.Contains(outside, cpu) {
					outside = append(outside, cpu)
				}
			}
		}
	}
	if len(outside) == 0 {
		return nil
	}
	return []Advice{{
		Subject: "edged.service", Do: "CPUAffinity= and AllowedCPUs= with " + nic.FormatCPUs(outside),
		Why: "receive queues interrupt CPUs that the gateway may not run on",
	}}
}

// balanceAdvice names the interrupts that irqbalance has to leave alone.
func (s *sizing) balanceAdvice(p *Plan) (Advice, bool) {
	if !s.m.Daemons.Irqbalance {
		return Advice{}, false
	}
	var bans []string
	for i := range s.m.NICs {
		for _, queues := range [][]nic.Queue{s.m.NICs[i].RX, s.m.NICs[i].TX} {
			for _, q := range queues {
				ban := "--banirq=" + strconv.Itoa(q.IRQ)
				if q.IRQ != 0 && !slices.Contains(s.m.Daemons.BannedIRQs, q.IRQ) && !slices.Contains(bans, ban) {
					bans = append(bans, ban)
				}
			}
		}
	}
	if len(bans) == 0 || !slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.Kind == KindIRQ && e.Status == Kept }) {
		return Advice{}, false
	}
	return Advice{
		Subject: "/etc/default/irqbalance, or /etc/sysconfig/irqbalance",
		Do:      `IRQBALANCE_ARGS="` + strings.Join(bans, " ") + `"`,
		Why:     "irqbalance moves interrupts away from the reactors of their queues every 10 seconds",
	}, true
}
