package tuning

import (
	"strconv"
	"strings"
)

// group writes a number with commas between its thousands.
func group(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// size writes bytes in the largest unit that they fill.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return strconv.FormatFloat(v, 'f', precision(v, i), 64) + " " + units[i]
}

func precision(v float64, unit int) int {
	if unit == 0 || v >= 100 || v == float64(uint64(v)) {
		return 0
	}
	return 1
}

// count writes a number of things.
func count(n float64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.FormatFloat(n, 'g', 4, 64) + " " + thing
}
