package dispatch

import (
	"fmt"
	"time"
)

// twins finds the gateway IDs under which two processes report. Both write the same hash, so a reader sees them in turn.
type twins struct {
	memory time.Duration // for which an ID is remembered that is not seen any more
	hold   time.Duration // for which the finding stands after the last sign of it
	byID   map[string]*sighting
}

type sighting struct {
	writers boots
	last    time.Time
	until   time.Time // the finding stands until then
	who     string
}

func newTwins(life time.Duration) twins {
	return twins{memory: livesPerMember * life, hold: 3 * life, byID: make(map[string]*sighting)}
}

// see takes in a report that was read now. It returns who the two are, while there are two.
func (t *twins) see(now time.Time, g *Gateway) string {
	s := t.byID[g.ID]
	if s == nil {
		s = new(sighting)
		t.byID[g.ID] = s
	}
	s.last = now
	w := writer{boot: g.Boot, address: g.Address, seq: g.Seq}
	if other, twin := s.writers.see(w); twin {
		if other.boot < w.boot { // in one order, so that the sentence stays the same
			w, other = other, w
		}
		s.who = fmt.Sprintf("boot %s at %s and boot %s at %s", w.boot, w.address, other.boot, other.address)
		s.until = now.Add(t.hold)
	}
	if now.Before(s.until) {
		return s.who
	}
	return ""
}

// forget drops what was not seen for long.
func (t *twins) forget(now time.Time) {
	for id, s := range t.byID {
		if now.Sub(s.last) > t.memory {
			delete(t.byID, id)
		}
	}
}
