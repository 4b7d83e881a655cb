package gateway

import (
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"time"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/netpoll"
	"edged/registry"
	"edged/relay"
	"edged/room"
	"edged/session"
	"edged/wire"
)

// turnEvents and turnItems bound what a shard takes of the Managers in one turn, so that reading is not starved.
const (
	turnEvents = 64
	turnItems  = 1024
)

// port is what a shard needs of the relay; its own end of it is relay.Port.
type port interface {
	Managers() int
	Up(m int) bool
	Take(m int) *relay.Batch
	Send(m int, b *relay.Batch)
	Next() (relay.Event, bool)
	Pending() bool
	Held(m int) int
	Trim()
	Flush()
	Carried(each func(stream int, seq uint64, index uint32))
	Commit()
}

// shard is a reactor's share of the gateway. All of it is owned by the reactor's thread.
type shard struct {
	// Static after construction.
	g      *Gateway
	number int
	loop   *netpoll.Loop
	port   port
	log    *slog.Logger

	links     *linkpool.Pool[link]
	deadlines *linkpool.Deadlines
	sessions  *session.Store
	wall      int64 // ms since the epoch at 0 of the loop's clock
	managers  managers
	waiting   waitingList
	drain     drain
	shed      shed
	count     Counters
	random    *rand.Rand

	rooms    *room.Table
	casting  casting
	departed departed
	pushing
	lent

	stood      standstill
	beats      beats
	keep       *keeping      // what is written down for a crash; nil: nothing
	takeover   *takeover     // what a predecessor left, until the first turn; else nil
	loopBefore netpoll.Stats // counters of the processes that this one has succeeded; static after New
}

// pushing is what a shard knows of pushes that wait for something.
type pushing struct {
	windows *delivery.Windows
	orders  *delivery.Orders
	replays replays
	syncing syncing
	slow    slowLinks
}

// lent is used within one call and kept to be used again.
type lent struct {
	scratch []byte
	item    batch.DownItem
	spoken  int // bytes that the link which is being read has given to its Manager in this turn

	held      batch.DownItem // a push whose turn has come: turns.go
	stored    batch.DownItem // one from the log: replay.go
	written   letter
	writtenOf *batch.DownItem // whose letter written is; nil: nobody's
	zipper    *zipper         // that written lies in; nil: none was needed yet
	aside     []byte
	ids       []byte // msg_ids of receipts or lost
	receipts  [ackChunk]batch.Receipt
	lost      [lossChunk]batch.Loss
	people    []registry.Link
}

func newShard(g *Gateway, loop *netpoll.Loop, capacity int) *shard {
	s := &shard{
		g:         g,
		number:    loop.Number(),
		loop:      loop,
		log:       g.log.With("shard", loop.Number()),
		links:     linkpool.New[link](capacity, rand.Uint32()),
		deadlines: linkpool.NewDeadlines(capacity),
		sessions:  session.NewStore(g.cfg.SessionMax),
		random:    rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		rooms:     room.New(g.roomLimits),
		casting:   newCasting(),
		departed:  departed{seed: maphash.MakeSeed()},
		pushing: pushing{
			windows: delivery.NewWindows(g.delivery.Limits()),
			orders:  delivery.NewOrders(g.delivery.OrderLimits()),
			replays: replays{by: map[uint32]*replay{}, retry: replayRetry},
			syncing: syncing{stuck: map[uint32]uint64{}},
			slow:    newSlowLinks(),
		},
		lent: lent{scratch: make([]byte, 0, 1024)},
	}
	s.beats = newBeats(&g.cfg, s.now())
	s.keep = newKeeping(s, capacity)
	return s
}

func (s *shard) now() linkpool.Millis { return linkpool.MillisAt(s.loop.Now()) }

func (s *shard) name(place, uniq uint32) batch.Link {
	return batch.Link{Index: linkpool.Index(s.number, place), Uniq: uniq}
}

// Opened takes a new connection in, or says why not.
func (s *shard) Opened(c netpoll.Conn, source int) {
	s.loop.SetTag(c, noLink)
	place, uniq, l, why := s.admit()
	if why != 0 {
		s.refuseConn(c, why)
		return
	}
	now := s.now()
	*l = link{conn: c, opened: now, heard: now, listener: uint8(s.g.listenerOf(source))}
	s.beginSession(place, uniq, l)
	s.loop.SetTag(c, place)
	s.keep.change(place)
	s.count.Opened++
	if len(s.managers.list) > 0 {
		s.managers.assign(l)
		s.announce(place, uniq, l)
	}
	if s.g.cfg.Login == "none" {
		s.welcome(place, uniq, l)
		if s.links.Get(place, uniq) == nil {
			return
		}
	}
	s.deadlines.Set(place, s.nextDeadline(place, l, now))
}

// refuseConn says why a connection becomes no link. A flood of those that do not go then is cut off without a word: the files that
// they hold are needed for Managers and operators.
func (s *shard) refuseConn(c netpoll.Conn, why wire.Reason) {
	s.count.Refused[why]++
	if s.loop.Stats().Lingering >= spareFiles/2/len(s.g.shards) {
		s.loop.Abort(c)
		return
	}
	s.loop.Close(c, s.bye(why, s.retryAfter(), ""))
}

// admit gives a new link its place, or says why there is none.
func (s *shard) admit() (place, uniq uint32, l *link, why wire.Reason) {
	if s.g.draining.Load() {
		return 0, 0, nil, wire.ByeDraining
	}
	if s.managers.allFull() {
		return 0, 0, nil, wire.ByeOverloaded
	}
	// The number is raised first: shards that take links at the same time cannot overshoot it together.
	if s.g.links.Add(1) <= int64(s.g.capacity) {
		if place, uniq, l, ok := s.links.Add(); ok {
			return place, uniq, l, 0
		}
	}
	s.g.links.Add(-1)
	return 0, 0, nil, wire.ByeOverloaded
}

// welcome tells the client that it is in.
func (s *shard) welcome(place, uniq uint32, l *link) {
	if l.flags&welcomed != 0 {
		return
	}
	s.passBy(place)
	l.flags |= welcomed
	s.count.Welcomed++
	id := wire.AppendLinkID(s.scratch[:0], s.g.advertise, linkpool.Index(s.number, place), uniq)
	frame := wire.AppendWelcome(id, wire.Welcome{
		LinkID:       id,
		Heartbeat:    s.g.cfg.Heartbeat,
		IdleTimeout:  s.g.cfg.IdleTimeout,
		MaxFrame:     uint32(s.g.cfg.MaxFrame),
		ServerTimeMs: uint64(time.Now().UnixMilli()),
	})
	s.scratch = frame
	s.send(place, uniq, l, wire.KindWelcome, frame[len(id):])
}

// send writes one frame to a link. A link that does not take what it is sent is ended as a slow consumer, and false returned.
func (s *shard) send(place, uniq uint32, l *link, kind wire.Kind, frame ...[]byte) bool {
	if !s.loop.Write(l.conn, frame...) {
		s.end(place, uniq, l, ending{reason: wire.ByeSlow, side: batch.SideGateway, evidence: "output over its bound"})
		return false
	}
	s.count.FramesOut[kind]++
	return true
}

// Turn does what came from elsewhere, what fell due, and gives the turn's batches to the relay.
func (s *shard) Turn(now time.Duration) time.Duration {
	if d := s.stood.turn(now, s.g.longest); d != 0 {
		s.log.Warn("stood still", "for", d.Round(time.Millisecond))
	}
	if s.takeover != nil {
		s.takeOver()
	}
	s.takeEvents()
	s.thinOut()
	s.managers.walk(s)
	s.runWalks()
	s.feedHungry()
	s.resync()
	s.syncDue(s.now())
	s.expire()
	s.drainSome()
	s.shedSome()
	s.managers.flush(s)
	s.port.Flush()
	s.stood.wait = s.untilDue()
	return s.stood.wait
}

// Pending says whether the next turn has something to do already.
func (s *shard) Pending() bool {
	return s.managers.pending() || len(s.casting.walks) > 0 || len(s.slow.hungry) > 0 || s.port.Pending() || s.keep.pending()
}

func (s *shard) takeEvents() {
	until := s.count.ItemsIn + turnItems
	for range turnEvents {
		if s.count.ItemsIn >= until || s.casting.full() {
			return
		}
		e, ok := s.port.Next()
		if !ok {
			return
		}
		switch e.Kind {
		case relay.EventItems:
			s.carryOut(e.Manager, e.Items)
		case relay.EventCast:
			s.takeCast(e.Cast.(*cast))
		case relay.EventRoom:
			s.room(e.Manager)
		default:
			s.managers.changed(s, e)
		}
	}
}

// retryAfter spreads the return of clients that are sent away together.
func (s *shard) retryAfter() time.Duration {
	window := s.g.cfg.RetryAfterMax
	if window <= 0 {
		return 0
	}
	return time.Duration(s.random.Int64N(int64(window))) + time.Millisecond
}

// bye encodes a BYE into the shard's scratch buffer.
func (s *shard) bye(r wire.Reason, retryAfter time.Duration, text string) []byte {
	s.scratch = wire.AppendBye(s.scratch[:0], r, retryAfter, wire.CutText(text, s.g.cfg.MaxFrame))
	return s.scratch
}
