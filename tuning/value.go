package tuning

import (
	"slices"
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

// parseCPUs reads a list such as "0-3,8"; nil where it is none.
func parseCPUs(list string) []int {
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		if err != nil {
			return nil
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(last); err != nil || b < a || b-a > 1<<16 {
				return nil
			}
		}
		for n := a; n <= b; n++ {
			cpus = append(cpus, n)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus)
}

// formatCPUs writes a list as the kernel does.
func formatCPUs(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(cpus[j]))
		}
		i = j + 1
	}
	return b.String()
}

// formatMask writes CPUs as the hexadecimal words, highest first, that rps_cpus and xps_cpus take.
func formatMask(cpus []int) string {
	const bits = 32
	words := make([]uint32, 1)
	for _, cpu := range cpus {
		for cpu/bits >= len(words) {
			words = append(words, 0)
		}
		words[cpu/bits] |= 1 << (cpu % bits)
	}
	slices.Reverse(words)
	fields := make([]string, len(words))
	for i, w := range words {
		fields[i] = strconv.FormatUint(uint64(w), 16)
		if i > 0 {
			fields[i] = strings.Repeat("0", 8-len(fields[i])) + fields[i]
		}
	}
	return strings.Join(fields, ",")
}

// parseMask reads such words; ok is false where they are none.
func parseMask(mask string) (cpus []int, ok bool) {
	words := strings.Split(strings.TrimSpace(mask), ",")
	for i, word := range words {
		n, err := strconv.ParseUint(word, 16, 32)
		if err != nil {
			return nil, false
		}
		for bit := range 32 {
			if n&(1<<bit) != 0 {
				cpus = append(cpus, (len(words)-1-i)*32+bit)
			}
		}
	}
	slices.Sort(cpus)
	return cpus, true
}
