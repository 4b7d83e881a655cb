//go:build e2e

package tests

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/manager"
	"edged/swarm"
)

// theRoom is the room of everybody who listens.
const theRoom = "all"

// book is what the Managers of a test were told, and what they answer by. It outlives them, as a database would, so that one that
// is new goes on where the one before stopped.
type book struct {
	mu     sync.Mutex
	pages  map[string]*page // by link ID; guarded by mu, as are those below
	closed map[string]int   // by side and reason
	wrong  []string
	casts  uint64 // number of the last one
}

// page is one link's.
type page struct {
	answerer swarm.Answerer
	buf      []byte
	opened   int // the Manager, counted from 1, that heard of it last
	closed   bool
	told     string // the events, by the Managers' numbers and their kinds
}

func newBook() *book { return &book{pages: map[string]*page{}, closed: map[string]int{}} }

func (b *book) wrongLocked(format string, args ...any) {
	if len(b.wrong) < 20 {
		b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
	}
}

// turn returns the link's page, after a look whether this may come now. The caller must hold mu.
func (b *book) turnLocked(e *manager.Event, nth int) *page {
	id := e.Link.String()
	p := b.pages[id]
	if p == nil {
		p = &page{}
		b.pages[id] = p
	}
	switch {
	case p.closed:
		b.wrongLocked("%s: %v after closed", id, e.Kind)
	case e.Kind == manager.Opened && p.opened == nth:
		b.wrongLocked("%s: opened twice", id)
	case e.Kind != manager.Opened && p.opened != nth:
		b.wrongLocked("%s: %v before opened", id, e.Kind)
	}
	if e.Kind == manager.Opened {
		p.opened = nth
	}
	if e.Kind != manager.Data {
		p.told += fmt.Sprintf("%d:%d ", nth, e.Kind)
	}
	return p
}

// handler is that of the nth Manager.
func (b *book) handler(nth int) manager.Handler {
	return manager.Handler{
		Opened: func(e *manager.Event) { b.note(e, nth) },
		Hello:  func(e *manager.Event) { b.note(e, nth); b.hello(e) },
		Data:   func(e *manager.Event) { b.data(e, nth) },
		Closed: func(e *manager.Event) { b.note(e, nth) },
		Lost: func(g manager.Gateway) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.wrongLocked("the gateway is another one: epoch %x is over", g.Epoch)
		},
	}
}

func (b *book) note(e *manager.Event, nth int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.turnLocked(e, nth)
	if e.Kind == manager.Closed {
		p.closed = true
		b.closed[fmt.Sprintf("%v/%v", e.Side, e.Reason)]++
	}
}

// hello lets everybody in: a swarm by its message, others by the text "user device". Who listens gets into the room.
func (b *book) hello(e *manager.Event) {
	var h edgedpb.Hello
	if proto.Unmarshal(e.Payload, &h) == nil && strings.HasPrefix(h.Sdk, "edged-swarm/") {
		_ = e.Bind(h.User, h.Device)
		return
	}
	user, device, _ := strings.Cut(string(e.Payload), " ")
	if strings.HasPrefix(user, "listener") {
		_ = e.Join(theRoom)
	}
	_ = e.Bind(user, device)
}

// data answers a swarm as it wants it, and others with who they are and what they said.
func (b *book) data(e *manager.Event, nth int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.turnLocked(e, nth)
	p.buf = p.answerer.Answer(p.buf[:0], e.Payload)
	answer, _ := swarm.ParsePayload(p.buf)
	switch {
	case len(p.buf) == 0:
		_ = e.Data([]byte(e.Session.Text("user") + ": " + string(e.Payload)))
	case answer.Op == swarm.OpPush:
		_ = e.Push(manager.Push{Payload: p.buf, MsgID: strconv.FormatUint(uint64(answer.Answer), 10), Ack: manager.AckRequired})
	default:
		_ = e.Data(p.buf)
	}
}

// cast sends the next number to the room.
func (b *book) cast(m *manager.Manager) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := m.DataTo(manager.ToRoom(theRoom), binary.BigEndian.AppendUint64(nil, b.casts+1))
	if err == nil && n > 0 {
		b.casts++
	}
	return err
}

// open are the links that the Managers hold to be there, each with what they were told of it.
func (b *book) open() (left []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, p := range b.pages {
		if !p.closed {
			left = append(left, id+" "+p.told)
		}
	}
	return left
}

func (b *book) check(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		t.Error(w)
	}
}

// renew replaces the Manager by another process of it, as far as gateways can tell. The old one answers what it has got first.
func (k *kit) renew(h manager.Handler) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	check(k.t, k.m.Stop(ctx))
	k.server.GracefulStop()
	k.m = manager.New(manager.Options{ID: "test", Handler: h})
}
