package manager_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/batch"
	"edged/sdk/manager"
)

// pipe is a call of Relay without gRPC: bytes in, bytes out. It shows the kit's own cost and, in a synctest bubble, its
// behaviour over time.
type pipe struct {
	ctx    context.Context
	cancel context.CancelFunc
	in     chan []byte    // closed: the gateway half-closes
	sent   func(b []byte) // lent for the call
	result chan error

	got   []byte // of RecvMsg
	parts [1]mem.Buffer
}

// registrar takes the service of a Manager and calls it.
type registrar struct {
	desc *grpc.ServiceDesc
	impl any
}

func (r *registrar) RegisterService(desc *grpc.ServiceDesc, impl any) { r.desc, r.impl = desc, impl }

// call begins a call of Relay.
func call(m *manager.Manager, sent func([]byte)) *pipe {
	p := newPipe(sent)
	serveCall(m, p, p)
	return p
}

func newPipe(sent func([]byte)) *pipe {
	p := &pipe{in: make(chan []byte), sent: sent, result: make(chan error, 1), got: make([]byte, 0, 4096)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// serveCall has the Manager serve gs, which is p or wraps it. The result comes when the handler has returned; then the
// context is over, as with gRPC.
func serveCall(m *manager.Manager, p *pipe, gs grpc.ServerStream) {
	var r registrar
	m.Register(&r)
	go func() {
		err := r.desc.Streams[0].Handler(r.impl, gs)
		p.cancel()
		p.result <- err
	}()
}

func (p *pipe) SetHeader(metadata.MD) error  { return nil }
func (p *pipe) SendHeader(metadata.MD) error { return nil }
func (p *pipe) SetTrailer(metadata.MD)       {}
func (p *pipe) Context() context.Context     { return p.ctx }

func (p *pipe) RecvMsg(v any) error {
	select {
	case b, ok := <-p.in:
		if !ok {
			return io.EOF
		}
		p.got = append(p.got[:0], b...)
		p.parts[0] = mem.NewBuffer(&p.got, mem.NopBufferPool{}) // not a SliceBuffer, which would be an allocation
		defer p.parts[0].Free()
		return codec.Unmarshal(p.parts[:], v)
	case <-p.ctx.Done():
		return status.FromContextError(p.ctx.Err()).Err()
	}
}

func (p *pipe) SendMsg(v any) error {
	data, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	p.sent(data[0].ReadOnlyData())
	data.Free()
	return nil
}

var codec = manager.Codec()

// give hands one batch to the Manager; false: the call is over.
func (p *pipe) give(b []byte) bool {
	select {
	case p.in <- b:
		return true
	case <-p.ctx.Done():
		return false
	}
}

func (p *pipe) say(t *testing.T, b *pb.Upstream) {
	t.Helper()
	raw, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if !p.give(raw) {
		t.Fatalf("the call is over: %v", <-p.result)
	}
}

// down collects what a Manager sends.
type down struct {
	t       testing.TB
	batches []*pb.Downstream
}

func (d *down) add(b []byte) {
	m := new(pb.Downstream)
	if err := proto.Unmarshal(b, m); err != nil {
		d.t.Errorf("not a Downstream: %v", err)
	}
	d.batches = append(d.batches, m)
}

func (d *down) items() (n int) {
	for _, b := range d.batches {
		n += len(b.GetItems())
	}
	return n
}

func stop(t testing.TB, m *manager.Manager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// A gateway that gives receipts and stalls stops the handlers, not the reading of its receipts.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := 0
		m := manager.New(manager.Options{KeepBytes: 16 << 10, Handler: manager.Handler{Data: func(e *manager.Event) {
			handled++
			_ = e.Data(e.Payload)
		}}})
		got := down{t: t}
		p := call(m, got.add)
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		seq, item := uint64(0), data(ref(0, 1, 1), "x")
		next := func(received uint64) {
			seq++
			p.say(t, &pb.Upstream{Seq: seq, Items: []*pb.UpItem{item}, Received: received})
		}
		next(0)
		next(1) // it does give receipts
		for range 20 {
			next(0)
		}
		synctest.Wait()
		if handled >= 20 || got.items() != handled {
			t.Errorf("%d batches handled and %d answers sent, although 16 KiB were full", handled, got.items())
		}
		l, _ := m.Link("192.0.2.7:8000:1:1")
		if err := m.Data(l, []byte("x")); !errors.Is(err, manager.ErrFull) {
			t.Errorf("Data: %v, want ErrFull", err)
		}
		time.Sleep(time.Hour) // waiting changes nothing
		next(0)
		synctest.Wait()
		if handled >= 20 {
			t.Errorf("%d batches handled", handled)
		}
		for handled < int(seq) {
			p.say(t, &pb.Upstream{Received: uint64(handled)})
			synctest.Wait()
		}
		if got.items() != handled {
			t.Errorf("%d answers to %d messages", got.items(), handled)
		}
		if st := m.Stats(); st.Deferred == 0 || st.Full != 1 || st.Unkept != 0 {
			t.Errorf("%+v", st)
		}
		stop(t, m)
		if err := <-p.result; status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	})
}

// A gateway that never gives a receipt is served on, after some time without keeping anything for it.
func TestGatewayWithoutReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manager.New(manager.Options{KeepBytes: 16 << 10, Handler: manager.Handler{Data: func(e *manager.Event) {
			_ = e.Data(e.Payload)
		}}})
		got := down{t: t}
		p := call(m, got.add)
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		for seq := range uint64(100) {
			p.say(t, &pb.Upstream{Seq: seq + 1, Items: []*pb.UpItem{data(ref(0, 1, 1), "x")}})
		}
		synctest.Wait()
		if got.items() >= 100 {
			t.Errorf("%d answers were sent although nothing was receipted", got.items())
		}
		time.Sleep(time.Minute)
		p.say(t, &pb.Upstream{Seq: 101, Items: []*pb.UpItem{data(ref(0, 1, 1), "x")}})
		synctest.Wait()
		if got.items() != 101 || m.Stats().Unkept == 0 {
			t.Errorf("%d answers to 101 messages, %d given up", got.items(), m.Stats().Unkept)
		}
		if last := got.batches[len(got.batches)-1]; last.GetSeq() != 0 {
			t.Errorf("the last batch is numbered %d, although it is not kept", last.GetSeq())
		}
		close(p.in)
		if err := <-p.result; err != nil {
			t.Error(err)
		}
		stop(t, m)
	})
}

// What a gateway sends although it takes nothing in is bounded.
func TestStashIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manager.New(manager.Options{KeepBytes: 1, Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
		p := call(m, func([]byte) {})
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		for seq := uint64(1); ; seq++ {
			raw, _ := proto.Marshal(&pb.Upstream{Seq: seq, Items: []*pb.UpItem{said(pb.ClientMessage_DATA, ref(0, 1, 1), make([]byte, 60000))}})
			if !p.give(raw) {
				break
			}
			if seq > 1000 {
				t.Fatal("60 MB were taken without an end")
			}
		}
		if err := <-p.result; status.Code(err) != codes.ResourceExhausted {
			t.Error(err)
		}
		stop(t, m)
	})
}

// A batch of more items than are held in parsed form is handled whole, or refused whole.
func TestManyItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3000
		next := uint32(0)
		m := manager.New(manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
			if e.Link.String() != "192.0.2.7:8000:"+string(e.Payload) {
				t.Errorf("link %v says %s", e.Link, e.Payload)
			}
			next++
		}}})
		p := call(m, func([]byte) {})
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		var items []byte
		for i := range uint32(n) {
			l := batch.Link{Index: i, Uniq: 7}
			items = batch.AppendMessage(items, l, nil, batch.KindData, wireID(l))
		}
		p.give(batch.AppendUpstreamSeq(items, 1, 0))
		synctest.Wait()
		if next != n {
			t.Errorf("%d of %d items handled", next, n)
		}
		p.give(append(batch.AppendUpstreamSeq(items, 2, 0), 0x12, 1, 0xff))
		if err := <-p.result; status.Code(err) != codes.InvalidArgument {
			t.Error(err)
		}
		if next != n {
			t.Error("some items of a bad batch were handled")
		}
		stop(t, m)
	})
}

// echo is a Manager that echoes, a call to it, and one batch for it at a time with n messages of 64 bytes each.
type echo struct {
	m     *manager.Manager
	p     *pipe
	n     int
	items []byte
	b     []byte
	seq   uint64
	got   atomic.Uint64 // the Manager's seq
	last  uint64        // its last receipt; owned by whoever is in SendMsg
	done  chan struct{} // a receipt has come
}

func newEcho(n int) *echo {
	e := &echo{n: n, done: make(chan struct{}, 1)}
	e.m = manager.New(manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	e.p = call(e.m, func(b []byte) {
		d, _ := batch.ParseDownstream(b)
		if d.Seq != 0 {
			e.got.Store(d.Seq)
		}
		if d.Received > e.last {
			e.last = d.Received
			e.done <- struct{}{}
		}
	})
	session := make([]byte, 0, 200)
	for _, kv := range [][2]string{{"link", "192.0.2.7:8000:231:23"}, {"remote", "198.51.100.1:40000"}, {"user", "4711"},
		{"device", "phone"}, {"opened_at", "1730000000000"}, {"listener", "public"}, {"auth.level", "2"}} {
		session = appendEntry(session, kv[0], kv[1])
	}
	session = append([]byte{0x12, byte(len(session)), 1}, session...)
	for i := range n {
		e.items = batch.AppendMessage(e.items, batch.Link{Index: uint32(i), Uniq: 7}, session, batch.KindData, make([]byte, 64))
	}
	raw, _ := proto.Marshal(&pb.Upstream{Hello: hello("gw", 1, 0)})
	e.p.give(raw)
	return e
}

// appendEntry appends one entry of Session.values.
func appendEntry(dst []byte, k, v string) []byte {
	dst = append(dst, 0x0a, byte(len(k)+len(v)+4), 0x0a, byte(len(k)))
	dst = append(append(dst, k...), 0x12, byte(len(v)))
	return append(dst, v...)
}

// turn sends a batch and waits for its answers.
func (e *echo) turn() {
	e.seq++
	e.b = batch.AppendUpstreamSeq(append(e.b[:0], e.items...), e.seq, e.got.Load())
	e.p.give(e.b)
	<-e.done
}

func wireID(l batch.Link) []byte {
	return []byte(uitoa(l.Index) + ":" + uitoa(l.Uniq))
}

func uitoa(v uint32) string {
	if v < 10 {
		return string(rune('0' + v))
	}
	return uitoa(v/10) + string(rune('0'+v%10))
}
