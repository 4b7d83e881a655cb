package swarm

import "slices"

// Verdict is what a Ledger says of a number.
type Verdict uint8

// What can be said of a number.
const (
	InOrder Verdict = iota // higher than all before
	Late                   // lower than one before: out of order
	Double                 // it came before
	Invalid                // 0 is no number
)

// maxGaps bounds the holes that a Ledger remembers. Beyond it the oldest one is given up: its numbers stay missing, and
// one that comes after all counts as a double.
const maxGaps = 4096

// Ledger checks the numbers of one sender, which count from 1. It remembers holes only, so that a faultless
// sender costs it nothing, however long it sends. The zero value is ready.
type Ledger struct {
	high       uint32 // highest number that came
	doubled    uint32
	disordered uint32
	missing    uint32 // in gaps and given up
	holes      *holes // nil until the first
}

// holes is what a Ledger with faults remembers beside its counts.
type holes struct {
	gaps []gap // ascending
	lost []gap // the first of those given up
}

// gap is a run of numbers that did not come.
type gap struct{ from, to uint32 }

// Receive notes a number.
func (l *Ledger) Receive(seq uint32) Verdict {
	switch {
	case seq == 0:
		return Invalid
	case seq == l.high+1:
		l.high = seq
		return InOrder
	case seq > l.high:
		l.open(gap{l.high + 1, seq - 1})
		l.high = seq
		return InOrder
	}
	i, ok := l.hole(seq)
	if !ok {
		l.doubled++
		return Double
	}
	l.missing--
	l.disordered++
	l.holes.fill(i, seq)
	return Late
}

// hole returns the place of the hole that seq lies in.
func (l *Ledger) hole(seq uint32) (place int, ok bool) {
	if l.holes == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(l.holes.gaps, seq, func(g gap, n uint32) int {
		switch {
		case g.to < n:
			return -1
		case g.from > n:
			return 1
		}
		return 0
	})
}

func (l *Ledger) open(g gap) {
	l.missing += g.to - g.from + 1
	if l.holes == nil {
		l.holes = new(holes)
	}
	l.holes.gaps = append(l.holes.gaps, g)
	l.holes.bound()
}

// bound gives the oldest hole up when there are too many.
func (h *holes) bound() {
	if len(h.gaps) <= maxGaps {
		return
	}
	if len(h.lost) < MaxTallyList {
		h.lost = append(h.lost, h.gaps[0])
	}
	h.gaps = slices.Delete(h.gaps, 0, 1)
}

// fill takes seq out of the hole at place i.
func (h *holes) fill(i int, seq uint32) {
	g := &h.gaps[i]
	switch {
	case g.from == g.to:
		h.gaps = slices.Delete(h.gaps, i, i+1)
	case seq == g.from:
		g.from++
	case seq == g.to:
		g.to--
	default:
		behind := gap{seq + 1, g.to}
		g.to = seq - 1
		h.gaps = slices.Insert(h.gaps, i+1, behind)
		h.bound()
	}
}

// Report tells what came of the numbers 1 to last.
func (l *Ledger) Report(last uint32) Tally {
	t := Tally{Missing: l.missing, Doubled: l.doubled, Disordered: l.disordered, Received: l.high - l.missing}
	if h := l.holes; h != nil {
		for _, g := range h.lost {
			t.name(g)
		}
		for _, g := range h.gaps[:min(len(h.gaps), MaxTallyList)] {
			t.name(g)
		}
	}
	if last > l.high {
		t.Missing += last - l.high
		t.name(gap{l.high + 1, last})
	}
	return t
}

// name adds the numbers of a hole to the list, as far as it goes.
func (t *Tally) name(g gap) {
	for n := g.from; len(t.First) < MaxTallyList; n++ {
		t.First = append(t.First, n)
		if n == g.to {
			return
		}
	}
}
