package gateway

import (
	"sync/atomic"

	"edged/handover"
	"edged/netpoll"
)

// kept is what all shards of a gateway that is kept have together.
type kept struct {
	// Static after New.
	Keep
	layout   keepLayout
	hopeless [maxListeners + 1]bool // by listener: its links are Unix sockets, of which nobody can tell whether they went on

	binds     atomic.Uint64 // counts them: of two links of one device the later one is its
	unwritten atomic.Int32  // shards that have not committed a turn yet
}

// keeping is what a shard knows of what it has written down. A nil one keeps nothing. Owned by the shard's thread.
type keeping struct {
	// Static after construction.
	s       *shard
	all     *kept
	records *handover.Records
	links   int // record of place 0
	carry   func(stream int, seq uint64, index uint32)

	marks []mark   // by place
	dirty []uint32 // places whose links have changed in this turn
	binds []uint64 // by place: which of all binds its link's was
	whole bool     // all that the shard has is written
	stats KeepStats

	head     headMarks
	draining bool      // as own tells it
	leaving  *linkName // of the links that are sent away, as they are written
	written  blobs
	walks    keptWalks
	deposit  depositing

	hot, cold, conn []byte // room
}

// mark is what is to be written of a place, and what was.
type mark uint8

const (
	markDirty   mark = 1 << iota // it is in the list
	markCold                     // session, window, orders, rooms or what is counted with them have changed
	markExtra                    // its connection had input or output left when it was written
	markKept                     // its link would outlive a crash now
	markDeposit                  // the keeper has its connection, or will
)

// KeepStats is what a shard has written down, and how far that goes.
type KeepStats struct {
	Links      int    // that would outlive a crash now, as far as their connections are with the keeper
	Turns      uint64 // that were committed
	FreeBlocks int    // of the shared memory, handover.BlockBytes each
	Deposit    handover.DepositStats
}

func newKeeping(s *shard, places int) *keeping {
	all := s.g.kept
	if all == nil {
		return nil
	}
	k := &keeping{
		s: s, all: all, records: all.Memory.Records(s.number), links: all.layout.linksAt(),
		marks: make([]mark, places), binds: make([]uint64, places),
	}
	k.written = newBlobs(&all.layout)
	k.carry = k.carried
	return k
}

// touch says that something of a link has changed that its connection does not show.
func (k *keeping) touch(place uint32) {
	if k != nil {
		k.mark(place, 0)
	}
}

// change says that something of a link has changed that does not change with each message.
func (k *keeping) change(place uint32) {
	if k != nil {
		k.mark(place, markCold)
	}
}

func (k *keeping) mark(place uint32, more mark) {
	m := &k.marks[place]
	if *m&markDirty == 0 {
		k.dirty = append(k.dirty, place)
	}
	*m |= markDirty | more
}

// note is told by each loop of the end of its turn.
func (g *Gateway) note(l *netpoll.Loop, touched []netpoll.Conn) {
	g.shards[l.Number()].keep.endTurn(touched)
}

// endTurn writes down what the turn has changed. From the commit on a crash leaves it as it is.
func (k *keeping) endTurn(touched []netpoll.Conn) {
	s := k.s
	s.managers.flush(s) // what came while the turn's output was sent
	for _, c := range touched {
		if !s.loop.Open(c) {
			continue
		}
		place := s.loop.Tag(c)
		if l, _ := s.links.At(place); l != nil && l.conn == c {
			k.mark(place, 0)
		}
	}
	if !k.whole {
		k.markAll()
	}
	for _, place := range k.dirty {
		k.write(place)
	}
	k.dirty = k.dirty[:0]
	k.writeShard()
	s.port.Carried(k.carry)
	k.records.Commit()
	k.stats.Turns++
	s.port.Commit()
	k.toKeeper()
	if !k.whole {
		k.whole = true
		if k.all.unwritten.Add(-1) == 0 && k.all.Whole != nil {
			go k.all.Whole()
		}
	}
}

// markAll has everything written that there is.
func (k *keeping) markAll() {
	for place := range uint32(k.s.links.Used()) {
		k.mark(place, markCold)
	}
}

// state returns what there is to tell.
func (k *keeping) state() (st KeepStats) {
	if k == nil {
		return st
	}
	st = k.stats
	st.FreeBlocks = k.records.FreeBlocks()
	if k.deposit.to != nil {
		st.Deposit = k.deposit.to.Stats()
	}
	return st
}

// blob is bytes that lie in several records, keptChunk in each.
type blob struct {
	at, room int // records
	chunks   int // that are written
	n        int // bytes
	short    bool
}

// blobs are those of a shard.
type blobs struct {
	own, shed blob
	held      []blob // by Manager
}

func newBlobs(y *keepLayout) blobs {
	w := blobs{own: blob{at: ownAt, room: ownChunks}, shed: blob{at: y.shedAt(), room: y.shedChunks()}}
	for m := range int(y.Managers) {
		w.held = append(w.held, blob{at: y.heldAt(m), room: int(y.Held)})
	}
	return w
}

// put writes a blob of which the first so many bytes are as they were. What there is no room for is left out, with all behind.
func (k *keeping) put(x *blob, b []byte, same int) {
	if x.short {
		same = 0
	}
	x.n, x.short = len(b), false
	n := 0
	for at := 0; at < len(b) && n < x.room; at += keptChunk {
		if end := min(at+keptChunk, len(b)); (end > same || n >= x.chunks) && !k.records.PutAll(x.at+n, nil, b[at:end]) {
			break
		}
		n++
	}
	for i := n; i < x.chunks; i++ {
		k.records.Clear(x.at + i)
	}
	x.chunks = n
	if x.short = n*keptChunk < len(b); x.short {
		k.s.count.Unkept++
	}
}

// getBlob reads a blob of so many records at most.
func getBlob(r *handover.Records, at, room int) (b []byte) {
	for i := range room {
		before := len(b)
		var err error
		if _, b, err = r.Get(at+i, nil, b); err != nil || len(b)-before < keptChunk {
			return b
		}
	}
	return b
}
