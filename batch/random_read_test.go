package batch_test

import (
	"testing"

	"edged/api/edgedpb"
)

const rounds = 1000

// What generated code writes is read by hand as it was meant.
func TestReadWhatGeneratedCodeWrites(t *testing.T) {
	c := chance{newRand(t)}
	for range rounds {
		up := c.upstream()
		got, err := readUpstream(marshal(t, up))
		compare(t, nil, plain(up), got, nil, err)
		down := c.downstream()
		gotDown, err := readDownstream(marshal(t, down))
		compare(t, nil, down, gotDown, nil, err)
	}
}

// Any legal encoding is read by hand as generated code reads it; what is broken is refused by both or read alike.
func TestReadAnyEncoding(t *testing.T) {
	c := chance{newRand(t)}
	upDesc := (&edgedpb.Upstream{}).ProtoReflect().Descriptor()
	downDesc := (&edgedpb.Downstream{}).ProtoReflect().Descriptor()
	for range rounds {
		up := c.scramble(append(marshal(t, c.upstream()), marshal(t, c.upstream())...), upDesc)
		compareUpstream(t, up)
		compareUpstream(t, c.spoil(up))
		down := c.scramble(append(marshal(t, c.downstream()), marshal(t, c.downstream())...), downDesc)
		compareDownstream(t, down)
		compareDownstream(t, c.spoil(down))
	}
}

// Items too, one by one: two items as one repeat every singular field and both oneofs.
func TestReadMergedItems(t *testing.T) {
	c := chance{newRand(t)}
	upDesc := (&edgedpb.UpItem{}).ProtoReflect().Descriptor()
	downDesc := (&edgedpb.DownItem{}).ProtoReflect().Descriptor()
	for range rounds {
		up := c.scramble(append(marshal(t, c.upItem()), marshal(t, c.upItem())...), upDesc)
		compareUpstream(t, field(2, up))
		down := c.scramble(append(marshal(t, c.downItem()), marshal(t, c.downItem())...), downDesc)
		compareDownstream(t, field(1, down))
		compareDownHead(t, down)
	}
}

// A batch that ends early is malformed or a shorter batch; never a panic, never another meaning.
func TestReadEveryPrefix(t *testing.T) {
	c := chance{newRand(t)}
	for range 50 {
		up := marshal(t, c.upstream())
		for i := range up {
			compareUpstream(t, up[:i])
		}
		down := marshal(t, c.downstream())
		for i := range down {
			compareDownstream(t, down[:i])
		}
	}
}
