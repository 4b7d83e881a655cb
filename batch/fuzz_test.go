package batch_test

import (
	"math/rand/v2"
	"testing"

	"edged/api/edgedpb"
	"edged/batch"
)

// Both targets read by hand what generated code reads, and ask for the same answer: the same message or a refusal.

func FuzzUpstream(f *testing.F) {
	c := chance{rand.New(rand.NewPCG(1, 2))}
	desc := (&edgedpb.Upstream{}).ProtoReflect().Descriptor()
	for range 20 {
		b := marshal(f, c.upstream())
		f.Add(b)
		f.Add(c.scramble(b, desc))
	}
	for _, m := range malformed {
		f.Add(field(2, []byte(m.bytes)))
	}
	f.Fuzz(compareUpstream)
}

func FuzzDownstream(f *testing.F) {
	c := chance{rand.New(rand.NewPCG(3, 4))}
	desc := (&edgedpb.Downstream{}).ProtoReflect().Descriptor()
	for range 20 {
		b := marshal(f, c.downstream())
		f.Add(b)
		f.Add(c.scramble(b, desc))
	}
	for _, m := range malformed {
		f.Add(field(1, []byte(m.bytes)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		compareDownstream(t, b)
		for items := batch.DownItems(b); ; {
			item, _, ok := items.Next()
			if !ok {
				return
			}
			compareDownHead(t, item)
		}
	})
}
