package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// step is something to do, and what it is good for.
type step struct {
	Do  string `json:"do"`
	Why string `json:"why"`
}

const (
	unevenFrom = 1.5 // share of the busiest queue against the mean from which something should be done
	fewPackets = 100 // so many a second say nothing about how they are spread
)

// next orders what can be done: clients that are turned away at this moment, then links that the box could hold and does not,
// values that somebody has changed, an uneven load, the clock, what the kernel lacks.
func (d *diagnosis) next() []step {
	var all []step
	add := func(do, why string, args ...any) { all = append(all, step{do, fmt.Sprintf(why, args...)}) }
	for _, l := range d.Losses {
		if l.Rate > 0 {
			add("look after what is lost now", "%s: %s a second; %s", l.Title, rate(l.Rate), l.Hint)
		}
	}
	apply := func() {
		switch p := d.Plan; {
		case p.Changes == 0:
		case p.Holds > p.Now:
			add("edged tune apply", "%d settings; the box then holds %s links instead of %s", p.Changes, links(p.Holds), links(p.Now))
		default:
			add("edged tune apply", "%d settings are not as they should be; see edged tune plan", p.Changes)
		}
	}
	gains := d.Plan.Holds > d.Plan.Now
	if gains {
		apply()
	}
	if p := d.Plan; p.Reach < p.Links {
		add(fmt.Sprintf("plan for fewer links on this box: [tuning] links = %d, or give it more", p.Reach),
			"%s are wanted, and no setting makes it hold more: %s", links(p.Links), d.endsFirst())
	}
	for _, a := range d.Advice { // in their order of effect, limits of the unit first
		add(a.Subject+": "+a.Do, "%s", a.Why)
	}
	if !gains { // because something else ends first
		apply()
	}
	if n := len(d.Drift); n > 0 {
		add("edged tune verify, and settle who sets what", "%s: somebody has changed it since edged did, %s", plural(n, "value"), d.Drift[0].By)
	}
	if d.Load.Skew >= unevenFrom && d.Packets >= fewPackets {
		add("spread the receive queues", "the busiest has %s the mean of its device: few clients, or a hash that does not see their ports (ethtool -n NAME rx-flow-hash tcp4)", share(d.Load.Skew))
	}
	if d.Clock.Slow {
		add("kernel command line: another clocksource", "%s is read by a system call or slower, and a reactor reads the clock at every wake-up", d.Clock.Source)
	}
	if !d.Clock.Synchronized && d.Clock.Unknown == "" {
		add("run a time service: chrony or systemd-timesyncd", "nobody keeps this clock right: timestamps of messages and certificates depend on it")
	}
	if !d.Kernel.Features.ReuseportBPF {
		add("a kernel with SO_ATTACH_REUSEPORT_CBPF", "without it links are spread by a hash, not to the reactor of their queue")
	}
	return all
}

// endsFirst names what holds the fewest links whatever is set.
func (d *diagnosis) endsFirst() string {
	for _, c := range d.Plan.Capacity {
		if c.Reach == d.Plan.Reach {
			return fmt.Sprintf("%s ends at %s, %s", c.Resource, links(c.Reach), c.Why)
		}
	}
	return "its resources end before"
}

// write prints the page.
func (d *diagnosis) write(w io.Writer) error {
	var b strings.Builder
	d.writeHead(&b)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	d.writeLimits(row)
	d.writeDrift(row)
	d.writeLoad(row)
	d.writeClock(row)
	d.writeKernel(row)
	if err := t.Flush(); err != nil {
		return err
	}
	b.WriteString("\nWhat to do next, what helps most first\n")
	if len(d.Next) == 0 {
		b.WriteString("  nothing\n")
	}
	for i, s := range d.Next {
		fmt.Fprintf(&b, "%3d. %s\n     %s\n", i+1, s.Do, s.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d *diagnosis) writeHead(b *strings.Builder) {
	fmt.Fprintf(b, "edged %s on Linux %s: %s, %s, %s of memory", d.Version, d.Kernel.Release, plural(d.CPUs, "CPU"), plural(max(d.Nodes, 1), "NUMA node"), gibibytes(d.RAM))
	if d.Box != "" {
		fmt.Fprintf(b, ", a container (%s)", d.Box)
	}
	b.WriteString("\n")
	switch g := d.Gateway; {
	case g == nil:
		b.WriteString("No gateway serves here: limits of a process are those of this shell, not of the gateway's unit.\n")
	case g.State == "":
		fmt.Fprintf(b, "A gateway serves here, process %d; it does not answer at its admin socket.\n", g.PID)
	default:
		fmt.Fprintf(b, "The gateway, process %d, is %s with %s of %s links", g.PID, g.State, thousands(uint64(max(g.Links, 0))), thousands(uint64(max(g.Capacity, 0))))
		if g.Reason != "" {
			fmt.Fprintf(b, ": %s", g.Reason)
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n")
}

func (d *diagnosis) writeLimits(row func(name, format string, args ...any)) {
	p := d.Plan
	row("LIMITS", "planned for %s links, %s messages/s and %s", thousands(p.Links), thousands(p.Messages), plural(p.Reactors, "reactor"))
	row("", "holds %s now, %s with the plan, %s with others' part", links(p.Now), links(p.Holds), links(p.Reach))
	for i, c := range p.Capacity {
		if i == 3 {
			break
		}
		order := []string{"ends first", "then", "then"}[i]
		row("", "%s: %s, at %s links now, %s with the plan", order, c.Resource, links(c.Now), links(c.Holds))
	}
}

func (d *diagnosis) writeDrift(row func(name, format string, args ...any)) {
	name := "DRIFT"
	if d.Unknown != "" {
		row(name, "not known: %s", d.Unknown)
		return
	}
	if len(d.Drift) == 0 {
		row(name, "nobody has changed what edged has set")
	}
	for i, one := range d.Drift {
		if i == 5 {
			row("", "and %d more: edged tune verify", len(d.Drift)-i)
			break
		}
		row(name, "%s is %s, edged had set %s: %s", one.Key, orDash(one.Current), one.Wanted, one.By)
		name = ""
	}
}

func (d *diagnosis) writeLoad(row func(name, format string, args ...any)) {
	row("LOAD", "%s connections and %s packets a second, in the last %.1f s", rate(d.Load.Accepted), rate(d.Packets), d.Load.Seconds)
	name := "DROPS"
	for _, l := range d.Losses {
		if l.Total > 0 || l.Rate > 0 {
			row(name, "%s: %s a second now, %s since the start", l.Title, rate(l.Rate), thousands(l.Total))
			name = ""
		}
	}
	if name != "" {
		row(name, "none since the start")
	}
	switch {
	case d.Load.Skew == 0:
		row("SKEW", "one receive queue, or none that counts, or none that is in use")
	case d.Packets < fewPackets:
		row("SKEW", "too few packets to say how the receive queues are used")
	default:
		row("SKEW", "the busiest receive queue has %s the mean of its device", share(d.Load.Skew))
	}
	for _, text := range d.Unmapped {
		row("", "not known which CPU the queues interrupt; %s", text)
	}
}

func (d *diagnosis) writeClock(row func(name, format string, args ...any)) {
	kept := "kept right by a time service"
	switch {
	case d.Clock.Unknown != "":
		kept = "not known whether it is kept right: " + d.Clock.Unknown
	case !d.Clock.Synchronized:
		kept = "nobody keeps it right"
	}
	speed := ""
	if d.Clock.Slow {
		speed = ", slow to read"
	}
	row("CLOCK", "%s%s; %s", orDash(d.Clock.Source), speed, kept)
}

func (d *diagnosis) writeKernel(row func(name, format string, args ...any)) {
	f := d.Kernel.Features
	row("KERNEL", "reuseport BPF %s, busy polling per epoll %s, tcp_migrate_req %s, netdev netlink %s",
		yesNo(f.ReuseportBPF), yesNo(f.EpollParams), yesNo(f.MigrateReq), yesNo(f.NetdevGenl))
}

func yesNo(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// links writes how many links something is enough for: some settings have no limit.
func links(n uint64) string {
	if n > math.MaxInt64/2 {
		return "any number of"
	}
	return thousands(n)
}

func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(uint64(max(n, 0))) + " " + thing
}

// gibibytes writes a size of memory.
func gibibytes(n uint64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
