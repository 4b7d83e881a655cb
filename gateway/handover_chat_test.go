package gateway_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
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

// chat is clients that number what they say, Managers that say all of it back and number what they push, and what each side
// misses, gets twice, or gets out of order.
type chat struct {
	t    *testing.T
	stop atomic.Bool
	wg   sync.WaitGroup

	mu     sync.Mutex        // guards what follows
	heard  map[string]uint32 // by link: the next number of its client
	pushed map[string]int    // by msg_id: how often it was reported
	faults []string
}

func (c *chat) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// serve starts one Manager and returns its address.
func (c *chat) serve(id string) string {
	c.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	m := manager.New(manager.Options{ID: id, Handler: manager.Handler{
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
			if !c.stop.Load() {
				c.fault("link %s ended: %d %s", e.Link, e.Reason, e.Evidence)
			}
		},
	}})
	server := grpc.NewServer(grpc.ForceServerCodecV2(manager.Codec()))
	m.Register(server)
	go func() { _ = server.Serve(lis) }()
	c.t.Cleanup(server.Stop)
	return lis.Addr().String()
}

// answer says a message back, by DATA and, each third one, by a push that must be acknowledged.
func (c *chat) answer(e *manager.Event) {
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
		_ = e.Push(manager.Push{Payload: e.Payload, MsgID: id, Ack: manager.AckRequired})
	}
}

func (c *chat) report(id, loss string) {
	c.mu.Lock()
	c.pushed[id]++
	n := c.pushed[id]
	c.mu.Unlock()
	if n != 1 || loss != "" {
		c.fault("push %s: report %d %s", id, n, loss)
	}
}

// talk is one client, until stop, and then until it has had every answer.
func (c *chat) talk(x *client, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	var sent, echoed, pushes, tid uint32
	const ahead = 20
	for !c.stop.Load() || echoed < sent || pushes < (sent+2)/3 {
		var out []byte
		for !c.stop.Load() && sent < echoed+ahead && random.IntN(8) > 0 {
			out = append(out, numbered(sent, random.IntN(400))...)
			sent++
		}
		for len(out) > 0 { // in pieces, so that frames are cut anywhere
			n := 1 + random.IntN(len(out))
			if _, err := x.conn.Write(out[:n]); err != nil {
				c.fault("link %s: %v", x.link, err)
				return
			}
			out = out[n:]
		}
		body, err := x.next(time.Millisecond)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			if sent == echoed && random.IntN(3) == 0 {
				x.write(wire.AppendHeartbeat(nil))
			}
			continue
		}
		if err != nil {
			c.fault("link %s: %v", x.link, err)
			return
		}
		switch {
		case len(body) == 0:
		case wire.Kind(body[0]) == wire.KindData:
			if n := binary.BigEndian.Uint32(body[1:]); n != echoed {
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
			x.write(wire.AppendAck(nil, p.TID))
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
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chatOverHandOvers(t, seed) })
	}
}

func chatOverHandOvers(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	c := &chat{t: t, heard: map[string]uint32{}, pushed: map[string]int{}}
	addresses := []string{c.serve("one"), c.serve("two")}
	o := options(addresses[:1+random.IntN(2)]...)
	o.Config.Reactors = 1 + random.IntN(3)
	o.Managers.Grace = 5 * time.Second
	o.Delivery = delivery.Default()
	o.Delivery.Retry = 200 * time.Millisecond
	r := start(t, o)
	for i := range 12 {
		x := r.loginAs(fmt.Sprint("user", i))
		c.wg.Go(func() { c.talk(x, seed+uint64(i)) })
	}
	for range 6 {
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		if n := len(o.Managers.Addresses); n == 2 {
			o.Managers.Addresses = []string{o.Managers.Addresses[1], o.Managers.Addresses[0]}
		}
		r = r.succeed(o)
	}
	time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
	c.finish(r)
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
	eventually(c.t, "each push is reported", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, n := range c.pushed {
			if n == 0 {
				return false
			}
		}
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) > 0 {
		c.t.Errorf("%d faults:\n%s", len(c.faults), strings.Join(c.faults, "\n"))
	}
	total := uint32(0)
	for _, n := range c.heard {
		total += n
	}
	if st := r.total(); total == 0 || st.FramesIn[wire.KindData] != uint64(total) {
		c.t.Errorf("%d messages, and the counter says %d", total, st.FramesIn[wire.KindData])
	}
	c.t.Logf("%d messages, %d pushes", total, len(c.pushed))
	r.balanced()
}
