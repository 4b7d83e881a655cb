package relay_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/relay"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// A Manager that stops reading holds up the shard, and nothing grows.
func TestManagerStopsReading(t *testing.T) {
	for _, receipts := range []bool{false, true} {
		t.Run(fmt.Sprintf("receipts %v", receipts), func(t *testing.T) {
			m := newMute(t)
			if receipts {
				m = newManager(t, "m")
			}
			goOn := make(chan struct{})
			m.during = func(*manager, uint32, *edgedpb.Upstream) error {
				<-goOn
				return nil
			}
			const bound = 256 << 10
			g := newGateway(t, setup{addresses: []string{start(t, m).address}, change: func(o *relay.Options) { o.Config.Buffer = bound }})
			var once sync.Once
			t.Cleanup(func() { once.Do(func() { close(goOn) }) })
			g.want(0, relay.EventUp)
			n := fill(t, g)
			st := g.stats(0, 0)
			if st.HeldBytes < bound || st.HeldBytes > bound+64<<10 || st.HeldBatches > 4096 {
				t.Errorf("held when Take returned nil: %+v", st)
			}
			if e, ok := g.tryNext(0, 50*time.Millisecond); ok {
				t.Errorf("event %v while nothing moves", e.Kind)
			}
			once.Do(func() { close(goOn) })
			g.want(0, relay.EventRoom)
			if g.relay.Port(0).Take(0) == nil {
				t.Error("no batch after EventRoom")
			}
			if got := m.untilPayloads(0, n); len(got) != n {
				t.Errorf("%d payloads, want %d", len(got), n)
			}
			g.until(0, 0, "an empty outlet", func(s relay.StreamStats) bool { return s.HeldBytes == 0 && s.HeldBatches == 0 })
		})
	}
}

// fill sends until the bound stays reached, and returns the number of payloads.
func fill(t *testing.T, g *gateway) (n int) {
	t.Helper()
	p := g.relay.Port(0)
	payload := make([]byte, 3000)
	for quiet := 0; quiet < 20; {
		b := p.Take(0)
		if b == nil {
			quiet++
			if e, ok := g.tryNext(0, 5*time.Millisecond); ok && e.Kind == relay.EventRoom {
				quiet = 0
			}
			continue
		}
		b.Items = batch.AppendMessage(b.Items, batch.Link{Index: 1}, nil, 3, payload)
		p.Send(0, b)
		if n++; n > 10000 {
			t.Fatal("there is no bound")
		}
	}
	return n
}

// Small batches are bounded by their number, and merged when they go out.
func TestManySmallBatches(t *testing.T) {
	m := newManager(t, "m")
	l := listen(t, "tcp", "127.0.0.1:0")
	address := l.Addr().String()
	_ = l.Close()
	g := newGateway(t, setup{addresses: []string{address}, change: func(o *relay.Options) {
		o.Config.Buffer, o.Config.Grace = 64<<20, time.Minute
	}})
	n := 0
	for ; g.relay.Port(0).Take(0) != nil; n++ {
		g.send(0, 0, fmt.Sprint(n))
	}
	if n != 4096 {
		t.Errorf("%d batches fit, want 4096", n)
	}
	serve(t, listen(t, "tcp", address), m)
	same(t, m.untilPayloads(0, n), series(0, n))
	if len(m.books[0].batches) > n/20 {
		t.Errorf("they came as %d batches", len(m.books[0].batches))
	}
}

// A shard that does not take what comes holds up its Manager, and nothing grows.
func TestShardStopsReading(t *testing.T) {
	m := newManager(t, "m")
	g := newGateway(t, setup{addresses: []string{start(t, m).address}, change: func(o *relay.Options) { o.Config.Buffer = 128 << 10 }})
	g.want(0, relay.EventUp)
	m.until(0, "the stream", func(b *book) bool { return b.stream != nil })
	const total = 400
	pushed := make(chan int, total)
	var wg sync.WaitGroup
	wg.Go(func() {
		pad := string(make([]byte, 12000))
		for i := range total {
			m.push(0, item(0, fmt.Sprint(i, pad)))
			pushed <- i
		}
	})
	defer wg.Wait()
	quiet := time.NewTimer(300 * time.Millisecond)
	for n := 0; ; n++ {
		select {
		case <-pushed:
			quiet.Reset(300 * time.Millisecond)
			continue
		case <-quiet.C:
		}
		if n == 0 || n >= total {
			t.Errorf("%d of %d batches went out", n, total)
		}
		break
	}
	for i, d := range g.data(0, total) {
		var got int
		if _, err := fmt.Sscan(d, &got); err != nil || got != i {
			t.Fatalf("item %d is %.10q", i, d)
		}
	}
}

// bytesCodec lets a server send what is no protobuf at all.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = bytesCodec{}

// startRaw serves streams whose messages are plain bytes.
func startRaw(t *testing.T, handler grpc.StreamHandler) *server {
	t.Helper()
	l := listen(t, "tcp", "127.0.0.1:0")
	s := &server{address: l.Addr().String(), ended: make(chan struct{})}
	s.grpc = grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(handler))
	s.run(l)
	t.Cleanup(s.kill)
	return s
}

func TestBadManagers(t *testing.T) {
	hello := batch.AppendDownstreamHello(nil, batch.ManagerHello{ID: "m", Protocol: 1, Receipts: true})
	data := batch.AppendData(nil, batch.Link{Index: 5, Uniq: 9}, 0, []byte("x"))
	tests := []struct {
		name string
		send [][]byte
		end  error
		bad  func(s relay.StreamStats) uint64
	}{
		{"garbage", [][]byte{hello, {0xff, 0xff, 0xff}}, nil, func(s relay.StreamStats) uint64 { return s.Garbage }},
		{"garbage at once", [][]byte{{0x0a, 0x7f, 0x00}}, nil, func(s relay.StreamStats) uint64 { return s.Garbage }},
		{"ten megabytes", [][]byte{hello, make([]byte, 10<<20)}, nil, func(s relay.StreamStats) uint64 { return s.TooLarge }},
		{"a hole", [][]byte{hello, batch.AppendDownstreamSeq(data, 1, 0), batch.AppendDownstreamSeq(data, 3, 0)}, nil,
			func(s relay.StreamStats) uint64 { return s.Holes }},
		{"a receipt for nothing", [][]byte{hello, batch.AppendDownstreamSeq(nil, 0, 99)}, nil,
			func(s relay.StreamStats) uint64 { return s.Garbage }},
		{"an error", [][]byte{hello}, status.Error(codes.FailedPrecondition, "not today"),
			func(s relay.StreamStats) uint64 { return s.Streams - 1 }},
		{"another name in the middle", [][]byte{hello, batch.AppendDownstreamHello(nil, batch.ManagerHello{ID: "n"})}, nil,
			func(s relay.StreamStats) uint64 { return s.Garbage }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begun := make(chan time.Time, 100)
			s := startRaw(t, func(_ any, st grpc.ServerStream) error {
				begun <- time.Now()
				var b []byte
				if err := st.RecvMsg(&b); err != nil {
					return err
				}
				for _, b := range tt.send {
					if err := st.SendMsg(b); err != nil {
						return err
					}
				}
				if tt.end != nil {
					return tt.end
				}
				<-st.Context().Done()
				return nil
			})
			g := newGateway(t, setup{addresses: []string{s.address}})
			g.until(0, 0, "two bad streams", func(s relay.StreamStats) bool { return tt.bad(s) >= 2 })
			if a, b := <-begun, <-begun; b.Sub(a) < 70*time.Millisecond {
				t.Errorf("the second stream began %v after the first", b.Sub(a))
			}
			if st := g.stats(0, 0); st.HeldBatches != 0 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}

// Batches that come twice are dropped; those behind them are not.
func TestRepeatedBatches(t *testing.T) {
	m := newManager(t, "m")
	g := newGateway(t, setup{addresses: []string{start(t, m).address}})
	g.want(0, relay.EventUp)
	m.until(0, "the stream", func(b *book) bool { return b.stream != nil })
	for _, seq := range []uint64{1, 2, 1, 2, 3, 0, 3, 4} {
		m.raw(0, &edgedpb.Downstream{Seq: seq, Items: []*edgedpb.DownItem{item(0, fmt.Sprint(seq))}})
	}
	same(t, g.data(0, 5), []string{"1", "2", "3", "0", "4"})
	if st := g.stats(0, 0); st.Repeated != 3 || st.Streams != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// A Manager without receipts is replaced by one with a name: numbering must begin anew.
func TestMuteThenNamed(t *testing.T) {
	mute := newMute(t)
	s := start(t, mute)
	g := newGateway(t, setup{addresses: []string{s.address}})
	g.want(0, relay.EventUp)
	mute.until(0, "the stream", func(b *book) bool { return b.stream != nil })
	g.send(0, 0, "0")
	mute.raw(0, &edgedpb.Downstream{Items: []*edgedpb.DownItem{item(0, "x")}})
	g.data(0, 1)
	g.until(0, 0, "the sending", func(s relay.StreamStats) bool { return s.Sent.Items == 1 && s.HeldBatches == 0 })
	s.kill()

	named := newManager(t, "n")
	named.set(func() { named.unkept = true }) // its first stream is in the middle of the other's numbers
	serve(t, listen(t, "tcp", s.address), named)
	e := g.want(0, relay.EventNew)
	same(t, upPayloads(t, e.Lost), nil)
	g.send(0, 0, "1")
	same(t, named.untilPayloads(0, 1), []string{"1"})
	if seq := named.books[0].batches[0].Seq; seq != 1 {
		t.Errorf("the first batch has number %d", seq)
	}
}

// A server that knows no Relay is not up ten times a second.
func TestRefusingServer(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	s := &server{address: l.Addr().String(), grpc: grpc.NewServer(), ended: make(chan struct{})}
	s.run(l)
	t.Cleanup(s.kill)
	g := newGateway(t, setup{addresses: []string{s.address}, change: func(o *relay.Options) { o.Config.Grace = 500 * time.Millisecond }})
	g.want(0, relay.EventUp)
	g.want(0, relay.EventGone)
	if e, ok := g.tryNext(0, 300*time.Millisecond); ok {
		t.Errorf("event %v", e.Kind)
	}
	if st := g.stats(0, 0); st.Streams > 6 {
		t.Errorf("%d streams in less than a second", st.Streams)
	}
}

func TestStopFlushes(t *testing.T) {
	for _, receipts := range []bool{false, true} {
		t.Run(fmt.Sprintf("receipts %v", receipts), func(t *testing.T) {
			m := newMute(t)
			if receipts {
				m = newManager(t, "m")
			}
			g := newGateway(t, setup{addresses: []string{start(t, m).address}})
			g.want(0, relay.EventUp)
			for i := range 500 {
				g.send(0, 0, fmt.Sprint(i))
			}
			g.stop()
			same(t, m.payloads(0), series(0, 500))
			if st := g.stats(0, 0); st.State != relay.StateStopped || st.HeldBatches != 0 {
				t.Errorf("stats: %+v", st)
			}
			g.stop() // again is harmless
		})
	}
}

// Stop in the short time without a stream waits for the next one, if something is to be sent.
func TestStopWhileAway(t *testing.T) {
	m := newManager(t, "m")
	s := start(t, m)
	g := newGateway(t, setup{addresses: []string{s.address}})
	g.want(0, relay.EventUp)
	s.kill()
	g.until(0, 0, "the end", func(s relay.StreamStats) bool { return s.State == relay.StateDown })
	g.send(0, 0, "0")
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(50 * time.Millisecond)
		serve(t, listen(t, "tcp", s.address), m)
	})
	g.stop()
	wg.Wait()
	same(t, m.payloads(0), series(0, 1))
}

// Stop ends with its context although the Manager neither reads nor ends.
func TestStopIsBounded(t *testing.T) {
	m := newManager(t, "m")
	block := make(chan struct{})
	m.during = func(*manager, uint32, *edgedpb.Upstream) error { <-block; return nil }
	g := newGateway(t, setup{addresses: []string{start(t, m).address}, change: func(o *relay.Options) { o.Config.Buffer = 1 << 20 }})
	defer close(block)
	g.want(0, relay.EventUp)
	fill(t, g)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := g.relay.Stop(ctx); err == nil {
		t.Error("nothing was broken off")
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("Stop took %v", d)
	}
}

func TestStopWithoutStart(t *testing.T) {
	noLeaks(t)
	c := relay.Default()
	c.Addresses = []string{"127.0.0.1:1"}
	r, err := relay.New(relay.Options{Config: c, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}
