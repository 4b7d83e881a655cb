package manager_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	pb "edged/api/edgedpb"
	"edged/linkpool"
	"edged/sdk/manager"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// aloneVariable has each stream of these tests come over a connection of its own that says so, as a gateway's does: the kit serves
// it without gRPC.
const aloneVariable = "EDGED_TEST_MANAGER_ALONE"

// All that holds for streams over gRPC's server holds for those that the kit serves itself.
func TestAloneAsWell(t *testing.T) {
	if os.Getenv(aloneVariable) != "" {
		return // this is the run without gRPC
	}
	cmd := exec.Command(os.Args[0], "-test.timeout=5m")
	cmd.Env = append(os.Environ(), aloneVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// served is a Manager, and what gateways need to reach it.
type served struct {
	*manager.Manager
	t     *testing.T
	conn  *grpc.ClientConn                  // over memory, for all streams; or
	alone func(*testing.T) *grpc.ClientConn // makes one over TCP for each
}

// serve runs a Manager until the test ends, and then proves that it leaves no goroutine behind.
func serve(t *testing.T, o manager.Options) *served {
	t.Helper()
	before := runtime.NumGoroutine()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s := &served{Manager: manager.New(o), t: t}
	m := s.Manager
	done := make(chan error, 1)
	if os.Getenv(aloneVariable) != "" {
		lis := listen(t)
		go func() { done <- m.Serve(lis) }()
		s.alone = func(t *testing.T) *grpc.ClientConn { return dialAlone(t, lis.Addr().String()) }
	} else {
		lis := bufconn.Listen(1 << 16)
		go func() { done <- m.Serve(lis) }()
		s.conn = dial(t, lis)
	}
	t.Cleanup(func() {
		if s.conn != nil {
			_ = s.conn.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		settle(t, before)
	})
	return s
}

func dial(t *testing.T, lis *bufconn.Listener) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///manager",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// dialAlone returns a connection for one stream, which the test closes when it ends.
func dialAlone(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", address)
			return &loner{Conn: conn}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// loner adds to the first SETTINGS of a client that it is alone on its connection.
type loner struct {
	net.Conn
	first []byte // what was written as long as SETTINGS are not there
	told  bool
}

func (l *loner) Write(p []byte) (int, error) {
	if l.told {
		return l.Conn.Write(p)
	}
	const head = len(http2.ClientPreface) + 9
	l.first = append(l.first, p...)
	if len(l.first) < head {
		return len(p), nil
	}
	b := slices.Concat(l.first[:head], []byte{0xf1, 0xed, 0, 0, 0, 1}, l.first[head:])
	length := b[len(http2.ClientPreface):]
	binary.BigEndian.PutUint16(length[1:], binary.BigEndian.Uint16(length[1:])+6)
	l.told, l.first = true, nil
	if _, err := l.Conn.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// settle waits until no more goroutines run than before.
func settle(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if runtime.NumGoroutine() <= before {
			return
		}
		if time.Now().After(end) {
			b := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
		}
	}
}

// eventually waits for something that another goroutine does.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// within waits for a value from a channel.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited too long for %s", what)
		panic("not reached")
	}
}

func hello(id string, epoch uint64, reactor uint32) *pb.GatewayHello {
	return &pb.GatewayHello{GatewayId: id, Address: "192.0.2.7:8000", Protocol: 1, Version: "test", Reactor: reactor, Epoch: epoch}
}

// up is one stream of a gateway that is made of generated code.
type up struct {
	t      *testing.T
	stream pb.Manager_RelayClient
	cancel context.CancelFunc
	hello  *pb.Downstream // the Manager's
	seq    uint64         // last sent
}

// open opens a stream and says hello.
func (s *served) open(h *pb.GatewayHello) *up {
	s.t.Helper()
	u := s.start()
	u.send(&pb.Upstream{Hello: h})
	u.hello = u.recv()
	if u.hello.GetHello() == nil {
		s.t.Fatalf("the first batch is %v", u.hello)
	}
	return u
}

func (s *served) start() *up {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	s.t.Cleanup(cancel)
	conn := s.conn
	if s.alone != nil {
		conn = s.alone(s.t)
	}
	stream, err := pb.NewManagerClient(conn).Relay(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return &up{t: s.t, stream: stream, cancel: cancel}
}

func (u *up) send(b *pb.Upstream) {
	u.t.Helper()
	if err := u.stream.Send(b); err != nil {
		u.t.Fatal(err)
	}
}

// items sends the next numbered batch.
func (u *up) items(items ...*pb.UpItem) {
	u.t.Helper()
	u.seq++
	u.send(&pb.Upstream{Items: items, Seq: u.seq})
}

func (u *up) recv() *pb.Downstream {
	u.t.Helper()
	b, err := u.stream.Recv()
	if err != nil {
		u.t.Fatal(err)
	}
	return b
}

// next returns the next n items, over as many batches as they take.
func (u *up) next(n int) []*pb.DownItem {
	u.t.Helper()
	var items []*pb.DownItem
	for len(items) < n {
		items = append(items, u.recv().GetItems()...)
	}
	if len(items) > n {
		u.t.Fatalf("%d items, want %d: %v", len(items), n, items)
	}
	return items
}

// ends waits for the stream's end and returns the error.
func (u *up) ends() error {
	u.t.Helper()
	for {
		if _, err := u.stream.Recv(); err != nil {
			return err
		}
	}
}

func ref(shard int, place, uniq uint32) *pb.LinkRef {
	return &pb.LinkRef{Index: linkpool.Index(shard, place), Uniq: uniq}
}

func session(kv ...string) *pb.Session {
	s := &pb.Session{Values: map[string]string{}}
	for i := 0; i < len(kv); i += 2 {
		s.Values[kv[i]] = kv[i+1]
	}
	return s
}

func opened(l *pb.LinkRef, kv ...string) *pb.UpItem {
	return &pb.UpItem{Link: l, Session: session(kv...), What: &pb.UpItem_Opened{Opened: &pb.Opened{}}}
}

func said(kind pb.ClientMessage_Kind, l *pb.LinkRef, payload []byte, kv ...string) *pb.UpItem {
	return &pb.UpItem{Link: l, Session: session(kv...),
		What: &pb.UpItem_Message{Message: &pb.ClientMessage{Kind: kind, Payload: payload}}}
}

func data(l *pb.LinkRef, payload string, kv ...string) *pb.UpItem {
	return said(pb.ClientMessage_DATA, l, []byte(payload), kv...)
}

// brief writes what matters of an item, for comparisons.
func brief(d *pb.DownItem) string {
	l := d.GetLink()
	to := fmt.Sprintf("%d/%d ", l.GetIndex(), l.GetUniq())
	if l == nil {
		to = fmt.Sprintf("%v ", d.GetTarget())
	}
	if d.GetRef() != 0 {
		to += fmt.Sprintf("ref %d ", d.GetRef())
	}
	switch w := d.GetWhat().(type) {
	case *pb.DownItem_Data:
		return to + "data " + string(w.Data)
	case *pb.DownItem_Push:
		p := w.Push
		return to + fmt.Sprintf("push %s %s %v %v %d", p.GetPayload(), p.GetMsgId(), p.GetAck(), p.GetAllowGzip(), p.GetTtlMs())
	case *pb.DownItem_Session:
		return to + fmt.Sprintf("patch %v %v", w.Session.GetSet(), w.Session.GetDelete())
	case *pb.DownItem_Bind:
		return to + fmt.Sprintf("bind %s %s %d", w.Bind.GetUser(), w.Bind.GetDevice(), w.Bind.GetSyncedVersion())
	case *pb.DownItem_Join:
		return to + "join " + w.Join
	case *pb.DownItem_Leave:
		return to + "leave " + w.Leave
	case *pb.DownItem_Close:
		return to + fmt.Sprintf("close %d %d %s", w.Close.GetReason(), w.Close.GetRetryAfterMs(), w.Close.GetText())
	}
	return to + "nothing"
}

// equal compares items in their short form.
func equal(t *testing.T, got []*pb.DownItem, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d items, want %d: %v", len(got), len(want), got)
	}
	for i, d := range got {
		if brief(d) != want[i] {
			t.Errorf("item %d: %q, want %q", i, brief(d), want[i])
		}
	}
}
