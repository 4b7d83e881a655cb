package gateway_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"edged/delivery"
	"edged/gateway"
	"edged/sdk/manager"
	"edged/wire"
)

// chat is clients that number what they say, Managers that say all of it back and number what they push and what they say to
// everybody, and what each side misses, gets twice, or gets out of order.
type chat struct {
	t        *testing.T
	managers []*manager.Manager // static once they are served
	ahead    uint32             // messages that a client says before it has had an answer; static
	stop     atomic.Bool        // nobody says anything new
	wg       sync.WaitGroup
	gate     sync.RWMutex // held: no Manager takes anything
	cast     [2]atomic.Uint32

	mu     sync.Mutex        // guards what follows
	heard  map[string]uint32 // by link: the next number of its client
	pushed map[string]int    // by msg_id: how often it was reported
	lost   map[string]string // by link: a push that came to nothing, and why
	torn   map[string]bool   // links that a crash ended
	faults []string
}

func (c *chat) tear(link string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.torn[link] = true
}

// isTorn waits for a Manager to be told of the end of a link that its client has seen.
func (c *chat) isTorn(link string) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		torn := c.torn[link]
		c.mu.Unlock()
		if torn {
			return true
		}
	}
	return false
}

func (c *chat) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

func newChat(t *testing.T) *chat {
	return &chat{t: t, ahead: 20, heard: map[string]uint32{}, pushed: map[string]int{}, lost: map[string]string{}, torn: map[string]bool{}}
}

// serve starts one Manager and returns its address.
func (c *chat) serve(number int) string {
	c.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	m := manager.New(manager.Options{ID: fmt.Sprint("manager ", number), Handler: manager.Handler{
		Hello: func(e *manager.Event) {
			_ = e.Bind(string(e.Payload), "phone")
			_ = e.Join("all")
		},
		Data: c.answer,
		Acked: func(e *manager.Event) {
			e.Receipts(func(r manager.Receipt) bool { c.report(string(r.MsgID), ""); return true })
		},
		Undelivered: func(e *manager.Event) {
			e.Losses(func(l manager.Loss) bool { c.report(string(l.MsgID), fmt.Sprint(l.Reason)); return true })
		},
		Closed: func(e *manager.Event) {
			if string(e.Evidence) == "torn" {
				c.tear(e.Link.String())
			} else if !c.stop.Load() {
				c.fault("link %s ended: %d %s", e.Link, e.Reason, e.Evidence)
			}
		},
	}})
	server := grpc.NewServer(grpc.ForceServerCodecV2(manager.Codec()))
	m.Register(server)
	go func() { _ = server.Serve(lis) }()
	c.t.Cleanup(server.Stop)
	c.managers = append(c.managers, m)
	return lis.Addr().String()
}

// broadcast has a Manager say numbers to everybody, until stop.
func (c *chat) broadcast(m *manager.Manager, number int) {
	for n := uint32(1); !c.stop.Load(); {
		if sent, err := m.DataTo(manager.ToRoom("all"), castNumber(number, n)); err == nil && sent == 1 {
			c.cast[number].Store(n)
			n++
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// castMark is no number that a client says.
const castMark = 1<<32 - 1

func castNumber(manager int, n uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, castMark)
	return binary.BigEndian.AppendUint32(append(b, byte(manager)), n)
}

// casts is what one client got of what was said to everybody: each number from 1 on, once. Their order is that of a stream, and
// there is one for each reactor.
type casts struct {
	got  map[uint32]bool
	last uint32
}

func (x *casts) take(n uint32) (again bool) {
	if x.got == nil {
		x.got = map[uint32]bool{}
	}
	x.last = max(x.last, n)
	again = x.got[n]
	x.got[n] = true
	return again
}

func (x *casts) String() string {
	var missing []uint32
	for n := uint32(1); n < x.last; n++ {
		if !x.got[n] {
			missing = append(missing, n)
		}
	}
	return fmt.Sprintf("up to %d without %v", x.last, missing)
}

// whole says that all up to n have come.
func (x *casts) whole(n uint32) bool {
	return len(x.got) == int(n)
}

// answer says a message back, by DATA and, each third one, by a push that must be acknowledged.
func (c *chat) answer(e *manager.Event) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	n, link := binary.BigEndian.Uint32(e.Payload), e.Link.String()
	c.mu.Lock()
	want := c.heard[link]
	c.heard[link] = n + 1
	c.mu.Unlock()
	if n != want {
		c.fault("link %s: the Manager got %d and not %d", link, n, want)
	}
	_ = e.Data(e.Payload)
	if n%3 == 0 {
		id := fmt.Sprint(link, "/", n)
		c.mu.Lock()
		c.pushed[id] += 0
		c.mu.Unlock()
		if err := e.Push(manager.Push{Payload: e.Payload, MsgID: id, Ack: manager.AckRequired}); err != nil {
			c.fault("push %s: %v", id, err)
		}
	}
}

func (c *chat) report(id, loss string) {
	c.mu.Lock()
	c.pushed[id]++
	n := c.pushed[id]
	if link, _, _ := strings.Cut(id, "/"); loss != "" {
		c.lost[link] = loss
	}
	c.mu.Unlock()
	if n != 1 {
		c.fault("push %s: report %d %s", id, n, loss)
	}
}

// talk is one client, until stop, and then until it has had every answer.
func (c *chat) talk(x *client, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	var sent, echoed, pushes, tid uint32
	var all [2]casts
	whole := func() bool {
		return echoed == sent && pushes == (sent+2)/3 && all[0].whole(c.cast[0].Load()) && all[1].whole(c.cast[1].Load())
	}
	var end time.Time
	for !c.stop.Load() || !whole() {
		if c.stop.Load() && end.IsZero() {
			end = time.Now().Add(patience)
		} else if c.stop.Load() && time.Now().After(end) {
			c.fault("link %s: %d said, %d came back, %d pushes; to everybody: %s of %d, %s of %d", x.link, sent, echoed, pushes,
				&all[0], c.cast[0].Load(), &all[1], c.cast[1].Load())
			return
		}
		var out []byte
		for !c.stop.Load() && sent < echoed+c.ahead && random.IntN(8) > 0 {
			out = append(out, numbered(sent, random.IntN(400))...)
			sent++
		}
		for len(out) > 0 { // in pieces, so that frames are cut anywhere
			n := 1 + random.IntN(len(out))
			_ = x.conn.SetWriteDeadline(time.Now().Add(patience))
			if _, err := x.conn.Write(out[:n]); err != nil {
				if !c.isTorn(x.link) {
					c.fault("link %s: %v", x.link, err)
				}
				return
			}
			out = out[n:]
		}
		body, err := x.next(time.Millisecond)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			if sent == echoed && random.IntN(3) == 0 {
				_, _ = x.conn.Write(wire.AppendHeartbeat(nil))
			}
			continue
		}
		if err != nil {
			if !c.isTorn(x.link) {
				c.fault("link %s: %v", x.link, err)
			}
			return
		}
		switch {
		case len(body) == 0:
		case wire.Kind(body[0]) == wire.KindData:
			n := binary.BigEndian.Uint32(body[1:])
			if n == castMark {
				if m, n := body[5], binary.BigEndian.Uint32(body[6:]); all[m].take(n) {
					c.fault("link %s: number %d of Manager %d to everybody came twice", x.link, n, m)
				}
				continue
			}
			if n != echoed {
				c.fault("link %s: the client got %d and not %d", x.link, n, echoed)
			}
			echoed++
		case wire.Kind(body[0]) == wire.KindPush:
			p, _ := wire.ParsePush(body[1:])
			if p.Flags&wire.FlagAgain == 0 || p.TID >= tid {
				if p.TID != tid || binary.BigEndian.Uint32(p.Payload) != 3*pushes {
					c.fault("link %s: push %d of %d, not %d of %d", x.link, p.TID, binary.BigEndian.Uint32(p.Payload), tid, 3*pushes)
				}
				tid++
				pushes++
			}
			_, _ = x.conn.Write(wire.AppendAck(nil, p.TID))
		default:
			c.fault("link %s: frame % x", x.link, head(body))
			return
		}
	}
}

// TestChatOverHandOvers hands a gateway over again and again, at random moments, while everybody talks.
func TestChatOverHandOvers(t *testing.T) {
	rounds := 4
	if testing.Short() || gateway.RaceEnabled {
		rounds = 2
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chatOverHandOvers(t, way{kept: seed%2 == 0}, seed) })
	}
}

// TestChatOverCrashes kills it instead. Links that were in use in the turn that was not committed are torn; all that the others say
// and hear is whole.
func TestChatOverCrashes(t *testing.T) {
	rounds := 4
	if testing.Short() || gateway.RaceEnabled {
		rounds = 2
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chatOverHandOvers(t, way{kept: true, crash: true, torn: true}, seed) })
	}
}

func chatOverHandOvers(t *testing.T, w way, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	c := newChat(t)
	addresses := []string{c.serve(0), c.serve(1)}[:1+random.IntN(2)]
	o := options(addresses...)
	o.Config.Reactors = 1 + random.IntN(3)
	o.Managers.Grace = 5 * time.Second
	o.Delivery = delivery.Default()
	o.Delivery.Retry = 200 * time.Millisecond
	if random.IntN(2) == 0 {
		o.Config.LinkRate = 2000 // links are throttled
	}
	if random.IntN(2) == 0 {
		o.Managers.Buffer = 128 << 10 // links wait for room
		c.ahead = 100
	}
	r := w.start(t, o)
	var links []*client
	for i := range 12 {
		links = append(links, r.loginAs(fmt.Sprint("user", i)))
	}
	c.begin(r, links, seed)
	for range 6 {
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		jam := random.IntN(3) == 0
		if jam {
			c.gate.Lock()
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		}
		o.Managers.Addresses = slices.Clone(o.Managers.Addresses)
		slices.Reverse(o.Managers.Addresses)
		before := r.total()
		r = r.succeed(o)
		if w.crash {
			c.t.Logf("%d links, %d of them torn", before.Links, r.total().Ended[gateway.EndTorn])
		}
		if jam {
			c.gate.Unlock()
		}
	}
	time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
	c.finish(r)
}

// begin has everybody talk, once all are in the room.
func (c *chat) begin(r *rig, links []*client, seed uint64) {
	c.t.Helper()
	eventually(c.t, "all are in the room", func() bool { return r.sum().Memberships == len(links) })
	for i, x := range links {
		c.wg.Go(func() { c.talk(x, seed+uint64(i)) })
	}
	for i, m := range c.managers {
		c.wg.Go(func() { c.broadcast(m, i) })
	}
}

// finish has everybody say the last word, and looks at what is missing.
func (c *chat) finish(r *rig) {
	c.t.Helper()
	c.stop.Store(true)
	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * patience):
		c.t.Error("not every answer came")
	}
	var missing string
	whole := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		missing = ""
		for id, n := range c.pushed {
			if link, _, _ := strings.Cut(id, "/"); n == 0 {
				missing = fmt.Sprintf("%s %s (torn: %v)", missing, id, c.torn[link])
			}
		}
		return missing == ""
	}
	for end := time.Now().Add(patience); !whole(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.t.Errorf("pushes without a report:%s", missing)
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for link, loss := range c.lost {
		if !c.torn[link] {
			c.t.Errorf("link %s: a push came to nothing: %s", link, loss)
		}
	}
	if len(c.faults) > 0 {
		c.t.Errorf("%d faults:\n%s", len(c.faults), strings.Join(c.faults, "\n"))
	}
	total := uint32(0)
	for _, n := range c.heard {
		total += n
	}
	if st := r.total(); total == 0 || !r.way.crash && st.FramesIn[wire.KindData] != uint64(total) {
		c.t.Errorf("%d messages, and the counter says %d", total, st.FramesIn[wire.KindData])
	}
	c.t.Logf("%d messages, %d pushes, %d and %d to everybody; throttled %d times, without room %d times", total, len(c.pushed),
		c.cast[0].Load(), c.cast[1].Load(), r.total().Throttles, r.total().Stalls)
	r.balanced()
}
