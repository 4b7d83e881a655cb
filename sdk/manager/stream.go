package manager

import (
	"context"
	"errors"
	"io"
	"math"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"edged/batch"
	"edged/linkpool"
)

const protocol = 1

// maxStash bounds what a gateway may send while it takes nothing in. One that heeds receipts stops at its own bound,
// which is lower.
const maxStash = 16 << 20

// maxParsed is how many items of a batch are held in parsed form.
const maxParsed = 512

// maxIdleInbox is the largest buffer that is kept for the next batch.
const maxIdleInbox = 256 << 10

var errClosed = status.Error(codes.Unavailable, "the stream is closing")

// stream is one call of Relay. Three goroutines serve it: that of the call waits for the end, so that a stream can be ended
// while it is read from; the receiver reads and calls the handlers; the sender sends what others wrote.
//
//	          hello            turn            attach            EOF, error, kick
//	opened ----------> joined ------> waiting --------> up ------------------------> down ---> left
type stream struct {
	m      *Manager
	gs     transport
	wake   chan struct{} // the sender has something to do
	kicked chan struct{} // closed: why says with which status the stream ends
	once   sync.Once
	why    error

	// busy is held while a batch is handled, so that Stop comes between two. It guards closed, and lane until it is set.
	busy   sync.Mutex
	closed bool
	lane   *lane

	// Owned by the receiver.
	in    inbox
	items []batch.UpItem
	event Event
	out   writer
	stash stash
}

// transport is what a stream needs of its call: gRPC's, or one of h2.
type transport interface {
	SendMsg(frame any) error
	RecvMsg(inbox any) error
	Context() context.Context
}

// writer collects what handlers write during one batch.
type writer struct {
	box  box
	lane *lane
	full bool
}

func (w *writer) put(err error) error {
	if err == nil && w.box.over() {
		w.full = w.lane.add(w.box.buf[:w.box.last], w.box.count-1)
		w.box.cut()
	}
	return err
}

// relay serves one stream on the goroutine of its call.
func (m *Manager) relay(gs transport) error {
	s := &stream{m: m, gs: gs, wake: make(chan struct{}, 1), kicked: make(chan struct{})}
	s.event.s = s
	m.mu.Lock()
	if m.stopping {
		m.mu.Unlock()
		return errStopping
	}
	m.streams[s] = struct{}{}
	m.wg.Add(1)
	m.mu.Unlock()

	result := make(chan error, 1)
	go s.run(result)
	select {
	case err := <-result:
		return err
	case <-s.kicked:
	}
	if s.why == errStopping {
		s.close()
	}
	return s.why
}

// close lets the batch that is being handled end, and sends what waits.
func (s *stream) close() {
	s.busy.Lock()
	s.closed = true
	l := s.lane
	s.busy.Unlock()
	if l != nil {
		_ = l.flush(s) // the stream ends either way
	}
}

// kick ends the stream with a status, from any goroutine. The first one counts.
func (s *stream) kick(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.kicked)
	})
}

func (s *stream) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run is the receiver. It gives its result to relay before it waits for the sender, which may be stuck in a send that
// only the end of the call sets free.
func (s *stream) run(result chan<- error) {
	defer s.m.wg.Done()
	l, hello, err := s.open()
	if err == nil {
		sender := make(chan error, 1)
		done := make(chan struct{})
		go func() { sender <- s.send(done) }()
		err = s.receive(hello)
		if err == nil {
			err = l.flush(s)
		}
		l.detach(s)
		result <- err
		close(done)
		<-sender
		<-l.turn
	} else {
		result <- err
	}
	if l != nil {
		s.m.leave(s, l)
	}
	s.m.mu.Lock()
	delete(s.m.streams, s)
	s.m.mu.Unlock()
}

// open takes the gateway's hello, waits for the lane and answers. A lane that comes with an error has been joined all the
// same.
func (s *stream) open() (*lane, batch.Upstream, error) {
	up, err := s.recv()
	if err != nil {
		return nil, up, err
	}
	switch h := &up.Hello; {
	case !up.HasHello || h.ID == "":
		err = s.garbage("the first batch says no hello")
	case h.Protocol != protocol:
		err = status.Errorf(codes.FailedPrecondition, "this Manager speaks protocol %d, not %d", protocol, h.Protocol)
	case h.Reactor >= linkpool.MaxShards:
		err = s.garbage("no gateway has that many reactors")
	}
	if err != nil {
		return nil, up, err
	}
	l, err := s.m.join(s, up.Hello)
	if err != nil {
		return nil, up, err
	}
	select {
	case l.turn <- struct{}{}:
	case <-s.kicked:
		return l, up, s.why
	case <-s.gs.Context().Done():
		return l, up, s.gs.Context().Err()
	}
	s.busy.Lock()
	s.lane, s.out.lane = l, l
	s.busy.Unlock()
	if err := l.attach(s, s.hello(l)); err != nil {
		l.detach(s)
		<-l.turn
		return l, up, err
	}
	return l, up, nil
}

func (s *stream) hello(l *lane) *frame {
	h := batch.ManagerHello{ID: l.of.id, Protocol: protocol, Receipts: s.m.receipt}
	f := s.m.frames.get(batch.AppendDownstreamHello(nil, h), 0)
	if s.m.receipt {
		f.number(0, l.received) // who has the turn may read it
	}
	return f
}

// send is the sender: it sends what other goroutines wrote, and lone receipts.
func (s *stream) send(done <-chan struct{}) error {
	s.wakeSender() // for what waited while no stream was up
	for {
		select {
		case <-s.wake:
			if err := s.lane.pump(s, math.MaxInt, true); err != nil {
				s.kick(err)
				return err
			}
		case <-done:
			return nil
		}
	}
}

// receive takes batches until the gateway is done (nil) or the stream breaks. The hello may have carried more.
func (s *stream) receive(up batch.Upstream) error {
	err := s.take(up)
	for err == nil {
		if up, err = s.recv(); err == nil {
			err = s.take(up)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// recv reads one batch. It is valid until the next one.
func (s *stream) recv() (batch.Upstream, error) {
	if cap(s.in.b) > maxIdleInbox {
		s.in.b = nil
	}
	if err := s.gs.RecvMsg(&s.in); err != nil {
		return batch.Upstream{}, err
	}
	s.m.count.batchesIn.Add(1)
	s.m.count.bytesIn.Add(uint64(len(s.in.b)))
	up, err := batch.ParseUpstream(s.in.b)
	if err != nil {
		return up, s.garbage("not an Upstream")
	}
	return up, nil
}

// take looks at a batch's receipt at once, since room may depend on it, and handles the rest when there is room for
// the answers.
func (s *stream) take(up batch.Upstream) error {
	if err := s.lane.receipt(up.Received); err != nil {
		return s.garbage("a receipt for a batch that was never sent")
	}
	items := up.Items
	_, _, some := items.Next()
	if some || up.Seq != 0 {
		if s.stash.len() == 0 && !s.lane.full() {
			return s.handle(up)
		}
		s.m.count.deferred.Add(1)
		if !s.stash.push(s.in.b) {
			return status.Error(codes.ResourceExhausted, "the gateway takes nothing in and goes on sending")
		}
	}
	for s.stash.len() > 0 && !s.lane.full() {
		up, err := batch.ParseUpstream(s.stash.pop())
		if err != nil {
			panic("manager: a batch changed while it waited")
		}
		if err := s.handle(up); err != nil {
			return err
		}
	}
	return nil
}

// handle takes one batch in, as a whole or not at all: nothing of it is handled unless all of it can be.
func (s *stream) handle(up batch.Upstream) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	if s.closed {
		return errClosed
	}
	l := s.lane
	switch {
	case up.Seq == 0: // not numbered; taken as it is
	case up.Seq <= l.received:
		s.m.count.repeats.Add(1)
		l.owe()
		s.wakeSender()
		return nil
	case up.Seq > l.received+1:
		s.m.count.holes.Add(1)
		if s.m.receipt { // without, a broken stream leaves one
			return status.Errorf(codes.FailedPrecondition, "batch %d follows %d", up.Seq, l.received)
		}
	}
	if err := s.dispatchAll(up.Items); err != nil {
		return err
	}
	waiting := l.finish(up.Seq, s.out.box.buf, s.out.box.count)
	s.out.box.reset()
	s.out.full = false
	if waiting == 0 {
		s.wakeSender() // for the receipt
		return nil
	}
	return l.pump(s, waiting, false)
}

// dispatchAll checks all items and then calls the handlers. As many as usually come are parsed once, the others twice:
// a few bytes of garbage could otherwise ask for a very long slice.
func (s *stream) dispatchAll(items batch.Items) error {
	s.items = s.items[:0]
	var rest batch.Items
	var it batch.UpItem
	n := 0
	for ; ; n++ {
		if n == maxParsed {
			rest = items
		}
		raw, _, ok := items.Next()
		if !ok {
			break
		}
		if err := batch.ParseUpItem(raw, &it); err != nil {
			return s.garbage("not an UpItem")
		}
		if n < maxParsed {
			s.items = append(s.items, it)
		}
	}
	s.m.count.itemsIn.Add(uint64(n))
	for i := range s.items {
		s.dispatch(&s.items[i])
	}
	if n > maxParsed {
		s.dispatchRest(rest)
	}
	return nil
}

func (s *stream) dispatchRest(rest batch.Items) {
	var it batch.UpItem
	for {
		raw, _, ok := rest.Next()
		if !ok {
			return
		}
		if err := batch.ParseUpItem(raw, &it); err != nil {
			panic("manager: an item changed while the batch was handled")
		}
		s.dispatch(&it)
	}
}

// dispatch calls the handler for one item.
func (s *stream) dispatch(it *batch.UpItem) {
	e := &s.event
	*e = Event{s: s, Session: Session{it.Session}}
	if it.HasLink {
		e.Link = Link{of: s.lane.of, index: it.Link.Index, uniq: it.Link.Uniq}
		s.lane.settle(e.Link.shard())
	}
	h := &s.m.handler
	switch it.What {
	case batch.UpMessage:
		s.message(it)
	case batch.UpOpened:
		s.call(Opened, h.Opened)
	case batch.UpAcked:
		e.receipts = it.Receipts
		s.call(Acked, h.Acked)
	case batch.UpUndelivered:
		e.losses = it.Losses
		s.call(Undelivered, h.Undelivered)
	case batch.UpClosed:
		e.Reason, e.Side, e.Evidence = reason(it.Reason), it.Side, it.Evidence
		s.call(Closed, h.Closed)
	case batch.UpRefused:
		e.Ref, e.Code, e.Text = it.Ref, it.Code, it.Text
		s.call(Refused, h.Refused)
	default:
		s.m.count.unknown.Add(1)
	}
}

func (s *stream) message(it *batch.UpItem) {
	s.event.Payload = it.Payload
	switch it.Kind {
	case batch.KindData:
		s.call(Data, s.m.handler.Data)
	case batch.KindHello:
		s.call(Hello, s.m.handler.Hello)
	default:
		s.m.count.unknown.Add(1)
	}
}

func (s *stream) call(k Kind, f func(*Event)) {
	if f == nil {
		return
	}
	s.event.Kind = k
	defer s.m.caught(k)
	f(&s.event)
}

// caught is deferred around what the Manager's author wrote.
func (m *Manager) caught(where any) {
	if v := recover(); v != nil {
		m.panicked(where, v)
	}
}

func (m *Manager) panicked(where, v any) {
	m.count.panics.Add(1)
	m.log.Error("handler panicked", "event", where, "panic", v, "stack", string(debug.Stack()))
}

func (s *stream) garbage(what string) error {
	s.m.count.garbage.Add(1)
	return status.Error(codes.InvalidArgument, what)
}
