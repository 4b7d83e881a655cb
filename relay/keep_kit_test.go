package relay_test

import (
	"errors"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/handover"
	"edged/relay"
)

// kept is a gateway with rings, whose turns the test ends.
type kept struct {
	*gateway
	addresses []string
	change    func(o *relay.Options)
	memory    *handover.Memory
	rings     int                      // of each shard in it
	carried   map[[2]int]relay.Carried // by shard and stream: what was written down
	fresh     map[[2]int]relay.Carried // in the open turn
	records   []*handover.Records
	stash     []stash // by shard
}

// stash is what came to a shard and was not asked for yet.
type stash struct {
	what      []string
	committed int
}

func newKept(t *testing.T, shards int, change func(o *relay.Options), addresses ...string) *kept {
	k := &kept{addresses: addresses, change: change, carried: map[[2]int]relay.Carried{}, fresh: map[[2]int]relay.Carried{}}
	k.live(t, shards, nil)
	return k
}

func (k *kept) live(t *testing.T, shards int, from *relay.Inheritance) {
	t.Helper()
	memory, err := handover.NewMemory(handover.Geometry{Shards: shards, Records: 1, Blocks: 1, Rings: len(k.addresses), RingBytes: keptRing})
	if err != nil {
		t.Fatal(err)
	}
	k.memory, k.records, k.rings = memory, nil, len(k.addresses)
	k.gateway = newGateway(t, setup{addresses: k.addresses, shards: shards, change: func(o *relay.Options) {
		o.Config.Grace = time.Minute
		o.Cast = roomOf
		o.Rings, o.Inherit = memory.Ring, from
		if k.change != nil {
			k.change(o)
		}
	}})
	if k.stash == nil {
		k.stash = make([]stash, shards)
	}
	for i := range shards {
		k.records = append(k.records, memory.Records(i))
	}
}

// writeDown does the half of a commit that a crash undoes, and commit all of it.
func (k *kept) writeDown(shard int) {
	k.relay.Port(shard).Carried(func(stream int, seq uint64, index uint32) {
		k.fresh[[2]int{shard, stream}] = relay.Carried{
			Shard: shard, From: stream / len(k.addresses), Address: k.addresses[stream%len(k.addresses)], Seq: seq, Index: index,
		}
	})
}

func (k *kept) commit(shards ...int) {
	for _, shard := range shards {
		k.writeDown(shard)
		k.records[shard].Commit()
		for key, c := range k.fresh {
			if key[0] == shard {
				k.carried[key] = c
			}
		}
		k.relay.Port(shard).Commit()
		k.stash[shard].committed = len(k.stash[shard].what)
	}
}

// crash begins the next process. All its shards do their first turn.
func (k *kept) crash() {
	k.t.Helper()
	kill(k.relay)
	old, shards := reopen(k.t, k.memory), len(k.records)
	version, state, err := relay.RecoverState(old.Ring, shards, k.rings)
	if err != nil {
		k.t.Fatal(err)
	}
	from := &relay.Inheritance{Version: version, State: state, Resumed: true}
	for _, c := range k.carried {
		from.Carried = append(from.Carried, c)
	}
	k.carried, k.fresh = map[[2]int]relay.Carried{}, map[[2]int]relay.Carried{}
	k.live(k.t, shards, from)
	for i := range shards {
		st := &k.stash[i]
		st.what = st.what[:st.committed]
		k.commit(i)
	}
	_ = old.Close()
}

// upgrade begins the next process as a hand-over does. All its shards do their first turn.
func (k *kept) upgrade() {
	k.t.Helper()
	ctx, cancel := limit()
	defer cancel()
	if err := errors.Join(k.relay.Hold(ctx), k.relay.Freeze(ctx)); err != nil {
		k.t.Fatal(err)
	}
	state, err := k.relay.AppendState(nil, relay.StateVersion)
	if err != nil {
		k.t.Fatal(err)
	}
	if n := k.relay.StateSize(); n < len(state) {
		k.t.Errorf("expected are %d bytes, it has %d", n, len(state))
	}
	kill(k.relay)
	shards := len(k.records)
	k.carried, k.fresh = map[[2]int]relay.Carried{}, map[[2]int]relay.Carried{}
	k.live(k.t, shards, &relay.Inheritance{Version: relay.StateVersion, State: state, Resumed: true})
	for i := range shards {
		k.commit(i)
	}
}

// up waits until the first Manager has said its name to some shards.
func (k *kept) up(shards ...int) {
	k.t.Helper()
	for _, s := range shards {
		k.until(s, 0, "its name", func(st relay.StreamStats) bool { return st.ManagerID != "" })
	}
}

// got returns what a shard gets next: the payloads of items, and the values of casts in brackets.
func (k *kept) got(shard, n int) (out []string) {
	k.t.Helper()
	st := &k.stash[shard]
	for len(st.what) < n {
		if e := k.take(shard); e.Kind == relay.EventNew || e.Kind == relay.EventGone {
			k.t.Fatalf("shard %d: event %v", shard, e.Kind)
		}
	}
	out, st.what, st.committed = st.what[:n:n], st.what[n:], max(st.committed-n, 0)
	return out
}

// take takes the next event.
func (k *kept) take(shard int) relay.Event {
	k.t.Helper()
	e, st := k.next(shard), &k.stash[shard]
	switch e.Kind {
	case relay.EventItems:
		st.what = append(st.what, dataOf(k.t, e.Items)...)
	case relay.EventCast:
		st.what = append(st.what, "["+e.Cast.(string)+"]")
	}
	return e
}

// untilKind takes events of a shard until one of that kind comes from a Manager.
func (k *kept) untilKind(shard, m int, kind relay.EventKind) relay.Event {
	k.t.Helper()
	for {
		e := k.take(shard)
		if e.Kind == kind && e.Manager == m {
			return e
		}
		if len(e.Lost) > 0 {
			k.t.Fatalf("shard %d: event %v, want %v", shard, e.Kind, kind)
		}
	}
}

func cast(room string) *edgedpb.DownItem {
	return &edgedpb.DownItem{
		Target: &edgedpb.DownItem_Room{Room: room}, What: &edgedpb.DownItem_Data{Data: []byte("cast")},
	}
}
