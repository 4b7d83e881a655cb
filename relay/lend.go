package relay

import (
	"sync/atomic"
	"time"

	"edged/batch"
	"edged/h2"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A stream's sender and receiver are goroutines, which wait where that has to be. While there is nothing to wait for they lend what
// they do to the shard's thread, which reads and writes the Manager's socket itself, in the turn in which it serves the links: no
// thread has to be woken for a batch. What would have to wait the thread gives back as it is.

// The sender's sleep. Who rings wakes one that is asleep, and leaves word for one that is lent.
//
//	awake ──> drowsy ──> asleep ──the shard sends──> lent ──all is done──> asleep
//	  ^         | ring     | ring                      | ring, or something is left
//	  '---------'----------'---------------------------'
const (
	napAwake  int32 = iota
	napDrowsy       // it looks at everything once more
	napAsleep       // it waits for the bell
	napLent         // the shard's thread does its work
	napRung         // it does, and there is news for the sender
)

// The receiver's duty.
//
//	home ──nothing to read──> lent <──all is taken in── here
//	  ^                        | |                      ^ |
//	  |<──────recalled─────────' '──something to read───' |
//	  '──────────────given back, with what is left────────'
const (
	dutyHome     int32 = iota // the receiver reads
	dutyLent                  // the shard's thread is told when there is something to read
	dutyHere                  // it reads
	dutyRecalled              // it does, and has to give the duty back
)

// lending is what a stream has for it. Without watch nothing is lent.
type lending struct {
	// Static after New.
	watch   func(fd int) error
	unwatch func(fd int)

	sender  *attempt // that the sender is in, for the shard's thread while it is lent
	begun   begun    // a message that the shard's thread left to the sender; owned as the sender is
	duty    atomic.Int32
	home    chan struct{} // one token: the duty was given back
	reading reading       // owned by who has the duty
}

// begun is a message that is not sent yet.
type begun struct {
	offer
	open     bool   // there is one
	received uint64 // of a bare receipt
	some     bool   // of it has gone to the socket, perhaps
}

// reading is where the receiver stands.
type reading struct {
	a        *attempt
	call     *h2.Call
	fd       int
	arriving *inbound // a message that has begun to come, or
	whole    bool     // has come, and was not looked at
	greeted  bool     // one was
	left     *intake  // one that is not quite the shards', and what is in it; the news gate is entered
	in       intake
	err      error
}

// lend has what can be lent.
func (s *stream) lend(o *Options, number int) {
	s.watch = func(fd int) error { return o.Watch(s.port.shard, number, fd) }
	s.unwatch = func(fd int) { o.Unwatch(s.port.shard, fd) }
	s.home = make(chan struct{}, 1)
}

// sendHere sends what the shard just gave, on the shard's thread, while the sender sleeps. It returns false if it does not.
func (s *stream) sendHere() bool {
	if !s.out.nap.CompareAndSwap(napAsleep, napLent) {
		return false
	}
	if !s.trySend() || !s.out.nap.CompareAndSwap(napLent, napAsleep) {
		s.out.nap.Store(napAwake)
		s.out.bell.Ring()
	}
	return true
}

// trySend returns false if the sender has to go on.
func (s *stream) trySend() bool {
	a := s.sender
	if a.direct == nil || a.halfClosed || a.over.Load() || !s.sending.tryEnter() {
		return false
	}
	defer s.sending.leave()
	for {
		if !s.mu.TryLock() {
			return false
		}
		o, received, ok, late := s.choose(a)
		s.mu.Unlock()
		switch {
		case late:
			return false
		case !ok:
			return true
		case o.b == nil:
			s.begun = begun{offer: o, open: true, received: received}
			return false
		}
		switch a.direct.TrySend(o.b.wire) {
		case h2.Done:
			s.countSent(o)
			_ = s.finish(o, nil)
		case h2.Begun:
			s.begun = begun{offer: o, open: true, some: true}
			return false
		default:
			s.begun = begun{offer: o, open: true}
			return false
		}
	}
}

// goOn sends what the shard's thread left over.
func (s *stream) goOn(a *attempt) error {
	b := s.begun
	s.begun = begun{}
	if !b.some {
		return s.emit(a, b.offer, b.received)
	}
	err := a.direct.FinishSend()
	if err == nil {
		s.countSent(b.offer)
	} else {
		b.offer.b.unref()
	}
	return s.finish(b.offer, err)
}

// dropBegun forgets it: the call is over.
func (s *stream) dropBegun() {
	if b := s.begun.offer.b; b != nil {
		b.unref()
	}
	s.begun = begun{}
}

// receiveLending is the receiver's life where it can be lent.
func (s *stream) receiveLending(a *attempt) {
	r := &s.reading
	*r = reading{a: a, call: a.direct}
	for a.err == nil {
		switch {
		case r.left != nil:
			a.err = s.takeRest(a)
		case r.whole:
			a.err = s.hearWhole(a)
		default:
			if a.err = s.arrive(r); a.err == nil && !r.whole {
				r.call.Flush()
				s.lendDuty(a)
				a.err = r.err
			}
		}
	}
	if r.arriving != nil {
		recycle(s.buffers, r.arriving)
	}
	*r = reading{}
}

// arrive takes what has come of a message.
func (s *stream) arrive(r *reading) (err error) {
	if r.arriving == nil {
		r.arriving = s.buffers.Get().(*inbound)
	}
	in := r.arriving
	in.b, r.whole, err = r.call.Poll(in.b)
	return err
}

// hearWhole takes in a message that may have to wait.
func (s *stream) hearWhole(a *attempt) error {
	if !s.news.enter(s.life.kill.Done) {
		return errKilled
	}
	defer s.news.leave()
	r := &s.reading
	in, first := r.arriving, !r.greeted
	r.arriving, r.whole, r.greeted = nil, false, true
	return s.heard(a, in, first)
}

// takeRest ends what the shard's thread has begun.
func (s *stream) takeRest(a *attempt) error {
	defer s.news.leave()
	left := s.reading.left
	s.reading.left = nil
	return s.accept(a, left, true)
}

// lendDuty lends the duty to the shard's thread, and returns when it has it again.
func (s *stream) lendDuty(a *attempt) {
	r := &s.reading
	if !s.news.enter(s.life.kill.Done) { // nothing is lent while the relay is held
		r.err = errKilled
		return
	}
	fd, ok := r.call.Hold()
	if !ok {
		s.news.leave()
		return // the next poll knows why
	}
	defer r.call.Release()
	r.fd = fd
	s.duty.Store(dutyLent)
	err := s.watch(fd)
	s.news.leave()
	if err == nil {
		select {
		case <-s.home:
			return
		case <-a.ctx.Done():
		}
	}
	s.recall()
	<-s.home
	if err != nil {
		r.err = status.Errorf(codes.Unavailable, "watch the socket: %v", err)
	}
}

// recall has the duty given back. Any goroutine may call it.
func (s *stream) recall() {
	for {
		switch d := s.duty.Load(); d {
		case dutyLent:
			if s.duty.CompareAndSwap(dutyLent, dutyRecalled) {
				s.giveBack()
				return
			}
		case dutyHere:
			if s.duty.CompareAndSwap(dutyHere, dutyRecalled) {
				return
			}
		default:
			return
		}
	}
}

func (s *stream) giveBack() {
	s.unwatch(s.reading.fd)
	s.duty.Store(dutyHome)
	s.home <- struct{}{}
}

// readHere takes in what has come, on the shard's thread.
func (s *stream) readHere() {
	if !s.duty.CompareAndSwap(dutyLent, dutyHere) {
		return // it is being given back
	}
	s.port.owe(s.out, s.reading.call)
	if !s.readAll() || !s.duty.CompareAndSwap(dutyHere, dutyLent) {
		s.giveBack()
	}
}

// readAll returns false if the receiver has to go on.
func (s *stream) readAll() bool {
	r := &s.reading
	for {
		if r.err = s.arrive(r); r.err != nil {
			return false
		}
		if !r.whole {
			return true
		}
		if !r.greeted || !s.news.tryEnter() {
			return false
		}
		in := r.arriving
		r.arriving, r.whole = nil, false
		if r.err = s.hearHere(in); r.err != nil {
			s.news.leave()
			return false
		}
		if r.left != nil {
			return false // and the gate stays entered
		}
		s.news.leave()
	}
}

// hearHere takes in a message without waiting. What is not done then is left.
func (s *stream) hearHere(in *inbound) error {
	r := &s.reading
	d, err := batch.ParseDownstream(in.b)
	if err != nil {
		recycle(s.buffers, in)
		return errGarbage
	}
	r.in = intake{in: in, d: d, now: time.Now()}
	if err := s.accept(r.a, &r.in, false); err != errWait {
		return err
	}
	r.left = &r.in
	return nil
}
