package tuning

import (
	"strconv"
	"strings"
)

// Values of settings are text, as the kernel prints them, with whitespace collapsed: it prints TABs between the numbers of a
// vector, and everybody writes blanks.

// collapse makes two spellings of one value equal.
func collapse(text string) string { return strings.Join(strings.Fields(text), " ") }

// numbers returns the value as a vector; ok is false where it is none.
func numbers(text string) (v []uint64, ok bool) {
	for _, field := range strings.Fields(text) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, false
		}
		v = append(v, n)
	}
	return v, len(v) > 0
}

// number returns a value of one number; 0 where it is none.
func number(text string) uint64 {
	v, ok := numbers(text)
	if !ok || len(v) != 1 {
		return 0
	}
	return v[0]
}

// text is the value that is written: all numbers of it, because the kernel takes a shorter vector and silently keeps the
// rest as it was.
func text(v ...uint64) string {
	fields := make([]string, len(v))
	for i, n := range v {
		fields[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(fields, " ")
}

// raised returns the present value with each number that is smaller than the formula's raised to it: ascending vectors
// stay ascending. A present value that cannot be read as such is replaced.
func raised(present string, formula ...uint64) string {
	now, ok := numbers(present)
	if !ok || len(now) != len(formula) {
		return text(formula...)
	}
	for i, n := range formula {
		now[i] = max(now[i], n)
	}
	return text(now...)
}

// lowered returns the smaller of the present number and the formula's.
func lowered(present string, formula uint64) string {
	now, ok := numbers(present)
	if !ok || len(now) != 1 {
		return text(formula)
	}
	return text(min(now[0], formula))
}

// betweenValues says whether v may be what the kernel made of wanted where before stood: it cuts numbers to its own limits.
func betweenValues(v, before, wanted string) bool {
	n, okN := numbers(v)
	b, okB := numbers(before)
	w, okW := numbers(wanted)
	if !okN || !okB || !okW || len(n) != len(w) || len(b) != len(w) {
		return false
	}
	for i := range n {
		if n[i] < min(b[i], w[i]) || n[i] > max(b[i], w[i]) {
			return false
		}
	}
	return true
}
