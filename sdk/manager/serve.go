package manager

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"edged/h2"
)

const (
	relayMethod = "/edged.v1.Manager/Relay"
	// maxMessage is gRPC's default bound of a received message.
	maxMessage = 4 << 20
	// greetPatience is how long a client may take until it asks for something.
	greetPatience = 20 * time.Second
	// leavePatience is how long a gateway may take to leave when its stream has ended.
	leavePatience = time.Second
	// attendEvery is how often streams whose handler is busy are looked after. A gateway waits 5 s for an answer.
	attendEvery = 100 * time.Millisecond
)

// Serve serves gateways on lis until Stop. It returns nil after a Stop, and closes lis in any case.
//
// A gateway without TLS is served by the kit itself, where a batch is read, handled and answered by one goroutine; anything else that
// comes, and every connection if there are options, by a gRPC server with these options and those that the Manager
// needs. So interceptors, credentials and limits hold for all or nobody.
func (m *Manager) Serve(lis net.Listener, opts ...grpc.ServerOption) error {
	own := []grpc.ServerOption{
		grpc.ForceServerCodecV2(Codec()),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		// A gateway pings as often as we do; grpc's default would call that an attack.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		// A fixed window spares the PING by which gRPC would measure the connection with each batch, and the gateway its answer.
		grpc.StaticStreamWindowSize(window), grpc.StaticConnWindowSize(window),
		grpc.ConnectionTimeout(greetPatience),
	}
	srv := grpc.NewServer(append(own, opts...)...)
	m.Register(srv)
	one := &server{Server: srv}
	if len(opts) == 0 {
		one.front = newFront(m, lis)
		lis = one.front
	}
	m.mu.Lock()
	if m.stopping {
		m.mu.Unlock()
		_ = lis.Close()
		return ErrStopped
	}
	m.servers = append(m.servers, one)
	if one.front != nil {
		one.front.start()
	}
	m.mu.Unlock()
	return srv.Serve(lis)
}

// server is what one Serve runs.
type server struct {
	*grpc.Server
	front *front // nil: gRPC serves all
}

// finish returns when nobody is served any more.
func (s *server) finish() {
	s.GracefulStop()
	if s.front != nil {
		s.front.wait()
	}
}

// cut ends all connections.
func (s *server) cut() {
	if s.front != nil {
		s.front.cut() // and before gRPC, which waits for those that have not said anything yet
	}
	s.Stop()
}

// front is a listener that keeps for itself the connections that h2 serves, and gives the others to gRPC.
type front struct {
	net.Listener
	m      *Manager
	others chan other
	closed chan struct{} // nobody accepts any more
	once   sync.Once
	wg     sync.WaitGroup // of accept and the calls

	attending sync.WaitGroup // of attend
	ended     chan struct{}  // no call is left

	mu    sync.Mutex
	fresh map[net.Conn]struct{} // have not asked for anything yet; guarded by mu
	given map[net.Conn]struct{} // to gRPC; guarded by mu
	calls map[*h2.Call]struct{} // guarded by mu
	down  bool                  // by cut; guarded by mu
}

// other is what gRPC's Accept returns.
type other struct {
	conn net.Conn
	err  error
}

func newFront(m *Manager, lis net.Listener) *front {
	return &front{
		Listener: lis, m: m, others: make(chan other), closed: make(chan struct{}), ended: make(chan struct{}),
		fresh: make(map[net.Conn]struct{}), given: make(map[net.Conn]struct{}), calls: make(map[*h2.Call]struct{}),
	}
}

func (f *front) start() {
	f.wg.Go(f.accept)
	f.attending.Go(f.attend)
}

// Accept is for gRPC.
func (f *front) Accept() (net.Conn, error) {
	select {
	case o := <-f.others:
		return o.conn, o.err
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the accepting; the calls go on.
func (f *front) Close() error {
	var err error
	f.once.Do(func() {
		close(f.closed)
		err = f.Listener.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		for c := range f.fresh {
			_ = c.Close() // nothing was begun
		}
	})
	return err
}

// wait returns when all calls have ended. It is called once.
func (f *front) wait() {
	_ = f.Close() // gRPC has closed it, unless it never served
	f.wg.Wait()
	close(f.ended)
	f.attending.Wait()
}

// cut ends all connections; gRPC closes the listener.
func (f *front) cut() {
	f.mu.Lock()
	f.down = true
	var calls []*h2.Call
	for c := range f.calls {
		calls = append(calls, c)
	}
	for c := range f.given {
		_ = c.Close() // whatever it was about, it is over
	}
	f.mu.Unlock()
	for _, c := range calls {
		c.Close()
	}
}

func (f *front) accept() {
	for {
		conn, err := f.Listener.Accept()
		if err != nil {
			if !f.give(other{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // gRPC has waited, or has closed us
		}
		f.mu.Lock()
		f.fresh[conn] = struct{}{}
		f.mu.Unlock()
		f.wg.Go(func() { f.greet(conn) })
	}
}

// give returns false if nobody takes it.
func (f *front) give(o other) bool {
	select {
	case f.others <- o:
		return true
	case <-f.closed:
		return false
	}
}

// greet finds out who serves a connection.
func (f *front) greet(conn net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), greetPatience)
	defer cancel()
	at, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(at) // what can go wrong shows when it is read
	read, alone, err := h2.Sniff(conn)
	if err != nil && len(read) == 0 {
		f.forget(conn)
		_ = conn.Close() // a look at the port, as balancers have them
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if _, socket := conn.(syscall.Conn); !alone || err != nil || !socket { // a listener may have wrapped it
		f.mu.Lock()
		delete(f.fresh, conn)
		f.given[conn] = struct{}{}
		down := f.down
		f.mu.Unlock()
		again := &replay{Conn: conn, read: read, f: f}
		if down || !f.give(other{conn: again}) {
			_ = again.Close() // we are stopping
		}
		return
	}
	c, err := h2.Accept(ctx, conn, read, h2.Options{
		Window: window, MaxMessage: maxMessage, KeepAlive: keepaliveTime, KeepAliveTimeout: keepaliveTimeout,
	})
	f.forget(conn)
	if err != nil {
		f.m.log.Info("a gateway did not ask for anything", "address", conn.RemoteAddr(), "error", err)
		return
	}
	f.call(c)
}

func (f *front) forget(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.fresh, conn)
}

// call serves one call until its client has left.
func (f *front) call(c *h2.Call) {
	f.mu.Lock()
	f.calls[c] = struct{}{}
	down := f.down
	f.mu.Unlock()
	if down {
		c.Close()
	}
	err := status.Errorf(codes.Unimplemented, "no method %s is here", c.Path())
	if c.Path() == relayMethod {
		err = f.m.relay(direct{c})
	}
	c.Finish(err, leavePatience)
	f.mu.Lock()
	delete(f.calls, c)
	f.mu.Unlock()
}

// attend looks after the calls whose receiver is busy.
func (f *front) attend() {
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	var calls []*h2.Call
	for {
		select {
		case <-tick.C:
		case <-f.ended:
			return
		}
		calls = calls[:0]
		f.mu.Lock()
		for c := range f.calls {
			calls = append(calls, c)
		}
		f.mu.Unlock()
		for _, c := range calls {
			c.Attend()
		}
		clear(calls)
	}
}

// replay is a connection of which something has been read.
type replay struct {
	net.Conn
	read []byte
	f    *front
}

func (r *replay) Close() error {
	r.f.mu.Lock()
	delete(r.f.given, r.Conn)
	r.f.mu.Unlock()
	return r.Conn.Close()
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.read) > 0 {
		n := copy(p, r.read)
		r.read = r.read[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// direct is a call without gRPC.
type direct struct {
	c *h2.Call
}

func (direct) Context() context.Context { return context.Background() }

func (d direct) SendMsg(v any) error {
	f := v.(*frame)
	err := d.c.Send(f.b)
	f.release()
	if err == io.EOF {
		return errClosed // the receiver finds out more
	}
	return err
}

func (d direct) RecvMsg(v any) (err error) {
	in := v.(*inbox)
	in.b, err = d.c.Recv(in.b)
	return err
}
