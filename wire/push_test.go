package wire_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"edged/wire"
)

func TestFlagBits(t *testing.T) {
	flags := []wire.Flags{wire.FlagAck, wire.FlagGzip, wire.FlagSampled, wire.FlagAgain, wire.FlagLate, wire.FlagStamped}
	for bit, got := range flags {
		if want := wire.Flags(1) << bit; got != want {
			t.Errorf("bit %d: got %#x, want %#x", bit, got, want)
		}
	}
}

func TestPushRoundTrip(t *testing.T) {
	tests := []struct {
		name string
		push wire.Push
	}{
		{"nothing", wire.Push{Payload: []byte{}}},
		{"plain", wire.Push{Flags: wire.FlagAck | wire.FlagAgain, TID: 1<<32 - 1, Payload: []byte("hello")}},
		{"stamped", wire.Push{Flags: wire.FlagStamped, TID: 5, Version: 1<<64 - 1, MsgID: []byte("id"), Payload: []byte("x")}},
		{"stamped without msg_id", wire.Push{Flags: wire.FlagStamped | wire.FlagGzip, Version: 3, MsgID: []byte{}, Payload: []byte("x")}},
		{"longest msg_id", wire.Push{Flags: wire.FlagStamped, MsgID: bytes.Repeat([]byte{'m'}, 255), Payload: []byte{}}},
		{"unused flags", wire.Push{Flags: 0xc0, Payload: []byte("x")}},
		{"largest", wire.Push{Payload: make([]byte, wire.MaxRest-5)}},
		{"largest stamped", wire.Push{Flags: wire.FlagStamped, MsgID: []byte("id"), Payload: make([]byte, wire.MaxRest-16)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body, _, err := wire.Split(wire.AppendPush(nil, test.push), wire.MaxBody)
			if err != nil || wire.CheckGateway(body) != nil {
				t.Fatalf("refused: %v, %v", err, wire.CheckGateway(body))
			}
			if got := wire.PushLen(test.push); got != len(body)-1 {
				t.Errorf("PushLen: got %d, want %d", got, len(body)-1)
			}
			got, err := wire.ParsePush(body[1:])
			if err != nil || !reflect.DeepEqual(got, test.push) {
				t.Errorf("got %+v, %v; want %+v", got, err, test.push)
			}
		})
	}
}

func TestPushWithoutStampDropsIt(t *testing.T) {
	p := wire.Push{TID: 1, Version: 2, MsgID: bytes.Repeat([]byte{'m'}, 300), Payload: []byte("x")}
	got, err := wire.ParsePush(wire.AppendPush(nil, p)[3:])
	if err != nil || got.Version != 0 || got.MsgID != nil || string(got.Payload) != "x" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestPushTooShort(t *testing.T) {
	whole := wire.AppendPush(nil, wire.Push{Flags: wire.FlagStamped, MsgID: []byte("four")})[3:]
	for n := range whole {
		if _, err := wire.ParsePush(whole[:n]); !errors.Is(err, wire.ErrShort) {
			t.Errorf("ParsePush of %d bytes: %v", n, err)
		}
		body := append([]byte{byte(wire.KindPush)}, whole[:n]...)
		if err := wire.CheckGateway(body); !errors.Is(err, wire.ErrShort) {
			t.Errorf("CheckGateway of %d bytes: %v", n, err)
		}
	}
	if _, err := wire.ParsePush(whole); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// FuzzParsePush: what parses, appends to the same bytes, and CheckGateway
// agrees with ParsePush on what does not.
func FuzzParsePush(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x01\x00\x00\x00\x01payload"))
	f.Add([]byte("\x20\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\x02idpayload"))
	f.Add([]byte("\x20\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\xffid"))
	f.Add([]byte("\xff" + strings.Repeat("\x00", 13)))
	f.Fuzz(func(t *testing.T, rest []byte) {
		if len(rest) > wire.MaxRest {
			return
		}
		p, err := wire.ParsePush(rest)
		check := wire.CheckGateway(append([]byte{byte(wire.KindPush)}, rest...))
		if err != check {
			t.Fatalf("ParsePush says %v, CheckGateway %v", err, check)
		}
		if err != nil {
			return
		}
		if got := wire.AppendPush(nil, p)[3:]; string(got) != string(rest) || wire.PushLen(p) != len(rest) {
			t.Fatalf("%q comes back as %q, PushLen %d", rest, got, wire.PushLen(p))
		}
	})
}
