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
	gaps       []gap  // ascending
	lost       []gap  // the first of those given up
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
	i, ok := slices.BinarySearchFunc(l.gaps, seq, func(g gap, n uint32) int {
		switch {
		case g.to < n:
			return -1
		case g.from > n:
			return 1
		}
		return 0
	})
	if !ok {
		l.doubled++
		return Double
	}
	l.fill(i, seq)
	l.disordered++
	return Late
}

func (l *Ledger) open(g gap) {
	l.missing += g.to - g.from + 1
	l.gaps = append(l.gaps, g)
	l.bound()
}

// bound gives the oldest hole up when there are too many.
func (l *Ledger) bound() {
	if len(l.gaps) <= maxGaps {
		return
	}
	if len(l.lost) < MaxTallyList {
		l.lost = append(l.lost, l.gaps[0])
	}
	l.gaps = slices.Delete(l.gaps, 0, 1)
}

// fill takes seq out of the hole at place i.
func (l *Ledger) fill(i int, seq uint32) {
	l.missing--
	g := &l.gaps[i]
	switch {
	case g.from == g.to:
		l.gaps = slices.Delete(l.gaps, i, i+1)
	case seq == g.from:
		g.from++
	case seq == g.to:
		g.to--
	default:
		behind := gap{seq + 1, g.to}
		g.to = seq - 1
		l.gaps = slices.Insert(l.gaps, i+1, behind)
		l.bound()
	}
}

// Report tells what came of the numbers 1 to last.
func (l *Ledger) Report(last uint32) Tally {
	t := Tally{Missing: l.missing, Doubled: l.doubled, Disordered: l.disordered, Received: l.high - l.missing}
	for _, g := range l.lost {
		t.name(g)
	}
	for _, g := range l.gaps {
		if len(t.First) == MaxTallyList {
			break
		}
		t.name(g)
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
