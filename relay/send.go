package relay

import (
	"context"
	"time"

	"edged/batch"
)

// send is the sender's life while a stream is open: it sends what there is, then sleeps until
// somebody rings: the shard with news, the receiver, a timer with a deadline, or Stop.
func (s *stream) send(a *attempt) error {
	a.alarm = time.AfterFunc(time.Hour, s.out.ring)
	defer a.alarm.Stop()
	defer context.AfterFunc(s.life.stop, s.out.ring)()
	defer s.dropBegun()
	s.sender = a
	s.mu.Lock()
	s.state.alarmAt = time.Time{}
	s.mu.Unlock()
	for !a.over.Load() {
		if did, err := s.step(a); did || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		// From here on who has news rings; what came before is found by this second look.
		s.out.nap.Store(napDrowsy)
		did, err := s.step(a)
		if err == nil && !did {
			s.halfClose(a)
			s.setAlarm(a)
			if !a.over.Load() && s.out.nap.CompareAndSwap(napDrowsy, napAsleep) {
				s.out.bell.Wait(s.out.sleeps)
			}
		}
		s.out.nap.Store(napAwake)
		if err != nil {
			return err
		}
	}
	return nil
}

// setAlarm has the timer ring at the next deadline.
func (s *stream) setAlarm(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.deadline(a)
	if ok {
		a.alarm.Reset(time.Until(at))
	} else {
		at = time.Time{}
		a.alarm.Stop()
	}
	s.state.alarmAt = at
}

// attended says that the alarm rings before a receipt is due that begins to be owed now: the sender need not be told of it. So a flow
// of batches wakes it some times a second, and not with each. The mutex is held.
func (s *stream) attended(now time.Time) bool {
	left := s.state.alarmAt.Sub(now)
	return left > 0 && left <= receiptDelay
}

// step sends one message. did is false when there is none.
func (s *stream) step(a *attempt) (did bool, err error) {
	if a.halfClosed {
		return false, nil
	}
	if !s.sending.enter(s.life.kill.Done) {
		return false, errKilled
	}
	did, late, err := s.sendNext(a)
	s.sending.leave()
	if late {
		s.admitUnheard(a) // outside of the gate: it waits at the other one
	}
	return did || late, err
}

// sendNext does a step inside the gate, where the stream is admitted. late says that it has to be, although nothing came.
func (s *stream) sendNext(a *attempt) (did, late bool, err error) {
	if s.begun.open {
		return true, false, s.goOn(a)
	}
	s.mu.Lock()
	o, received, ok, late := s.choose(a)
	s.mu.Unlock()
	if !ok {
		return false, late, nil
	}
	return true, false, s.emit(a, o, received)
}

// choose returns what goes out next, and how far the Manager's batches are receipted with it. The mutex is held.
func (s *stream) choose(a *attempt) (o offer, received uint64, ok, late bool) {
	now := time.Now()
	st := &s.state
	if !a.admitted {
		return offer{}, 0, false, !now.Before(s.admitBy(a))
	}
	s.settle(a, now)
	if !s.tidy() {
		return offer{}, 0, false, false // what goes out depends on what the shard has yet to commit
	}
	s.collect(now)
	s.drain()
	received = st.inbox.done
	o, ok = st.outbox.next(now, received)
	if !ok {
		at, owed := st.inbox.due()
		ok = owed && (!now.Before(at) || s.life.stop.Err() != nil)
	}
	if ok {
		st.inbox.receipted()
		s.writeDown(o)
	}
	s.want(now)
	return o, received, ok, false
}

// drain brings what the shard sent into the outbox. The mutex is held: an event with lost batches shuts
// the queue under it.
func (s *stream) drain() {
	if s.out.shut.Load() == 0 {
		s.out.queue.takeInto(&s.state.outbox.queue)
	}
}

// emit sends an offer, or the bare numbers if it has no batch. SendMsg may wait for the Manager:
// the mutex is not held.
func (s *stream) emit(a *attempt, o offer, received uint64) error {
	if o.b == nil {
		return s.finish(o, a.call.SendMsg(batch.AppendUpstreamSeq(nil, o.seq, received)))
	}
	err := a.call.SendMsg(o.b)
	if err == nil {
		s.countSent(o)
	} else {
		o.b.unref()
	}
	return s.finish(o, err)
}

// countSent counts a batch that went out, and ends its use.
func (s *stream) countSent(o offer) {
	items, bytes := batch.UpItems(o.b.Items).Count(), len(o.b.wire)
	o.b.unref()
	s.count.sent.add(items, bytes)
	s.count.itemsPerBatch.add(uint64(items))
	if !o.new {
		s.count.again.Add(1)
	}
}

func (s *stream) finish(o offer, err error) error {
	if err != nil || o.seq == 0 {
		return err
	}
	s.mu.Lock()
	s.state.outbox.sent(o.seq)
	s.noteKept()
	s.tidy()
	s.mu.Unlock()
	return nil
}

// noteKept publishes the number of kept batches. The mutex is held.
func (s *stream) noteKept() { s.count.kept.Store(int64(len(s.state.outbox.kept))) }

// halfClose ends our direction once Stop was asked for and nothing is left that could be sent.
func (s *stream) halfClose(a *attempt) {
	if a.halfClosed || s.life.stop.Err() == nil {
		return
	}
	s.mu.Lock()
	wait := !a.admitted && s.out.batches.Load() > 0
	s.mu.Unlock()
	if wait {
		return
	}
	a.halfClosed = true
	_ = a.call.CloseSend() // always nil; the receiver learns how the stream ends
}

// deadline is the earliest time at which something has to happen without news. The mutex is held.
func (s *stream) deadline(a *attempt) (at time.Time, ok bool) {
	if a.halfClosed {
		return time.Time{}, false
	}
	if !a.admitted {
		return s.admitBy(a), true
	}
	if s.keeper.ring == nil || s.out.shut.Load() == 0 {
		at, ok = s.state.inbox.due()
	}
	if s.state.outbox.keep == keepUnsure {
		if until := a.start.Add(helloWait); !ok || until.Before(at) {
			at, ok = until, true
		}
	}
	return at, ok
}

// admitBy is when a stream is admitted although nothing came. The mutex is held.
func (s *stream) admitBy(a *attempt) time.Time {
	if s.state.peer.introduces() {
		return a.start.Add(helloWait)
	}
	return a.start.Add(settleWait)
}

// settle decides for a Manager that has not said whether it gives receipts, when its time is over or
// the bound is near: it is not waited for with a full buffer. The mutex is held.
func (s *stream) settle(a *attempt, now time.Time) {
	if s.state.outbox.keep != keepUnsure {
		return
	}
	if now.Sub(a.start) >= helloWait || s.out.bytes.Load() >= s.out.maxBytes/2 || s.out.batches.Load() >= maxHeld/2 {
		s.state.outbox.settle(keepNone)
		s.noteKept()
	}
}
