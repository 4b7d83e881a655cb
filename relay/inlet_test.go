package relay_test

import (
	"errors"
	"testing"
	"time"

	"edged/batch"
	"edged/relay"
)

// down is the encoding of data items for links, one of each shard.
func down(payload string, shards ...int) (b []byte) {
	for _, s := range shards {
		b = batch.AppendData(b, batch.Link{Index: uint32(s)<<24 | 5, Uniq: 9}, 0, []byte(payload))
	}
	return b
}

func TestInletDelivers(t *testing.T) {
	g := newGateway(t, setup{shards: 2})
	in := g.relay.NewInlet(true)
	b := batch.AppendDownstreamHello(down("a", 0, 1), batch.ManagerHello{ID: "x", Receipts: true})
	b = batch.AppendDownstreamSeq(append(b, down("b", 1)...), 77, 78)
	if err := in.Deliver(b, 0); err != nil {
		t.Fatal(err)
	}
	clear(b) // it was copied
	e := g.want(0, relay.EventItems)
	if e.Manager != relay.NoManager {
		t.Errorf("from Manager %d", e.Manager)
	}
	same(t, dataOf(t, e.Items), []string{"a"})
	same(t, g.data(1, 2), []string{"a", "b"})
	if err := in.Deliver([]byte{1}, time.Hour); !errors.Is(err, relay.ErrGarbage) {
		t.Errorf("garbage: %v", err)
	}
	want := relay.InletStats{Received: relay.Flow{Batches: 1, Items: 3, Bytes: uint64(len(b))}, Garbage: 1}
	if st := g.relay.Stats().Inlets; len(st) != 1 || st[0] != want {
		t.Errorf("stats %+v, want %+v", st, want)
	}
	g.stop()
	if err := in.Deliver(down("c", 0), time.Hour); !errors.Is(err, relay.ErrStopped) {
		t.Errorf("after Stop: %v", err)
	}
	if err := g.relay.NewInlet(true).Deliver(nil, 0); !errors.Is(err, relay.ErrStopped) {
		t.Errorf("new after Stop: %v", err)
	}
}

// Items for links are a Manager's business: who has no say over links has them left out.
func TestInletWithoutLinks(t *testing.T) {
	for _, shards := range []int{1, 3} {
		g := newGateway(t, setup{shards: shards})
		in := g.relay.NewInlet(false)
		user := batch.AppendDataTo(nil, batch.ToUser("u"), 0, []byte("user"))
		for _, b := range [][]byte{down("x", 0), append(down("x", 0, 1), user...), append(user, down("x", 2)...)} {
			if err := in.Deliver(b, 0); err != nil {
				t.Fatal(err)
			}
		}
		same(t, g.data(0, 2), []string{"user", "user"})
		for s := range shards {
			if e, ok := g.relay.Port(s).Next(); ok {
				t.Errorf("shard %d: %v %x", s, e.Kind, e.Items)
			}
		}
		if st := g.relay.Stats().Inlets[0]; st.LinkItems != 4 || st.Received.Items != 6 {
			t.Errorf("stats %+v", st)
		}
	}
}
