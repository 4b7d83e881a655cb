package manager_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/h2"
	"edged/sdk/manager"
)

// overTCP serves a Manager on TCP until the test ends, and proves that nothing is left of it.
func overTCP(t *testing.T, o manager.Options, opts ...grpc.ServerOption) (m *manager.Manager, address string) {
	t.Helper()
	before := runtime.NumGoroutine()
	m = manager.New(o)
	lis := listen(t)
	done := make(chan error, 1)
	go func() { done <- m.Serve(wrap(t, lis), opts...) }()
	t.Cleanup(func() {
		stop(t, m)
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		settle(t, before)
	})
	return m, lis.Addr().String()
}

// wrap has the connections of a listener hide that they are sockets, in tests of that name.
func wrap(t *testing.T, lis net.Listener) net.Listener {
	if strings.HasSuffix(t.Name(), "wrapped") {
		return wrapped{lis}
	}
	return lis
}

type wrapped struct{ net.Listener }

func (l wrapped) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{conn}, nil
}

// caller is a stream as a gateway's own client has it.
type caller struct {
	t *testing.T
	*h2.Call
	seq uint64
}

func join(t *testing.T, address, path string, keepAlive, timeout time.Duration) *caller {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := h2.Dial(ctx, "tcp", address, h2.Options{
		Path: path, Authority: "manager", Window: 1 << 20, MaxMessage: 4 << 20, KeepAlive: keepAlive, KeepAliveTimeout: timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &caller{t: t, Call: c}
}

const relayPath = "/edged.v1.Manager/Relay"

func (g *caller) say(b *pb.Upstream) {
	g.t.Helper()
	raw, err := proto.Marshal(b)
	if err == nil {
		err = g.Send(raw)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *caller) items(items ...*pb.UpItem) {
	g.t.Helper()
	g.seq++
	g.say(&pb.Upstream{Seq: g.seq, Items: items})
}

// hears returns the items of the next batches until there is one, or why there is none.
func (g *caller) hears() ([]*pb.DownItem, error) {
	for {
		b, err := g.Recv(nil)
		if err != nil {
			return nil, err
		}
		var d pb.Downstream
		if err := proto.Unmarshal(b, &d); err != nil {
			return nil, err
		}
		if len(d.GetItems()) > 0 {
			return d.GetItems(), nil
		}
	}
}

func echoes() manager.Handler {
	return manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}
}

// Who serves a connection: a gateway without TLS the kit, all others gRPC; with options gRPC all.
func TestServeWays(t *testing.T) {
	var first bytes.Buffer
	first.WriteString(http2.ClientPreface)
	_ = http2.NewFramer(&first, nil).WriteSettings(http2.Setting{ID: 0xf1ed, Val: 1})
	byKit := func(t *testing.T, address string, said []byte) bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		p := append(said, "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00"...) // a fault to both: each says goodbye
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
		// gRPC sends no bound of streams here.
		all, _ := io.ReadAll(conn)
		return bytes.Contains(all, []byte{0, 3, 0, 0, 0, 1})
	}
	var intercepted atomic.Int32
	count := grpc.StreamInterceptor(func(srv any, st grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		intercepted.Add(1)
		return h(srv, st)
	})
	gateways, others := bytes.Clone(first.Bytes()), bytes.Replace(first.Bytes(), []byte{0xf1, 0xed}, []byte{0xf1, 0xee}, 1)
	for _, tt := range []struct {
		name string
		said []byte
		opts []grpc.ServerOption
		kit  bool
	}{
		{"a gateway", gateways, nil, true},
		{"another client", others, nil, false},
		{"a gateway, wrapped", gateways, nil, false},
		{"a gateway, with options", gateways, []grpc.ServerOption{count}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, address := overTCP(t, manager.Options{Handler: echoes()}, tt.opts...)
			if kit := byKit(t, address, bytes.Clone(tt.said)); kit != tt.kit {
				t.Errorf("by the kit: %v", kit)
			}
			before := intercepted.Load()
			g := join(t, address, relayPath, 0, 0)
			g.say(&pb.Upstream{Hello: hello("gw", 1, 0)})
			g.items(data(ref(0, 1, 1), "x"))
			items, err := g.hears()
			if err != nil {
				t.Fatal(err)
			}
			equal(t, items, "1/1 data x")
			if n := intercepted.Load() - before; (n == 1) != (tt.opts != nil) {
				t.Errorf("intercepted %d", n)
			}
			other := join(t, address, "/some.Service/Method", 0, 0)
			if _, err := other.Recv(nil); status.Code(err) != codes.Unimplemented {
				t.Errorf("a method that is not here: %v", err)
			}
		})
	}
}

// What connects without being a client is left, and does not keep Stop.
func TestServeStrangers(t *testing.T) {
	const hello11 = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" // of TLS, and not all of it
	alone := http2.ClientPreface + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\xf1\xed\x00\x00\x00\x01"
	for _, tt := range []struct {
		said string
		cut  bool // gRPC lets it come to an end by itself, which Stop cuts short
	}{{"", false}, {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false}, {hello11, true}, {http2.ClientPreface[:10], false}, {alone, false}} {
		for _, leaves := range []bool{true, false} {
			m, address := overTCP(t, manager.Options{Handler: echoes()})
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, tt.said); err != nil {
				t.Fatal(err)
			}
			if leaves {
				_ = conn.Close()
			}
			g := join(t, address, relayPath, 0, 0)
			g.say(&pb.Upstream{Hello: hello("gw", 1, 0)})
			g.items(data(ref(0, 1, 1), "x"))
			if _, err := g.hears(); err != nil {
				t.Fatal(err)
			}
			g.Close()
			limit := patience
			if tt.cut && !leaves {
				limit = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			if err := m.Stop(ctx); err != nil {
				t.Errorf("%q: Stop: %v", tt.said, err)
			}
			cancel()
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: still connected", tt.said)
			}
			_ = conn.Close()
		}
	}
}

// A handler that takes its time does not cost the stream: the gateway's probes are answered meanwhile, and what it goes on
// sending is handled after.
func TestServeBusyHandler(t *testing.T) {
	free := make(chan struct{})
	_, address := overTCP(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
		if string(e.Payload) == "wait" {
			<-free
		}
		_ = e.Data(e.Payload)
	}}})
	g := join(t, address, relayPath, 200*time.Millisecond, 2*time.Second)
	g.say(&pb.Upstream{Hello: hello("gw", 1, 0)})
	g.items(data(ref(0, 1, 1), "wait"))
	time.AfterFunc(3*time.Second, func() { close(free) })
	sent := strings.Repeat("x", 10000)
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() { // and listen meanwhile: the window is smaller
		for i := range 50 {
			raw, _ := proto.Marshal(&pb.Upstream{Seq: uint64(2 + i), Items: []*pb.UpItem{data(ref(0, 1, 1), sent)}})
			if err := g.Send(raw); err != nil {
				t.Errorf("batch %d: %v", i, err)
				return
			}
		}
	})
	for i := 0; i < 51; {
		items, err := g.hears() // it probes as long as it listens
		if err != nil {
			t.Fatalf("after %d answers: %v", i, err)
		}
		for _, d := range items {
			if want := map[bool]string{true: "wait", false: sent}[i == 0]; string(d.GetData()) != want {
				t.Fatalf("answer %d is %.20q", i, d.GetData())
			}
			i++
		}
	}
}

// Stop lets the batch that is being handled end, and answers it; and who does not come to an end is cut.
func TestServeStop(t *testing.T) {
	for _, patient := range []bool{true, false} {
		free, entered := make(chan struct{}), make(chan struct{})
		m, address := overTCP(t, manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
			close(entered)
			<-free
			_ = e.Data(e.Payload)
		}}})
		g := join(t, address, relayPath, 0, 0)
		g.say(&pb.Upstream{Hello: hello("gw", 1, 0)})
		g.items(data(ref(0, 1, 1), "x"))
		within(t, "the handler", entered)
		limit := patience
		if !patient {
			limit = 100 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		stopped := make(chan error, 1)
		go func() { stopped <- m.Stop(ctx) }()
		if patient {
			time.Sleep(20 * time.Millisecond)
			close(free)
			items, err := g.hears()
			if err != nil {
				t.Fatal(err)
			}
			equal(t, items, "1/1 data x")
		}
		_, err := g.hears()
		if status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
			t.Errorf("the stream ended with %v", err)
		}
		g.Close()
		if err := within(t, "Stop", stopped); patient && err != nil || !patient && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("patient %v: Stop: %v", patient, err)
		}
		if !patient {
			close(free)
		}
		cancel()
	}
}

// A gateway that opens a stream anew takes its place over, though the old one still waits.
func TestServeTakenOver(t *testing.T) {
	_, address := overTCP(t, manager.Options{Handler: echoes()})
	var last *caller
	for i := range 3 {
		g := join(t, address, relayPath, 0, 0)
		g.say(&pb.Upstream{Hello: hello("gw", 1, 0)})
		g.seq = uint64(i)
		g.items(data(ref(0, 1, 1), "x"))
		if _, err := g.hears(); err != nil {
			t.Fatal(err)
		}
		if last != nil {
			for {
				if _, err := last.hears(); err != nil {
					if status.Code(err) != codes.Aborted {
						t.Errorf("the old stream ended with %v", err)
					}
					break
				}
			}
			last.Close()
		}
		last = g
	}
	last.Close()
}
