package manager_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
)

func TestRepeatsAreDropped(t *testing.T) {
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	l := ref(0, 1, 1)
	u := s.open(hello("gw", 1, 0))
	u.items(data(l, "a"))
	u.items(data(l, "b"))
	equal(t, u.next(2), "1/1 data a", "1/1 data b")
	u.cancel()

	u = s.open(hello("gw", 1, 0))
	if u.hello.GetReceived() != 2 {
		t.Errorf("the hello says received %d, want 2", u.hello.GetReceived())
	}
	equal(t, u.next(2), "1/1 data a", "1/1 data b") // we never gave a receipt for them
	u.items(data(l, "a"))
	u.items(data(l, "b"))
	u.items(data(l, "c"))
	equal(t, u.next(1), "1/1 data c")
	u.send(&pb.Upstream{Received: 3})
	u.cancel()

	u = s.open(hello("gw", 1, 0))
	u.seq = 3
	u.items(data(l, "d"))
	equal(t, u.next(1), "1/1 data d")
	if st := s.Stats(); st.Repeats != 2 || st.Resent != 2 {
		t.Errorf("%+v, want 2 repeats and 2 resent", st)
	}
}

// Each received batch is receipted at once, with no more batches than were received.
func TestBareReceipts(t *testing.T) {
	const n = 200
	s := serve(t, manager.Options{Handler: manager.Handler{}})
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "x"))
	if b := u.recv(); b.GetReceived() != 1 || b.GetSeq() != 0 || len(b.GetItems()) != 0 {
		t.Fatalf("%v, want a bare receipt", b)
	}
	for range n {
		u.items(data(ref(0, 1, 1), "x"))
	}
	receipts, last := 0, uint64(1)
	for last < n+1 {
		b := u.recv()
		if b.GetReceived() <= last {
			t.Fatalf("received %d after %d", b.GetReceived(), last)
		}
		last = b.GetReceived()
		receipts++
	}
	if receipts > n {
		t.Errorf("%d receipts for %d batches", receipts, n)
	}
	t.Logf("%d receipts for %d batches", receipts, n)
}

func TestBadStreams(t *testing.T) {
	l := ref(0, 1, 1)
	for name, c := range map[string]struct {
		batches []*pb.Upstream
		want    codes.Code
	}{
		"hole":               {[]*pb.Upstream{{Seq: 1, Items: []*pb.UpItem{data(l, "a")}}, {Seq: 3}}, codes.FailedPrecondition},
		"hole at the start":  {[]*pb.Upstream{{Seq: 2}}, codes.FailedPrecondition},
		"receipt of nothing": {[]*pb.Upstream{{Received: 1}}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, manager.Options{})
			other := s.open(hello("other", 1, 0))
			u := s.open(hello("gw", 1, 0))
			for _, b := range c.batches {
				u.send(b)
			}
			if err := u.ends(); status.Code(err) != c.want {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
			other.items(data(l, "a"))
			if b := other.recv(); b.GetReceived() != 1 {
				t.Errorf("the other gateway got %v", b)
			}
		})
	}
}

func TestBadHello(t *testing.T) {
	s := serve(t, manager.Options{})
	for name, c := range map[string]struct {
		first *pb.Upstream
		want  codes.Code
	}{
		"none":     {&pb.Upstream{Seq: 1}, codes.InvalidArgument},
		"no id":    {&pb.Upstream{Hello: hello("", 1, 0)}, codes.InvalidArgument},
		"reactor":  {&pb.Upstream{Hello: hello("gw", 1, 256)}, codes.InvalidArgument},
		"protocol": {&pb.Upstream{Hello: &pb.GatewayHello{GatewayId: "gw", Protocol: 2}}, codes.FailedPrecondition},
	} {
		u := s.start()
		u.send(c.first)
		if err := u.ends(); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A newer stream for the same reactor ends the one before, whose transport may not know yet that it is dead.
func TestTakeOver(t *testing.T) {
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	a := s.open(hello("gw", 1, 0))
	b := s.open(hello("gw", 1, 0))
	if err := a.ends(); status.Code(err) != codes.Aborted {
		t.Errorf("the old stream ended with %v", err)
	}
	b.items(data(ref(0, 1, 1), "x"))
	equal(t, b.next(1), "1/1 data x")
	if n := s.Stats().Streams; n != 1 {
		t.Errorf("%d streams", n)
	}
}

func TestNewEpoch(t *testing.T) {
	links := make(chan manager.Link, 4)
	lost := make(chan manager.Gateway, 1)
	s := serve(t, manager.Options{Handler: manager.Handler{
		Opened: func(e *manager.Event) { links <- e.Link },
		Lost:   func(g manager.Gateway) { lost <- g },
	}})
	u := s.open(hello("gw", 1, 0))
	u.items(opened(ref(0, 1, 1)))
	old := within(t, "link", links)
	_ = s.Data(old, []byte("kept"))

	n := s.open(hello("gw", 2, 0)) // the streams of before are not closed yet
	if g := within(t, "Lost", lost); g.ID != "gw" || g.Epoch != 1 {
		t.Errorf("lost %+v", g)
	}
	if err := u.ends(); status.Code(err) != codes.Aborted {
		t.Errorf("the old stream ended with %v", err)
	}
	if err := s.Data(old, []byte("late")); !errors.Is(err, manager.ErrGone) {
		t.Errorf("data to a link of the old epoch: %v", err)
	}
	if a, b := u.hello.GetHello().GetManagerId(), n.hello.GetHello().GetManagerId(); a == b {
		t.Errorf("both epochs know us as %s, although what one had is forgotten", a)
	}
	n.items(opened(ref(0, 1, 1))) // numbered from 1 again
	fresh := within(t, "link", links)
	if fresh == old {
		t.Error("links of two epochs are equal")
	}
	_ = s.Data(fresh, []byte("new"))
	equal(t, n.next(1), "1/1 data new")
	if st := s.Stats(); st.Gone != 1 || st.Discarded != 1 {
		t.Errorf("%+v, want 1 gone and 1 discarded", st)
	}
}

// An epoch that is over while no stream is up is told as well.
func TestNewEpochAfterBreak(t *testing.T) {
	lost := make(chan manager.Gateway, 1)
	s := serve(t, manager.Options{Handler: manager.Handler{Lost: func(g manager.Gateway) {
		lost <- g
		panic("in Lost")
	}}})
	s.open(hello("gw", 1, 0)).cancel()
	eventually(t, "the end of a stream", func() bool { return s.Stats().Streams == 0 })
	s.open(hello("gw", 2, 0))
	if g := within(t, "Lost", lost); g.Epoch != 1 {
		t.Errorf("lost %+v", g)
	}
}

func TestGone(t *testing.T) {
	links := make(chan manager.Link, 1)
	s := serve(t, manager.Options{Handler: manager.Handler{Opened: func(e *manager.Event) { links <- e.Link }}})
	a, b := s.open(hello("gw", 1, 0)), s.open(hello("gw", 1, 1))
	a.items(opened(ref(0, 1, 1)))
	l := within(t, "link", links)
	a.send(&pb.Upstream{Received: 0})
	a.cancel()
	eventually(t, "the end of a stream", func() bool { return s.Stats().Streams == 1 })
	if err := s.Data(l, []byte("waits")); err != nil { // for the shard's own stream, since one other is up
		t.Error(err)
	}
	b.cancel()
	eventually(t, "the end of the other", func() bool { return s.Stats().Streams == 0 })
	if err := s.Data(l, []byte("refused")); !errors.Is(err, manager.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
	a = s.open(hello("gw", 1, 0))
	if err := s.Data(l, []byte("goes")); err != nil {
		t.Error(err)
	}
	equal(t, a.next(2), "1/1 data waits", "1/1 data goes")
}

func TestNoReceipts(t *testing.T) {
	s := serve(t, manager.Options{NoReceipts: true, KeepBytes: 64 << 10,
		Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	u := s.open(hello("gw", 1, 0))
	if u.hello.GetHello().GetReceipts() {
		t.Error("receipts are announced")
	}
	for i := range 200 { // more than would be kept
		u.seq++ // holes are no error: who gets no receipts does not repeat
		u.items(data(ref(0, 1, 1), strconv.Itoa(i)))
		b := u.recv()
		if b.GetSeq() != 0 || b.GetReceived() != 0 {
			t.Fatalf("%v has numbers", b)
		}
		equal(t, b.GetItems(), "1/1 data "+strconv.Itoa(i))
	}
	u.cancel()
	u = s.open(hello("gw", 1, 0))
	u.seq = 1000
	u.items(data(ref(0, 1, 1), "x"))
	equal(t, u.next(1), "1/1 data x")
}

// rough is a gateway's reactor whose stream breaks again and again. It keeps its own batches until they are receipted and
// drops what it had, as PROTOCOL.md 2.1 asks.
type rough struct {
	t        *testing.T
	rnd      *rand.Rand
	s        *served
	reactor  uint32
	total    int
	said     int            // messages put into batches
	kept     []*pb.Upstream // not receipted
	sent     int            // of kept, on this stream
	seq      uint64
	received uint64         // of the Manager's batches
	got      map[string]int // by the sender: how many of its messages came
	breaks   int
}

func (r *rough) link() *pb.LinkRef { return ref(int(r.reactor), 3, 4) }

// run serves streams until all echoes and pushes have come.
func (r *rough) run(wantPushes int) {
	for r.got["echo"] < r.total || r.got["push"] < wantPushes {
		r.once(wantPushes)
	}
	for len(r.kept) > 0 { // the last receipts
		r.once(wantPushes)
	}
}

func (r *rough) once(wantPushes int) {
	u := r.s.open(hello("gw", 7, r.reactor))
	defer u.cancel()
	if r.rnd.IntN(2) == 0 { // else as if it had not been read: everything is repeated
		r.receipt(u.hello.GetReceived())
	}
	r.sent = 0
	left := r.rnd.IntN(60) // batches until the stream breaks
	for ; left > 0; left-- {
		if r.got["echo"] >= r.total && r.got["push"] >= wantPushes && len(r.kept) == 0 {
			return
		}
		if r.said < r.total && r.rnd.IntN(3) > 0 {
			r.make()
		}
		for ; r.sent < len(r.kept); r.sent++ {
			b := proto.Clone(r.kept[r.sent]).(*pb.Upstream)
			b.Received = r.received
			if u.stream.Send(b) != nil {
				return
			}
		}
		if r.rnd.IntN(4) == 0 {
			_ = u.stream.Send(&pb.Upstream{Received: r.received})
		}
		// Something will come where anything is missing. It is not always waited for.
		missing := len(r.kept) > 0 || r.got["echo"] < r.said || r.said > 0 && r.got["push"] < wantPushes
		if missing && r.rnd.IntN(3) > 0 && !r.take(u) {
			return
		}
	}
	r.breaks++
}

// make puts some messages into a new batch.
func (r *rough) make() {
	r.seq++
	b := &pb.Upstream{Seq: r.seq}
	for range 1 + r.rnd.IntN(20) {
		if r.said == r.total {
			break
		}
		b.Items = append(b.Items, data(r.link(), "echo "+strconv.Itoa(r.said)))
		r.said++
	}
	r.kept = append(r.kept, b)
}

func (r *rough) take(u *up) bool {
	b, err := u.stream.Recv()
	if err != nil {
		r.t.Error(err)
		return false
	}
	r.receipt(b.GetReceived())
	if b.GetSeq() == 0 || b.GetSeq() <= r.received {
		return true
	}
	if b.GetSeq() != r.received+1 {
		r.t.Fatalf("seq %d after %d", b.GetSeq(), r.received)
	}
	r.received = b.GetSeq()
	for _, d := range b.GetItems() {
		from, n, _ := strings.Cut(string(d.GetData()), " ")
		if n != strconv.Itoa(r.got[from]) {
			r.t.Fatalf("reactor %d: %s %s, want %d", r.reactor, from, n, r.got[from])
		}
		r.got[from]++
	}
	return true
}

func (r *rough) receipt(received uint64) {
	for len(r.kept) > 0 && r.kept[0].GetSeq() <= received {
		r.kept = r.kept[1:]
		r.sent = max(r.sent-1, 0)
	}
}

// Streams break at random; still each message is handled once and in order, and each answer and push arrives once and in
// order.
func TestNothingLostNothingDoubled(t *testing.T) {
	const reactors, total, pushes = 2, 4000, 1500
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	handled := map[manager.Link]int{}
	links := make(chan manager.Link, reactors)
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
		mu.Lock()
		n := handled[e.Link]
		handled[e.Link]++
		mu.Unlock()
		if want := fmt.Sprint("echo ", n); string(e.Payload) != want {
			t.Errorf("handled %s, want %s", e.Payload, want)
		}
		if n == 0 {
			links <- e.Link
		}
		_ = e.Data(e.Payload)
	}}})
	var wg sync.WaitGroup
	for i := range reactors {
		wg.Go(func() {
			l := <-links
			for n := 0; n < pushes; {
				switch err := s.Data(l, []byte(fmt.Sprint("push ", n))); {
				case err == nil:
					n++
				case errors.Is(err, manager.ErrGone), errors.Is(err, manager.ErrFull):
					time.Sleep(100 * time.Microsecond)
				default:
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			r := &rough{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(i))), s: s, reactor: uint32(i), total: total, got: map[string]int{}}
			r.run(pushes)
			if r.breaks < 10 {
				t.Errorf("only %d breaks", r.breaks)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(3 * patience):
		t.Fatalf("does not come to an end: %+v", s.Stats())
	}
	st := s.Stats()
	t.Logf("%d batches in, %d repeats dropped, %d sent again, %d bare receipts", st.BatchesIn, st.Repeats, st.Resent, st.Receipts)
	if st.Holes+st.Garbage+st.Panics != 0 || st.Repeats == 0 || st.Resent == 0 {
		t.Errorf("%+v", st)
	}
}

// Stop lets the batch that is being handled end and delivers its answers; what has not been handled is not receipted.
func TestStopBetweenBatches(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
		close(entered)
		<-leave
		_ = e.Data([]byte("answer"))
	}}})
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "a"))
	u.items(data(ref(0, 1, 1), "b"))
	within(t, "the handler", entered)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(context.Background()) }()
	// Only now may the handler go on: when new streams are refused, all streams have been told.
	eventually(t, "Stop", func() bool {
		v := s.start()
		defer v.cancel()
		_ = v.stream.Send(&pb.Upstream{Hello: hello("probe", 1, 0)})
		_, err := v.stream.Recv()
		return err != nil
	})
	close(leave)
	b := u.recv()
	equal(t, b.GetItems(), "1/1 data answer")
	if b.GetReceived() != 1 {
		t.Errorf("received %d, want 1", b.GetReceived())
	}
	if err := u.ends(); status.Code(err) != codes.Unavailable {
		t.Errorf("ended with %v", err)
	}
	if err := within(t, "Stop", stopped); err != nil {
		t.Error(err)
	}
}

// A handler that does not return does not keep Stop beyond its context.
func TestStopGivesUp(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, manager.Options{Handler: manager.Handler{Data: func(*manager.Event) {
		close(entered)
		<-leave
	}}})
	u := s.open(hello("gw", 1, 0))
	u.items(data(ref(0, 1, 1), "a"))
	within(t, "the handler", entered)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	close(leave)
}

// A gateway that has nothing more to say gets its receipts before the stream ends well.
func TestHalfClose(t *testing.T) {
	s := serve(t, manager.Options{})
	u := s.open(hello("gw", 1, 0))
	for range 10 {
		u.items(data(ref(0, 1, 1), "x"))
	}
	if err := u.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for {
		b, err := u.stream.Recv()
		if err != nil {
			if err.Error() != "EOF" {
				t.Errorf("ended with %v", err)
			}
			break
		}
		last = b.GetReceived()
	}
	if last != 10 {
		t.Errorf("received %d, want 10", last)
	}
}
