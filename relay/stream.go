package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"edged/batch"
	"edged/h2"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

const (
	relayMethod = "/edged.v1.Manager/Relay"
	// helloWait is how long a Manager that said hello before may take to say it again, and how
	// long batches are kept for one of which it is not known whether it gives receipts.
	helloWait = 2 * time.Second
	// settleWait is how long a stream must live, or until something came, after one that ended
	// without a word: a server that refuses each stream is not up ten times a second.
	settleWait = 100 * time.Millisecond
	openWait   = time.Second // for a stream on a connection that is there
	// Wait between the beginnings of two streams, growing while they bring nothing.
	minBackoff    = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	backoffFactor = 1.6
	backoffJitter = 0.2
)

var relayDesc = grpc.StreamDesc{StreamName: "Relay", ClientStreams: true, ServerStreams: true}

// Reasons for which the gateway itself ends a stream.
var (
	errGarbage = errors.New("bytes that are no batch, a receipt for what was never sent, or two names")
	errHole    = errors.New("a batch is missing")
	errRenewed = errors.New("another Manager answered in the middle of a stream")
	errKilled  = errors.New("stopped")
)

// stream is one shard's stream to one Manager, over all its reconnects. Its sender goroutine is run.
type stream struct {
	// Static after construction.
	address string
	hello   []byte
	road    road
	log     *slog.Logger
	grace   time.Duration
	alone   bool // there is no other Manager: what waits goes on waiting
	port    *Port
	out     *outlet
	buffers *sync.Pool
	life    *lifetime
	count   counters

	// A successor takes over what does not change while nobody is inside of these.
	news    gate // what tells the shard something, and takes in what came
	sending gate // the sender, where it changes what is kept, or sends

	retry retry    // owned by the sender
	split splitter // owned by the receiver

	keeper keeper
	lending

	// order is held while events other than items are decided on and brought to the shard, so that
	// they and the items behind them arrive in one order. It is taken before mu.
	order sync.Mutex

	mu    sync.Mutex // guards what stands in state
	state state
}

// state is what a stream's sender and receiver share, under stream.mu.
type state struct {
	outbox outbox
	inbox  inbox
	peer   peer

	tickets tickets // of what is being carried out
	before  *before // what a predecessor had carried out, while it may be repeated

	attempt *attempt  // the one that is open, for breakOff
	alarmAt time.Time // when the sender wakes by itself; zero: never
}

// retry is the sender's memory of the streams before.
type retry struct {
	backoff   time.Duration
	notBefore time.Time // the next stream
	downSince time.Time // the last admitted stream ended, or the sender began
	gone      bool      // EventGone was told
	explained bool      // this outage was logged
	suspect   bool      // the last stream ended without a word
	done      bool      // a half-closed stream ended: everything is sent
}

// attempt is one gRPC stream.
type attempt struct {
	call   call
	direct *h2.Call // the same if it can be lent to the shard's thread, else nil
	ctx    context.Context
	cancel context.CancelFunc
	start  time.Time
	ended  chan struct{} // closed by the receiver, which leaves its reason in err
	over   atomic.Bool   // the same, for a sender that sleeps on the bell
	err    error

	// Owned by the sender.
	halfClosed bool
	alarm      *time.Timer

	// Guarded by stream.mu.
	admitted bool // it is known who answers: batches may flow
	whole    bool // its numbers begin with 1
	heard    bool // something came
	progress bool // items or receipts came
}

// run is the sender: it connects, sends, and connects again until Stop.
func (s *stream) run() {
	defer s.count.state.Store(int32(StateStopped))
	for s.connect() {
		a, err := s.open()
		if err == errKilled {
			continue // leaving
		}
		if err != nil {
			s.explain(err)
			s.lookBack(a, false, false)
			continue
		}
		s.serve(a)
		s.close(a)
	}
}

// connect waits until the connection is ready for a stream. It returns false when Stop wants no more.
func (s *stream) connect() bool {
	for !s.leaving() {
		now := time.Now()
		if !s.retry.gone && now.Sub(s.retry.downSince) >= s.grace {
			s.tellGone()
			continue
		}
		if wait := s.retry.notBefore.Sub(now); wait > 0 {
			s.pause(wait)
			continue
		}
		if s.reach() {
			return true
		}
	}
	return false
}

// leaving says that the sender ends: nothing is left to send, or nobody to send it to.
func (s *stream) leaving() bool {
	if s.life.kill.Err() != nil || s.retry.done {
		return true
	}
	return s.life.stop.Err() != nil && (s.retry.gone || s.out.batches.Load() == 0)
}

// waiting returns the context of a wait between two streams: it ends with the grace, and with Stop
// if that has not begun yet.
func (s *stream) waiting() (context.Context, context.CancelFunc) {
	ctx := s.life.stop
	if ctx.Err() != nil {
		ctx = s.life.kill
	}
	if s.retry.gone {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, s.retry.downSince.Add(s.grace))
}

// reach waits for a connection as long as nothing else is to be done.
func (s *stream) reach() bool {
	ctx, cancel := s.waiting()
	defer cancel()
	return s.road.ready(ctx, s.explain)
}

func (s *stream) pause(d time.Duration) {
	ctx, cancel := s.waiting()
	defer cancel()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *stream) explain(err error) {
	if !s.retry.explained {
		s.retry.explained = true
		s.log.Warn("manager not reachable", "code", status.Code(err).String(), "text", status.Convert(err).Message())
	}
}

// open begins a stream; hello is on its way when it returns.
func (s *stream) open() (*attempt, error) {
	if !s.sending.enter(s.life.kill.Done) {
		return nil, errKilled
	}
	defer s.sending.leave()
	ctx, cancel := context.WithCancel(s.life.kill)
	a := &attempt{ctx: ctx, cancel: cancel, start: time.Now(), ended: make(chan struct{})}
	// The connection may have been lost just now: then gRPC would wait for the next one.
	s.mu.Lock()
	s.state.attempt = a
	s.mu.Unlock()
	giveUp := time.AfterFunc(openWait, cancel)
	defer giveUp.Stop()
	var err error
	if a.call, err = s.road.open(ctx); err == nil {
		err = a.call.SendMsg(s.hello)
		if c, ok := a.call.(plainCall); ok && s.watch != nil {
			a.direct = c.Call
		}
	}
	if err == io.EOF {
		err = nil // the receiver learns the reason
	}
	if err != nil {
		cancel()
	}
	return a, err
}

// serve sends until the stream ends.
func (s *stream) serve(a *attempt) {
	s.count.streams.Add(1)
	s.count.state.Store(int32(StateWaiting))
	s.retry.explained = false
	go s.receive(a)
	s.mu.Lock()
	wait := s.state.peer.introduces() || s.retry.suspect
	s.mu.Unlock()
	if !wait {
		s.admitUnheard(a)
	}
	if err := s.send(a); err != nil && err != io.EOF {
		a.cancel()
	}
}

// close waits for the receiver and remembers how it went.
func (s *stream) close(a *attempt) {
	<-a.ended
	a.cancel()
	s.count.state.Store(int32(StateDown))
	if !s.sending.enter(s.life.kill.Done) {
		return
	}
	defer s.sending.leave()
	s.mu.Lock()
	s.state.attempt = nil
	heard, progress, admitted := a.heard, a.progress, a.admitted
	s.retry.done = a.halfClosed && a.err == io.EOF
	if s.retry.done && s.state.outbox.keep == keepUnsure {
		s.state.outbox.settle(keepNone) // it took everything, and says no more
		s.noteKept()
		s.tidy()
	}
	s.mu.Unlock()
	if admitted {
		s.retry.downSince, s.retry.gone = time.Now(), false
	}
	if s.retry.done || s.life.kill.Err() != nil {
		return
	}
	if errors.Is(a.err, errGarbage) || errors.Is(a.err, errHole) || errors.Is(a.err, errRenewed) {
		s.log.Warn("manager stream ended by us", "err", a.err)
	} else {
		s.log.Warn("manager stream down", "code", status.Code(a.err).String(), "text", status.Convert(a.err).Message())
	}
	s.lookBack(a, heard, progress)
}

// lookBack sets when the next stream may begin.
func (s *stream) lookBack(a *attempt, heard, progress bool) {
	r := &s.retry
	r.suspect = !heard
	jitter := 1 + backoffJitter*(2*rand.Float64()-1)
	if progress || time.Since(a.start) > maxBackoff {
		r.backoff = minBackoff
	}
	r.notBefore = a.start.Add(time.Duration(float64(r.backoff) * jitter))
	r.backoff = min(time.Duration(float64(r.backoff)*backoffFactor), maxBackoff)
}

// tellGone gives up hope for now.
func (s *stream) tellGone() {
	if !s.news.enter(s.life.kill.Done) {
		return
	}
	defer s.news.leave()
	s.order.Lock()
	defer s.order.Unlock()
	e := Event{Kind: EventGone, Manager: s.out.number, shut: !s.alone}
	if e.shut {
		s.mu.Lock()
		s.out.shut.Add(1)
		e.Lost = s.takeBack()
		s.mu.Unlock()
	}
	s.retry.gone = true
	s.count.gone.Add(1)
	s.out.up.Store(false)
	s.log.Warn("manager gone", "grace", s.grace, "lost", len(e.Lost))
	s.port.tell(e)
}

// takeBack empties the outbox for the shard. The mutex is held.
func (s *stream) takeBack() []*Batch {
	lost := s.state.outbox.takeBack()
	s.noteKept()
	return lost
}

// admitUnheard admits a stream on which no hello came, or none is waited for.
func (s *stream) admitUnheard(a *attempt) {
	if s.news.enter(s.life.kill.Done) {
		defer s.news.leave()
		s.admit(a, nil)
	}
}

// admit decides who answers on a stream and tells the shard what follows from it, before anything
// is sent or delivered on it. h is nil when no hello came in time, or none is waited for.
func (s *stream) admit(a *attempt, h *batch.ManagerHello) {
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	if a.admitted {
		s.mu.Unlock()
		return
	}
	e := Event{Kind: EventNew, Manager: s.out.number}
	if e.shut = s.state.peer.meet(h, s.state.outbox.whole()); e.shut {
		s.out.shut.Add(1)
		e.Lost = s.takeBack()
		s.state.outbox.restart()
		s.state.inbox.restart()
		s.state.disown()
	}
	if h == nil || !h.Receipts {
		s.state.inbox.loosen()
		s.state.disown()
	}
	if h != nil {
		s.settled(h)
	}
	s.state.outbox.rewind()
	a.whole, a.admitted = s.state.outbox.whole(), true
	s.tidy()
	s.mu.Unlock()

	s.count.state.Store(int32(StateUp))
	s.log.Info("manager stream up", "other", e.shut, "lost", len(e.Lost))
	if !s.out.up.Swap(true) {
		s.port.tell(Event{Kind: EventUp, Manager: s.out.number})
	}
	if e.shut {
		s.count.renewed.Add(1)
		s.port.tell(e)
	}
	s.out.ring()
}

// settled obeys a hello. The mutex is held.
func (s *stream) settled(h *batch.ManagerHello) {
	if h.Receipts {
		s.state.outbox.settle(keepAll)
		s.state.inbox.tighten()
	} else {
		s.state.outbox.settle(keepNone)
	}
	s.noteKept()
}
