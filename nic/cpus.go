package nic

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxCPU bounds what is believed of a list: NR_CPUS is 8192 at most (arch/x86/Kconfig).
const maxCPU = 1<<16 - 1

// ParseCPUs reads the kernel's form of a list, "0-3,8", as cpulist files hold it. An empty text is an empty list, not nil.
func ParseCPUs(text string) ([]int, error) {
	cpus := []int{}
	text = strings.TrimSpace(text)
	if text == "" {
		return cpus, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, toErr := strconv.ParseUint(last, 10, 16)
		if err != nil || toErr != nil || to < from {
			return nil, fmt.Errorf("%q is no list of CPUs", text)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, int(cpu))
		}
		if len(cpus) > maxCPU+1 {
			return nil, fmt.Errorf("%q names more CPUs than there can be", text)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// FormatCPUs writes the list that ParseCPUs reads, in its shortest form.
func FormatCPUs(cpus []int) string {
	cpus = slices.Compact(slices.Sorted(slices.Values(cpus)))
	var b strings.Builder
	for i := 0; i < len(cpus); {
		end := i + 1
		for end < len(cpus) && cpus[end] == cpus[end-1]+1 {
			end++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if end-i > 1 {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(cpus[end-1]))
		}
		i = end
	}
	return b.String()
}

// ParseMask reads the kernel's form of a mask, "3,00000001": groups of 32 bits in hexadecimal, the highest first. No bit is an
// empty list, not nil.
func ParseMask(text string) ([]int, error) {
	groups := strings.Split(strings.TrimSpace(text), ",")
	cpus := []int{}
	if len(groups) > (maxCPU+1)/32 {
		return nil, fmt.Errorf("%q names more CPUs than there can be", text)
	}
	for i := range groups {
		bits, err := strconv.ParseUint(groups[len(groups)-1-i], 16, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no mask of CPUs", text)
		}
		for bit := range 32 {
			if bits&(1<<bit) != 0 {
				cpus = append(cpus, 32*i+bit)
			}
		}
	}
	return cpus, nil
}

// FormatMask writes the mask that ParseMask reads, with as many groups as the highest CPU needs. A CPU outside 0 to 65535 is
// left out.
func FormatMask(cpus []int) string {
	groups := make([]uint32, 1)
	for _, cpu := range cpus {
		if cpu < 0 || cpu > maxCPU {
			continue
		}
		for len(groups) <= cpu/32 {
			groups = append(groups, 0)
		}
		groups[cpu/32] |= 1 << (cpu % 32)
	}
	var b strings.Builder
	for i, group := range slices.Backward(groups) {
		if i == len(groups)-1 {
			fmt.Fprintf(&b, "%x", group)
		} else {
			fmt.Fprintf(&b, ",%08x", group)
		}
	}
	return b.String()
}
