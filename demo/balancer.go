package demo

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// balancerDial is how long a balancer waits for a gateway before it tries the next one.
const balancerDial = time.Second

// carryBuffer is what a balancer copies at a time.
const carryBuffer = 4 << 10

// balancer stands for a load balancer: it gives the connections to its address to the gateways behind it in turn, past
// those that refuse. It knows nothing of frames.
type balancer struct {
	lis      net.Listener
	gateways []string // static
	work     sync.WaitGroup

	mu    sync.Mutex
	next  int                   // whose turn it is
	conns map[net.Conn]struct{} // both sides of each; nil: closed
}

func newBalancer(gateways []string) (*balancer, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{lis: lis, gateways: gateways, conns: map[net.Conn]struct{}{}}
	b.work.Go(b.accept)
	return b, nil
}

func (b *balancer) address() string { return b.lis.Addr().String() }

func (b *balancer) accept() {
	for {
		c, err := b.lis.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no file descriptors, say
			time.Sleep(10 * time.Millisecond)
			continue
		}
		b.work.Go(func() { b.serve(c) })
	}
}

// serve carries the bytes of a connection both ways until both sides have ended.
func (b *balancer) serve(client net.Conn) {
	if !b.hold(client) {
		return
	}
	defer b.release(client)
	gateway := b.dial()
	if gateway == nil || !b.hold(gateway) {
		return
	}
	defer b.release(gateway)
	done := make(chan struct{})
	go func() {
		carry(gateway, client)
		close(done)
	}()
	carry(client, gateway)
	<-done
}

// carry copies until from ends. Left to itself the library would splice, which takes four more files for each connection.
func carry(to, from net.Conn) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, carryBuffer))
	_ = to.(*net.TCPConn).CloseWrite()
}

// dial connects to the gateway whose turn it is, or to the next one that takes the connection.
func (b *balancer) dial() net.Conn {
	b.mu.Lock()
	turn := b.next
	b.next++
	b.mu.Unlock()
	for i := range b.gateways {
		c, err := net.DialTimeout("tcp", b.gateways[(turn+i)%len(b.gateways)], balancerDial)
		if err == nil {
			return c
		}
	}
	return nil
}

// hold notes a connection, so that close can end it; false: it came too late.
func (b *balancer) hold(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		_ = c.Close()
		return false
	}
	b.conns[c] = struct{}{}
	return true
}

func (b *balancer) release(c net.Conn) {
	_ = c.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// close ends all connections and waits for their goroutines.
func (b *balancer) close() error {
	err := b.lis.Close()
	b.mu.Lock()
	for c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
	b.mu.Unlock()
	b.work.Wait()
	return err
}
