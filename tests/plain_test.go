//go:build e2e

package tests

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"edged/api/edgedpb"
)

// plain is a Manager made of generated code only, as one in any other language would be. It gives no receipts, remembers
// every item, and answers what answer says.
type plain struct {
	*plainServer
	t *testing.T // whose goroutine calls the methods
}

// plainServer is what the gateway's streams share.
type plainServer struct {
	edgedpb.UnimplementedManagerServer
	t       *testing.T
	address string
	items   *record
	answer  func(*edgedpb.UpItem) []*edgedpb.DownItem
	hello   *edgedpb.ManagerHello // said on each stream; nil: none. Set before the gateway comes

	mu      sync.Mutex
	streams []*plainStream // up now; guarded by mu
}

// plainStream is one stream of a gateway.
type plainStream struct {
	hello *edgedpb.GatewayHello
	mu    sync.Mutex // one Send at a time
	call  grpc.BidiStreamingServer[edgedpb.Upstream, edgedpb.Downstream]
}

// newPlain serves a Manager on a free port until the test ends. A nil answer means echo.
func newPlain(t *testing.T, answer func(*edgedpb.UpItem) []*edgedpb.DownItem, options ...grpc.ServerOption) *plain {
	t.Helper()
	if answer == nil {
		answer = echo
	}
	p := &plain{&plainServer{t: t, items: newRecord(), answer: answer}, t}
	lis := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p.address = lis.Addr().String()
	srv := grpc.NewServer(append(patientServer(), options...)...)
	edgedpb.RegisterManagerServer(srv, p.plainServer)
	go func() { _ = srv.Serve(lis) }()
	t.Cleanup(srv.Stop)
	return p
}

// in is the same Manager for a sub-test.
func (p *plain) in(t *testing.T) *plain { return &plain{p.plainServer, t} }

// patientServer lets a gateway ping as often as it does.
func patientServer() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true})}
}

// echo accepts every login, HELLO being user/device, and sends DATA back.
func echo(it *edgedpb.UpItem) []*edgedpb.DownItem {
	m := it.GetMessage()
	switch m.GetKind() {
	case edgedpb.ClientMessage_HELLO:
		user, device, _ := strings.Cut(strings.ToValidUTF8(string(m.GetPayload()), "?"), "/") // it may be garbage
		return []*edgedpb.DownItem{bindItem(it.GetLink(), user, device)}
	case edgedpb.ClientMessage_DATA:
		return []*edgedpb.DownItem{dataItem(it.GetLink(), m.GetPayload())}
	}
	return nil
}

// Relay serves one stream.
func (p *plainServer) Relay(call grpc.BidiStreamingServer[edgedpb.Upstream, edgedpb.Downstream]) error {
	first, err := call.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil || len(first.GetItems()) != 0 {
		p.t.Errorf("the first batch of a stream is %v, want a hello alone", first)
		return errors.New("no hello")
	}
	s := &plainStream{hello: first.GetHello(), call: call}
	if p.hello != nil {
		if err := call.Send(&edgedpb.Downstream{Hello: p.hello}); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.streams = append(p.streams, s)
	p.mu.Unlock()
	defer p.forget(s)
	for {
		up, err := call.Recv()
		if err != nil {
			return nil // the gateway has left, or the test
		}
		if up.GetHello() != nil {
			p.t.Errorf("a second hello on a stream: %v", up)
		}
		var answers []*edgedpb.DownItem
		for _, it := range up.GetItems() {
			p.items.add(it)
			answers = append(answers, p.answer(it)...)
		}
		if len(answers) > 0 {
			if err := s.send(answers...); err != nil {
				return err
			}
		}
	}
}

func (p *plainServer) forget(gone *plainStream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.streams {
		if s == gone {
			p.streams = append(p.streams[:i], p.streams[i+1:]...)
			return
		}
	}
}

func (s *plainStream) send(items ...*edgedpb.DownItem) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.call.Send(&edgedpb.Downstream{Items: items})
}

// stream waits for a stream of that reactor.
func (p *plain) stream(reactor uint32) (found *plainStream) {
	p.t.Helper()
	waitFor(p.t, fmt.Sprintf("a stream of reactor %d", reactor), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.streams {
			if s.hello.GetReactor() == reactor {
				found = s
			}
		}
		return found != nil
	})
	return found
}

// send gives items to the gateway, over the stream of reactor 0.
func (p *plain) send(items ...*edgedpb.DownItem) {
	p.t.Helper()
	check(p.t, p.stream(0).send(items...))
}

// record remembers items and lets tests wait for one.
type record struct {
	mu    sync.Mutex
	items []*edgedpb.UpItem // guarded by mu
}

func newRecord() *record { return &record{} }

func (r *record) add(it *edgedpb.UpItem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items = append(r.items, it)
}

// all are the items so far that match, oldest first.
func (r *record) all(match func(*edgedpb.UpItem) bool) (found []*edgedpb.UpItem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range r.items {
		if match(it) {
			found = append(found, it)
		}
	}
	return found
}

// await waits for the first item that matches.
func (p *plain) await(what string, match func(*edgedpb.UpItem) bool) *edgedpb.UpItem {
	p.t.Helper()
	var found []*edgedpb.UpItem
	waitFor(p.t, what, func() bool {
		found = p.items.all(match)
		return len(found) > 0
	})
	return found[0]
}

// opened waits for the `opened` of the link with that ID.
func (p *plain) opened(id string) *edgedpb.UpItem {
	p.t.Helper()
	return p.await("opened "+id, func(it *edgedpb.UpItem) bool {
		return it.GetOpened() != nil && it.GetSession().GetValues()["link"] == id
	})
}

// refused waits for the answer to the operation with that ref.
func (p *plain) refused(ref uint64) *edgedpb.UpItem {
	p.t.Helper()
	return p.await(fmt.Sprintf("refused %d", ref), func(it *edgedpb.UpItem) bool { return it.GetRefused().GetRef() == ref })
}

// wantRefused waits for the answer to the operation with that ref, which must have that code.
func (p *plain) wantRefused(ref uint64, code edgedpb.Refused_Code) *edgedpb.UpItem {
	p.t.Helper()
	it := p.refused(ref)
	if got := it.GetRefused().GetCode(); got != code {
		p.t.Errorf("operation %d refused as %v (%s), want %v", ref, got, it.GetRefused().GetReason(), code)
	}
	return it
}

// data waits for the DATA message with that payload.
func (p *plain) data(payload string) *edgedpb.UpItem {
	p.t.Helper()
	return p.await(fmt.Sprintf("DATA %q", payload), func(it *edgedpb.UpItem) bool {
		m := it.GetMessage()
		return m.GetKind() == edgedpb.ClientMessage_DATA && string(m.GetPayload()) == payload
	})
}

// The items of a Manager; withRef adds the number by which a refusal is told.

func toLink(l *edgedpb.LinkRef) *edgedpb.DownItem {
	return &edgedpb.DownItem{Target: &edgedpb.DownItem_Link{Link: l}}
}

func bindItem(l *edgedpb.LinkRef, user, device string) *edgedpb.DownItem {
	it := toLink(l)
	it.What = &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{User: user, Device: device}}
	return it
}

func dataItem(l *edgedpb.LinkRef, payload []byte) *edgedpb.DownItem {
	it := toLink(l)
	it.What = &edgedpb.DownItem_Data{Data: payload}
	return it
}

func pushItem(l *edgedpb.LinkRef, p *edgedpb.Push) *edgedpb.DownItem {
	it := toLink(l)
	it.What = &edgedpb.DownItem_Push{Push: p}
	return it
}

func patchItem(l *edgedpb.LinkRef, set map[string]string, del ...string) *edgedpb.DownItem {
	it := toLink(l)
	it.What = &edgedpb.DownItem_Session{Session: &edgedpb.SessionPatch{Set: set, Delete: del}}
	return it
}

func closeItem(l *edgedpb.LinkRef, c *edgedpb.Close) *edgedpb.DownItem {
	it := toLink(l)
	it.What = &edgedpb.DownItem_Close{Close: c}
	return it
}

func withRef(ref uint64, it *edgedpb.DownItem) *edgedpb.DownItem {
	it.Ref = ref
	return it
}
