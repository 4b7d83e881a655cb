package relay_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"edged/api/edgedpb"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const patience = 10 * time.Second // of every wait in these tests

// manager is a Manager made of generated code alone. With receipts it does what PROTOCOL.md 2.1 asks of
// one: it takes each number once, in order, and repeats what it sent until the receipt came. Its books
// outlive its servers, so it can be killed and started again.
type manager struct {
	edgedpb.UnimplementedManagerServer
	t        *testing.T
	id       string
	hello    bool
	receipts bool
	unkept   bool   // without receipts: a batch that comes twice, or a hole, is no error
	lag      uint64 // receipts are given for each lag-th batch, and with an empty push
	during   func(m *manager, reactor uint32, b *edgedpb.Upstream) error

	mu    sync.Mutex
	moved *sync.Cond
	books map[uint32]*book
}

// book is what a manager knows about one reactor.
type book struct {
	hello    *edgedpb.GatewayHello
	streams  int
	batches  []*edgedpb.Upstream // taken
	received uint64
	repeated int
	empty    int    // numbers without items
	receipt  uint64 // highest Upstream.received

	seq    uint64
	unsure []*edgedpb.Downstream // without a receipt
	stream edgedpb.Manager_RelayServer
}

func newManager(t *testing.T, id string) *manager {
	m := &manager{t: t, id: id, hello: true, receipts: true, lag: 1, books: make(map[uint32]*book)}
	m.moved = sync.NewCond(&m.mu)
	return m
}

// mute makes a Manager that never says hello and gives no receipts.
func newMute(t *testing.T) *manager {
	m := newManager(t, "")
	m.hello, m.receipts, m.unkept = false, false, true
	return m
}

func (m *manager) Relay(st edgedpb.Manager_RelayServer) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	if first.Hello == nil || len(first.Items) > 0 || first.Seq != 0 {
		m.t.Errorf("the first message of a stream is %v", first)
	}
	r := first.GetHello().GetReactor()
	if err := m.begin(r, first.Hello, st); err != nil {
		return err
	}
	for {
		b, err := st.Recv()
		if err != nil {
			if status.Code(err) == codes.Canceled {
				return err
			}
			return nil
		}
		if err := m.take(r, b); err != nil {
			return err
		}
		if m.during != nil {
			if err := m.during(m, r, b); err != nil {
				return err
			}
		}
	}
}

// set changes the manager while it serves.
func (m *manager) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// book returns a reactor's book. The mutex is held.
func (m *manager) book(r uint32) *book {
	if m.books[r] == nil {
		m.books[r] = &book{}
	}
	return m.books[r]
}

func (m *manager) begin(r uint32, h *edgedpb.GatewayHello, st edgedpb.Manager_RelayServer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.book(r)
	b.hello, b.stream = h, st
	b.streams++
	m.moved.Broadcast()
	if !m.hello {
		return nil
	}
	d := &edgedpb.Downstream{Hello: &edgedpb.ManagerHello{ManagerId: m.id, Protocol: 1, Receipts: m.receipts}}
	if m.receipts && m.lag == 1 {
		d.Received = b.received
	}
	if err := st.Send(d); err != nil {
		return err
	}
	for _, d := range b.unsure {
		if err := st.Send(d); err != nil {
			return err
		}
	}
	return nil
}

func (m *manager) take(r uint32, up *edgedpb.Upstream) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.moved.Broadcast()
	b := m.book(r)
	b.receipt = max(b.receipt, up.Received)
	for len(b.unsure) > 0 && b.unsure[0].Seq <= up.Received {
		b.unsure = b.unsure[1:]
	}
	switch {
	case up.Seq == 0:
		if len(up.Items) > 0 {
			m.t.Errorf("items without a number: %v", up)
		}
		return nil
	case up.Seq <= b.received && !m.unkept:
		b.repeated++
		return nil
	case up.Seq != b.received+1 && !m.unkept:
		m.t.Errorf("reactor %d: number %d after %d", r, up.Seq, b.received)
	}
	b.received = up.Seq
	if len(up.Items) == 0 {
		b.empty++
	}
	b.batches = append(b.batches, up)
	if m.receipts && up.Seq%m.lag == 0 {
		_ = b.stream.Send(&edgedpb.Downstream{Received: b.received}) // a broken stream shows when receiving
	}
	return nil
}

// push sends one numbered batch down, or keeps it for the next stream.
func (m *manager) push(r uint32, items ...*edgedpb.DownItem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.book(r)
	d := &edgedpb.Downstream{Items: items}
	if m.receipts {
		b.seq++
		if d.Seq = b.seq; m.lag == 1 || len(items) == 0 {
			d.Received = b.received
		}
		b.unsure = append(b.unsure, d)
	}
	if b.stream != nil {
		_ = b.stream.Send(d)
	}
}

// raw sends a batch as it is.
func (m *manager) raw(r uint32, d *edgedpb.Downstream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.book(r).stream.Send(d); err != nil {
		m.t.Errorf("send: %v", err)
	}
}

// until waits for a condition on a reactor's book.
func (m *manager) until(r uint32, what string, ok func(b *book) bool) {
	m.t.Helper()
	late := time.AfterFunc(patience, m.moved.Broadcast)
	defer late.Stop()
	end := time.Now().Add(patience)
	m.mu.Lock()
	defer m.mu.Unlock()
	for !ok(m.book(r)) {
		if time.Now().After(end) {
			m.t.Fatalf("waited in vain for %s; have %s", what, m.book(r))
		}
		m.moved.Wait()
	}
}

// payloads returns what came from a reactor, in order: "opened" or the bytes of a message.
func (m *manager) payloads(r uint32) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, up := range m.book(r).batches {
		for _, it := range up.Items {
			if it.GetOpened() != nil {
				out = append(out, "opened")
			} else {
				out = append(out, string(it.GetMessage().GetPayload()))
			}
		}
	}
	return out
}

func (m *manager) untilPayloads(r uint32, n int) []string {
	m.t.Helper()
	m.until(r, fmt.Sprintf("%d payloads", n), func(b *book) bool { return b.items() >= n })
	return m.payloads(r)
}

func (b *book) items() (n int) {
	for _, up := range b.batches {
		n += len(up.Items)
	}
	return n
}

func (b *book) String() string {
	return fmt.Sprintf("%d streams, %d batches with %d items, %d repeated, %d empty, received %d, receipt %d",
		b.streams, len(b.batches), b.items(), b.repeated, b.empty, b.received, b.receipt)
}

// server is a running gRPC server.
type server struct {
	address string
	grpc    *grpc.Server
	ended   chan struct{}
}

// listen waits for the address if a server before it is just leaving.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		l, err := net.Listen(network, address)
		if err == nil {
			return l
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func serve(t *testing.T, l net.Listener, m edgedpb.ManagerServer, opts ...grpc.ServerOption) *server {
	t.Helper()
	s := &server{address: l.Addr().String(), grpc: grpc.NewServer(opts...), ended: make(chan struct{})}
	edgedpb.RegisterManagerServer(s.grpc, m)
	s.run(l)
	t.Cleanup(s.kill)
	return s
}

func (s *server) run(l net.Listener) {
	go func() {
		defer close(s.ended)
		_ = s.grpc.Serve(l) // returns when the server is stopped
	}()
}

// kill breaks all connections, as a process that dies does.
func (s *server) kill() {
	s.grpc.Stop()
	<-s.ended
}

// start serves m at a free port of the loopback.
func start(t *testing.T, m edgedpb.ManagerServer) *server {
	t.Helper()
	return serve(t, listen(t, "tcp", "127.0.0.1:0"), m)
}
