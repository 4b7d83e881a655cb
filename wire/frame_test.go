package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"edged/wire"
)

// lengths are the body lengths at which a length of two bytes can go wrong.
var lengths = []int{0, 1, 2, 255, 256, 65534, 65535}

// frame returns a frame of L = size, whose body differs from its neighbours'.
func frame(size int, salt byte) []byte {
	b := []byte{byte(size >> 8), byte(size)}
	for i := range size {
		b = append(b, byte(i)*7+salt)
	}
	return b
}

// receiver does what a link does with its input: it keeps what Split leaves.
type receiver struct {
	t      *testing.T
	max    int
	kept   []byte
	bodies [][]byte
}

func (r *receiver) take(chunk []byte) error {
	r.t.Helper()
	r.kept = append(r.kept, chunk...)
	for {
		body, n, err := wire.Split(r.kept, r.max)
		if err != nil {
			return err
		}
		if n == 0 {
			if body != nil {
				r.t.Fatalf("Split gave %d bytes of an unfinished frame", len(body))
			}
			return nil
		}
		if n != wire.HeadLen+len(body) {
			r.t.Fatalf("Split took %d bytes for a body of %d", n, len(body))
		}
		r.bodies = append(r.bodies, bytes.Clone(body))
		r.kept = r.kept[n:]
	}
}

// want checks that the receiver has got the frames of the stream and no more.
func (r *receiver) want(frames [][]byte) {
	r.t.Helper()
	if len(r.bodies) != len(frames) || len(r.kept) != 0 {
		r.t.Fatalf("got %d frames and %d bytes kept, want %d frames and none", len(r.bodies), len(r.kept), len(frames))
	}
	for i, f := range frames {
		if !bytes.Equal(r.bodies[i], f[wire.HeadLen:]) {
			r.t.Fatalf("frame %d of L = %d arrived changed", i, len(f)-wire.HeadLen)
		}
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name string
		in   string
		max  int
		body string
		n    int
		err  error
	}{
		{"nothing", "", 65535, "", 0, nil},
		{"half a head", "\x00", 65535, "", 0, nil},
		{"head alone", "\x00\x01", 65535, "", 0, nil},
		{"heartbeat", "\x00\x00", 65535, "", 2, nil},
		{"heartbeat and more", "\x00\x00\x00\x01\x03", 65535, "", 2, nil},
		{"kind alone", "\x00\x01\x03", 65535, "\x03", 3, nil},
		{"one byte missing", "\x00\x03\x03a", 65535, "", 0, nil},
		{"whole", "\x00\x03\x03ab", 65535, "\x03ab", 5, nil},
		{"whole and more", "\x00\x03\x03abc", 65535, "\x03ab", 5, nil},
		{"as long as allowed", "\x00\x03\x03ab", 3, "\x03ab", 5, nil},
		{"too long", "\x00\x04\x03abc", 3, "", 0, wire.ErrTooLong},
		{"too long by its head alone", "\x01\x00", 255, "", 0, wire.ErrTooLong},
		{"half a head is never too long", "\xff", 3, "", 0, nil},
		{"only the first frame is judged", "\x00\x01\x03\xff\xff", 3, "\x03", 3, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body, n, err := wire.Split([]byte(test.in), test.max)
			if string(body) != test.body || n != test.n || !errors.Is(err, test.err) {
				t.Errorf("got %q, %d, %v; want %q, %d, %v", body, n, err, test.body, test.n, test.err)
			}
		})
	}
}

func TestSplitLendsNoMoreThanTheBody(t *testing.T) {
	in := []byte("\x00\x01\x03\x00\x01\x06")
	body, _, _ := wire.Split(in, wire.MaxBody)
	if &body[0] != &in[2] {
		t.Error("the body was copied")
	}
	_ = append(body, 'x')
	if in[3] != 0 {
		t.Error("appending to a body writes over the next frame")
	}
}

func TestSplitAtEveryPoint(t *testing.T) {
	frames := [][]byte{frame(1, 0), frame(0, 0), frame(5, 1), frame(0, 0), frame(0, 0), frame(2, 2), frame(9, 3)}
	stream := bytes.Join(frames, nil)
	for i := range len(stream) + 1 {
		for j := i; j <= len(stream); j++ {
			r := receiver{t: t, max: wire.MaxBody}
			for _, chunk := range [][]byte{stream[:i], stream[i:j], stream[j:]} {
				if err := r.take(chunk); err != nil {
					t.Fatalf("cut at %d and %d: %v", i, j, err)
				}
			}
			r.want(frames)
		}
	}
}

func TestSplitByteByByte(t *testing.T) {
	var frames [][]byte
	for _, size := range lengths {
		frames = append(frames, frame(size, 11), frame(0, 0))
	}
	r := receiver{t: t, max: wire.MaxBody}
	stream := bytes.Join(frames, nil)
	for i := range stream {
		if err := r.take(stream[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	r.want(frames)
}

func TestSplitThousandInOneSegment(t *testing.T) {
	var frames [][]byte
	for i := range 1000 {
		frames = append(frames, frame(i%65, byte(i)))
	}
	r := receiver{t: t, max: 64}
	if err := r.take(bytes.Join(frames, nil)); err != nil {
		t.Fatal(err)
	}
	r.want(frames)
}

func TestSplitAnyCutting(t *testing.T) {
	start := rand.Uint64()
	seed := start
	defer func() {
		if t.Failed() {
			t.Logf("failed with seed %d", seed)
		}
	}()
	for ; seed != start+10_000; seed++ {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var frames [][]byte
		for range 1 + rnd.IntN(8) {
			frames = append(frames, frame(randomLength(rnd), byte(rnd.Uint32())))
		}
		r := receiver{t: t, max: wire.MaxBody}
		for rest := bytes.Join(frames, nil); len(rest) > 0; {
			n := 1 + rnd.IntN(1+rnd.IntN(len(rest)))
			if err := r.take(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		r.want(frames)
	}
}

// randomLength is small most of the time, so that the seeds stay cheap.
func randomLength(rnd *rand.Rand) int {
	switch rnd.IntN(400) {
	case 0:
		return lengths[rnd.IntN(len(lengths))]
	case 1, 2, 3, 4:
		return 250 + rnd.IntN(10)
	}
	return rnd.IntN(40)
}

func TestSplitTooLongAtAnyCut(t *testing.T) {
	good, bad := frame(3, 0), frame(101, 1)
	stream := append(bytes.Clone(good), bad...)
	for i := range len(stream) + 1 {
		r := receiver{t: t, max: 100}
		err := r.take(stream[:i])
		if headSeen := i >= len(good)+wire.HeadLen; headSeen != (err != nil) {
			t.Fatalf("after %d bytes: %v", i, err)
		}
		if err != nil && !errors.Is(err, wire.ErrTooLong) {
			t.Fatal(err)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, size := range lengths[1:] {
		rest := frame(size-1, 5)[wire.HeadLen:]
		got := wire.Append([]byte("before"), wire.KindData, rest)
		body, n, err := wire.Split(got[len("before"):], wire.MaxBody)
		if err != nil || n != wire.HeadLen+size || len(got) != len("before")+n {
			t.Fatalf("L = %d: took %d, %v", size, n, err)
		}
		if string(got[:6]) != "before" || body[0] != byte(wire.KindData) || !bytes.Equal(body[1:], rest) {
			t.Errorf("L = %d: frame changed", size)
		}
		head := wire.AppendHead(nil, wire.KindData, size-1)
		if !bytes.Equal(append(head, rest...), got[6:]) {
			t.Errorf("L = %d: AppendHead differs from Append", size)
		}
	}
}

func TestAppendSmallFrames(t *testing.T) {
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"heartbeat", wire.AppendHeartbeat(nil), "\x00\x00"},
		{"empty hello", wire.Append(nil, wire.KindHello, nil), "\x00\x01\x01"},
		{"data", wire.Append(nil, wire.KindData, []byte("hi")), "\x00\x03\x03hi"},
		{"ping", wire.AppendPing(nil, 0x01020304), "\x00\x05\x07\x01\x02\x03\x04"},
		{"pong", wire.AppendPong(nil, 0xfffefdfc), "\x00\x05\x08\xff\xfe\xfd\xfc"},
		{"ack", wire.AppendAck(nil, 1), "\x00\x05\x05\x00\x00\x00\x01"},
		{"acks", wire.AppendAck(nil, 1, 0x80000000), "\x00\x09\x05\x00\x00\x00\x01\x80\x00\x00\x00"},
		{"no acks", wire.AppendAck(nil), ""},
		{"bye", wire.AppendBye(nil, wire.ByeDraining, 1500*time.Millisecond, "so long"), "\x00\x0d\x06\x08\x00\x00\x05\xdcso long"},
		{"push", wire.AppendPush(nil, wire.Push{Flags: wire.FlagAck, TID: 7, Payload: []byte("p")}), "\x00\x07\x04\x01\x00\x00\x00\x07p"},
		{"stamped push", wire.AppendPush(nil, wire.Push{Flags: wire.FlagStamped, TID: 7, Version: 9, MsgID: []byte("m1"), Payload: []byte("p")}),
			"\x00\x12\x04\x20\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x09\x02m1p"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if string(test.got) != test.want {
				t.Errorf("got %q, want %q", test.got, test.want)
			}
		})
	}
}

func TestPingAndAckRoundTrip(t *testing.T) {
	for _, v := range []uint32{0, 1, 0x01020304, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		if got := wire.ParsePing(wire.AppendPing(nil, v)[3:]); got != v {
			t.Errorf("ping: got %d, want %d", got, v)
		}
		if got := wire.ParsePing(wire.AppendPong(nil, v)[3:]); got != v {
			t.Errorf("pong: got %d, want %d", got, v)
		}
	}
	tids := make([]uint32, wire.MaxAcks)
	for i := range tids {
		tids[i] = uint32(i) * 0x01010101
	}
	body, _, err := wire.Split(wire.AppendAck(nil, tids...), wire.MaxBody)
	if err != nil || wire.CheckClient(body) != nil || len(body[1:])/4 != len(tids) {
		t.Fatalf("an ACK of %d tids does not pass: %v, %v", len(tids), err, wire.CheckClient(body))
	}
	for i, tid := range tids {
		if got := wire.AckTID(body[1:], i); got != tid {
			t.Fatalf("tid %d: got %d, want %d", i, got, tid)
		}
	}
}

// TestBrokenCallerPanics: a frame that no head can announce is a mistake of
// ours, and a cut or wrapped length would corrupt all that follows it.
func TestBrokenCallerPanics(t *testing.T) {
	tests := []struct {
		name string
		call func()
	}{
		{"rest too long", func() { wire.Append(nil, wire.KindData, make([]byte, wire.MaxRest+1)) }},
		{"head too long", func() { wire.AppendHead(nil, wire.KindData, wire.MaxRest+1) }},
		{"negative rest", func() { wire.AppendHead(nil, wire.KindData, -1) }},
		{"too many tids", func() { wire.AppendAck(nil, make([]uint32, wire.MaxAcks+1)...) }},
		{"push too long", func() { wire.AppendPush(nil, wire.Push{Payload: make([]byte, wire.MaxRest-4)}) }},
		{"msg_id too long", func() { wire.AppendPush(nil, wire.Push{Flags: wire.FlagStamped, MsgID: make([]byte, 256)}) }},
		{"link ID too long", func() { wire.AppendWelcome(nil, wire.Welcome{LinkID: make([]byte, longestLinkID+1)}) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			test.call()
		})
	}
}

func TestNames(t *testing.T) {
	kinds := []string{"unknown", "hello", "welcome", "data", "push", "ack", "bye", "ping", "pong", "unknown"}
	for k, want := range kinds {
		if got := wire.Kind(k).String(); got != want {
			t.Errorf("kind %d: got %q, want %q", k, got, want)
		}
	}
	reasons := []string{"unknown", "normal", "idle_timeout", "protocol_error", "login_failed", "login_timeout", "replaced",
		"kicked", "draining", "overloaded", "slow_consumer", "rate_limited", "no_manager", "unknown"}
	for r, want := range reasons {
		if got := wire.Reason(r).String(); got != want {
			t.Errorf("reason %d: got %q, want %q", r, got, want)
		}
	}
}
