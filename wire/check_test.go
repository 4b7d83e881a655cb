package wire_test

import (
	"errors"
	"testing"

	"edged/wire"
)

// rests are the rest lengths that the tables below speak of. A rest of these
// tables is all zero, so that a PUSH is not stamped.
var rests = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 255, 256, 65532, 65533, 65534}

// verdicts says for each kind what a rest of n bytes is worth.
type verdicts map[wire.Kind]func(n int) error

func always(err error) func(int) error {
	return func(int) error { return err }
}

func atLeast(least int) func(int) error {
	return func(n int) error {
		if n < least {
			return wire.ErrShort
		}
		return nil
	}
}

func exactlyFour(n int) error {
	switch {
	case n < 4:
		return wire.ErrShort
	case n > 4:
		return wire.ErrSize
	}
	return nil
}

func fours(n int) error {
	switch {
	case n < 4:
		return wire.ErrShort
	case n%4 != 0:
		return wire.ErrSize
	}
	return nil
}

// checkAll compares check with the verdicts over all 256 kinds and all rests.
func checkAll(t *testing.T, check func([]byte) error, table verdicts) {
	t.Helper()
	if err := check(nil); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	for k := range 256 {
		verdict, known := table[wire.Kind(k)]
		if !known {
			verdict = always(wire.ErrKind)
		}
		for _, n := range rests {
			body := make([]byte, 1+n)
			body[0] = byte(k)
			if got, want := check(body), verdict(n); !errors.Is(got, want) {
				t.Errorf("%v (%d) with a rest of %d: got %v, want %v", wire.Kind(k), k, n, got, want)
			}
		}
	}
}

func TestCheckClient(t *testing.T) {
	checkAll(t, wire.CheckClient, verdicts{
		wire.KindHello:   always(nil),
		wire.KindWelcome: always(wire.ErrDirection),
		wire.KindData:    always(nil),
		wire.KindPush:    always(wire.ErrDirection),
		wire.KindAck:     fours,
		wire.KindBye:     always(nil),
		wire.KindPing:    exactlyFour,
		wire.KindPong:    exactlyFour,
	})
}

func TestCheckGateway(t *testing.T) {
	checkAll(t, wire.CheckGateway, verdicts{
		wire.KindHello:   always(wire.ErrDirection),
		wire.KindWelcome: always(nil),
		wire.KindData:    always(nil),
		wire.KindPush:    atLeast(5),
		wire.KindAck:     always(wire.ErrDirection),
		wire.KindBye:     atLeast(5),
		wire.KindPing:    exactlyFour,
		wire.KindPong:    exactlyFour,
	})
}

// FuzzSplit feeds a byte stream as a gateway would, whole and in two parts:
// the frames are the same, they cover the stream, and no Parse function of a
// client's kinds trips over what CheckClient let pass.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("\x00\x00"), 1, 65535)
	f.Add([]byte("\x00\x03\x01hi\x00\x00\x00\x05\x05\x00\x00\x00\x01"), 4, 65535)
	f.Add([]byte("\x00\x05\x07\x01\x02\x03\x04\x00\x01\x06\x00\x06\x06\x01\x00\x00\x00\x00"), 9, 64)
	f.Add([]byte("\x00\x01\x02\x00\x01\x04\x00\x01\x99"), 3, 64)
	f.Add([]byte("\xff\xff\x03"), 1, 100)
	f.Fuzz(func(t *testing.T, stream []byte, cut, limit int) {
		limit &= wire.MaxBody
		cut = min(max(cut, 0), len(stream))
		whole := receiver{t: t, max: limit}
		wholeErr := whole.take(stream)
		parts := receiver{t: t, max: limit}
		partsErr := parts.take(stream[:cut])
		if partsErr == nil {
			partsErr = parts.take(stream[cut:])
		}
		if len(whole.bodies) != len(parts.bodies) || wholeErr != partsErr {
			t.Fatalf("whole: %d frames, %v; cut: %d frames, %v", len(whole.bodies), wholeErr, len(parts.bodies), partsErr)
		}
		var again []byte
		for i, body := range whole.bodies {
			if string(parts.bodies[i]) != string(body) || len(body) > limit {
				t.Fatalf("frame %d differs, or is over the limit of %d: %q, %q", i, limit, body, parts.bodies[i])
			}
			again = appendBody(again, body)
			useClient(t, body)
		}
		if again = append(again, whole.kept...); string(again) != string(stream) {
			t.Fatalf("frames and rest give %q", again)
		}
	})
}

func appendBody(dst, body []byte) []byte {
	if len(body) == 0 {
		return wire.AppendHeartbeat(dst)
	}
	return wire.Append(dst, wire.Kind(body[0]), body[1:])
}

// useClient reads a body as the gateway does once CheckClient has let it pass.
func useClient(t *testing.T, body []byte) {
	if wire.CheckClient(body) != nil || len(body) == 0 {
		return
	}
	rest := body[1:]
	var again []byte
	switch wire.Kind(body[0]) {
	case wire.KindAck:
		var tids []uint32
		for i := range len(rest) / 4 {
			tids = append(tids, wire.AckTID(rest, i))
		}
		again = wire.AppendAck(nil, tids...)
	case wire.KindPing:
		again = wire.AppendPing(nil, wire.ParsePing(rest))
	case wire.KindPong:
		again = wire.AppendPong(nil, wire.ParsePing(rest))
	case wire.KindBye:
		wire.ParseBye(rest)
		return
	case wire.KindHello, wire.KindData:
		return
	default:
		t.Fatalf("a client may send %v", wire.Kind(body[0]))
	}
	if string(again[wire.HeadLen:]) != string(body) {
		t.Fatalf("%q comes back as %q", body, again[wire.HeadLen:])
	}
}
