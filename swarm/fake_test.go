package swarm_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/netpoll"
	"edged/swarm"
	"edged/wire"
)

// way is a direction of a message through the fake gateway.
type way int

const (
	upward   way = iota // to the Manager, which lives in the fake too
	downward            // its answers
)

// action is what the fake does to a message.
type action int

const (
	pass action = iota
	lose
	double
	hold       // deliver it after the next one of the same link and way
	flipFiller // change a byte behind the head
	flipMagic  // change a byte of the head
	truncate   // leave the last byte out
	stall      // hold everything of all links for a while
	dismiss    // deliver it, then BYE 8
	dismissUnheard
	hangUp       // end the stream without BYE
	reset        // reset the stream
	protocolless // send what no gateway may send
)

const stallTime = 400 * time.Millisecond

// gateway is a fake: it speaks the client protocol and the echo contract, and does harm on purpose. The fields of the first
// group are set before start and never changed.
type gateway struct {
	welcome   wire.Welcome
	noLogin   bool
	mute      bool // answers no heartbeat
	deaf      bool // reads nothing after HELLO
	holdHello time.Duration
	harm      func(user string, w way, p swarm.Payload) action
	judge     func(user string, times int) (wire.Reason, time.Duration) // of a HELLO; 0: welcome
	greet     func(user string) []byte                                  // sent behind WELCOME

	loop *netpoll.Loop // the fields below belong to its thread

	clients map[netpoll.Conn]*client
	users   map[string]*user
	waiting []netpoll.Conn // for WELCOME
	since   time.Duration
	stalled []func()
	until   time.Duration

	mu   sync.Mutex
	seen seen // guarded by mu
}

// seen is what the fake saw.
type seen struct {
	opened, most, byes, heartbeats, acks, pongs int
	hellos                                      []string
	remotes                                     map[string]int             // connections by address
	times                                       map[string][]time.Duration // of HELLOs, by user
}

type client struct {
	conn    netpoll.Conn
	user    *user
	manager swarm.Answerer
	held    [2][]byte
}

type user struct {
	name   string
	hellos int
}

// start serves on a loopback port until the test ends.
func (g *gateway) start(t testing.TB) (address string) {
	t.Helper()
	g.clients, g.users = map[netpoll.Conn]*client{}, map[string]*user{}
	g.seen.times, g.seen.remotes = map[string][]time.Duration{}, map[string]int{}
	if g.welcome.Heartbeat == 0 {
		g.welcome = wire.Welcome{LinkID: []byte("192.0.2.1:1:1:1"), Heartbeat: 25 * time.Second, IdleTimeout: 30 * time.Second, MaxFrame: 65535}
	}
	group, err := netpoll.New(netpoll.Config{MaxConns: 8192}, func(l *netpoll.Loop) netpoll.Handler { g.loop = l; return g })
	if err != nil {
		t.Fatal(err)
	}
	_, addr, err := group.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group.Start()
	t.Cleanup(group.Stop)
	return addr.String()
}

// look returns what was seen so far.
func (g *gateway) look() seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

func (g *gateway) note(f func(s *seen)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.seen)
}

func (g *gateway) Opened(c netpoll.Conn, _ int) {
	g.clients[c] = &client{conn: c}
	from := g.loop.Remote(c).Addr().String()
	g.note(func(s *seen) { s.opened++; s.remotes[from]++ })
	if g.noLogin {
		g.admit(c, "anybody")
	}
}

func (g *gateway) Closed(c netpoll.Conn, _ error) { delete(g.clients, c) }
func (g *gateway) Backlog(netpoll.Conn, int)      {}
func (g *gateway) Pending() bool                  { return false }

func (g *gateway) Turn(now time.Duration) time.Duration {
	wait := time.Duration(-1)
	if len(g.stalled) > 0 {
		if wait = g.until - now; wait <= 0 {
			todo := g.stalled
			g.stalled, wait = nil, -1
			for _, f := range todo {
				f()
			}
		}
	}
	if n := len(g.waiting); n > 0 {
		g.note(func(s *seen) { s.most = max(s.most, n) })
		if left := g.since + g.holdHello - now; left > 0 {
			return left
		}
		for _, c := range g.waiting {
			g.greetNow(c)
		}
		g.waiting = g.waiting[:0]
	}
	return wait
}

func (g *gateway) Read(c netpoll.Conn, in []byte) (used int) {
	for {
		body, n, _ := wire.Split(in[used:], wire.MaxBody)
		if n == 0 {
			return used
		}
		used += n
		if cl := g.clients[c]; cl != nil {
			g.frame(cl, body)
		}
	}
}

func (g *gateway) frame(cl *client, body []byte) {
	if len(body) == 0 {
		g.note(func(s *seen) { s.heartbeats++ })
		if !g.mute {
			g.loop.Write(cl.conn, []byte{0, 0})
		}
		return
	}
	switch rest := body[1:]; wire.Kind(body[0]) {
	case wire.KindHello:
		g.hello(cl, rest)
	case wire.KindData:
		g.up(cl, append([]byte(nil), rest...))
	case wire.KindBye:
		g.note(func(s *seen) { s.byes++ })
		g.loop.Close(cl.conn)
	case wire.KindAck:
		g.note(func(s *seen) { s.acks++ })
	case wire.KindPong:
		g.note(func(s *seen) { s.pongs++ })
	}
}

func (g *gateway) hello(cl *client, rest []byte) {
	name := string(rest)
	var h edgedpb.Hello
	if proto.Unmarshal(rest, &h) == nil && h.User != "" {
		name = h.User
	} else {
		name, _, _ = strings.Cut(name, " ")
	}
	g.note(func(s *seen) {
		s.hellos = append(s.hellos, string(rest))
		s.times[name] = append(s.times[name], g.loop.Now())
	})
	g.admit(cl.conn, name)
}

// admit welcomes a client, or sends it away.
func (g *gateway) admit(c netpoll.Conn, name string) {
	u := g.users[name]
	if u == nil {
		u = &user{name: name}
		g.users[name] = u
	}
	g.clients[c].user = u
	u.hellos++
	if g.judge != nil {
		if why, after := g.judge(name, u.hellos); why != 0 {
			g.loop.Close(c, wire.AppendBye(nil, why, after, "because"))
			return
		}
	}
	if g.holdHello > 0 {
		if len(g.waiting) == 0 {
			g.since = g.loop.Now()
		}
		g.waiting = append(g.waiting, c)
		return
	}
	g.greetNow(c)
}

func (g *gateway) greetNow(c netpoll.Conn) {
	cl := g.clients[c]
	if cl == nil {
		return
	}
	g.loop.Write(c, wire.AppendWelcome(nil, g.welcome))
	if g.deaf {
		g.loop.Pause(c)
	}
	if g.greet != nil {
		g.loop.Write(c, g.greet(cl.user.name))
	}
}

// up takes a message to the Manager, and its answer back.
func (g *gateway) up(cl *client, payload []byte) {
	g.treat(cl, upward, payload, func(payload []byte) {
		answer := cl.manager.Answer(nil, payload)
		g.treat(cl, downward, answer, func(answer []byte) {
			if p, _ := swarm.ParsePayload(answer); p.Op == swarm.OpPush {
				g.loop.Write(cl.conn, wire.AppendPush(nil, wire.Push{TID: p.Answer, Flags: wire.FlagAck, Payload: answer}))
				return
			}
			g.loop.Write(cl.conn, wire.Append(nil, wire.KindData, answer))
		})
	})
}

// treat delivers a message, or does something else to it.
func (g *gateway) treat(cl *client, w way, b []byte, deliver func([]byte)) {
	if len(g.stalled) > 0 {
		g.stalled = append(g.stalled, func() { deliver(b) })
		return
	}
	what := pass
	if p, ok := swarm.ParsePayload(b); ok && g.harm != nil {
		what = g.harm(cl.user.name, w, p)
	}
	switch what {
	case lose:
		return
	case double:
		deliver(b)
	case hold:
		cl.held[w] = b
		return
	case flipFiller:
		b[len(b)-1] ^= 1
	case flipMagic:
		b[0] ^= 1
	case truncate:
		b = b[:len(b)-1]
	case stall:
		g.until = g.loop.Now() + stallTime
		g.stalled = append(g.stalled, func() { deliver(b) })
		return
	case dismiss, dismissUnheard:
		if what == dismiss {
			deliver(b)
		}
		g.loop.Close(cl.conn, wire.AppendBye(nil, wire.ByeDraining, time.Millisecond, ""))
		return
	case hangUp:
		g.loop.Close(cl.conn)
		return
	case reset:
		g.loop.Abort(cl.conn)
		return
	case protocolless:
		g.loop.Write(cl.conn, []byte{0, 1, 99})
		return
	}
	deliver(b)
	if late := cl.held[w]; late != nil {
		cl.held[w] = nil
		deliver(late)
	}
}

// once harms one message of one user.
func once(name string, w way, seq uint32, what action) func(string, way, swarm.Payload) action {
	done := false
	return func(user string, dir way, p swarm.Payload) action {
		if done || user != name || dir != w || p.Seq != seq || p.Op == swarm.OpFinish || p.Op == swarm.OpReport {
			return pass
		}
		done = true
		return what
	}
}
