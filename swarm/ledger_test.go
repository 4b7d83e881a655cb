package swarm_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"edged/swarm"
)

func TestLedger(t *testing.T) {
	const most = 1<<32 - 1
	for name, tc := range map[string]struct {
		got  []uint32
		last uint32
		want swarm.Tally
	}{
		"nothing":         {nil, 0, swarm.Tally{}},
		"all lost":        {nil, 3, swarm.Tally{Missing: 3, First: []uint32{1, 2, 3}}},
		"in order":        {[]uint32{1, 2, 3}, 3, swarm.Tally{Received: 3}},
		"hole":            {[]uint32{1, 3}, 3, swarm.Tally{Received: 2, Missing: 1, First: []uint32{2}}},
		"end lost":        {[]uint32{1}, 3, swarm.Tally{Received: 1, Missing: 2, First: []uint32{2, 3}}},
		"doubled":         {[]uint32{1, 1, 2, 1}, 2, swarm.Tally{Received: 2, Doubled: 2}},
		"swapped":         {[]uint32{2, 1}, 2, swarm.Tally{Received: 2, Disordered: 1}},
		"hole is split":   {[]uint32{1, 6, 4, 4}, 6, swarm.Tally{Received: 3, Missing: 3, Doubled: 1, Disordered: 1, First: []uint32{2, 3, 5}}},
		"from both ends":  {[]uint32{5, 1, 4}, 5, swarm.Tally{Received: 3, Missing: 2, Disordered: 2, First: []uint32{2, 3}}},
		"0 is no number":  {[]uint32{0, 1}, 1, swarm.Tally{Received: 1}},
		"wild number":     {[]uint32{1, most}, 1, swarm.Tally{Received: 2, Missing: most - 2, First: upTo(2, 17)}},
		"more than named": {[]uint32{1, 30}, 30, swarm.Tally{Received: 2, Missing: 28, First: upTo(2, 17)}},
	} {
		t.Run(name, func(t *testing.T) {
			var l swarm.Ledger
			for _, n := range tc.got {
				l.Receive(n)
			}
			if got := l.Report(tc.last); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

func upTo(from, to uint32) (list []uint32) {
	for ; from <= to; from++ {
		list = append(list, from)
	}
	return list
}

// naive is a Ledger that remembers everything.
type naive struct {
	seen                      map[uint32]bool
	high, doubled, disordered uint32
}

func (l *naive) receive(n uint32) swarm.Verdict {
	switch {
	case n == 0:
		return swarm.Invalid
	case l.seen[n]:
		l.doubled++
		return swarm.Double
	}
	l.seen[n] = true
	if n < l.high {
		l.disordered++
		return swarm.Late
	}
	l.high = n
	return swarm.InOrder
}

func (l *naive) report(last uint32) swarm.Tally {
	t := swarm.Tally{Received: uint32(len(l.seen)), Doubled: l.doubled, Disordered: l.disordered}
	for n := uint32(1); n <= max(last, l.high); n++ {
		if !l.seen[n] {
			if t.Missing++; len(t.First) < swarm.MaxTallyList {
				t.First = append(t.First, n)
			}
		}
	}
	return t
}

func TestLedgerAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var l swarm.Ledger
		twin := naive{seen: map[uint32]bool{}}
		next := uint32(1)
		for range rnd.IntN(400) {
			n := next
			switch rnd.IntN(6) {
			case 0:
				n = rnd.Uint32N(next + 5)
			case 1:
				next += rnd.Uint32N(6)
				n = next
			}
			next = max(next, n+1)
			if got, want := l.Receive(n), twin.receive(n); got != want {
				t.Fatalf("verdict on %d: %v, want %v", n, got, want)
			}
		}
		last := next + rnd.Uint32N(5)
		if got, want := l.Report(last), twin.report(last); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
}

// Every second number lost for ever must not cost memory for ever.
func TestLedgerForgetsTheOldestHoles(t *testing.T) {
	var l swarm.Ledger
	const n = 20_000
	for seq := uint32(2); seq <= 2*n; seq += 2 {
		l.Receive(seq)
	}
	got := l.Report(2 * n)
	if got.Missing != n || got.Received != n || len(got.First) != swarm.MaxTallyList || got.First[0] != 1 || got.First[15] != 31 {
		t.Errorf("%+v", got)
	}
	if v := l.Receive(1); v != swarm.Double {
		t.Errorf("a number from a forgotten hole: %v", v)
	}
	if v := l.Receive(2*n - 1); v != swarm.Late {
		t.Errorf("a number from a hole that is known: %v", v)
	}
}

func TestLedgerInOrderDoesNotAllocate(t *testing.T) {
	var l swarm.Ledger
	seq := uint32(0)
	if n := testing.AllocsPerRun(1000, func() { seq++; l.Receive(seq) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
