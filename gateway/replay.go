package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/offline"
)

// OfflineLog is what the gateway needs of the stored messages: offline.Log. It is called by goroutines that may wait.
type OfflineLog interface {
	Pull(ctx context.Context, user, device string, after uint64, limit int) (offline.Pulled, error)
	Sync(ctx context.Context, points []offline.Point) []error
}

// A replay brings a link up from the log: after its bind, when a version is missing, when the link did not take a message, and
// when messages may have been lost on their way here. It pulls page after page, sends as much as the link takes, and ends when
// the log has no more.
//
//	begin > asked > answered > fed, as far as the link takes it > asked again where there is more > done
//	          ^ error: later |
//
// While it knows of messages that the link has not been sent, live ones are left to the log, where they are too. While it does
// not know, they are held in their order.
type replay struct {
	name    linkName
	after   uint64 // up to here the log was read; 0: from what is stored for the device
	entries []offline.Entry
	at      int    // the next of entries
	last    uint64 // version given out, as the log said
	more    bool   // the log has more than entries
	behind  bool   // it had, or some of them were not kept, and not all of it was sent yet
	asked   bool
	waits   int  // bytes of live messages that are held since it began, or since it had caught up
	again   bool // something came that the answer under way may not have
	put     *putOff
	fails   int
	retryAt linkpool.Millis // with fails
	over    atomic.Bool     // nobody waits for an answer any more
}

// putOff is what a replay waits with until its link takes it; the entries were not kept meanwhile.
type putOff struct {
	ack  batch.Ack
	size int
}

// replays is the links of a shard that are brought up.
type replays struct {
	by        map[uint32]*replay // place
	retry     time.Duration      // first wait after an error; static
	resyncing bool               // all links are brought up, slice by slice
	at        int
}

// busy says that what the log has goes before everything that has a version.
func (r *replay) busy() bool { return r.at < len(r.entries) || r.behind }

const (
	replayPage   = 128
	replayWithin = 5 * time.Second
	replayTick   = time.Second // after which a link that took no more is tried again
	replayKeep   = 64 << 10    // bytes of entries that are kept for a link that takes no more, and of live messages that are held
	replayRetry  = time.Second // replays.retry
	maxReplayGap = 30 * time.Second
)

// replay begins to bring a link up, or sees to it that the replay under way looks once more.
func (s *shard) replay(place, uniq uint32, l *link) {
	if !s.logged(l) {
		return
	}
	if l.flags&replaying != 0 {
		s.replays.by[place].again = true
		return
	}
	r := &replay{name: linkName{place, uniq}, after: s.orders.Whole(l.order)}
	s.replays.by[place] = r
	l.flags |= replaying
	s.askLog(l, r)
}

// endReplay forgets a link's replay; an answer that comes still is for nobody.
func (s *shard) endReplay(place uint32, l *link) {
	if l.flags&replaying != 0 {
		l.flags &^= replaying
		s.replays.by[place].over.Store(true)
		delete(s.replays.by, place)
	}
}

func (s *shard) askLog(l *link, r *replay) {
	r.asked, r.again = true, false
	r.entries, r.at, r.put = nil, 0, nil
	s.count.Pulls++
	s.g.pulls.ask(pull{
		s: s, r: r, after: r.after,
		user: string(s.sessions.Value(l.session, "user")), device: string(s.sessions.Value(l.session, "device")),
	})
}

// pulled takes the log's answer.
func (s *shard) pulled(r *replay, p offline.Pulled, err error) {
	if r.over.Load() {
		return
	}
	place, uniq := r.name.place, r.name.uniq
	l := s.links.Get(place, uniq)
	r.asked = false
	if err != nil {
		s.pullFailed(place, uniq, l, r, err)
		return
	}
	s.keep.change(place)
	r.fails = 0
	switch {
	case r.after > p.After: // what the client has was never given out: Redis has lost its counters
		lost := s.newLosses(place, uniq, l)
		s.endOrder(l, &lost)
		lost.tell()
		s.unstick(place, l)
	case p.After > r.after:
		l.order = s.orders.Start(l.order, delivery.Millis(s.now()), p.After)
	}
	r.after = p.After
	r.entries, r.more, r.last = p.Entries, p.More, p.Last
	r.behind = r.behind || p.More
	s.feed(place, uniq, l, r)
}

// pullFailed tries again later, unless that is without hope. What is held meanwhile is waited for no longer than ever.
func (s *shard) pullFailed(place, uniq uint32, l *link, r *replay, err error) {
	s.count.PullErrors++
	s.log.Debug("stored messages not pulled", "err", err)
	r.behind = false
	var clash *offline.ClashError
	if errors.As(err, &clash) || errors.Is(err, offline.ErrUser) {
		s.endReplay(place, l)
		s.giveUpMissing(place, uniq, l)
		return
	}
	wait := min(s.replays.retry<<min(r.fails, 5), maxReplayGap)
	r.fails++
	r.retryAt = s.now().Deadline(wait + time.Duration(s.random.Int64N(int64(wait/4))))
	s.deadlines.Earlier(place, r.retryAt)
	s.popTurns(place, uniq, l)
}

// feed sends what the log had, as far as the link takes it.
func (s *shard) feed(place, uniq uint32, l *link, r *replay) {
	for r.at < len(r.entries) {
		e := &r.entries[r.at]
		if !s.fromLog(place, uniq, l, r, e) {
			s.waitForLink(place, r)
			return
		}
		r.at++
		r.after = e.Version
	}
	r.entries, r.at = nil, 0
	if r.more {
		s.askLog(l, r)
		return
	}
	s.caughtUp(place, uniq, l, r)
}

// fromLog sends one stored message, if the link has not had it; false: the link takes no more at present.
func (s *shard) fromLog(place, uniq uint32, l *link, r *replay, e *offline.Entry) bool {
	s.keep.change(place)
	now := delivery.Millis(s.now())
	l.order = s.orders.Gone(l.order, now, r.after+1, e.Version)
	var v delivery.Verdict
	l.order, v = s.orders.Passed(l.order, now, e.Version)
	if v == delivery.Double || e.Expired {
		return true
	}
	d := &s.stored
	*d = batch.DownItem{Target: batch.TargetLink, Link: s.name(place, uniq), Op: batch.OpPush, Push: batch.Push{
		Payload: e.Payload, MsgID: e.MsgID, Ack: e.Ack, AllowGzip: e.AllowGzip, Version: e.Version, TTLMs: ttlLeft(e),
	}}
	if e.Ack == batch.AckRequired && len(e.MsgID) == 0 {
		d.Push.Ack = batch.AckNone // no client could say which
	}
	s.writtenOf = nil
	full := !s.takes(l, d.Push.Ack, entrySize(e))
	if !full {
		switch s.post(place, l, s.letter(d), v == delivery.Late) {
		case posted:
			s.count.Pulled++
		case postFull:
			full = true
		case postLarge:
			name := s.name(place, uniq)
			s.refuse(int(l.manager), d, &name, l, batch.CodeTooLarge, tooLarge)
		}
	}
	if full {
		s.orders.Reopen(l.order, e.Version)
	}
	return !full
}

func entrySize(e *offline.Entry) int { return len(e.Payload) + len(e.MsgID) }

// ttlLeft is how long a stored message is worth repeating. Clocks of two machines may differ by a little.
func ttlLeft(e *offline.Entry) uint32 {
	if e.Expires.IsZero() {
		return 0
	}
	return uint32(max(min(time.Until(e.Expires), maxTTL), time.Second) / time.Millisecond)
}

// waitForLink waits until the link takes more. Of much that is left nothing is kept: it is in the log.
func (s *shard) waitForLink(place uint32, r *replay) {
	left := 0
	for i := r.at; i < len(r.entries); i++ {
		left += entrySize(&r.entries[i])
	}
	if e := &r.entries[r.at]; left > replayKeep {
		r.put = &putOff{e.Ack, entrySize(e)}
		r.entries, r.at, r.behind = nil, 0, true
	}
	s.deadlines.Earlier(place, s.now().Deadline(replayTick))
}

// caughtUp ends a replay that has sent all the log had. What is still missing will not come from there.
func (s *shard) caughtUp(place, uniq uint32, l *link, r *replay) {
	s.keep.change(place)
	r.behind, r.waits = false, 0
	if r.last > r.after {
		l.order = s.orders.Gone(l.order, delivery.Millis(s.now()), r.after+1, r.last+1)
	}
	s.unsync(place, l)
	if r.again {
		r.after = s.orders.Whole(l.order)
		s.askLog(l, r)
		s.popTurns(place, uniq, l)
		return
	}
	s.endReplay(place, l)
	s.giveUpMissing(place, uniq, l)
}

// giveUpMissing lets go on what waits for a version that does not come.
func (s *shard) giveUpMissing(place, uniq uint32, l *link) {
	s.keep.change(place)
	if _, to, ok := s.orders.Missing(l.order); ok {
		l.order = s.orders.GiveUp(l.order, delivery.Millis(s.now()), to)
	}
	s.popTurns(place, uniq, l)
}

// feedAgain goes on with a replay that waits for its link, or for another try.
func (s *shard) feedAgain(place, uniq uint32, l *link) {
	r := s.replays.by[place]
	switch {
	case r.asked:
	case r.put != nil:
		if s.roomy(l) && s.takes(l, r.put.ack, r.put.size) {
			s.askLog(l, r)
		}
	case r.at < len(r.entries):
		s.feed(place, uniq, l, r)
	case r.fails > 0 && !s.now().Before(r.retryAt):
		s.askLog(l, r)
	}
}

// feedIfRoomy goes on with a replay when the link's window has emptied.
func (s *shard) feedIfRoomy(place, uniq uint32, l *link) {
	if l.flags&replaying != 0 && s.roomy(l) {
		s.feedAgain(place, uniq, l)
	}
}

// replayDue is when a replay must be looked at again.
func (s *shard) replayDue(r *replay, now linkpool.Millis) (at linkpool.Millis, ok bool) {
	switch {
	case r.asked:
		return 0, false
	case r.fails > 0:
		return r.retryAt, true
	}
	return now.Deadline(replayTick), true
}

// missed has the links of a shard brought up, slice by slice: messages may have been lost on their way here.
func (s *shard) missed() { s.replays.resyncing, s.replays.at = true, 0 }

// resyncSlice is how many links a turn begins to bring up, and resyncWaiting how many pulls may wait for that. While they do,
// the shard looks every resyncTick.
const (
	resyncSlice   = 64
	resyncWaiting = 4096
	resyncTick    = 10 * time.Millisecond
)

func (s *shard) resync() {
	if !s.mayResync() {
		return
	}
	s.replays.at = s.links.Each(s.replays.at, resyncSlice, func(place, uniq uint32, l *link) {
		if l.flags&bound != 0 {
			s.replay(place, uniq, l)
		}
	})
	s.replays.resyncing = s.replays.at != 0
}

func (s *shard) mayResync() bool { return s.replays.resyncing && s.g.pulls.waiting() <= resyncWaiting }
