package demo

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/queue"
	"edged/sdk/manager"
	"edged/swarm"
	"edged/wire"
)

// modeKey is the session key under which the Manager remembers how a link's client talks.
const modeKey = "demo.mode"

// How clients talk.
const (
	modeText  = "text"
	modeSwarm = "swarm"
	modeTags  = "tags"
)

// The tags that the reference Manager knows.
var (
	TagHello  = manager.Tag{A: 1, B: 0}
	TagEcho   = manager.Tag{A: 2, B: 0}
	TagChat   = manager.Tag{A: 3, B: 0}
	TagSaid   = manager.Tag{A: 3, B: 1}
	TagLetter = manager.Tag{A: 3, B: 2}
)

// Manager is the reference Manager: login, echo, chat between users, dispatch by tag, and the other end of a swarm.
type Manager struct {
	kit    *manager.Manager
	router manager.Router
	post   *queue.Writer // where letters go; static when Serve is called, nil: there is no queue layer
	swarm  ledgers

	mu    sync.Mutex
	users map[string]map[manager.Link]bool // a user's links; true: it talks plain text; guarded by mu
}

// NewManager makes a Manager; Serve lets gateways in.
func NewManager(log *slog.Logger) *Manager {
	m := &Manager{users: map[string]map[manager.Link]bool{}}
	m.router.Handle(TagHello, func(c *manager.Call) { _ = c.Answer(map[uint32]any{0: "Hello world"}) })
	m.router.Handle(TagEcho, echo)
	m.router.Handle(TagChat, m.chat)
	m.router.Handle(TagLetter, m.letter)
	m.kit = manager.New(manager.Options{ID: "demo", Log: log, Handler: manager.Handler{
		Hello: m.hello, Data: m.data, Closed: m.closed, Lost: m.lost,
	}})
	return m
}

// Serve serves gateways until Stop.
func (m *Manager) Serve(lis net.Listener) error { return m.kit.Serve(lis) }

// Stop ends Serve.
func (m *Manager) Stop(ctx context.Context) error { return m.kit.Stop(ctx) }

// caller is what a HELLO says.
type caller struct {
	user, device, mode string
	synced             uint64 // version up to which the device has all stored messages; 0: it does not say
}

// login reads a HELLO.
func login(payload []byte) (who caller, ok bool) {
	var h edgedpb.Hello
	if proto.Unmarshal(payload, &h) == nil && h.User != "" && len(h.ProtoReflect().GetUnknown()) == 0 {
		who = caller{h.User, h.Device, modeTags, h.SyncedVersion}
		if strings.HasPrefix(h.Sdk, "edged-swarm/") {
			who.mode = modeSwarm
		}
		return who, true
	}
	words := strings.Fields(string(payload))
	if !utf8.Valid(payload) || len(words) != 2 {
		return caller{}, false
	}
	return caller{user: words[0], device: words[1], mode: modeText}, true
}

func (m *Manager) hello(e *manager.Event) {
	who, ok := login(e.Payload)
	if !ok {
		_ = e.Close(wire.ByeLoginFailed, 0, "say who you are: a protobuf Hello, or the text: user device")
		return
	}
	m.forget(e) // of a link that says HELLO again, as somebody else perhaps
	m.mu.Lock()
	if m.users[who.user] == nil {
		m.users[who.user] = map[manager.Link]bool{}
	}
	m.users[who.user][e.Link] = who.mode == modeText
	m.mu.Unlock()
	_ = e.Patch(map[string]string{modeKey: who.mode}, nil)
	_ = e.BindSynced(who.user, who.device, who.synced)
}

func (m *Manager) data(e *manager.Event) {
	switch string(e.Session.Value(modeKey)) {
	case modeSwarm:
		m.swarm.answer(e)
	case modeText:
		if _, numbered := swarm.ParsePayload(e.Payload); numbered { // a swarm that logged in with plain text
			m.swarm.answer(e)
		} else {
			m.text(e)
		}
	default:
		m.router.Serve(e)
	}
}

// text answers who talks plain text.
func (m *Manager) text(e *manager.Event) {
	user := e.Session.Text("user")
	if to, text, ok := bytes.Cut(e.Payload, []byte(" ")); ok && len(to) > 1 && to[0] == '@' {
		if m.say(user, string(to[1:]), string(text)) == 0 {
			_ = e.Data([]byte(string(to[1:]) + " is not here"))
		}
		return
	}
	_ = e.Data(append([]byte(user+": "), e.Payload...))
}

func echo(c *manager.Call) {
	body := map[uint32]any{}
	for k, v := range c.Request.Body {
		body[k] = v
	}
	_ = c.Answer(body)
}

func (m *Manager) chat(c *manager.Call) {
	n := m.say(c.Event.Session.Text("user"), c.String(0), c.String(1))
	_ = c.Answer(map[uint32]any{0: n})
}

// say sends text to every link of a user and returns how many those are.
func (m *Manager) say(from, to, text string) (links int) {
	message, err := manager.Encode(TagSaid, map[uint32]any{0: from, 1: text})
	if err != nil { // not UTF-8
		return 0
	}
	plain := []byte(from + ": " + text)
	m.mu.Lock()
	defer m.mu.Unlock()
	for link, isText := range m.users[to] {
		payload := message
		if isText {
			payload = plain
		}
		if m.kit.Data(link, payload) == nil {
			links++
		}
	}
	return links
}

// postWithin bounds how long the queue layer's stream may take to accept a letter.
const postWithin = 3 * time.Second

// letter puts a text for a user into the queue layer's hands, which keeps it until the user has it. It waits for Redis, and
// so do those who speak on the same stream: a Manager with many of them would use a manager.Sender.
func (m *Manager) letter(c *manager.Call) {
	from := c.Event.Session.Text("user")
	to, err := queue.ParseTo("user:" + c.String(0))
	payload, err2 := manager.Encode(TagSaid, map[uint32]any{0: from, 1: c.String(1)})
	switch {
	case m.post == nil:
		_ = c.Fail(manager.CodeFirst, "there is no queue layer here")
		return
	case err != nil || err2 != nil:
		_ = c.Fail(manager.CodeFirst, "a letter needs a user and a text")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), postWithin)
	defer cancel()
	ids, err := m.post.Write(ctx, []queue.Message{{
		To: to, MsgID: from + "/" + c.String(2), Payload: payload, Ack: batch.AckRequired, Offline: true,
	}})
	if err != nil {
		_ = c.Fail(manager.CodeFirst, err.Error())
		return
	}
	_ = c.Answer(map[uint32]any{0: ids[0]})
}

func (m *Manager) closed(e *manager.Event) {
	m.forget(e)
	m.swarm.forget(e.Link)
}

// forget takes a link from its user.
func (m *Manager) forget(e *manager.Event) {
	user := e.Session.Text("user")
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.users[user], e.Link)
	if len(m.users[user]) == 0 {
		delete(m.users, user)
	}
}

// lost forgets the links of a gateway that started afresh.
func (m *Manager) lost(g manager.Gateway) {
	m.mu.Lock()
	for user, links := range m.users {
		for link := range links {
			if link.Gateway().Epoch == g.Epoch {
				delete(links, link)
			}
		}
		if len(links) == 0 {
			delete(m.users, user)
		}
	}
	m.mu.Unlock()
	m.swarm.lost(g)
}
