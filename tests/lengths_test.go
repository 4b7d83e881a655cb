//go:build e2e

package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/wire"
)

// random returns a source of randomness whose seed is told.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestLengths has bodies of every critical length go both ways, and random ones; the Manager sees what the client sent.
func TestLengths(t *testing.T) {
	t.Parallel()
	r := random(t)
	p := newPlain(t, nil)
	g := start(t, setup{managers: []string{p.address}})
	c := dialIn(t, g.address(), "ann/phone")
	check(t, c.write(wire.AppendHeartbeat(nil))) // length 0
	c.want(0)
	lengths := []int{1, 2, 255, 256, 257, 16383, 16384, 65534, 65535}
	for range 100 {
		lengths = append(lengths, 1+r.IntN(wire.MaxBody))
	}
	var sent [][sha256.Size]byte
	for _, n := range lengths {
		payload := randomBytes(r, n-1)
		sent = append(sent, sha256.Sum256(payload))
		if err := c.exchange(payload); err != nil {
			t.Fatalf("body of %d bytes: %v", n, err)
		}
	}
	var got [][sha256.Size]byte
	for _, it := range p.items.all(func(it *edgedpb.UpItem) bool { return it.GetMessage().GetKind() == edgedpb.ClientMessage_DATA }) {
		got = append(got, sha256.Sum256(it.GetMessage().GetPayload()))
	}
	if !slices.Equal(got, sent) {
		t.Errorf("the Manager got %d payloads, not the %d that were sent, in their order", len(got), len(sent))
	}
	tooLarge(t, p, c)
}

// tooLarge has the Manager send what no frame can carry: refused, never cut, and what follows arrives.
func tooLarge(t *testing.T, p *plain, c *client) {
	t.Helper()
	l := p.opened(c.link).GetLink()
	large := make([]byte, wire.MaxBody)
	p.send(
		withRef(1, dataItem(l, large)),
		withRef(2, pushItem(l, &edgedpb.Push{Payload: large[:wire.MaxRest-4]})), // flags and tid take five
		withRef(3, pushItem(l, &edgedpb.Push{Payload: large[:wire.MaxRest-16], MsgId: "abc"})),
		pushItem(l, &edgedpb.Push{Payload: large[:wire.MaxRest-5]}),
		dataItem(l, []byte("marker")),
	)
	for ref := range uint64(3) {
		p.wantRefused(ref+1, edgedpb.Refused_TOO_LARGE)
	}
	if got, err := wire.ParsePush(c.want(wire.KindPush)); err != nil || len(got.Payload) != wire.MaxRest-5 || got.TID != 0 {
		t.Errorf("the largest PUSH came as tid %d with %d bytes, %v", got.TID, len(got.Payload), err)
	}
	if got := c.want(wire.KindData); string(got) != "marker" {
		t.Errorf("%d bytes instead of the marker", len(got))
	}
}

// TestPieces cuts and joins the same frames in every way; the Manager sees the same messages.
func TestPieces(t *testing.T) {
	t.Parallel()
	r := random(t)
	p := newPlain(t, nil)
	g := start(t, setup{managers: []string{p.address}})
	one := func([]byte) int { return 1 }
	all := func(b []byte) int { return len(b) }
	for name, way := range map[string]struct {
		frames int
		next   func(left []byte) int
	}{
		"byte by byte":  {60, one},
		"in one go":     {1000, all},
		"random pieces": {1000, func(b []byte) int { return 1 + r.IntN(min(len(b), 400)) }},
	} {
		c := dialIn(t, g.address(), "ann/"+name)
		var stream []byte
		for i := range way.frames {
			stream = wire.Append(stream, wire.KindData, fmt.Appendf(nil, "%s %d", name, i))
			if i%10 == 0 {
				stream = wire.AppendHeartbeat(stream)
			}
		}
		go func() {
			for b := stream; len(b) > 0; {
				n := way.next(b)
				if c.write(b[:n]) != nil {
					return // the reader finds out
				}
				b = b[n:]
			}
		}()
		wantEchoes(t, c, name, way.frames)
	}
}

// wantEchoes reads the echoes of numbered messages in their order, and passes over the answers to heartbeats.
func wantEchoes(t *testing.T, c *client, name string, n int) {
	t.Helper()
	heartbeats := 0
	for i := 0; i < n || heartbeats < (n+9)/10; {
		f, err := c.next(patience)
		if err != nil {
			t.Fatalf("%s: after %d echoes: %v", name, i, err)
		}
		if f.kind == 0 {
			heartbeats++
			continue
		}
		if want := fmt.Appendf(nil, "%s %d", name, i); f.kind != wire.KindData || !bytes.Equal(f.rest, want) {
			t.Fatalf("%s: %v %q, want %q", name, f.kind, f.rest, want)
		}
		i++
	}
}
