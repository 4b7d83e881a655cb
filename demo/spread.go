package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"edged/swarm"
)

// The show of a fleet, in parts of its length: the swarm comes; when all of it is there, a part goes by until one gateway is
// drained, which takes another part; the rest is for looking at what came of it.
const (
	rampFor    = 5 // a fifth of the length
	drainAfter = 4
	drainFor   = 4
	// thinkTime is the pause between two messages of a client.
	thinkTime = time.Second
	// reconnectMost is how long a link that was sent away may be without a link: the time that its BYE names, the back-off
	// where that is longer, and a while for a machine that has other things to do.
	reconnectMost = 5 * time.Second
)

// lookEvery is how often the director looks whether a step is done.
const lookEvery = 20 * time.Millisecond

// barWidth is how many characters all clients on one gateway would take.
const barWidth = 24

// Fleet shows three gateways behind two load balancers: first two people who write to each other through the queue layer,
// then, until o.Duration is over or ctx ends, clients that a dispatch service tells where to go: how the links spread, and
// where they go when a gateway is drained. It returns ErrWrong if a letter was lost, doubled or out of order, if a link was
// lost, or away for longer than it takes to come back. The gateways that o.Start starts must report to the Redis of their
// configuration.
func Fleet(ctx context.Context, o Options) error {
	f, err := startFleet(ctx, o)
	if err != nil {
		return err
	}
	if f == nil {
		fmt.Fprintln(o.Out, "ended before it began")
		return nil
	}
	err = f.show(ctx)
	return errors.Join(err, f.stop())
}

func (f *fleet) show(ctx context.Context) error {
	o := f.o
	fmt.Fprintf(o.Out, "%d gateways behind %d load balancers, Redis on %s, Manager on %s, dispatch on %s\n\ntwo people write to each other through the queue layer\n",
		len(plan), len(balancerNames()), f.redis.Addr(), f.backend, f.url)
	if err := f.showLetters(ctx); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%d clients ask the dispatch service where to go; %v, or until Ctrl-C\n", o.Links, o.Duration)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	d := &director{fleet: f, out: o.Out, began: time.Now()}
	watched := make(chan struct{})
	go func() { d.run(watching); close(watched) }()

	cfg := swarm.Default()
	cfg.Dispatch, cfg.Links, cfg.Duration, cfg.Loops = f.url, o.Links, o.Duration, 1
	cfg.Ramp, cfg.Think, cfg.Reconnect = float64(o.Links)*rampFor/o.Duration.Seconds(), thinkTime, true
	report, err := swarm.Run(ctx, cfg, nil)
	stop()
	<-watched
	if err != nil {
		return err
	}
	return d.summary(&report)
}

// director lets things happen and tells them. It belongs to the goroutine of run until that has returned.
type director struct {
	fleet *fleet
	out   io.Writer
	began time.Time

	allUp  time.Time // when all links were up first; zero: they were not
	before []int     // links by member when the drain began; nil: it did not
	moved  bool      // the drained gateway is empty, and all links are up again
}

// run prints a line a second until ctx ends or the clients leave, and drains the last gateway in between.
func (d *director) run(ctx context.Context) {
	d.head()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.row()
		case <-look.C:
			d.look()
			if !d.allUp.IsZero() && time.Since(d.allUp) > d.fleet.o.Duration-3*lookEvery {
				return // that the clients leave in a moment is not for the table
			}
		}
	}
}

// look takes the show a step on when its time has come.
func (d *director) look() {
	links, all := d.links()
	complete := all == d.fleet.o.Links
	switch {
	case d.allUp.IsZero() && complete:
		d.allUp = time.Now()
		d.tell("all links are up: %s", d.shares(links))
	case d.before == nil && !d.allUp.IsZero() && time.Since(d.allUp) > d.fleet.o.Duration/drainAfter:
		d.drain(links)
	case d.before != nil && !d.moved && complete && links[len(links)-1] == 0:
		d.moved = true
		d.tell("%s is empty, its links have moved: %s", d.leaving().name, d.gains(links))
	}
}

func (d *director) leaving() *member { return d.fleet.members[len(d.fleet.members)-1] }

func (d *director) drain(links []int) {
	d.before = links
	within := d.fleet.o.Duration / drainFor
	m := d.leaving()
	d.tell("%s is drained within %v: its %d links are told to come back elsewhere", m.name, within, links[len(links)-1])
	m.gateway.Drain(within)
}

func (d *director) links() (each []int, all int) {
	for _, m := range d.fleet.members {
		n := m.gateway.Links()
		each = append(each, n)
		all += n
	}
	return each, all
}

// head prints the columns' names.
func (d *director) head() {
	var b strings.Builder
	b.WriteString("       links")
	for _, m := range d.fleet.members {
		fmt.Fprintf(&b, "  %-*s", barWidth+6, m.name+" of "+m.slb)
	}
	fmt.Fprintln(d.out, strings.TrimRight(b.String(), " "))
}

// row prints how the links are spread now.
func (d *director) row() {
	links, all := d.links()
	var b strings.Builder
	fmt.Fprintf(&b, "%4.0fs  %6d", time.Since(d.began).Seconds(), all)
	for _, n := range links {
		fmt.Fprintf(&b, "  %-*s %5d", barWidth, bar(n, d.fleet.o.Links), n)
	}
	if d.before != nil && !d.moved {
		b.WriteString(" draining")
	}
	fmt.Fprintln(d.out, b.String())
}

// bar draws n of all.
func bar(n, all int) string {
	return strings.Repeat("#", min((n*barWidth+all-1)/all, barWidth))
}

func (d *director) tell(format string, args ...any) {
	fmt.Fprintf(d.out, "       "+format+"\n", args...)
}

// shares says how many links each load balancer has.
func (d *director) shares(links []int) string {
	var parts []string
	for _, name := range balancerNames() {
		n := 0
		for i, m := range d.fleet.members {
			if m.slb == name {
				n += links[i]
			}
		}
		parts = append(parts, fmt.Sprintf("%s has %d (%.0f %%)", name, n, 100*float64(n)/float64(d.fleet.o.Links)))
	}
	return strings.Join(parts, ", ")
}

// gains says who has more links than before the drain.
func (d *director) gains(links []int) string {
	var parts []string
	for i, m := range d.fleet.members[:len(links)-1] {
		parts = append(parts, fmt.Sprintf("%s %+d", m.name, links[i]-d.before[i]))
	}
	return strings.Join(parts, ", ")
}

// summary says how it went.
func (d *director) summary(r *swarm.Report) error {
	fmt.Fprintln(d.out)
	s := r.Dispatch
	fmt.Fprintf(d.out, "dispatch    %d lists asked for, %d without an answer\n", s.Asked, s.Failed)
	slices.SortFunc(r.Addresses, func(a, b swarm.Place) int { return strings.Compare(a.SLB, b.SLB) })
	for _, p := range r.Addresses {
		fmt.Fprintf(d.out, "%-11s %s: %d links opened, %d ended, %d up at the end\n", p.SLB, p.Address, p.Opened, p.Ended, p.Up)
	}
	if r.Away.Count() > 0 {
		fmt.Fprintf(d.out, "away        %d links came back, half of them within %v, all within %v\n", r.Away.Count(), short(r.Away.Quantile(0.5)), short(r.Away.Max()))
	}
	fmt.Fprintf(d.out, "messages    %d sent, %d answered\n", r.Messages.Sent, r.Messages.Answered)
	wrong := d.wrong(r)
	for _, w := range wrong {
		fmt.Fprintln(d.out, "wrong:", w)
	}
	switch {
	case len(wrong) > 0:
		return ErrWrong
	case d.moved:
		fmt.Fprintln(d.out, "\nno link was lost: each one that was sent away found another gateway")
	default:
		fmt.Fprintln(d.out, "\nended before its time; no link was lost")
	}
	return nil
}

// wrong lists what must not be.
func (d *director) wrong(r *swarm.Report) (out []string) {
	for why, n := range r.Connections.Lost {
		out = append(out, fmt.Sprintf("%d links broke: %s", n, why))
	}
	for why, n := range r.Connections.Byes {
		if why != "draining" {
			out = append(out, fmt.Sprintf("%d links were ended: %s", n, why))
		}
	}
	if away := r.Away.Max(); away > reconnectMost {
		out = append(out, fmt.Sprintf("a link was away for %v", away))
	}
	if r.Interrupted {
		return out // some may still be on their way
	}
	if n := r.Links - r.Connections.Up; n > 0 {
		out = append(out, fmt.Sprintf("%d of %d links were not up at the end", n, r.Links))
	}
	if d.before == nil {
		out = append(out, "the links were not up in time to drain a gateway")
	} else if !d.moved {
		out = append(out, fmt.Sprintf("%s was not empty at the end", d.leaving().name))
	}
	return out
}
