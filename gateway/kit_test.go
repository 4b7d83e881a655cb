package gateway_test

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"edged/sdk/manager"
	"edged/wire"
)

// backend is several Managers made with sdk/manager, with receipts, that come and go, and what they all have seen.
type backend struct {
	t       *testing.T
	mu      sync.Mutex          // guards what follows
	seen    map[string][]uint32 // by link ID: the numbers of its messages, as they came to whoever
	known   map[[2]string]bool  // process and link ID: `opened` came there
	closed  map[string]int      // by link ID
	by      map[string]int      // messages by process
	strange []string            // links whose items came to a process that did not know them
}

func newBackend(t *testing.T) *backend {
	return &backend{t: t, seen: map[string][]uint32{}, known: map[[2]string]bool{}, closed: map[string]int{}, by: map[string]int{}}
}

// kit is one process of a backend.
type kit struct {
	address string
	server  *grpc.Server
}

// kill ends it as a crash would.
func (k *kit) kill() { k.server.Stop() }

// run starts a process; address may be empty.
func (b *backend) run(process, address string) *kit {
	b.t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	var lis net.Listener
	eventually(b.t, "the address is free", func() bool {
		var err error
		lis, err = net.Listen("tcp", address)
		return err == nil
	})
	m := manager.New(manager.Options{ID: process, Handler: manager.Handler{
		Opened: func(e *manager.Event) { b.note(process, e, nil) },
		Hello:  func(e *manager.Event) { b.note(process, e, e.Payload); _ = e.Bind("u", e.Link.String()) },
		Data:   func(e *manager.Event) { b.note(process, e, e.Payload) },
		Closed: func(e *manager.Event) { b.note(process, e, nil) },
	}})
	server := grpc.NewServer(grpc.ForceServerCodecV2(manager.Codec()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	m.Register(server)
	go func() { _ = server.Serve(lis) }()
	k := &kit{lis.Addr().String(), server}
	b.t.Cleanup(k.kill)
	return k
}

func (b *backend) note(process string, e *manager.Event, payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	link := e.Link.String()
	if e.Kind == manager.Opened {
		b.known[[2]string{process, link}] = true
		return
	}
	if !b.known[[2]string{process, link}] {
		b.strange = append(b.strange, process+" "+link)
	}
	if e.Kind == manager.Closed {
		b.closed[link]++
	} else if e.Kind == manager.Data {
		b.by[process]++
		b.seen[link] = append(b.seen[link], binary.BigEndian.Uint32(payload))
	}
}

func (b *backend) count(process string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.by[process]
}

// complete says whether all numbers below n of each of these links have come.
func (b *backend) complete(links []*client, n uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range links {
		if got := b.seen[c.link]; len(got) == 0 || first(got) != n {
			return false
		}
	}
	return true
}

// first is the number of messages of which none is missing, if their first arrivals are in order.
func first(seen []uint32) (next uint32) {
	for _, v := range seen {
		if v == next {
			next++
		}
	}
	return next
}

// check looks at all that must hold whatever happened.
func (b *backend) check() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.strange {
		b.t.Errorf("an item of a link that was not announced: %s", s)
	}
	for link, seen := range b.seen {
		next := uint32(0)
		for _, v := range seen {
			if v > next {
				b.t.Errorf("link %s: %d came before %d", link, v, next)
				break
			}
			next = max(next, v+1)
		}
	}
}

// numbered sends message number n, with some bytes to fill buffers.
func (c *client) numbered(n uint32, fill int) {
	c.t.Helper()
	c.write(numbered(n, fill))
}

func numbered(n uint32, fill int) []byte {
	return wire.Append(nil, wire.KindData, append(binary.BigEndian.AppendUint32(nil, n), make([]byte, fill)...))
}

// login makes a link that is known by its ID.
func (r *rig) login() *client {
	r.t.Helper()
	c := r.dial()
	c.send(wire.KindHello, "u")
	c.link = string(c.welcome().LinkID)
	return c
}
