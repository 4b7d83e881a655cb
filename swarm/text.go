package swarm

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Problems says in one line each what keeps the report from being OK.
func (r *Report) Problems() []string {
	var out []string
	note := func(n uint64, what string) {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, what))
		}
	}
	c, m := &r.Connections, &r.Messages
	if c.Up < r.Links {
		note(uint64(r.Links-c.Up), "links were not up at the end")
	}
	if c.Retries == 0 { // else they came back, or are not up
		note(sum(c.Errors), "links could not be opened")
		note(sum(c.Byes), "links were ended by the gateway")
		note(sum(c.Lost), "links broke")
	}
	note(m.Unanswered, "messages were not answered")
	note(m.Unsent, "messages could not be sent at their time")
	note(r.Corrupt.Total, "answers were corrupt")
	if r.Check != nil {
		r.Check.problems(note)
	}
	return out
}

func (c *Checks) problems(note func(uint64, string)) {
	for _, side := range []struct {
		name  string
		check *Check
	}{{"answers", &c.Answers}, {"messages at the Manager", &c.Messages}, {"of the Manager's numbers", &c.Manager}} {
		note(side.check.Missing.Total, side.name+" missing")
		note(side.check.Doubled.Total, side.name+" doubled")
		note(side.check.Disordered.Total, side.name+" out of order")
	}
	note(c.NoReport.Total, "links without the Manager's account")
}

// Faults returns how many messages were lost, doubled, out of order, wrong or not sent, without those that were on their way when
// their link ended. It says something of a run with Checker.
func (r *Report) Faults() uint64 {
	n := r.Corrupt.Total + r.Messages.Unsent
	c := r.Check
	if c == nil {
		return n + r.Messages.Unanswered
	}
	for _, s := range []*Check{&c.Answers, &c.Messages, &c.Manager} {
		n += s.Missing.Total + s.Doubled.Total + s.Disordered.Total
	}
	return n + c.NoReport.Total - c.Unheard.Total
}

// OK says whether all went as it should: every link up to the end, every message answered once, in order and whole.
func (r *Report) OK() bool { return len(r.Problems()) == 0 }

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s "+format+"\n", append([]any{name}, args...)...)
	}
	c, m := &r.Connections, &r.Messages
	if r.Dispatch == nil {
		line("target", "%s", strings.Join(r.Target, " "))
	} else {
		line("dispatch", "%s, asked %d times, %s", r.Dispatch.URL, r.Dispatch.Asked, quantiles(r.Dispatch.Took))
	}
	line("links", "%d of %d up, %d opened, %.0f/s in a ramp of %.1f s", c.Up, r.Links, c.Opened, c.PerS, r.RampS)
	reasons := func(name string, m map[string]uint64) {
		for _, why := range slices.Sorted(maps.Keys(m)) {
			line(name, "%d %s", m[why], why)
		}
	}
	if r.Dispatch != nil || len(r.Addresses) > 1 {
		r.writePlaces(line)
	}
	reasons("not opened", c.Errors)
	reasons("bye", c.Byes)
	reasons("lost", c.Lost)
	if m.Sent > 0 || m.Unsent > 0 {
		line("messages", "%d sent, %d answered, %.0f/s in %.1f s", m.Sent, m.Answered, m.PerS, r.RunS)
		line("latency", "%s", quantiles(r.Latency))
	}
	if p := r.Pause; p.Took > 0 {
		line("pause", "%s at most, of %s, over %s after the beginning", show(p.Took), p.Link, show(max(p.At, 0)))
	}
	if r.Lag != nil && r.Lag.Count() > 0 {
		line("lag", "%s", quantiles(r.Lag))
	}
	line("connect", "%s", quantiles(r.Connect))
	if r.Away != nil && r.Away.Count() > 0 {
		line("away", "%d links came back, %s", r.Away.Count(), quantiles(r.Away))
	}
	line("also", "%d pushes, %d acks, %d heartbeats, %d bytes out, %d bytes in", m.Pushes, m.Acks, m.Heartbeats, m.BytesOut, m.BytesIn)
	if r.Check != nil {
		line("checked", "%d accounts of the Manager", r.Check.Reports)
	}
	r.writeFaults(&b)
	if r.Interrupted {
		line("interrupted", "before its time")
	}
	for _, p := range r.Problems() {
		line("problem", "%s", p)
	}
	if r.OK() {
		line("result", "OK")
	} else {
		line("result", "NOT OK")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// writePlaces tells how the links were spread over the addresses.
func (r *Report) writePlaces(line func(name, format string, args ...any)) {
	var all uint64
	for i := range r.Addresses {
		all += r.Addresses[i].Opened
	}
	for i := range r.Addresses {
		p := &r.Addresses[i]
		if i == MostListed {
			line("address", "and %d more", len(r.Addresses)-i)
			break
		}
		name := p.Address
		if p.SLB != "" {
			name += " of " + p.SLB
		}
		line("address", "%s: %d up, %d opened (%.1f %%), %d failed, %d ended", name, p.Up, p.Opened, 100*float64(p.Opened)/float64(max(all, 1)), p.Failed, p.Ended)
	}
}

func (r *Report) writeFaults(b *bytes.Buffer) {
	list := func(name string, l *List) {
		if l.Total > 0 {
			fmt.Fprintf(b, "%s: %d\n", name, l.Total)
		}
		for _, f := range l.First {
			fmt.Fprintf(b, "    %s: %d", f.Link, f.Count)
			if len(f.Numbers) > 0 {
				fmt.Fprintf(b, ", numbers %s", strings.Trim(fmt.Sprint(f.Numbers), "[]"))
			}
			b.WriteByte('\n')
		}
	}
	list("corrupt answers", &r.Corrupt)
	if r.Check == nil {
		return
	}
	list("answers missing", &r.Check.Answers.Missing)
	list("answers doubled", &r.Check.Answers.Doubled)
	list("answers out of order", &r.Check.Answers.Disordered)
	list("messages missing at the Manager", &r.Check.Messages.Missing)
	list("messages doubled at the Manager", &r.Check.Messages.Doubled)
	list("messages out of order at the Manager", &r.Check.Messages.Disordered)
	list("of the Manager's numbers missing", &r.Check.Manager.Missing)
	list("of the Manager's numbers doubled", &r.Check.Manager.Doubled)
	list("of the Manager's numbers out of order", &r.Check.Manager.Disordered)
	list("without the Manager's account", &r.Check.NoReport)
}

func quantiles(h *Histogram) string {
	if h == nil || h.Count() == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s",
		show(h.Quantile(0.5)), show(h.Quantile(0.9)), show(h.Quantile(0.99)), show(h.Quantile(0.999)), show(h.Max()))
}

func show(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond / 10).String()
}
