package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File   string
	Line   int    // from 1
	Key    string // with its section; empty where the text itself is wrong
	Reason string
}

// Error says FILE:LINE: KEY: REASON.
func (p Problem) Error() string {
	if p.Key == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Key, p.Reason)
}

// Problems is everything that is wrong with a file, in the order of its lines; never empty.
type Problems []Problem

// Error gives each problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// spot is a key at a line.
type spot struct {
	line int
	key  string
}

// problem reports a key that cannot be read. It keeps its default, and whatever else were said of that default would
// mislead: complain is silent about it from then on.
func (r *reader) problem(at *place, key, format string, args ...any) {
	r.wrong[spot{at.line, key}] = true
	r.report(at, key, fmt.Sprintf(format, args...))
}

// complain reports a key that was read but cannot be meant.
func (r *reader) complain(at *place, key, format string, args ...any) {
	if !r.wrong[spot{at.line, key}] {
		r.report(at, key, fmt.Sprintf(format, args...))
	}
}

func (r *reader) report(at *place, key, reason string) {
	p := Problem{r.file, at.line, key, strings.Map(printable, strings.ReplaceAll(reason, "\n", "; "))}
	if !r.said[p] {
		r.said[p] = true
		r.found = append(r.found, p)
	}
}

// printable keeps what a file holds from steering the terminal that its problems are printed on.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// problems returns what was found, nil if nothing.
func (r *reader) problems() error {
	if len(r.found) == 0 {
		return nil
	}
	slices.SortStableFunc(r.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return r.found
}

// nearest returns the one of names that a person who wrote got most likely meant; empty if none is near. Of equals the
// first wins.
func nearest(got string, names []string) string {
	got = strings.ToLower(got)
	best, limit := "", min((len(got)+2)/3, 3)+1
	for _, name := range names {
		if d := distance(got, name); d < limit {
			best, limit = name, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, replace, or swap with their neighbour on the way from a to b.
func distance(a, b string) int {
	if abs(len(a)-len(b)) > 3 {
		return 4 // farther than anybody asks; also bounds the work for a key of many kilobytes
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above, above2 := rows[i%3], rows[(i+2)%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], above2[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}

func abs(n int) int { return max(n, -n) }
