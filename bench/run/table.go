package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"unicode/utf8"
)

// busyCPUs is what the rest of the machine may use before the figures are doubtful.
const busyCPUs = 0.1

// output is what a run found, as it is printed and as it is written for programs.
type output struct {
	Machine  machine  `json:"machine"`
	Commit   string   `json:"commit"`
	Base     string   `json:"base,omitempty"`
	Rounds   int      `json:"rounds"`
	Lines    []line   `json:"lines"`
	Failures []string `json:"failures"`
	LineNs   *spread  `json:"line_ns"`  // how long a cache line took from CPU to CPU and back
	Settle   *spread  `json:"settle_s"` // seconds until a server's memory stood still
	Repeated int      `json:"repeated"`
	Moved    int      `json:"moved"`
	Awake    int      `json:"awake"` // how often a row was measured while idle CPUs polled
}

// line is one figure of one program in one row.
type line struct {
	Row      string  `json:"row"`
	Who      string  `json:"who"`
	Figure   figure  `json:"figure"`
	Now      *spread `json:"now"`
	PerFloor *spread `json:"per_floor,omitempty"` // this ÷ the C floor of the same round
	Base     *spread `json:"base,omitempty"`
	PerBase  *spread `json:"per_base,omitempty"` // this ÷ the base of the same round
	OtherCPU *spread `json:"other_cpu"`          // CPUs that the rest of the machine used meanwhile
}

// output puts the results into lines, row by row.
func (b *bench) output(m machine, rows []row, all *results) output {
	out := output{Machine: m, Commit: b.commit, Base: b.baseCommit, Rounds: b.set.rounds, Failures: all.failures,
		LineNs: spreadOf(all.lineNs), Settle: spreadOf(all.settled), Repeated: all.repeated, Moved: all.moved, Awake: all.awake}
	for _, r := range rows {
		for _, k := range all.order {
			if k.row == r.name && !k.base {
				out.Lines = append(out.Lines, all.line(k, r.reference()))
			}
		}
	}
	return out
}

// line returns a figure; reference is whom its ratio is to.
func (r *results) line(k seriesKey, reference string) line {
	now := r.values[k]
	l := line{Row: k.row, Who: k.who, Figure: k.figure, Now: spreadOf(now), OtherCPU: spreadOf(r.others[k])}
	below := seriesKey{row: k.row, who: reference, figure: k.figure}
	if k.figure.perFloor && below != k {
		l.PerFloor = spreadOf(ratios(now, r.values[below]))
	}
	k.base = true
	l.Base = spreadOf(r.values[k])
	l.PerBase = spreadOf(ratios(now, r.values[k]))
	return l
}

// write writes the output as JSON.
func (o output) write(file string) error {
	b, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// text returns the table, and what one must know to read it.
func (o output) text() string {
	header := []string{"row", "program", "figure", "median", "min–max", "÷ floor", "min–max"}
	if o.Base != "" {
		header = append(header, o.Base, "min–max", "÷ "+o.Base, "min–max")
	}
	table := [][]string{header}
	last := ""
	for _, l := range o.Lines {
		if l.Figure.jsonOnly {
			continue
		}
		cells := []string{l.Row, l.Who + mark(l.OtherCPU.Median), l.Figure.String()}
		if l.Row == last {
			cells[0] = ""
		}
		last = l.Row
		cells = append(cells, spreadCells(l.Now, short)...)
		cells = append(cells, spreadCells(l.PerFloor, ratio)...)
		if o.Base != "" {
			cells = append(cells, spreadCells(l.Base, short)...)
			cells = append(cells, spreadCells(l.PerBase, ratio)...)
		}
		table = append(table, cells)
	}
	return fmt.Sprintf("\n%s, commit %s, rounds: %d\n\n%s%s", o.Machine, o.Commit, o.Rounds, align(table, 3), o.notes())
}

// notes returns what makes the figures doubtful.
func (o output) notes() string {
	var s strings.Builder
	if n := o.disturbed(); n > 0 {
		fmt.Fprintf(&s, "\n* %d of %d lines: something else used more than %v CPUs meanwhile, in the middle round. They are worth little.\n",
			n, len(o.Lines), busyCPUs)
	}
	if l := o.LineNs; l != nil {
		fmt.Fprintf(&s, "\nA cache line took %.0f ns from CPU to CPU and back (%.0f–%.0f). Measured again because the host had moved the CPUs: "+
			"%d times; kept although it had: %d.\n", l.Median, l.Min, l.Max, o.Repeated, o.Moved)
	}
	if o.Awake > 0 {
		s.WriteString("\nIdle CPUs polled, and did not halt, while latency was measured.\n")
	}
	if l := o.Settle; l != nil {
		fmt.Fprintf(&s, "\nMemory of the idle rows: taken when two looks %v apart agreed, after %v at most; the median here is %.0f s (%.0f–%.0f) "+
			"after the last link had opened.\n", settleEvery, settleLimit, l.Median, l.Min, l.Max)
	}
	for _, f := range o.Failures {
		first, _, _ := strings.Cut(f, "\n")
		fmt.Fprintf(&s, "\nFAILED: %s\n", first)
	}
	return s.String()
}

// disturbed returns how many lines carry a mark.
func (o output) disturbed() int {
	n := 0
	for _, l := range o.Lines {
		if mark(l.OtherCPU.Median) != "" {
			n++
		}
	}
	return n
}

// mark returns what stands behind a program that was not alone.
func mark(otherCPU float64) string {
	if otherCPU > busyCPUs {
		return " *"
	}
	return ""
}

func spreadCells(s *spread, format func(float64) string) []string {
	if s == nil {
		return []string{"", ""}
	}
	return []string{format(s.Median), format(s.Min) + "–" + format(s.Max)}
}

func ratio(v float64) string { return fmt.Sprintf("%.2f", v) }

// short returns a number with three digits that count.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// align returns the rows as lines with columns of one width: the first ones begin, the others end at the same place.
func align(rows [][]string, words int) string {
	var width []int
	for _, cells := range rows {
		for i, c := range cells {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var s strings.Builder
	for _, cells := range rows {
		var l strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i < words {
				l.WriteString(c + pad + "  ")
			} else {
				l.WriteString(pad + c + "  ")
			}
		}
		s.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return s.String()
}
