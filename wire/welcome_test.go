package wire_test

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/wire"
)

var fullWelcome = wire.Welcome{
	LinkID:       []byte("192.0.2.7:8000:231:23"),
	Heartbeat:    25 * time.Second,
	IdleTimeout:  30 * time.Second,
	MaxFrame:     65535,
	ServerTimeMs: 1_700_000_000_123,
}

// longestLinkID fits a WELCOME that holds nothing else: a tag of one byte and a
// size of three stand before it.
const longestLinkID = wire.MaxRest - 4

// generated is what generated code makes of a Welcome that the wire can hold.
func generated(w wire.Welcome) *edgedpb.Welcome {
	return &edgedpb.Welcome{
		LinkId:        string(w.LinkID),
		HeartbeatMs:   uint32(w.Heartbeat / time.Millisecond),
		IdleTimeoutMs: uint32(w.IdleTimeout / time.Millisecond),
		MaxFrame:      w.MaxFrame,
		ServerTimeMs:  w.ServerTimeMs,
	}
}

func TestWelcomeAsGeneratedCodeWritesIt(t *testing.T) {
	tests := []struct {
		name    string
		welcome wire.Welcome
	}{
		{"empty", wire.Welcome{}},
		{"usual", fullWelcome},
		{"link ID alone", wire.Welcome{LinkID: []byte("x")}},
		{"link ID that fills the frame", wire.Welcome{LinkID: bytes.Repeat([]byte("l"), longestLinkID)}},
		{"server time alone", wire.Welcome{ServerTimeMs: math.MaxUint64}},
		{"largest", wire.Welcome{
			LinkID:       bytes.Repeat([]byte("l"), 300),
			Heartbeat:    math.MaxUint32 * time.Millisecond,
			IdleTimeout:  math.MaxUint32 * time.Millisecond,
			MaxFrame:     math.MaxUint32,
			ServerTimeMs: math.MaxUint64,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want, err := proto.MarshalOptions{Deterministic: true}.Marshal(generated(test.welcome))
			if err != nil {
				t.Fatal(err)
			}
			frame := wire.AppendWelcome([]byte("before"), test.welcome)
			body, n, err := wire.Split(frame[len("before"):], wire.MaxBody)
			if err != nil || n != len(frame)-len("before") || wire.CheckGateway(body) != nil {
				t.Fatalf("took %d of %d bytes: %v", n, len(frame), err)
			}
			if wire.Kind(body[0]) != wire.KindWelcome || !bytes.Equal(body[1:], want) {
				t.Fatalf("got %x, want %x", body[1:], want)
			}
			got, err := wire.ParseWelcome(body[1:])
			if err != nil || !sameWelcome(got, test.welcome) {
				t.Errorf("got %+v, %v; want %+v", got, err, test.welcome)
			}
		})
	}
}

func sameWelcome(a, b wire.Welcome) bool {
	return string(a.LinkID) == string(b.LinkID) && a.Heartbeat == b.Heartbeat && a.IdleTimeout == b.IdleTimeout &&
		a.MaxFrame == b.MaxFrame && a.ServerTimeMs == b.ServerTimeMs
}

func TestWelcomeRoundsUp(t *testing.T) {
	w := wire.Welcome{Heartbeat: 1, IdleTimeout: time.Millisecond + 1}
	got, err := wire.ParseWelcome(wire.AppendWelcome(nil, w)[3:])
	if err != nil || got.Heartbeat != time.Millisecond || got.IdleTimeout != 2*time.Millisecond {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseWelcome(t *testing.T) {
	tests := []struct {
		name, in string
		want     wire.Welcome
		err      error
	}{
		{"empty", "", wire.Welcome{}, nil},
		{"other order", "\x20\x05\x0a\x01x", wire.Welcome{LinkID: []byte("x"), MaxFrame: 5}, nil},
		{"last one wins", "\x0a\x01x\x20\x05\x0a\x00\x20\x06", wire.Welcome{MaxFrame: 6}, nil},
		{"unknown fields", "\x30\x05\x39aaaabbbb\x42\x02hi\x4daaaa\x20\x07", wire.Welcome{MaxFrame: 7}, nil},
		{"known field of another type", "\x08\x05\x12\x01x\x25aaaa\x20\x07", wire.Welcome{MaxFrame: 7}, nil},
		{"uint32 keeps the low bits", "\x20\x85\x80\x80\x80\x10", wire.Welcome{MaxFrame: 5}, nil},
		{"tag longer than it needs", "\xa0\x80\x00\x05", wire.Welcome{MaxFrame: 5}, nil},
		{"tag cut", "\xa0", wire.Welcome{}, wire.ErrWelcome},
		{"varint cut", "\x20\x85", wire.Welcome{}, wire.ErrWelcome},
		{"varint missing", "\x20", wire.Welcome{}, wire.ErrWelcome},
		{"varint too long", "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", wire.Welcome{}, wire.ErrWelcome},
		{"link ID without a size", "\x0a", wire.Welcome{}, wire.ErrWelcome},
		{"link ID cut", "\x0a\x02x", wire.Welcome{}, wire.ErrWelcome},
		{"link ID of a huge size", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", wire.Welcome{}, wire.ErrWelcome},
		{"link ID not UTF-8", "\x0a\x01\xff", wire.Welcome{}, wire.ErrWelcome},
		{"fixed64 cut", "\x39aaaabbb", wire.Welcome{}, wire.ErrWelcome},
		{"fixed32 cut", "\x4daaa", wire.Welcome{}, wire.ErrWelcome},
		{"field number 0", "\x00\x05", wire.Welcome{}, wire.ErrWelcome},
		{"field number too high", "\x80\x80\x80\x80\x10\x05", wire.Welcome{}, wire.ErrWelcome},
		{"group", "\x33\x34", wire.Welcome{}, wire.ErrWelcome},
		{"wire type 7", "\x37\x05", wire.Welcome{}, wire.ErrWelcome},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := wire.ParseWelcome([]byte(test.in))
			if !errors.Is(err, test.err) || !sameWelcome(got, test.want) {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, test.want, test.err)
			}
		})
	}
}

// FuzzParseWelcome: ParseWelcome and generated code agree on any bytes, but for
// groups, which only generated code passes over.
func FuzzParseWelcome(f *testing.F) {
	f.Add([]byte(""))
	f.Add(wire.AppendWelcome(nil, fullWelcome)[3:])
	f.Add([]byte("\x30\x05\x39aaaabbbb\x42\x02hi\x4daaaa\x20\x07"))
	f.Add([]byte("\x0a\x02x"))
	f.Add([]byte("\x33\x34"))
	f.Fuzz(func(t *testing.T, rest []byte) {
		got, err := wire.ParseWelcome(rest)
		var want edgedpb.Welcome
		wantErr := proto.Unmarshal(rest, &want)
		if err != nil {
			if wantErr == nil && !hasGroup(rest) {
				t.Fatalf("%x: generated code reads %v", rest, &want)
			}
			return
		}
		if wantErr != nil {
			t.Fatalf("%x: got %+v, generated code says %v", rest, got, wantErr)
		}
		want.ProtoReflect().SetUnknown(nil)
		if !proto.Equal(generated(got), &want) {
			t.Fatalf("%x: got %+v, want %v", rest, got, &want)
		}
		again, err := wire.ParseWelcome(wire.AppendWelcome(nil, got)[3:])
		if err != nil || !sameWelcome(again, got) {
			t.Fatalf("%+v comes back as %+v, %v", got, again, err)
		}
	})
}

// hasGroup says whether a well-formed message has a group among its fields.
func hasGroup(b []byte) bool {
	for len(b) > 0 {
		_, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return false
		}
		if typ == protowire.StartGroupType {
			return true
		}
		b = b[n:]
	}
	return false
}
