package client

import (
	"fmt"
	"math"
	"slices"
)

// Range is the versions from From to To, both of them included.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Progress is what a device has of the stored messages of its user. The zero Progress is that of a device which knows
// nothing of itself. A Progress of Synced alone is a good one: then what came later may come again.
type Progress struct {
	Synced uint64  `json:"synced"`          // everything up to this version was handed over, or is among Lost
	Later  []Range `json:"later,omitempty"` // what was handed over beyond a hole behind Synced; ascending
	Lost   []Range `json:"lost,omitempty"`  // up to Synced: what never came, and is not asked for any more; ascending
}

// check says what is wrong with a Progress that was not made here.
func (p Progress) check() error {
	if p.Synced == 0 && len(p.Later)+len(p.Lost) > 0 {
		return fmt.Errorf("client: progress %+v: ranges without a synced version", p)
	}
	touches := len(p.Later) > 0 && p.Later[0].From-p.Synced == 1
	if touches || !ascending(p.Later, p.Synced, math.MaxUint64) || !ascending(p.Lost, 0, p.Synced) {
		return fmt.Errorf("client: progress %+v: ranges that touch, or lie on the wrong side of the synced version", p)
	}
	return nil
}

// ascending says whether ranges follow each other with room between them, over low and up to high.
func ascending(ranges []Range, low, high uint64) bool {
	for i, r := range ranges {
		if r.From <= low || r.To < r.From || r.To > high || i > 0 && r.From-low < 2 {
			return false
		}
		low = r.To
	}
	return true
}

// mostHoles bounds what is remembered of missing versions. When there are more, the lowest hole is forgotten: it counts as
// filled, and was reported before.
const mostHoles = 256

// versions knows which versions came. A version above base came if it is not above top and in no hole.
//
//	1 ....... base ............. hole ......... hole ......... top
//	  before       all of these         of these       of these     nothing
type versions struct {
	base  uint64 // the first version of which anything is known; 0: of none
	top   uint64 // the highest that came
	holes []hole // ascending, none over another
}

// hole is versions that did not come.
//
//	open ---> lost
//	   `--------`---> (filled, as the versions come)
type hole struct {
	Range
	link  uint64 // the link on which it was found; 0: one of an earlier Client
	state holeState
}

type holeState uint8

const (
	open   holeState = iota // a gateway went on without it; the next link is asked for it
	lost                    // and another link did too: no log has it
	before                  // below base: nobody knows whether it is missing
)

// load begins with a Progress that was checked.
func (s *versions) load(p Progress) {
	*s = versions{}
	if p.Synced == 0 {
		return
	}
	s.base, s.top = 1, p.Synced
	for _, r := range p.Lost {
		s.holes = append(s.holes, hole{r, 0, lost})
	}
	for _, r := range p.Later {
		s.holes = append(s.holes, hole{Range{s.top + 1, r.From - 1}, 0, open})
		s.top = r.To
	}
	s.forget()
}

// progress is what load needs.
func (s *versions) progress() Progress {
	if s.base == 0 {
		return Progress{}
	}
	p := Progress{Synced: s.synced()}
	from := p.Synced + 1
	for _, h := range s.holes {
		switch {
		case h.To <= p.Synced && h.state == lost:
			p.Lost = append(p.Lost, h.Range)
		case h.From > p.Synced:
			if h.From > from {
				p.Later = append(p.Later, Range{from, h.From - 1})
			}
			from = h.To + 1
		}
	}
	if from <= s.top {
		p.Later = append(p.Later, Range{from, s.top})
	}
	return p
}

// synced is the highest version before the first open hole; 0 until one was noted.
func (s *versions) synced() uint64 {
	if s.top < s.base {
		return 0
	}
	for _, h := range s.holes {
		if h.state == open {
			return h.From - 1
		}
	}
	return s.top
}

// complete says whether no version up to n is missing.
func (s *versions) complete(n uint64) bool {
	if n == 0 {
		return true
	}
	if s.base == 0 || n < s.base || n > s.top {
		return false
	}
	for _, h := range s.holes {
		if h.state != before && h.From <= n {
			return false
		}
	}
	return true
}

// missing lists the holes that were reported.
func (s *versions) missing() []Range {
	var out []Range
	for _, h := range s.holes {
		if h.state != before {
			out = append(out, h.Range)
		}
	}
	return out
}

// in returns the hole that n lies in, or -1.
func (s *versions) in(n uint64) int {
	return slices.IndexFunc(s.holes, func(h hole) bool { return h.From <= n && n <= h.To })
}

// has says whether n came. What lies before a base that Progress told, or in a hole that was forgotten, counts as come.
func (s *versions) has(n uint64) bool { return s.base != 0 && n <= s.top && s.in(n) < 0 }

// passed says that a link sends n in its turn: what it was asked for below n, and did not send, it will not send any more.
// changed: something is lost by that.
func (s *versions) passed(n, link uint64) (changed bool) {
	for i := range s.holes {
		if h := &s.holes[i]; h.state == open && h.To < n && h.link < link {
			h.state, changed = lost, true
		}
	}
	return changed
}

// expect makes a hole of what lies between top and n, which has come. It returns the hole if there is one to be told of;
// else From is 0.
func (s *versions) expect(n, link uint64) (gap Range) {
	if s.base == 0 {
		s.base, s.top = n, n-1
		if n > 1 {
			s.holes = append(s.holes, hole{Range{1, n - 1}, link, before})
		}
		return Range{}
	}
	if n <= s.top || n-s.top == 1 {
		return Range{}
	}
	gap = Range{s.top + 1, n - 1}
	s.holes = append(s.holes, hole{gap, link, open})
	s.forget()
	s.top = n - 1
	return gap
}

// note says that the application has n, which was expected. changed: it did not have it before.
func (s *versions) note(n uint64) (changed bool) {
	if n > s.top {
		s.top = n
		return true
	}
	i := s.in(n)
	if i < 0 {
		return false
	}
	left, right := s.holes[i], s.holes[i]
	left.To, right.From = n-1, n+1
	parts := make([]hole, 0, 2)
	if left.From < n {
		parts = append(parts, left)
	}
	if right.To > n {
		parts = append(parts, right)
	}
	s.holes = slices.Replace(s.holes, i, i+1, parts...)
	s.forget()
	return true
}

func (s *versions) forget() {
	if extra := len(s.holes) - mostHoles; extra > 0 {
		s.holes = slices.Delete(s.holes, 0, extra)
	}
}

// rewind forgets n and what lies above it.
func (s *versions) rewind(n uint64) {
	s.base, s.top = min(s.base, n), n-1
	s.holes = slices.DeleteFunc(s.holes, func(h hole) bool { return h.From >= n })
	if last := len(s.holes) - 1; last >= 0 {
		s.holes[last].To = min(s.holes[last].To, n-1)
	}
}
