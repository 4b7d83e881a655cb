package gateway

import (
	"fmt"
	"strings"

	"edged/batch"
	"edged/handover"
	"edged/linkpool"
	"edged/netpoll"
	"edged/relay"
)

// With Options.Keep a gateway writes down in shared memory what it has, so that after a crash another process can go on with
// its links. A turn of a shard is one step of that: all that it did is written at its end, when its output has been sent, and
// becomes valid with one store (handover.Records.Commit). So there is always the state after some turn, and nothing between:
//
//	events, Turn, output > records of what has changed > Commit > what is for Managers goes out > the keeper gets descriptors
//
// A link that was read from or written to since the last commit does not agree with its record; it is torn and ends. All others
// live on. What came from Managers and was not committed they send again (relay).
//
// A memory is written by one process. A successor, after an upgrade or a crash, writes all that it has into a new one in each
// shard's first turn; until all have, the links would not outlive it.
//
// Files: keep.go what there is room for; keep_turn.go the end of a turn; keep_link.go links; keep_shard.go what a shard has
// beside them; keep_casts.go casts under way; keep_deposit.go the keeper; revive.go how a successor reads it.

// Keep is where a gateway writes down what it has, and who keeps its connections open.
type Keep struct {
	// Memory is a new one, of at least KeepGeometry. It stays the caller's.
	Memory *handover.Memory
	// Deposit returns a shard's way to the keeper, which nobody else uses; nil: there is none yet, and it is asked again. It is
	// called on the shard's thread. A nil function leaves the connections to the caller.
	Deposit func(shard int) *handover.Deposit
	// Began is called by Start before any link is touched: what a predecessor has left is not to be restored from any more.
	Began func()
	// Whole is called once, by a goroutine of its own, when all that the gateway has is in Memory: from then on it is worth
	// being shared with the keeper.
	Whole func()
}

// keepVersion is that of the records and what is in them. It stands in each shard's head.
const (
	keepVersion = 1
	oldestKeep  = 1
)

// keepLayout says which records of a shard are what. Numbers of records:
//
//	head     one, at 0
//	own      what the gateway has beside its shards, in shard 0
//	carried  one for each stream of the relay: shard × Managers + Manager
//	walks    casts under way, by the walk's number
//	shed     links that are to be sent away
//	held     of each Manager, what is held for it
//	links    by place, to the end
type keepLayout struct {
	Shards, Managers, Places, Held uint32
}

const (
	ownChunks  = 16
	keptChunk  = 16 << 10 // bytes of one record of a blob
	shedName   = 8
	keptRings  = 2 << 10 // × 1 KiB beyond what the relay may hold
	blocksLink = 8       // blocks for a link, on average
)

const (
	headAt = 0
	ownAt  = 1
)

func (y *keepLayout) carriedAt() int { return ownAt + ownChunks }
func (y *keepLayout) walksAt() int   { return y.carriedAt() + int(y.Shards*y.Managers) }
func (y *keepLayout) shedAt() int    { return y.walksAt() + maxWalks }
func (y *keepLayout) shedChunks() int {
	return (int(y.Places)*shedName + keptChunk - 1) / keptChunk
}
func (y *keepLayout) heldAt(manager int) int {
	return y.shedAt() + y.shedChunks() + manager*int(y.Held)
}
func (y *keepLayout) linksAt() int { return y.heldAt(int(y.Managers)) }
func (y *keepLayout) records() int { return y.linksAt() + int(y.Places) }

// possible says whether it can be that of a memory: what a reader asks.
func (y *keepLayout) possible(g handover.Geometry) bool {
	const most = 1 << 25
	return y.Shards <= maxReactors && y.Managers <= most/maxReactors && y.Places <= linkpool.MaxPlaces && y.Held <= most &&
		uint64(y.Managers)*uint64(y.Held) <= most && int(y.Shards) == g.Shards && y.records() <= g.Records
}

// append appends the layout to a record; parseLayout reads it.
func (y *keepLayout) append(b []byte) []byte {
	return u32(u32(u32(u32(b, y.Shards), y.Managers), y.Places), y.Held)
}

func parseLayout(in *input) keepLayout {
	return keepLayout{in.u32(), in.u32(), in.u32(), in.u32()}
}

// layoutOf is that of a gateway with so many reactors.
func layoutOf(reactors, places int, managers relay.Config) keepLayout {
	held := 2*managers.Buffer/keptChunk + ownChunks // answers up to the bound, and what may not be lost
	return keepLayout{uint32(reactors), uint32(len(managers.Addresses)), uint32(places), uint32(held)}
}

// geometry is what a memory of that layout needs. What is never used costs nothing.
func (y *keepLayout) geometry(managers relay.Config) handover.Geometry {
	const page, most = 4096, 1 << 30
	g := handover.Geometry{Shards: int(y.Shards), Records: y.records()}
	beside := 2*maxWalking + ownChunks*keptChunk + y.shedChunks()*keptChunk + int(y.Managers)*int(y.Held)*keptChunk
	g.Blocks = min(int(y.Places)*blocksLink+beside/handover.BlockBytes, most)
	if g.Rings = int(y.Managers); g.Rings > 0 {
		g.RingBytes = min((max(2*managers.Buffer, relay.MinRingBytes)+keptRings<<10)/page*page, most)
	}
	return g
}

// KeepGeometry returns what Keep.Memory needs for a gateway of these options. The error is the one that New would return.
func KeepGeometry(o Options) (handover.Geometry, error) {
	reactors, before := o.Queues.reactors(o.Config), 0
	if o.Inherit != nil {
		p, err := readPast(o.Inherit)
		if err != nil {
			return handover.Geometry{}, err
		}
		reactors, before = p.reactors, p.capacity
	}
	capacity, err := capacityOf(o.Config, reactors, o.Files)
	if err != nil {
		return handover.Geometry{}, err
	}
	y := layoutOf(reactors, shardCapacity(max(capacity, before), reactors), o.Managers)
	return y.geometry(o.Managers), nil
}

// keepMemory takes the memory that there is to write to.
func (g *Gateway) keepMemory(o *Options, reactors, perShard int) error {
	if o.Keep == nil {
		return nil
	}
	y := layoutOf(reactors, perShard, o.Managers)
	if have, need := o.Keep.Memory.Geometry(), y.geometry(o.Managers); have.Shards != need.Shards || have.Records < need.Records ||
		have.Rings < need.Rings || have.RingBytes < need.RingBytes {
		return fmt.Errorf("gateway: shared memory of %+v, and %+v is needed", have, need)
	}
	g.kept = &kept{Keep: *o.Keep, layout: y}
	g.kept.unwritten.Store(int32(reactors))
	return nil
}

// findHopeless notes which listeners' links nobody could tell of whether they went on.
func (g *Gateway) findHopeless() {
	for i := range g.listeners {
		address := g.listeners[i].Address
		if i < len(g.addresses) {
			address = g.addresses[i]
		}
		if g.kept != nil {
			g.kept.hopeless[i] = strings.HasPrefix(address, "unix:")
		}
	}
}

// noting is what netpoll is to call at the end of each turn.
func (g *Gateway) noting() func(*netpoll.Loop, []netpoll.Conn) {
	if g.kept == nil {
		return nil
	}
	return g.note
}

// rings is the relay's part of the memory.
func (g *Gateway) rings() func(shard, manager int) *handover.Ring {
	if g.kept == nil {
		return nil
	}
	return g.kept.Memory.Ring
}

// keyOf names a link to the keeper. No other one ever has that name.
func (s *shard) keyOf(place, uniq uint32) uint64 { return linkKey(s.name(place, uniq)) }

func linkKey(name batch.Link) uint64 { return uint64(name.Uniq)<<32 | uint64(name.Index) }
