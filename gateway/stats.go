package gateway

import (
	"context"
	"errors"

	"edged/batch"
	"edged/netpoll"
	"edged/relay"
	"edged/wire"
)

// EndLabel says in one word how links ended. Those below EndClientBye are the BYE reasons that the gateway gave.
type EndLabel uint8

// How links end without a BYE from the gateway.
const (
	EndClientBye  EndLabel = iota + 13 // the client said BYE
	EndPeerClosed                      // the client ended the stream without one
	EndLost                            // the network lost it
	EndTorn                            // it went on without being written down, with a process that ended or a successor that failed
	EndDamaged                         // what the predecessor told of it could not be loaded
	endLabels
)

// String returns the label's value in metrics.
func (e EndLabel) String() string {
	switch e {
	case EndClientBye:
		return "client_bye"
	case EndPeerClosed:
		return "peer_closed"
	case EndLost:
		return "connection_lost"
	case EndTorn:
		return "torn"
	case EndDamaged:
		return "damaged"
	}
	return wire.Reason(e).String()
}

// EndLabels returns every label that Counters.Ended is indexed by.
func EndLabels() []EndLabel {
	var all []EndLabel
	for e := EndLabel(1); e < endLabels; e++ {
		all = append(all, e)
	}
	return all
}

// DropLabel says why an item of a Manager, or the answer to it, was dropped.
type DropLabel uint8

// Why items are dropped.
const (
	DropMalformed DropLabel = iota // the item's bytes are no DownItem
	DropAnswer                     // the Manager asks and does not listen: its own answers reached their bound
	DropOrphan                     // it was on its way to a Manager that is configured no more, and there is no other one
	DropLabels
)

// String returns the label's value in metrics.
func (d DropLabel) String() string {
	switch d {
	case DropAnswer:
		return "answer_over_bound"
	case DropOrphan:
		return "orphaned"
	}
	return "malformed"
}

// Sizes of the arrays in Counters.
const (
	kinds    = 9  // by wire.Kind
	reasons  = 13 // by wire.Reason
	codes    = 7  // by batch.Code
	lossKeys = 7  // by batch.LossReason
)

// Counters are one shard's, since it started.
type Counters struct {
	Opened      uint64          // links
	Refused     [reasons]uint64 // connections that became no link, by the BYE they got
	Welcomed    uint64
	Binds       uint64
	Ended       [endLabels]uint64
	FramesIn    [kinds]uint64
	FramesOut   [kinds]uint64
	Heartbeats  uint64 // received, and answered
	Gathered    uint64 // of them, those that waited for others: beats.go
	UnknownAcks uint64 // tids acknowledged that were never sent

	DuplicateAcks  uint64    // tids acknowledged that nobody waits for any more
	Acked          uint64    // pushes
	Pushes         [3]uint64 // sent, by batch.Ack; each once, however often it was repeated
	Repeats        uint64    // pushes sent once more
	Sampled        uint64    // pushes whose ACK was asked for as a sample
	SampledAcked   uint64    // of them, those acknowledged: the reach is SampledAcked / Sampled
	Gzipped        uint64    // pushes that went out compressed
	GzipSaved      uint64    // bytes, by that
	Joins, Leaves  uint64    // of rooms
	Casts          uint64    // operations for a room or everyone
	CastDeliveries uint64    // links that these were carried out on
	Replaced       uint64    // links closed because their user and device have a newer one
	Pulls          uint64    // questions to the log of stored messages
	PullErrors     uint64
	Pulled         uint64 // stored messages sent
	HeldBack       uint64 // messages that came before their turn
	LateSent       uint64 // messages sent after their turn was given up
	Doubles        uint64 // messages dropped because they had their turn
	Behind         uint64 // messages left to the log because their link did not take them
	DataDropped    uint64 // DATA dropped or refused because its link did not take it
	SyncsDropped   uint64 // devices of which it was not stored how far they have everything; they get some messages again
	BusItems       uint64 // items that came by Redis or from an operator
	BusNotHere     uint64 // of them, those for users and rooms that are not here
	Stalls         uint64 // times that a link was not read for want of room towards its Manager
	Throttles      uint64 // times that a link was not read because it said more than its rate
	ItemsIn        uint64 // of Managers
	ItemsOut       uint64 // to Managers
	Dropped        [DropLabels]uint64
	Refusals       [codes]uint64    // operations not carried out
	Undelivered    [lossKeys]uint64 // pushes given back
	Moved          uint64           // links that changed their Manager
	Restored       uint64           // links that a crash left; those of them that were torn have ended
	Unkept         uint64           // times that something was not written down for want of room: it would not outlive a crash
	Rerouted       uint64           // items sent again to another Manager
}

// ShardStats is one shard at one moment.
type ShardStats struct {
	Counters
	Links        int
	Waiting      int // links not read for want of room
	Sessions     int
	SessionBytes int // that they lie in, free slots included
	Deadlines    int
	Loop         netpoll.Stats
	Rooms        int // with members
	Memberships  int // pairs of a room and a link in it
	Windows      int // links with unacknowledged pushes
	Outstanding  int // unacknowledged pushes
	Orders       int // links with a version, or a package under way
	Held         int // messages that wait for their turn
	Replays      int // links that are brought up from the log
	Keep         KeepStats
}

// Stats is the whole gateway at one moment.
type Stats struct {
	Shards []ShardStats
	Relay  relay.Stats
	Drain  DrainProgress
}

// ErrShardSilent means that a reactor did not answer in time: the process is not healthy.
var ErrShardSilent = errors.New("gateway: a reactor does not answer")

// Stats asks every shard for its numbers, on its own thread, so that counting costs the data path nothing.
func (g *Gateway) Stats(ctx context.Context) (Stats, error) {
	st := Stats{Shards: make([]ShardStats, len(g.shards)), Relay: g.relayStats()}
	done := make(chan int, len(g.shards))
	answers, leaving := make([]ShardStats, len(g.shards)), make([]DrainProgress, len(g.shards))
	for i, s := range g.shards {
		if !s.loop.Post(func() { answers[i], leaving[i] = s.stats(), s.leaving(); done <- i }) {
			return st, ErrShardSilent
		}
	}
	for range g.shards {
		select {
		case i := <-done:
			st.Shards[i] = answers[i]
		case <-ctx.Done():
			return st, ErrShardSilent
		}
	}
	st.Drain = drainProgress(leaving)
	return st, nil
}

func (s *shard) stats() ShardStats {
	st := ShardStats{
		Counters:     s.count,
		Links:        s.links.Len(),
		Waiting:      s.waiting.n,
		Sessions:     s.sessions.Len(),
		SessionBytes: s.sessions.Held(),
		Deadlines:    s.deadlines.Len(),
		Loop:         s.loopStats(),
		Rooms:        s.rooms.Len(),
		Memberships:  s.rooms.Memberships(),
		Windows:      s.windows.Len(),
		Outstanding:  s.windows.Pushes(),
		Orders:       s.orders.Len(),
		Held:         s.orders.Held(),
		Replays:      len(s.replays.by),
		Keep:         s.keep.state(),
	}
	st.Doubles += s.orders.Doubles()
	if s.number == 0 {
		st.Dropped[DropMalformed] += s.g.malformed.Load()
		if s.g.syncs != nil {
			st.SyncsDropped = s.g.syncs.dropped.Load()
		}
	}
	for i := range s.managers.list {
		st.ItemsOut += s.managers.list[i].items
	}
	return st
}

// loopStats is what the loop has counted, and those did that it has succeeded.
func (s *shard) loopStats() netpoll.Stats {
	st := s.loop.Stats()
	addCounters(&st, &s.loopBefore)
	return st
}

// Healthy is nil while every reactor answers within the time that ctx gives.
func (g *Gateway) Healthy(ctx context.Context) error {
	_, err := g.Stats(ctx)
	return err
}

// Ready is nil while new links are welcome; else its text is the reason.
func (g *Gateway) Ready() error {
	switch {
	case g.draining.Load():
		return errors.New("draining")
	case g.links.Load() >= int64(g.capacity):
		return errors.New("full")
	case len(g.relay.Stats().Streams) > 0 && !g.managerUp():
		return errors.New("no Manager reachable")
	}
	return nil
}

// Threads returns the kernel's number of each reactor's thread, for who asks how busy each one is; none before Start.
func (g *Gateway) Threads() []int { return g.group.Threads() }

// ManagerUp says whether a Manager answers, or has not been away for longer than its grace. Without a configured one it is false.
func (g *Gateway) ManagerUp() bool { return g.managerUp() }

func (g *Gateway) managerUp() bool {
	for _, s := range g.relay.Stats().Streams {
		if s.Reachable {
			return true
		}
	}
	return false
}

var _ = [codes]struct{}{batch.CodeTooLarge: {}} // the arrays cover every value
var _ = [lossKeys]struct{}{batch.LossTooLarge: {}}
