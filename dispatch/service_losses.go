package dispatch

import "time"

const (
	// lossWindow is how long a gateway that went missing counts as part of one sudden loss.
	lossWindow = 15 * time.Second
	// lossFleet is the size of a fleet from which a sudden loss of more than half is distrusted. Of a smaller one half may
	// well be gone.
	lossFleet = 8
	// distrustFor bounds the distrust: what is still missing by then is gone.
	distrustFor = time.Minute
	// comeback is how long reports may take to be there again after Redis was away, perhaps with all it held: two intervals.
	comeback = 10 * time.Second
)

// losses judges a reading against those before it: it puts gateways back that a fleet is unlikely to have lost. When
// Redis loses keys, or a network is cut, the boxes that are still listed would otherwise get the clients of all.
//
// A gateway that said goodbye, by draining or going down, is not missing.
type losses struct {
	seen     map[string]*past
	distrust bool
	since    time.Duration // when distrust began
	until    time.Duration // up to here nothing counts as lost, because Redis was away
}

// past is a gateway as it was last read.
type past struct {
	Gateway
	missing bool
	from    time.Duration // since when, if missing
}

func (s *past) leaving() bool { return s.State == StateDraining || s.State == StateDown }

// away tells that Redis did not answer up to now.
func (l *losses) away(now time.Duration) {
	if len(l.seen) > 0 {
		l.until = now + comeback
	}
}

// leave tells that a gateway said goodbye.
func (l *losses) leave(id, state string) {
	if s := l.seen[id]; s != nil {
		s.State = state
	}
}

// judge returns the gateways to believe in: those that were read, and those of old that are put back, behind them.
// read is not changed.
func (l *losses) judge(now time.Duration, read []Gateway) (believed []Gateway, putBack int) {
	l.take(now, read)
	missing := 0
	for _, s := range l.seen {
		if s.missing {
			missing++
		}
	}
	l.decide(now, missing)
	if !l.distrust && now >= l.until {
		return read, 0
	}
	believed = read[:len(read):len(read)]
	for _, s := range l.seen {
		if s.missing {
			believed = append(believed, s.Gateway)
		}
	}
	return believed, len(believed) - len(read)
}

// take notes who was seen and who is missing, and forgets who is gone.
func (l *losses) take(now time.Duration, read []Gateway) {
	before := l.seen
	l.seen = make(map[string]*past, len(read))
	for _, g := range read {
		l.seen[g.ID] = &past{Gateway: g}
	}
	for id, s := range before {
		if l.seen[id] != nil || s.leaving() {
			continue
		}
		if !s.missing {
			s.missing, s.from = true, now
		}
		if now-s.from < lossWindow || l.distrust {
			l.seen[id] = s
		}
	}
}

// decide begins and ends distrust. It lasts until all are back, not half: they come back one by one, and the first half
// would otherwise get the clients of all after all.
func (l *losses) decide(now time.Duration, missing int) {
	switch sudden := len(l.seen) >= lossFleet && 2*missing > len(l.seen); {
	case !l.distrust:
		l.distrust = sudden
		l.since = now
	case missing == 0:
		l.distrust = false
	case now-l.since >= distrustFor:
		l.distrust = false
		for id, s := range l.seen {
			if s.missing {
				delete(l.seen, id)
			}
		}
	}
}
