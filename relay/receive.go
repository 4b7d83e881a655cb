package relay

import (
	"strings"
	"time"

	"edged/batch"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// receive is the receiver's life: one stream, until it ends or has to be ended.
func (s *stream) receive(a *attempt) {
	defer s.out.ring() // after over, which the sender looks at
	defer a.over.Store(true)
	defer close(a.ended)
	defer a.cancel() // frees a sender that waits for the Manager
	greeted := false
	for a.err == nil {
		in := s.buffers.Get().(*inbound)
		if a.err = a.call.RecvMsg(in); a.err != nil {
			recycle(s.buffers, in)
			break
		}
		if !s.news.enter(s.life.kill.Done) {
			recycle(s.buffers, in)
			a.err = errKilled
			break
		}
		a.err = s.heard(a, in, !greeted)
		greeted = true
		s.news.leave()
	}
	s.blame(a.err)
}

// heard takes in what came, the first of a stream or not, and gives its buffer away.
func (s *stream) heard(a *attempt, in *inbound, first bool) error {
	d, err := batch.ParseDownstream(in.b)
	if err != nil {
		recycle(s.buffers, in)
		return errGarbage
	}
	if first {
		s.admit(a, helloOf(&d))
	}
	return s.accept(a, in, &d)
}

func helloOf(d *batch.Downstream) *batch.ManagerHello {
	if !d.HasHello {
		return nil
	}
	h := d.Hello
	return &h
}

// blame counts why a stream ended, where that is a counter of its own.
func (s *stream) blame(err error) {
	switch {
	case err == errGarbage:
		s.count.garbage.Add(1)
	case err == errHole:
		s.count.holes.Add(1)
	case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max"):
		s.count.tooLarge.Add(1)
	}
}

// accept takes in one Downstream and gives its buffer away.
func (s *stream) accept(a *attempt, in *inbound, d *batch.Downstream) error {
	now := time.Now()
	v, ready, err := s.note(a, d, now)
	if err != nil || v != take {
		recycle(s.buffers, in)
		if v == repeated {
			s.count.repeated.Add(1)
			s.taken(a, d.Seq, false, now)
		}
		return err
	}
	seq, size := d.Seq, len(in.b)
	if !ready && !s.awaitCommit() {
		recycle(s.buffers, in)
		return errKilled
	}
	n, ok := s.split.deliver(in, d.Items)
	if !ok {
		return errKilled
	}
	s.count.received.add(n, size)
	if s.split.again > 0 {
		s.count.done.Add(uint64(s.split.again))
	}
	s.taken(a, seq, n > 0, now)
	s.followed()
	return nil
}

// note does what the head of a batch asks for: hello, receipt, number. ready is what tidy says.
func (s *stream) note(a *attempt, d *batch.Downstream, now time.Time) (v verdict, ready bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.state
	a.heard = true
	if d.HasHello {
		if err := st.peer.greet(&d.Hello, a.whole); err != nil {
			return hole, true, err
		}
		s.settled(&d.Hello)
	} else if st.outbox.keep == keepUnsure {
		st.outbox.settle(keepNone)
	}
	if d.Received > 0 && st.outbox.keep == keepAll {
		before := st.outbox.first
		at, ok := st.outbox.receipt(d.Received)
		if !ok {
			return hole, true, errGarbage
		}
		if st.outbox.first > before {
			a.progress = true
			s.count.receipted(at, now)
		}
	}
	s.noteKept()
	if v = st.inbox.judge(d.Seq); v == hole {
		return v, true, errHole
	}
	if v == take {
		s.follow(d.Seq)
	}
	return v, s.tidy(), nil
}

// taken records that a batch is the shards'.
func (s *stream) taken(a *attempt, seq uint64, progress bool, now time.Time) {
	s.mu.Lock()
	tell := s.took(seq, now)
	a.progress = a.progress || progress
	s.mu.Unlock()
	if tell {
		s.out.ring()
	}
}
