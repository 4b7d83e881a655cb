package delivery

// How long the first send of a push waits for its ACK.
//
// The wait is what RFC 6298 makes of the measured round trips, at least twice the smoothed one and
// at least Limits.Retry. As there (Karn's rule), only a push that was sent once is measured,
// because an ACK does not say which send it answers. A link that is slower than its wait would then
// never be measured: so each ACK of a repeated push makes the next ones wait twice as long as that
// one did at first, until one is measured.
//
// A link with nothing outstanding has no window to keep this in. Almost all links need Limits.Retry
// and no more, and for them nothing is kept. For the others the wait goes into the top byte of the
// Ref, rounded up to one of eight steps to a doubling; the first measurement in the next window
// replaces it.

const (
	longestWait  = 60 * 60 * 1000 // ms
	patienceUnit = 16             // ms
)

func (s *Windows) measure(w *window, rtt uint32) {
	rtt = min(max(rtt, 1), longestWait)
	if w.srtt == 0 {
		w.srtt, w.rttvar = rtt, rtt/2
	} else {
		w.rttvar = (3*w.rttvar + max(rtt, w.srtt) - min(rtt, w.srtt)) / 4
		w.srtt = max((7*w.srtt+rtt)/8, 1)
	}
	w.base = min(max(w.srtt+4*w.rttvar, 2*w.srtt, s.retry), longestWait)
}

// doubt notes that a push whose first wait was base had to be repeated.
func (s *Windows) doubt(w *window, base uint32) {
	w.base = min(max(w.base, 2*base), longestWait)
}

// waitOf returns the wait after the given send of a push.
func waitOf(base uint32, tries uint8) uint32 {
	wait := base
	for ; tries > 1 && wait < longestWait; tries-- {
		wait *= 2
	}
	return min(wait, longestWait)
}

// span returns how long a required push would be waited for over all its tries; so long a sampled
// one is waited for.
func (s *Windows) span(base uint32) (ms uint32) {
	for try := 1; try <= s.limits.Tries; try++ {
		ms += waitOf(base, uint8(try))
	}
	return ms
}

// rest returns the Ref of a link whose window is closed.
func (s *Windows) rest(base uint32) Ref {
	if base <= s.retry {
		return 0
	}
	units := (base + patienceUnit - 1) / patienceUnit
	shift := uint32(0)
	for units > 15 {
		units, shift = (units+1)/2, shift+1
	}
	// Limits.Retry is 100 ms at least, so that 7 is the least.
	return Ref(max(units, 8)-8+shift*8+1) << slotBits
}

// patience returns the first wait that a Ref without window asks for.
func (s *Windows) patience(r Ref) uint32 {
	code := uint32(r) >> slotBits
	if code == 0 {
		return s.retry
	}
	code--
	return min(max((8+code%8)<<min(code/8, 20)*patienceUnit, s.retry), longestWait)
}
