package config_test

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bounds finds the least and the greatest number that is accepted, both sides of one that is. Zero stands for itself: it often
// means something of its own.
func bounds(accepts func(int64) bool, preset int64) (least, most int64, zero bool) {
	core := preset
	for _, guess := range []int64{1, 1000, 1_000_000} {
		if core == 0 && accepts(guess) {
			core = guess
		}
	}
	low, high := int64(0), core // low is not accepted, or zero; high is
	for high-low > 1 {
		if mid := low + (high-low)/2; accepts(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	least = high
	low, high = core, core*2+1 // low is accepted; high is not
	for accepts(high) {
		if high > 1<<55 {
			return least, 0, accepts(0) // as many as one likes
		}
		low, high = high, high*2
	}
	for high-low > 1 {
		if mid := low + (high-low)/2; accepts(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return least, low, accepts(0)
}

// span writes bounds in words; step is the least number above zero.
func span(least, most int64, zero bool, text func(int64) string) string {
	from := text(least)
	switch {
	case zero && least == 1:
		from = text(0)
	case zero:
		from = text(0) + ", or " + from
	case least == 1 && text(1) != "1":
		from = "more than " + text(0)
	}
	if most == 0 {
		return ", " + from + " or more"
	}
	return ", " + from + " to " + text(most)
}

func integers(accepts func(string) bool, preset int64) string {
	text := func(n int64) string { return strconv.FormatInt(n, 10) }
	least, most, zero := bounds(func(n int64) bool { return accepts(text(n)) }, preset)
	return span(least, most, zero, text)
}

// durations are looked at in microseconds: nothing that is set is finer.
func durations(accepts func(string) bool, preset time.Duration) string {
	text := func(n int64) string { return plainDuration(time.Duration(n) * time.Microsecond) }
	least, most, zero := bounds(func(n int64) bool { return accepts(strconv.Quote(text(n))) }, preset.Microseconds())
	return span(least, most, zero, text)
}

func hundredths(accepts func(string) bool, preset float64) string {
	text := func(n int64) string { return strconv.FormatFloat(float64(n)/100, 'f', -1, 64) }
	least, most, zero := bounds(func(n int64) bool { return accepts(text(n)) }, int64(preset*100+0.5))
	return span(least, most, zero, text)
}

func plainDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// unit is what the words of a number begin with.
func unit(words string) string {
	for _, u := range [][2]string{
		{"bytes a second", ""}, {"packets a second", ""}, {"messages a second", ""}, {"routes a second", ""},
		{"messages per second", "messages a second"}, {"the same of bytes", "bytes a second"}, {"the same of packets", "packets a second"},
		{"bytes", ""}, {"links", ""}, {"messages", ""}, {"batches", ""}, {"rooms", ""}, {"entries", ""}, {"times", ""},
	} {
		if regexp.MustCompile(`(?i)^` + u[0] + `\b`).MatchString(words) {
			return cmp.Or(u[1], u[0])
		}
	}
	return "number"
}

// choices are the quoted names in the words that are accepted, if nothing else is.
func choices(accepts func(string) bool, words string) string {
	if accepts(`"no-such"`) {
		return ""
	}
	var names []string
	for _, name := range regexp.MustCompile(`"[a-z0-9-]+"`).FindAllString(words, -1) {
		if accepts(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// TestBounds: what the reference says of a range is what it was probed for.
func TestBounds(t *testing.T) {
	between := func(least, most int64, zero bool) func(int64) bool {
		return func(n int64) bool { return n >= least && n <= most || zero && n == 0 }
	}
	for _, c := range []struct {
		least, most int64
		zero        bool
		preset      int64
		want        string
	}{
		{64, 65535, false, 65535, ", 64 to 65535"},
		{0, 256, true, 0, ", 0 to 256"},
		{1000, 10_000_000, true, 50_000, ", 0, or 1000 to 10000000"},
		{1, 1, false, 1, ", 1 to 1"},
		{1_000_000, 2_000_000, true, 0, ", 0, or 1000000 to 2000000"},
		{5, 1 << 62, false, 7, ", 5 or more"},
	} {
		accepts := between(c.least, c.most, c.zero)
		got := integers(func(s string) bool { n, err := strconv.ParseInt(s, 10, 64); return err == nil && accepts(n) }, c.preset)
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	short := func(s string) bool {
		d, err := time.ParseDuration(strings.Trim(s, `"`))
		return err == nil && d > 0 && d <= time.Hour
	}
	if got := fmt.Sprint(durations(short, time.Second)); got != ", more than 0s to 1h" {
		t.Errorf("durations: %q", got)
	}
}
