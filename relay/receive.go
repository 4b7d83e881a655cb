package relay

import (
	"errors"
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
	if a.direct != nil {
		s.receiveLending(a)
		s.blame(a.err)
		return
	}
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
	t := intake{in: in, d: d, now: time.Now()}
	return s.accept(a, &t, true)
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

// intake is a Downstream that is being taken in.
type intake struct {
	in   *inbound
	d    batch.Downstream
	now  time.Time
	step step
	size int // bytes
	n    int // items
}

// step is what an intake has to do next.
type step int

const (
	toNote step = iota
	toCommit
	toDeliver
	toCount
)

// errWait is what accept returns when it would have to wait, and may not.
var errWait = errors.New("it has to be waited")

// accept takes in one Downstream and gives its buffer away. After errWait it goes on where it stands.
func (s *stream) accept(a *attempt, t *intake, mayWait bool) error {
	if t.step == toNote {
		v, ready, err := s.note(a, &t.d, t.now)
		if err != nil || v != take {
			recycle(s.buffers, t.in)
			if v == repeated {
				s.count.repeated.Add(1)
				s.taken(a, t.d.Seq, false, t.now)
			}
			return err
		}
		t.size, t.step = len(t.in.b), toDeliver
		if !ready {
			t.step = toCommit
		}
	}
	if t.step == toCommit {
		if !mayWait {
			return errWait
		}
		if !s.awaitCommit() {
			recycle(s.buffers, t.in)
			return errKilled
		}
		t.step = toDeliver
	}
	if t.step == toDeliver {
		s.split.spilling = !mayWait
		n, ok := s.split.deliver(t.in, t.d.Items)
		if !ok {
			return errKilled
		}
		t.n, t.step = n, toCount
	}
	if len(s.split.spilt) > 0 {
		if !mayWait {
			return errWait
		}
		if !s.split.pour() {
			return errKilled
		}
	}
	s.count.received.add(t.n, t.size)
	if s.split.again > 0 {
		s.count.done.Add(uint64(s.split.again))
	}
	s.taken(a, t.d.Seq, t.n > 0, t.now)
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
	tell := s.took(seq, now) && !(s.state.inbox.owed == 1 && s.attended(now))
	a.progress = a.progress || progress
	s.mu.Unlock()
	if tell {
		s.out.ring()
	}
}
