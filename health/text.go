package health

import "bytes"

// The kernel's text is read in place: nothing here allocates or keeps its input. What cannot be read is told by ok, never
// guessed, and a line that ends without its newline is taken as it is.

// nextLine returns the first line of b, without its newline, and the rest.
func nextLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// nextField returns the first word of b and the rest.
func nextField(b []byte) (field, rest []byte) {
	start := 0
	for start < len(b) && isSpace(b[start]) {
		start++
	}
	end := start
	for end < len(b) && !isSpace(b[end]) {
		end++
	}
	return b[start:end], b[end:]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// nextNumber returns the first word of b as a number, and the rest.
func nextNumber(b []byte) (n uint64, rest []byte, ok bool) {
	field, rest := nextField(b)
	n, ok = parseNumber(field)
	return n, rest, ok
}

// parseNumber reads a decimal number that is all of b and fits.
func parseNumber(b []byte) (n uint64, ok bool) {
	const most = ^uint64(0)
	for _, c := range b {
		d := uint64(c - '0')
		if c < '0' || c > '9' || n > most/10 || n*10 > most-d {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(b) > 0
}

// parseHex reads a hexadecimal number of at most 32 bits that is all of b.
func parseHex(b []byte) (n uint32, ok bool) {
	if len(b) == 0 || len(b) > 8 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// parseHundredths reads a number with two digits behind the point, as the kernel prints averages: 12.34 is 1234.
func parseHundredths(b []byte) (n uint64, ok bool) {
	whole, part, found := bytes.Cut(b, []byte("."))
	n, ok = parseNumber(whole)
	cents, fine := parseNumber(part)
	if !found || !ok || !fine || len(part) != 2 || n > 1<<32 {
		return 0, false
	}
	return n*100 + cents, true
}

// named returns the number behind a name on the line that begins with the name, as in "MemAvailable:   24242920 kB".
func named(b []byte, name string) (n uint64, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = nextLine(b)
		if field, rest := nextField(line); string(field) == name {
			n, _, ok = nextNumber(rest)
			return n, ok
		}
	}
	return 0, false
}
