package gateway_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"edged/api/edgedpb"
)

// plain is a Manager of generated code alone: no receipts, no help.
type plain struct {
	edgedpb.UnimplementedManagerServer
	t       *testing.T
	address string
	server  *grpc.Server
	id      string                        // said as ManagerHello if not empty
	react   func(*edgedpb.UpItem, *plain) // called for each item before it is recorded; may be nil
	items   chan *edgedpb.UpItem

	mu      sync.Mutex // guards what follows
	hellos  []*edgedpb.GatewayHello
	streams map[uint32]edgedpb.Manager_RelayServer // by reactor
	sends   uint32                                 // the reactor whose stream send uses, if there is one
	closed  chan struct{}                          // not nil: nothing is read until it is closed
}

// serve starts a Manager; address may be empty.
func serve(t *testing.T, address, id string, react func(*edgedpb.UpItem, *plain)) *plain {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	var lis net.Listener
	eventually(t, "the Manager's address is free", func() bool {
		var err error
		lis, err = net.Listen("tcp", address)
		return err == nil
	})
	m := &plain{
		t: t, address: lis.Addr().String(), server: grpc.NewServer(), id: id, react: react,
		items: make(chan *edgedpb.UpItem, 1<<20), streams: make(map[uint32]edgedpb.Manager_RelayServer),
	}
	edgedpb.RegisterManagerServer(m.server, m)
	go func() { _ = m.server.Serve(lis) }()
	t.Cleanup(m.kill)
	return m
}

// kill ends the Manager as a crash would.
func (m *plain) kill() {
	m.resume()
	m.server.Stop()
}

func (m *plain) Relay(s edgedpb.Manager_RelayServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	if m.id != "" {
		if err := s.Send(&edgedpb.Downstream{Hello: &edgedpb.ManagerHello{ManagerId: m.id, Protocol: 1}}); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.hellos = append(m.hellos, first.Hello)
	m.streams[first.Hello.GetReactor()] = s
	m.mu.Unlock()
	for {
		m.mu.Lock()
		gate := m.closed
		m.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-s.Context().Done():
			}
		}
		up, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, item := range up.Items {
			if m.react != nil {
				m.react(item, m)
			}
			m.items <- item
		}
	}
}

// pause has the Manager stop reading, after at most one batch more.
func (m *plain) pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed == nil {
		m.closed = make(chan struct{})
	}
}

func (m *plain) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		close(m.closed)
		m.closed = nil
	}
}

// send gives one batch of items to the stream of reactor 0, or to another one while that is not there.
func (m *plain) send(items ...*edgedpb.DownItem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[m.sends]
	for _, any := range m.streams {
		if s == nil {
			s = any
		}
	}
	if err := s.Send(&edgedpb.Downstream{Items: items}); err != nil && s.Context().Err() == nil {
		m.t.Error(err)
	}
}

// next returns the next item that arrived.
func (m *plain) next() *edgedpb.UpItem {
	m.t.Helper()
	select {
	case i := <-m.items:
		return i
	case <-time.After(patience):
		m.t.Fatalf("no item within %v", patience)
		return nil
	}
}

func (m *plain) opened() *edgedpb.UpItem {
	m.t.Helper()
	i := m.next()
	if i.GetOpened() == nil {
		m.t.Fatalf("item %v, not opened", i)
	}
	return i
}

func (m *plain) message(kind edgedpb.ClientMessage_Kind, payload string) *edgedpb.UpItem {
	m.t.Helper()
	i := m.next()
	if msg := i.GetMessage(); msg == nil || msg.Kind != kind || string(msg.Payload) != payload {
		m.t.Fatalf("item %.200v, not %v %q", i, kind, payload)
	}
	return i
}

func (m *plain) ended() *edgedpb.Closed {
	m.t.Helper()
	i := m.next()
	if i.GetClosed() == nil {
		m.t.Fatalf("item %.200v, not closed", i)
	}
	return i.GetClosed()
}

func (m *plain) refused(ref uint64, code edgedpb.Refused_Code) {
	m.t.Helper()
	i := m.next()
	if r := i.GetRefused(); r == nil || r.Ref != ref || r.Code != code || r.Reason == "" {
		m.t.Fatalf("item %.200v, not refused %d %v", i, ref, code)
	}
}

func (m *plain) undelivered(id string, why edgedpb.Loss_Reason) {
	m.t.Helper()
	i := m.next()
	if l := i.GetUndelivered().GetLosses(); len(l) != 1 || l[0].MsgId != id || l[0].Reason != why {
		m.t.Fatalf("item %.200v, not undelivered %s %v", i, id, why)
	}
}

// none fails the test if an item comes within d.
func (m *plain) none(d time.Duration) {
	m.t.Helper()
	select {
	case i := <-m.items:
		m.t.Fatalf("unexpected item %.200v", i)
	case <-time.After(d):
	}
}

// Items of a Manager for one link.

func to(l *edgedpb.LinkRef) *edgedpb.DownItem {
	return &edgedpb.DownItem{Target: &edgedpb.DownItem_Link{Link: l}}
}

func data(l *edgedpb.LinkRef, payload string) *edgedpb.DownItem {
	i := to(l)
	i.What = &edgedpb.DownItem_Data{Data: []byte(payload)}
	return i
}

func bind(l *edgedpb.LinkRef, user, device string) *edgedpb.DownItem {
	i := to(l)
	i.What = &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{User: user, Device: device}}
	return i
}

func push(l *edgedpb.LinkRef, p *edgedpb.Push) *edgedpb.DownItem {
	i := to(l)
	i.What = &edgedpb.DownItem_Push{Push: p}
	return i
}

func patch(l *edgedpb.LinkRef, set map[string]string, del ...string) *edgedpb.DownItem {
	i := to(l)
	i.What = &edgedpb.DownItem_Session{Session: &edgedpb.SessionPatch{Set: set, Delete: del}}
	return i
}

func closing(l *edgedpb.LinkRef, c *edgedpb.Close) *edgedpb.DownItem {
	i := to(l)
	i.What = &edgedpb.DownItem_Close{Close: c}
	return i
}

func withRef(ref uint64, i *edgedpb.DownItem) *edgedpb.DownItem {
	i.Ref = ref
	return i
}

// bindAll accepts every login: the payload of HELLO is the user.
func bindAll(i *edgedpb.UpItem, m *plain) {
	if msg := i.GetMessage(); msg.GetKind() == edgedpb.ClientMessage_HELLO {
		m.send(bind(i.Link, string(msg.Payload), fmt.Sprint(i.Link.Index, ".", i.Link.Uniq)))
	}
}

// echo accepts every login and returns every DATA.
func echo(i *edgedpb.UpItem, m *plain) {
	bindAll(i, m)
	if msg := i.GetMessage(); msg.GetKind() == edgedpb.ClientMessage_DATA {
		m.send(data(i.Link, string(msg.Payload)))
	}
}

func value(t *testing.T, i *edgedpb.UpItem, key string) string {
	t.Helper()
	v, ok := i.GetSession().GetValues()[key]
	if !ok {
		t.Fatalf("session without %s: %v", key, i.GetSession().GetValues())
	}
	return v
}

func millis(t *testing.T, s string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(n)
}
