package nic_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edged/nic"
)

func TestParseCPUs(t *testing.T) {
	for _, c := range []struct {
		text string
		want []int
	}{
		{"", []int{}},
		{"\n", []int{}},
		{"0\n", []int{0}},
		{"0-3,8", []int{0, 1, 2, 3, 8}},
		{"8,0-1,1", []int{0, 1, 8}},
		{"63,127", []int{63, 127}},
	} {
		if got, err := nic.ParseCPUs(c.text); err != nil || !slices.Equal(got, c.want) || got == nil {
			t.Errorf("ParseCPUs(%q) = %v, %v; want %v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"x", "3-1", "-1", "1-", "1,,2", "0-65536", strings.Repeat("0-65535,", 3) + "1", "0x3"} {
		if got, err := nic.ParseCPUs(text); err == nil {
			t.Errorf("ParseCPUs(%q) = %d CPUs", text, len(got))
		}
	}
}

func TestParseMask(t *testing.T) {
	for _, c := range []struct {
		text string
		want []int
	}{
		{"0\n", []int{}},
		{"3", []int{0, 1}},
		{"00000000,00000001", []int{0}},
		{"1,80000000", []int{31, 32}},
		{"f0,00000000,00000002", []int{1, 68, 69, 70, 71}},
	} {
		if got, err := nic.ParseMask(c.text); err != nil || !slices.Equal(got, c.want) || got == nil {
			t.Errorf("ParseMask(%q) = %v, %v; want %v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "x", "1,,2", "123456789", "-1", strings.Repeat("0,", 5000) + "1"} {
		if got, err := nic.ParseMask(text); err == nil {
			t.Errorf("ParseMask(%.20q) = %v", text, got)
		}
	}
}

func TestFormatCPUs(t *testing.T) {
	for _, c := range []struct {
		cpus []int
		list string
		mask string
	}{
		{nil, "", "0"},
		{[]int{0}, "0", "1"},
		{[]int{5, 3, 4, 3}, "3-5", "38"},
		{[]int{0, 1, 3}, "0-1,3", "b"},
		{[]int{32}, "32", "1,00000000"},
		{[]int{0, 64}, "0,64", "1,00000000,00000001"},
	} {
		if got := nic.FormatCPUs(c.cpus); got != c.list {
			t.Errorf("FormatCPUs(%v) = %q, want %q", c.cpus, got, c.list)
		}
		if got := nic.FormatMask(c.cpus); got != c.mask {
			t.Errorf("FormatMask(%v) = %q, want %q", c.cpus, got, c.mask)
		}
	}
	if got := nic.FormatMask([]int{-1, 1 << 20, 2}); got != "4" {
		t.Errorf("CPUs that cannot be give %q", got)
	}
}

// TestCPUsRoundTrip has random sets survive both forms.
func TestCPUsRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		set := map[int]bool{}
		for range random.IntN(100) {
			set[random.IntN(1<<(1+random.IntN(12)))] = true
		}
		cpus := []int{}
		for cpu := range set {
			cpus = append(cpus, cpu)
		}
		sorted := slices.Sorted(slices.Values(cpus))
		if got, err := nic.ParseCPUs(nic.FormatCPUs(cpus)); err != nil || !slices.Equal(got, sorted) {
			t.Fatalf("list of %v gives %v, %v", sorted, got, err)
		}
		if got, err := nic.ParseMask(nic.FormatMask(cpus)); err != nil || !slices.Equal(got, sorted) {
			t.Fatalf("mask of %v gives %v, %v", sorted, got, err)
		}
	}
}

func FuzzCPUs(f *testing.F) {
	f.Add("0-3,8")
	f.Add("1,80000000")
	f.Fuzz(func(t *testing.T, text string) {
		if cpus, err := nic.ParseCPUs(text); err == nil {
			if again, err := nic.ParseCPUs(nic.FormatCPUs(cpus)); err != nil || !slices.Equal(again, cpus) {
				t.Errorf("%q is %v, then %v, %v", text, cpus, again, err)
			}
		}
		if cpus, err := nic.ParseMask(text); err == nil {
			if again, err := nic.ParseMask(nic.FormatMask(cpus)); err != nil || !slices.Equal(again, cpus) {
				t.Errorf("%q is %v, then %v, %v", text, cpus, again, err)
			}
		}
	})
}
