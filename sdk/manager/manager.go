package manager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrStopped is returned by Serve of a Manager that was stopped before, and by a Sender that was closed.
var ErrStopped = errors.New("manager: stopped")

// DefaultKeepBytes is what Options.KeepBytes is when it is not set.
const DefaultKeepBytes = 4 << 20

// A frozen gateway is noticed within the sum of the two.
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
)

// window is how many bytes of a stream may wait in a connection until they are taken in.
const window = 1 << 20

// Options says how a Manager behaves. The zero value is a Manager that takes everything in and does nothing with it.
type Options struct {
	// ID is a name for people. A part that no other process has is added to it: what a gateway may repeat to us is tied
	// to this process's memory, so a new process must never be taken for the old one.
	ID string
	// Handler is called for what the gateways say.
	Handler Handler
	// Log gets what an operator would act on. Nothing is logged when it is nil.
	Log *slog.Logger
	// NoReceipts turns receipts off: a stream that breaks then loses what was on its way, in both directions.
	NoReceipts bool
	// KeepBytes bounds what waits to be sent, or to be receipted, on one stream of a gateway.
	KeepBytes int
}

// Manager serves edged.v1.Manager. Its methods may be called from any goroutine.
type Manager struct {
	// Static after New.
	id      string
	handler Handler
	log     *slog.Logger
	receipt bool
	keep    int

	frames framePool
	count  counters

	// mu guards the fields below, and those fields of epoch that say so. It is taken before the mu of a lane.
	mu       sync.Mutex
	gateways map[string]*epoch // by gateway ID: the epoch in force
	records  uint64            // counts epochs met and left: gives each its own name for us, and their leaving an order
	streams  map[*stream]struct{}
	servers  []*server
	stopping bool
	wg       sync.WaitGroup // goroutines of streams; Add under mu while not stopping
}

// New returns a Manager that serves nothing yet.
func New(o Options) *Manager {
	m := &Manager{
		id:       processID(o.ID),
		handler:  o.Handler,
		log:      o.Log,
		receipt:  !o.NoReceipts,
		keep:     o.KeepBytes,
		gateways: make(map[string]*epoch),
		streams:  make(map[*stream]struct{}),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.keep <= 0 {
		m.keep = DefaultKeepBytes
	}
	return m
}

func processID(name string) string {
	if name == "" {
		name = "manager"
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return name + "-" + hex.EncodeToString(b[:])
}

// Register adds the service to a gRPC server that the caller runs. That server must have been made with
// grpc.ForceServerCodecV2(manager.Codec()), which serves other generated services of it as before.
func (m *Manager) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&serviceDesc, m)
}

// Stop ends all streams and the servers that Serve runs. Each stream ends between two batches: what was taken in has
// been handled, answered and receipted; what was not, the gateway keeps for another Manager. When ctx ends first,
// connections are cut and Stop returns ctx.Err() without waiting for a handler that has not returned.
func (m *Manager) Stop(ctx context.Context) error {
	m.mu.Lock()
	m.stopping = true
	servers := m.servers
	m.servers = nil
	for s := range m.streams {
		s.kick(errStopping)
	}
	m.mu.Unlock()

	done := make(chan struct{})
	go func() {
		m.wg.Wait()
		for _, srv := range servers {
			srv.finish()
		}
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, srv := range servers {
		srv.cut()
	}
	select {
	case <-done: // it was only the network that kept us
		return nil
	case <-time.After(time.Second):
		return ctx.Err()
	}
}

var (
	errStopping = status.Error(codes.Unavailable, "the Manager is stopping")
	errTaken    = status.Error(codes.Aborted, "a newer stream of this gateway and reactor took over")
	errEpoch    = status.Error(codes.Aborted, "this gateway came back with another epoch")
)

// serviceDesc is what generated code would hold for the service, with our own stream handler.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: "edged.v1.Manager",
	HandlerType: (*relayer)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName:    "Relay",
		Handler:       func(srv any, gs grpc.ServerStream) error { return srv.(relayer).relay(gs) },
		ServerStreams: true,
		ClientStreams: true,
	}},
	Metadata: "api/manager.proto",
}

type relayer interface {
	relay(gs transport) error
}
