//go:build e2e

package tests

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/wire"
)

// Limits of the gateway that bad clients meet.
const (
	badMaxFrame = 40000
	badIdle     = 6 * time.Second // of the bystanders too, whom a machine that stands still must not end
	badFrame    = time.Second
	badWrite    = time.Second
	badLogin    = time.Second
)

const badGateway = `
reactors = 2
max_frame = 40000
heartbeat = "500ms"
idle_timeout = "6s"
frame_timeout = "1s"
write_timeout = "1s"
login_timeout = "1s"
`

// zoo is a gateway with bad clients, and what is known of how they end.
type zoo struct {
	g    *gateway
	p    *plain
	ends map[wire.Reason]*atomic.Int64
	byes *atomic.Int64 // said by clients
}

// in is the same zoo for a sub-test.
func (z *zoo) in(t *testing.T) *zoo {
	return &zoo{g: z.g.in(t), p: z.p.in(t), ends: z.ends, byes: z.byes}
}

func (z *zoo) ended(r wire.Reason) { z.ends[r].Add(1) }

// TestBadClients lets clients misbehave in every way that the protocol names. Each one gets its BYE, every end is counted
// once, and fifty links beside notice nothing.
func TestBadClients(t *testing.T) {
	t.Parallel()
	p := newPlain(t, nil)
	z := &zoo{p: p, g: start(t, setup{gateway: badGateway, managers: []string{p.address}}), ends: map[wire.Reason]*atomic.Int64{}, byes: new(atomic.Int64)}
	for _, r := range []wire.Reason{wire.ByeProtocol, wire.ByeIdle, wire.ByeSlow, wire.ByeLoginTimeout} {
		z.ends[r] = new(atomic.Int64)
	}
	good := beside(t, z.g.address(), 50, 100*time.Millisecond)
	t.Run("zoo", func(t *testing.T) {
		t.Run("frames", func(t *testing.T) { t.Parallel(); z.in(t).badFrames(t) })
		t.Run("early", func(t *testing.T) { t.Parallel(); z.in(t).tooEarly(t) })
		t.Run("garbage", func(t *testing.T) { t.Parallel(); z.in(t).garbage(t) })
		t.Run("silent", func(t *testing.T) { t.Parallel(); z.in(t).silent(t) })
		t.Run("mute", func(t *testing.T) { t.Parallel(); z.in(t).mute(t) })
		t.Run("dripping", func(t *testing.T) { t.Parallel(); z.in(t).dripping(t) })
		t.Run("gorged", func(t *testing.T) { t.Parallel(); z.in(t).gorged(t) })
		t.Run("stuck", func(t *testing.T) { t.Parallel(); z.in(t).stuck(t) })
		t.Run("cut", func(t *testing.T) { t.Parallel(); z.in(t).cut(t) })
	})
	good.waitRound()
	good.stop(badIdle - time.Second) // 3 s were seen where the tests beside this one have the CPUs
	for r, n := range z.ends {
		z.g.waitMetric("edged_links_closed_total", float64(n.Load()), "reason", r.String())
	}
	z.g.waitMetric("edged_links_closed_total", float64(50+z.byes.Load()), "reason", "client_bye")
	z.g.waitMetric("edged_links", 0)
	z.g.waitMetric("edged_connections_lingering", 0)
	z.g.balanced()
}

// badFrames are single frames that no client may send, after a login.
func (z *zoo) badFrames(t *testing.T) {
	rest := make([]byte, 8)
	for name, b := range map[string][]byte{
		"oversized":       {badMaxFrame >> 8, badMaxFrame & 0xff, byte(wire.KindData)},
		"largest":         {0xff, 0xff},
		"kind 0":          wire.Append(nil, 0, rest),
		"kind 9":          wire.Append(nil, 9, rest),
		"kind 255":        wire.Append(nil, 255, nil),
		"WELCOME":         wire.Append(nil, wire.KindWelcome, rest),
		"PUSH":            wire.Append(nil, wire.KindPush, rest),
		"empty ACK":       wire.Append(nil, wire.KindAck, nil),
		"ACK of 7 bytes":  wire.Append(nil, wire.KindAck, rest[:7]),
		"PING of 3 bytes": wire.Append(nil, wire.KindPing, rest[:3]),
		"PING of 5 bytes": wire.Append(nil, wire.KindPing, rest[:5]),
		"empty PONG":      wire.Append(nil, wire.KindPong, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "oversized" {
				b[1]++
			}
			z := z.in(t)
			c := dialIn(t, z.g.address(), "bad/"+name)
			z.ended(wire.ByeProtocol)
			check(t, c.write(wire.Append(nil, wire.KindData, []byte(name+" comes"))))
			check(t, c.write(append(b, wire.Append(nil, wire.KindData, []byte(name+" went"))...)))
			c.wantBye(wire.ByeProtocol)
			z.p.data(name + " comes")
			closed := z.p.await("closed", func(it *edgedpb.UpItem) bool {
				return it.GetClosed() != nil && it.GetSession().GetValues()["link"] == c.link
			}).GetClosed()
			if closed.GetReason() != uint32(wire.ByeProtocol) || closed.GetSide() != edgedpb.Closed_CLIENT || closed.GetEvidence() == "" {
				t.Errorf("the Manager was told %v", closed)
			}
			if behind := z.p.items.all(func(it *edgedpb.UpItem) bool { return string(it.GetMessage().GetPayload()) == name+" went" }); len(behind) != 0 {
				t.Error("what stood behind the bad frame was delivered")
			}
		})
	}
}

// tooEarly says DATA and ACK before WELCOME.
func (z *zoo) tooEarly(t *testing.T) {
	for _, b := range [][]byte{wire.Append(nil, wire.KindData, []byte("early")), wire.AppendAck(nil, 0)} {
		c := dial(t, z.g.address())
		z.ended(wire.ByeProtocol)
		check(t, c.write(b))
		c.wantBye(wire.ByeProtocol)
	}
}

// garbage sends random bytes; what has to become of them is read off them.
func (z *zoo) garbage(t *testing.T) {
	r := random(t)
	for i := range 60 {
		b := garbage(r, i%3 != 0)
		c := dialIn(t, z.g.address(), "bad/garbage")
		end := endOf(b)
		switch end {
		case wire.ByeProtocol:
			z.ended(end)
		case wire.ByeNormal:
			z.byes.Add(1)
		}
		if err := c.write(b); err != nil && !isReset(err) {
			t.Fatal(err)
		}
		_ = c.conn.(*net.TCPConn).CloseWrite()
		bye, err := c.readToBye()
		switch {
		case end == wire.ByeProtocol && (err != nil && !isReset(err) || bye.Reason != wire.ByeProtocol && err == nil):
			t.Errorf("garbage %d: BYE %v, %v, want a protocol error", i, bye.Reason, err)
		case end != wire.ByeProtocol && !errors.Is(err, io.EOF) && !isReset(err):
			t.Errorf("garbage %d: BYE %v, %v, want the end of the stream", i, bye.Reason, err)
		}
		c.close()
	}
}

// isReset says that the connection was reset: the fate of who goes on sending to a gateway that has said BYE.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// garbage is random bytes, or random frames.
func garbage(r *rand.Rand, frames bool) []byte {
	if !frames {
		return randomBytes(r, 1+r.IntN(100<<10))
	}
	var b []byte
	for range 1 + r.IntN(40) {
		b = wire.Append(b, wire.Kind(r.IntN(9)), randomBytes(r, r.IntN(12)))
	}
	return b
}

// endOf is how a link ends that sends b and then ends its side: ByeProtocol, ByeNormal for a BYE of its own, 0 for none.
func endOf(b []byte) wire.Reason {
	for {
		body, n, err := wire.Split(b, badMaxFrame)
		switch {
		case err != nil || len(body) > 0 && wire.CheckClient(body) != nil:
			return wire.ByeProtocol
		case n == 0:
			return 0
		case len(body) > 0 && wire.Kind(body[0]) == wire.KindBye:
			return wire.ByeNormal
		}
		b = b[n:]
	}
}

// wantLater checks that something took as long as a limit says, and not much longer.
func wantLater(t *testing.T, what string, took, limit time.Duration) {
	t.Helper()
	const clock, busy = 100 * time.Millisecond, time.Second
	if took < limit-clock || took > limit+busy {
		t.Errorf("%s ended after %v, want %v to %v", what, took, limit, limit+busy)
	}
}

// silent says nothing after its login.
func (z *zoo) silent(t *testing.T) {
	c := dial(t, z.g.address())
	began := time.Now()
	must(c.login("bad/silent"))(t)
	z.ended(wire.ByeIdle)
	c.wantBye(wire.ByeIdle)
	wantLater(t, "silence", time.Since(began), badIdle)
}

// mute never says HELLO, but lives.
func (z *zoo) mute(t *testing.T) {
	began := time.Now()
	c := dial(t, z.g.address())
	z.ended(wire.ByeLoginTimeout)
	check(t, c.write(wire.AppendHeartbeat(nil)))
	c.wantBye(wire.ByeLoginTimeout)
	wantLater(t, "the wait for a login", time.Since(began), badLogin)
}

// dripping sends a byte of one frame now and then: it is never silent and never done.
func (z *zoo) dripping(t *testing.T) {
	c := dialIn(t, z.g.address(), "bad/dripping")
	z.ended(wire.ByeIdle)
	began := time.Now()
	done := make(chan struct{})
	go func() {
		drip := time.NewTicker(200 * time.Millisecond)
		defer drip.Stop()
		for b := []byte{1, 0}; c.write(b) == nil; b = []byte{3} {
			select {
			case <-drip.C:
			case <-done:
				return
			}
		}
	}()
	c.wantBye(wire.ByeIdle)
	close(done)
	wantLater(t, "an unfinished frame", time.Since(began), badFrame)
}

// gorged asks for more and more and reads none of it, until it is cut off; then it reads what was left for it.
func (z *zoo) gorged(t *testing.T) {
	c := dialNarrow(t, z.g.address(), "bad/gorged")
	z.ended(wire.ByeSlow)
	data := wire.Append(nil, wire.KindData, make([]byte, 30000))
	before := z.closedSlow()
	for range 1000 { // 30 MB: more than all bounds together
		if err := c.write(data); err != nil || z.closedSlow() > before {
			break
		}
	}
	for {
		f, err := c.next(patience)
		if err != nil {
			if !isReset(err) {
				t.Errorf("the slow consumer's stream ended with %v", err)
			}
			return // cut off by a reset after the time to linger: it had gone on sending
		}
		if f.kind == wire.KindBye {
			if b := wire.ParseBye(f.rest); b.Reason != wire.ByeSlow {
				t.Errorf("BYE %v, want %v", b.Reason, wire.ByeSlow)
			}
			return
		}
	}
}

func (z *zoo) closedSlow() float64 {
	return z.g.metric("edged_links_closed_total", "reason", wire.ByeSlow.String())
}

// stuck does not take its output either, little as it is, but sends heartbeats.
func (z *zoo) stuck(t *testing.T) {
	c := dialNarrow(t, z.g.address(), "bad/stuck")
	l := z.p.opened(c.link).GetLink()
	z.ended(wire.ByeSlow)
	z.p.send(dataItem(l, make([]byte, 30000)))
	began := time.Now()
	done := make(chan struct{})
	go func() {
		beat := time.NewTicker(100 * time.Millisecond)
		defer beat.Stop()
		for c.write(wire.AppendHeartbeat(nil)) == nil {
			select {
			case <-beat.C:
			case <-done:
				return
			}
		}
	}()
	z.p.await("the stuck link's end", func(it *edgedpb.UpItem) bool {
		return it.GetClosed() != nil && it.GetSession().GetValues()["link"] == c.link
	})
	close(done)
	took := time.Since(began)
	if took < badWrite-20*time.Millisecond || took > badWrite+3*time.Second {
		t.Errorf("output without progress ended the link after %v, want %v and not much more", took, badWrite)
	}
	c.wantBye(wire.ByeSlow) // behind what it had not read
}

// cut breaks the connection off in the middle of a frame.
func (z *zoo) cut(t *testing.T) {
	c := dialIn(t, z.g.address(), "bad/cut")
	before := z.g.metric("edged_links_closed_total", "reason", "connection_lost")
	check(t, c.write([]byte{9, 9, byte(wire.KindData), 1, 2, 3}))
	check(t, c.conn.(*net.TCPConn).SetLinger(0))
	c.close()
	waitFor(t, "the lost connection is counted", func() bool {
		return z.g.metric("edged_links_closed_total", "reason", "connection_lost") > before
	})
	for _, it := range z.p.items.all(func(it *edgedpb.UpItem) bool { return it.GetSession().GetValues()["link"] == c.link }) {
		if it.GetMessage().GetKind() == edgedpb.ClientMessage_DATA {
			t.Errorf("a part of a frame was delivered: %q", it.GetMessage().GetPayload())
		}
	}
}
