package gateway

import (
	"context"
	"errors"
	"sync"
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
// While entries wait for the link, live messages are left to the log. While the log is asked, they are held in their order.
type replay struct {
	name    linkName
	number  uint64 // of this replay: an answer to another one of the same link is not for it
	after   uint64 // the version behind which the log was asked, 0: what is stored for the device
	entries []offline.Entry
	at      int    // the next of entries
	last    uint64 // version given out, as the log said
	more    bool   // the log has more than entries
	asked   bool
	again   bool // something came that the answer under way may not have
	fails   int
	retryAt linkpool.Millis // with fails
}

// busy says that what the log has goes before everything that has a version.
func (r *replay) busy() bool { return r.at < len(r.entries) }

const (
	replayPage   = 128
	replayWithin = 5 * time.Second
	replayTick   = time.Second // after which a link that took no more is tried again
	maxReplayGap = 30 * time.Second
)

// replay begins to bring a link up, or sees to it that the replay under way looks once more.
func (s *shard) replay(place, uniq uint32, l *link) {
	if !s.logged(l) {
		return
	}
	if r := s.replays[place]; l.flags&replaying != 0 && r != nil {
		r.again = true
		return
	}
	s.replayNumber++
	r := &replay{name: linkName{place, uniq}, number: s.replayNumber, after: s.orders.Whole(l.order)}
	s.replays[place] = r
	l.flags |= replaying
	s.askLog(l, r)
}

// endReplay forgets a link's replay; an answer that comes still is for nobody.
func (s *shard) endReplay(place uint32, l *link) {
	if l.flags&replaying != 0 {
		l.flags &^= replaying
		delete(s.replays, place)
	}
}

func (s *shard) askLog(l *link, r *replay) {
	r.asked, r.again = true, false
	r.entries, r.at = nil, 0
	s.count.Pulls++
	s.g.pulls.ask(pull{
		s: s, name: r.name, number: r.number, after: r.after,
		user: string(s.sessions.Value(l.session, "user")), device: string(s.sessions.Value(l.session, "device")),
	})
}

// pulled takes the log's answer.
func (s *shard) pulled(q *pull, p offline.Pulled, err error) {
	l := s.links.Get(q.name.place, q.name.uniq)
	if l == nil || l.flags&replaying == 0 {
		return
	}
	r := s.replays[q.name.place]
	if r.number != q.number {
		return
	}
	r.asked = false
	place, uniq := q.name.place, q.name.uniq
	if err != nil {
		s.pullFailed(place, l, r, err)
		return
	}
	r.fails = 0
	now := delivery.Millis(s.now())
	if r.after > p.After { // what the client says it has was never given out: Redis has lost its counters
		lost := s.newLosses(place, uniq, l)
		s.endOrder(l, &lost)
		lost.tell()
	}
	if p.After > 0 {
		l.order = s.orders.Start(l.order, now, p.After)
	}
	r.entries, r.more, r.last = p.Entries, p.More, p.Last
	s.feed(place, uniq, l, r)
}

func (s *shard) pullFailed(place uint32, l *link, r *replay, err error) {
	s.count.PullErrors++
	var clash *offline.ClashError
	if errors.As(err, &clash) || errors.Is(err, offline.ErrUser) {
		s.log.Warn("stored messages cannot be read", "err", err)
		s.endReplay(place, l)
		return
	}
	s.log.Debug("stored messages not pulled", "err", err)
	wait := min(time.Second<<min(r.fails, 5), maxReplayGap)
	r.fails++
	r.retryAt = s.now().Deadline(wait + time.Duration(s.random.Int64N(int64(wait/4))))
	s.deadlines.Earlier(place, r.retryAt)
}

// feed sends what the log had, as far as the link takes it.
func (s *shard) feed(place, uniq uint32, l *link, r *replay) {
	for r.busy() {
		e := &r.entries[r.at]
		if !e.Expired && !s.takes(l, e.Ack, len(e.Payload)+len(e.MsgID)) {
			s.deadlines.Earlier(place, s.now().Deadline(replayTick))
			return
		}
		r.at++
		r.after = e.Version
		s.fromLog(place, uniq, l, e)
		if s.links.Get(place, uniq) == nil {
			return
		}
	}
	r.entries, r.at = nil, 0
	if r.more {
		s.askLog(l, r)
		return
	}
	s.caughtUp(place, uniq, l, r)
}

// fromLog sends one stored message, if the link has not had it.
func (s *shard) fromLog(place, uniq uint32, l *link, e *offline.Entry) {
	var v delivery.Verdict
	l.order, v = s.orders.Passed(l.order, delivery.Millis(s.now()), e.Version)
	if v == delivery.Double || e.Expired {
		return
	}
	s.count.Pulled++
	s.stored = batch.DownItem{Target: batch.TargetLink, Link: s.name(place, uniq), Op: batch.OpPush, Push: batch.Push{
		Payload: e.Payload, MsgID: e.MsgID, Ack: e.Ack, AllowGzip: e.AllowGzip, Version: e.Version, TTLMs: ttlLeft(e),
	}}
	if e.Ack == batch.AckRequired && len(e.MsgID) == 0 {
		s.stored.Push.Ack = batch.AckNone // no client could say which
	}
	s.deliver(int(l.manager), place, uniq, l, &s.stored, v == delivery.Late)
}

// ttlLeft is how long a stored message is worth repeating. Clocks of two machines may differ by a little.
func ttlLeft(e *offline.Entry) uint32 {
	if e.Expires.IsZero() {
		return 0
	}
	return uint32(max(min(time.Until(e.Expires), maxTTL), time.Second) / time.Millisecond)
}

// caughtUp ends a replay that has sent all the log had. What is still missing will not come from there.
func (s *shard) caughtUp(place, uniq uint32, l *link, r *replay) {
	now := delivery.Millis(s.now())
	if r.last > 0 {
		l.order = s.orders.Start(l.order, now, r.last)
	}
	if r.again {
		r.after = max(s.orders.Whole(l.order), r.last)
		s.askLog(l, r)
	} else {
		if _, to, ok := s.orders.Missing(l.order); ok {
			l.order = s.orders.GiveUp(l.order, now, to)
		}
		s.endReplay(place, l)
	}
	s.unsync(place, l)
	s.popTurns(place, uniq, l)
}

// feedAgain goes on with a replay that waits for its link, or for another try.
func (s *shard) feedAgain(place, uniq uint32, l *link) {
	r := s.replays[place]
	switch {
	case r.asked:
	case r.busy():
		s.feed(place, uniq, l, r)
	case r.fails > 0 && !s.now().Before(r.retryAt):
		s.askLog(l, r)
	}
}

// feedIfRoomy goes on with a replay when the link's window has emptied.
func (s *shard) feedIfRoomy(place, uniq uint32, l *link) {
	if l.flags&replaying != 0 && s.roomy(l) && s.links.Get(place, uniq) != nil {
		s.feedAgain(place, uniq, l)
	}
}

// replayDue is when a replay must be looked at again.
func (s *shard) replayDue(place uint32, now linkpool.Millis) (at linkpool.Millis, ok bool) {
	r := s.replays[place]
	switch {
	case r.asked:
		return 0, false
	case r.busy():
		return now.Deadline(replayTick), true
	}
	return r.retryAt, r.fails > 0
}

// missed has the links of a shard brought up, slice by slice: messages may have been lost on their way here.
func (s *shard) missed() { s.resyncing, s.resyncAt = true, 0 }

// resyncSlice is how many links a turn begins to bring up, and resyncWaiting how many pulls may wait for that.
const (
	resyncSlice   = 64
	resyncWaiting = 4096
)

func (s *shard) resync() {
	if !s.resyncing || s.g.pulls.waiting() > resyncWaiting {
		return
	}
	s.resyncAt = s.links.Each(s.resyncAt, resyncSlice, func(place, uniq uint32, l *link) {
		if l.flags&bound != 0 {
			s.replay(place, uniq, l)
		}
	})
	s.resyncing = s.resyncAt != 0
}

// pull is one question to the log.
type pull struct {
	s            *shard
	name         linkName
	number       uint64
	user, device string
	after        uint64
}

// pulls asks the log for all shards: a few questions at a time, in the order in which they came.
type pulls struct {
	log OfflineLog

	mu     sync.Mutex
	work   sync.Cond
	queue  []pull
	closed bool
}

// pullWorkers is how many questions are under way at a time; the Redis client puts them into one pipeline.
const pullWorkers = 16

func newPulls(log OfflineLog) *pulls {
	p := &pulls{log: log}
	p.work.L = &p.mu
	return p
}

func (p *pulls) ask(q pull) {
	p.mu.Lock()
	p.queue = append(p.queue, q)
	p.mu.Unlock()
	p.work.Signal()
}

func (p *pulls) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

func (p *pulls) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.work.Broadcast()
}

func (p *pulls) next() (q pull, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 && !p.closed {
		p.work.Wait()
	}
	if p.closed {
		return q, false
	}
	q = p.queue[0]
	p.queue = p.queue[1:]
	return q, true
}

// run answers questions until close.
func (p *pulls) run(ctx context.Context) {
	for {
		q, ok := p.next()
		if !ok {
			return
		}
		limit, cancel := context.WithTimeout(ctx, replayWithin)
		answer, err := p.log.Pull(limit, q.user, q.device, q.after, replayPage)
		cancel()
		if !q.s.loop.Post(func() { q.s.pulled(&q, answer, err) }) {
			return
		}
	}
}
