package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/gateway"
	"edged/wire"
)

// TestEveryFrame is PROTOCOL.md 1.2 and 4 from the client's side: what a welcomed client sends, and what becomes of it.
func TestEveryFrame(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", bindAll)
	o := options(m.address)
	o.Config.MaxFrame = 1000
	r := start(t, o)
	long := string(bytes.Repeat([]byte("x"), 999))
	tests := []struct {
		name string
		send []byte
		bye  wire.Reason // 0: the link lives on
		get  string      // the next frame's bytes, if it does
		item string      // the payload of the next item, if there is one
		end  gateway.EndLabel
	}{
		{name: "heartbeat", send: []byte{0, 0}, get: "\x00\x00"},
		{name: "hello", send: wire.Append(nil, wire.KindHello, []byte("again")), item: "again"},
		{name: "empty hello", send: wire.Append(nil, wire.KindHello, nil), item: ""},
		{name: "welcome", send: wire.Append(nil, wire.KindWelcome, nil), bye: wire.ByeProtocol},
		{name: "data", send: wire.Append(nil, wire.KindData, []byte("abc")), item: "abc"},
		{name: "empty data", send: wire.Append(nil, wire.KindData, nil), item: ""},
		{name: "longest data", send: wire.Append(nil, wire.KindData, []byte(long)), item: long},
		{name: "too long, head alone", send: []byte{1001 >> 8, 1001 & 255}, bye: wire.ByeProtocol},
		{name: "push", send: wire.AppendPush(nil, wire.Push{Payload: []byte("x")}), bye: wire.ByeProtocol},
		{name: "ack", send: wire.AppendAck(nil, 1, 2, 2), get: ""},
		{name: "empty ack", send: []byte{0, 1, byte(wire.KindAck)}, bye: wire.ByeProtocol},
		{name: "ack of five bytes", send: wire.Append(nil, wire.KindAck, make([]byte, 5)), bye: wire.ByeProtocol},
		{name: "ping", send: wire.AppendPing(nil, 0xfeedface), get: string(wire.AppendPong(nil, 0xfeedface))},
		{name: "pong", send: wire.AppendPong(nil, 7), get: ""},
		{name: "short ping", send: wire.Append(nil, wire.KindPing, make([]byte, 3)), bye: wire.ByeProtocol},
		{name: "long pong", send: wire.Append(nil, wire.KindPong, make([]byte, 5)), bye: wire.ByeProtocol},
		{name: "kind 0", send: []byte{0, 1, 0}, bye: wire.ByeProtocol},
		{name: "kind 9", send: []byte{0, 1, 9}, bye: wire.ByeProtocol},
		{name: "kind 255", send: []byte{0, 2, 255, 1}, bye: wire.ByeProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := r.dial()
			c.t = t
			m.opened()
			c.send(wire.KindHello, "u")
			m.message(edgedpb.ClientMessage_HELLO, "u")
			c.welcome()
			c.write(tt.send)
			if tt.bye != 0 {
				c.bye(tt.bye)
				if e := m.ended(); e.Side != edgedpb.Closed_CLIENT || e.Reason != uint32(tt.bye) || e.Evidence == "" {
					t.Errorf("closed %v", e)
				}
				return
			}
			if tt.get != "" {
				body, err := c.next(patience)
				if want := []byte(tt.get)[wire.HeadLen:]; err != nil || !bytes.Equal(body, want) {
					t.Errorf("got % x, %v, not % x", body, err, want)
				}
			}
			switch wire.Kind(append(tt.send, 0)[2]) {
			case wire.KindHello:
				m.message(edgedpb.ClientMessage_HELLO, tt.item)
			case wire.KindData:
				m.message(edgedpb.ClientMessage_DATA, tt.item)
			}
			c.beat()
			c.write(wire.AppendBye(nil, wire.ByeNormal, 0, ""))
			c.eof()
			m.ended()
		})
	}
	r.balanced()
	st := r.total()
	if st.UnknownAcks != 3 {
		t.Errorf("%d unknown acks", st.UnknownAcks)
	}
	if n := st.Ended[gateway.EndLabel(wire.ByeProtocol)]; n != 10 {
		t.Errorf("%d ended by a protocol error", n)
	}
}

func TestByeFromTheClient(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	r := start(t, options(m.address))
	tests := []struct {
		rest   string
		reason uint32
	}{
		{"", 1}, {"\x07", 1}, {"\x07\x00\x00\x00", 1},
		{"\x07\x00\x00\x00\x00", 7}, {"\x02\x00\x00\x00\x09why", 2}, {"\xff\x00\x00\x00\x00", 255},
	}
	for _, tt := range tests {
		c := r.dial()
		m.opened()
		c.send(wire.KindBye, tt.rest)
		c.eof() // without a BYE in return
		if e := m.ended(); e.Side != edgedpb.Closed_CLIENT || e.Reason != tt.reason {
			t.Errorf("%q: closed %v", tt.rest, e)
		}
	}
	r.balanced()
	if st := r.total(); st.Ended[gateway.EndClientBye] != uint64(len(tests)) {
		t.Errorf("ended %v", st.Ended)
	}
}

func TestHeartbeatsAreAnsweredEachAndGoNoFurther(t *testing.T) {
	t.Parallel()
	m := serve(t, "", "", nil)
	r := start(t, options(m.address))
	c := r.dial()
	m.opened()
	const n = 5000
	c.write(make([]byte, wire.HeadLen*n))
	for range n {
		if body, err := c.next(patience); err != nil || len(body) != 0 {
			t.Fatalf("% x, %v", body, err)
		}
	}
	c.quiet(20 * time.Millisecond)
	m.none(0)
	if st := r.total(); st.Heartbeats != n {
		t.Errorf("%d heartbeats", st.Heartbeats)
	}
}

// TestAnySplit sends the same frames cut in several ways; the Manager has to see the same bytes.
func TestAnySplit(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := serve(t, "", "", bindAll)
	r := start(t, options(m.address))

	var stream []byte
	want := sha256.New()
	const frames = 1000
	sizes := []int{0, 1, 2, 253, 254, 255, 256, 65533, 65534}
	for i := range frames {
		size := random.IntN(80)
		if i < 3*len(sizes) {
			size = sizes[i%len(sizes)]
		}
		payload := make([]byte, size)
		for j := range payload {
			payload[j] = byte(random.Uint32())
		}
		fmt.Fprintf(want, "%d %s", size, payload)
		stream = wire.Append(stream, wire.KindData, payload)
		if i%10 == 0 {
			stream = wire.AppendHeartbeat(stream)
		}
	}
	small := stream[len(stream)-4000:] // byte by byte: a few frames will do
	for at := 0; at < len(stream)-4000; at = len(stream) - len(small) {
		_, n, _ := wire.Split(stream[at:], wire.MaxBody)
		small = stream[at+n:]
	}

	receive := func(c *client, frames int) []byte {
		got := sha256.New()
		for range frames {
			i := m.next()
			if i.GetMessage().GetKind() != edgedpb.ClientMessage_DATA {
				t.Fatalf("item %.100v", i)
			}
			fmt.Fprintf(got, "%d %s", len(i.GetMessage().Payload), i.GetMessage().Payload)
		}
		c.beat()
		_ = c.conn.Close()
		m.ended()
		return got.Sum(nil)
	}
	enter := func() *client {
		c := r.dial()
		m.opened()
		c.send(wire.KindHello, "u")
		m.message(edgedpb.ClientMessage_HELLO, "u")
		c.welcome()
		return c
	}
	swallow := func(c *client, beats int) {
		for range beats {
			if body, err := c.next(patience); err != nil || len(body) != 0 {
				t.Fatalf("% x, %v", body, err)
			}
		}
	}

	t.Run("at once", func(t *testing.T) {
		c := enter()
		c.write(stream)
		swallow(c, frames/10)
		if !bytes.Equal(receive(c, frames), want.Sum(nil)) {
			t.Error("other bytes")
		}
	})
	t.Run("random", func(t *testing.T) {
		c := enter()
		for rest := stream; len(rest) > 0; {
			n := min(1+random.IntN(1+random.IntN(20000)), len(rest))
			c.write(rest[:n])
			rest = rest[n:]
		}
		swallow(c, frames/10)
		if !bytes.Equal(receive(c, frames), want.Sum(nil)) {
			t.Error("other bytes")
		}
	})
	t.Run("byte by byte", func(t *testing.T) {
		c := enter()
		few, beats, sum := 0, 0, sha256.New()
		for rest := small; len(rest) > 0; {
			body, n, _ := wire.Split(rest, wire.MaxBody)
			if len(body) == 0 {
				beats++
			} else {
				few++
				fmt.Fprintf(sum, "%d %s", len(body)-1, body[1:])
			}
			rest = rest[n:]
		}
		for i := range small {
			c.write(small[i : i+1])
			if i%64 == 0 {
				time.Sleep(time.Millisecond) // so that they are really read apart
			}
		}
		swallow(c, beats)
		if !bytes.Equal(receive(c, few), sum.Sum(nil)) {
			t.Error("other bytes")
		}
	})
	r.balanced()
}
