package tuning

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// WriteCapacity writes what the box can hold and what ends first, as a table for people.
func (p Plan) WriteCapacity(w io.Writer) error {
	var b strings.Builder
	say := func(when string, links uint64, of func(Bound) uint64) {
		first := slices.MinFunc(p.Capacity, func(x, y Bound) int { return compare(of(x), of(y)) })
		fmt.Fprintf(&b, "%-18s %s; first to end: %s\n", when, linksText(links), first.Resource)
	}
	say("now", p.Now, func(c Bound) uint64 { return c.Now })
	say("with the plan", p.Holds, func(c Bound) uint64 { return c.Holds })
	if p.Reach != p.Holds {
		say("and others' part", p.Reach, func(c Bound) uint64 { return c.Reach })
	}
	if p.Reach < p.Links {
		fmt.Fprintf(&b, "This box cannot hold %s links.\n", group(p.Links))
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RESOURCE\tLINKS NOW\tPLANNED\tWHY")
	for _, c := range p.Capacity {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Resource, limitText(c.Now), limitText(c.Holds), c.Why)
		if c.Lift != "" && c.Holds < p.Links {
			fmt.Fprintf(t, "\t\t\traised by: %s\n", c.Lift)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, unpadded(b.String()))
	return err
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// limitText writes how many links a bound holds. Some settings have no limit and are near the largest number.
func limitText(n uint64) string {
	if n > math.MaxInt64/2 {
		return "no limit"
	}
	return group(n)
}

func linksText(n uint64) string {
	if n > math.MaxInt64/2 {
		return limitText(n)
	}
	return limitText(n) + " links"
}

// WriteTable writes the plan as a table for people: what is to be changed or cannot be, or with all of it what is right
// already and what is left alone.
func (p Plan) WriteTable(w io.Writer, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Plan for %s links and %s messages/s, which is %s packets/s, and %s.\n\n",
		group(p.Links), group(p.Messages), group(p.Packets), count(float64(p.Reactors), "reactor"))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STATUS\tSETTING\tNOW\tWANTED\tWHY")
	counts := map[Status]int{}
	var notes []string
	for _, l := range grouped(p.Entries) {
		counts[l.Status] += l.many
		if !all && (l.Status == OK || l.Wanted == "") {
			continue
		}
		status := string(l.Status)
		if l.Note != "" {
			if !slices.Contains(notes, l.Note) {
				notes = append(notes, l.Note)
			}
			status += fmt.Sprintf(" [%d]", slices.Index(notes, l.Note)+1)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", status, l.Key, show(l.Current), show(l.Wanted), l.Why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, note := range notes {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%d] %s\n", i+1, note)
	}
	fmt.Fprintf(&b, "\n%s\n", countText(counts))
	for i, a := range p.Advice {
		if i == 0 {
			b.WriteString("\nOthers' part:\n")
		}
		fmt.Fprintf(&b, "  %s: %s\n      %s\n", a.Subject, a.Do, a.Why)
	}
	_, err := io.WriteString(w, unpadded(b.String()))
	return err
}

// unpadded removes the blanks that columns leave at the ends of lines.
func unpadded(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
	return b.String()
}

// show writes a value so that a column stays readable.
func show(value string) string {
	const most = 36
	if value == "" {
		return "-"
	}
	if utf8.RuneCountInString(value) > most {
		return string([]rune(value)[:most-1]) + "…"
	}
	return value
}

func countText(counts map[Status]int) string {
	var parts []string
	for _, s := range []Status{Change, OK, Kept, AdminOwned, NoPermission, Absent} {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

// line is an entry of the table, or several of a device's queues that say the same.
type line struct {
	Entry
	many int
}

// grouped puts the queues of a device that have one fate into one line: a server has a hundred of them.
func grouped(entries []Entry) []line {
	var lines []line
	place := map[string]int{}
	for _, e := range entries {
		if e.Kind != KindIRQ && e.Kind != KindQueue {
			lines = append(lines, line{e, 1})
			continue
		}
		name := e.Device + "/irq"
		if e.Kind == KindQueue {
			parts := strings.Split(e.Key, "/") // NAME/queues/rx-0/rps_cpus
			direction, _, _ := strings.Cut(parts[2], "-")
			name = e.Device + "/queues/" + direction + "/" + parts[3]
		}
		id := strings.Join([]string{name, string(e.Status), e.Note, e.Why}, "\x00")
		if i, ok := place[id]; ok {
			l := &lines[i]
			l.many++
			l.Current, l.Wanted = span(l.Current, e.Current), span(l.Wanted, e.Wanted)
			l.Key = fmt.Sprintf("%s (%d)", name, l.many)
			continue
		}
		place[id] = len(lines)
		lines = append(lines, line{e, 1})
	}
	return lines
}

// span shows the first and the last of several values.
func span(so, last string) string {
	first, _, _ := strings.Cut(so, " … ")
	if first == last {
		return first
	}
	return first + " … " + last
}
