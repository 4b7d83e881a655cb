package wire_test

import (
	"bytes"
	"testing"
	"time"

	"edged/wire"
)

// TestNoAllocations pins that no function of a message's way allocates, nor any
// of those that a link needs once, but for a slice that must grow.
func TestNoAllocations(t *testing.T) {
	dst := make([]byte, 0, 1024)
	payload := bytes.Repeat([]byte{'p'}, 64)
	tids := []uint32{1, 2, 3}
	push := wire.Push{Flags: wire.FlagAck | wire.FlagStamped, TID: 4, Version: 5, MsgID: payload[:20], Payload: payload}
	data := wire.Append(nil, wire.KindData, payload)
	pushRest := wire.AppendPush(nil, push)[3:]
	byeRest := wire.AppendBye(nil, wire.ByeIdle, time.Second, "bye")[3:]
	welcomeRest := wire.AppendWelcome(nil, fullWelcome)[3:]
	tests := []struct {
		name string
		call func()
	}{
		{"Split", func() { _, _, _ = wire.Split(data, wire.MaxBody) }},
		{"Split too long", func() { _, _, _ = wire.Split(data, 1) }},
		{"CheckClient", func() { _ = wire.CheckClient(data[2:]) }},
		{"CheckClient refuses", func() { _ = wire.CheckClient([]byte{99}) }},
		{"CheckGateway", func() { _ = wire.CheckGateway(data[2:]) }},
		{"Append", func() { wire.Append(dst, wire.KindData, payload) }},
		{"AppendHead", func() { wire.AppendHead(dst, wire.KindData, 64) }},
		{"AppendHeartbeat", func() { wire.AppendHeartbeat(dst) }},
		{"AppendPing", func() { wire.AppendPing(dst, 7) }},
		{"AppendPong", func() { wire.AppendPong(dst, wire.ParsePing(payload)) }},
		{"AppendAck", func() { wire.AppendAck(dst, tids...) }},
		{"AppendAck of one", func() { wire.AppendAck(dst, wire.AckTID(payload, 2)) }},
		{"AppendPush", func() { wire.AppendPush(dst, push) }},
		{"ParsePush", func() { _, _ = wire.ParsePush(pushRest) }},
		{"AppendBye", func() { wire.AppendBye(dst, wire.ByeIdle, time.Second, "bye") }},
		{"ParseBye", func() { wire.ParseBye(byeRest) }},
		{"AppendWelcome", func() { wire.AppendWelcome(dst, fullWelcome) }},
		{"ParseWelcome", func() { _, _ = wire.ParseWelcome(welcomeRest) }},
		{"AppendLinkID", func() { wire.AppendLinkID(dst, "[2001:db8::7]:8000", 1<<31, 1<<31) }},
		{"ParseLinkID of IPv4", func() { _, _, _, _ = wire.ParseLinkID("192.0.2.7:8000:231:23") }},
		{"ParseLinkID of IPv6", func() { _, _, _, _ = wire.ParseLinkID("[2001:db8::7]:8000:231:23") }},
		{"names", func() { _, _ = wire.KindPush.String(), wire.Reason(99).String() }},
	}
	for _, test := range tests {
		if n := testing.AllocsPerRun(100, test.call); n != 0 {
			t.Errorf("%s allocates %v times", test.name, n)
		}
	}
}

// BenchmarkSplit takes frames with 64 bytes of payload off a full read buffer,
// and checks each as the gateway does.
func BenchmarkSplit(b *testing.B) {
	one := wire.Append(nil, wire.KindData, make([]byte, 64))
	stream := bytes.Repeat(one, 1000)
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	in := stream
	for b.Loop() {
		if len(in) == 0 {
			in = stream
		}
		body, n, err := wire.Split(in, wire.MaxBody)
		if err != nil || n == 0 || wire.CheckClient(body) != nil {
			b.Fatal(n, err)
		}
		in = in[n:]
	}
}

// BenchmarkAppend puts frames with 64 bytes of payload into an output buffer.
func BenchmarkAppend(b *testing.B) {
	payload := make([]byte, 64)
	dst := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload) + 3))
	for b.Loop() {
		if cap(dst)-len(dst) < 128 {
			dst = dst[:0]
		}
		dst = wire.Append(dst, wire.KindData, payload)
	}
}

// BenchmarkAppendPush is BenchmarkAppend with the head of a stamped push.
func BenchmarkAppendPush(b *testing.B) {
	push := wire.Push{Flags: wire.FlagStamped, Version: 1, MsgID: make([]byte, 16), Payload: make([]byte, 64)}
	dst := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	b.SetBytes(int64(wire.PushLen(push) + 3))
	for b.Loop() {
		if cap(dst)-len(dst) < 128 {
			dst = dst[:0]
		}
		dst = wire.AppendPush(dst, push)
	}
}

// BenchmarkAppendWelcome is the one protobuf message that the gateway writes
// to a client, once for each link.
func BenchmarkAppendWelcome(b *testing.B) {
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = wire.AppendWelcome(dst[:0], fullWelcome)
	}
}
