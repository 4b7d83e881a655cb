package client_test

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"edged/sdk/client"
	"edged/wire"
)

func TestPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		o := options(f, l)
		o.MaxPayload = 1000
		c := newClient(t, o)
		p := f.welcomed()
		push := func(flags wire.Flags, tid uint32, payload []byte) {
			t.Helper()
			p.send(wire.AppendPush(nil, wire.Push{Flags: flags, TID: tid, Version: 9, MsgID: []byte("m"), Payload: payload}))
		}
		wantAck := func(tid uint32) {
			t.Helper()
			if rest := p.want(wire.KindAck); len(rest) != 4 || wire.AckTID(rest, 0) != tid {
				t.Fatalf("ack %x, want %d", rest, tid)
			}
		}
		push(0, 0, []byte("plain"))
		push(wire.FlagAck, 1, []byte("acked"))
		wantAck(1)
		push(wire.FlagAck|wire.FlagAgain, 1, []byte("acked"))
		wantAck(1)
		push(wire.FlagAck|wire.FlagSampled|wire.FlagStamped, 2, []byte("sampled"))
		wantAck(2)
		push(wire.FlagAck|wire.FlagGzip, 3, packed(t, "unpacked"))
		wantAck(3)
		push(wire.FlagAck|wire.FlagGzip, 4, []byte("no gzip"))
		push(wire.FlagAck|wire.FlagGzip, 5, packed(t, strings.Repeat("bomb", 1000)))
		push(wire.FlagAck|wire.FlagGzip, 6, packed(t, "again unpacked"))
		wantAck(6)
		l.want(t, "push 0 plain", "push 1 acked", "push 2 sampled", "push 3 unpacked", "push 6 again unpacked")
		want := client.Stats{Links: 1, Pushes: 8, Acks: 5, Doubles: 1, Garbled: 2}
		if s := c.Stats(); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	})
}

func packed(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestStampOfAPush(t *testing.T) {
	f := newFake(t)
	o := options(f, newLog())
	got := make(chan client.Push, 1)
	o.OnPush = func(p client.Push) { p.MsgID = bytes.Clone(p.MsgID); p.Payload = nil; got <- p }
	newClient(t, o)
	p := f.welcomed()
	p.send(wire.AppendPush(nil, wire.Push{Flags: wire.FlagStamped | wire.FlagLate, TID: 3, Version: 9, MsgID: []byte("m-1")}))
	want := client.Push{TID: 3, Version: 9, MsgID: []byte("m-1"), Late: true}
	if push := <-got; !reflect.DeepEqual(push, want) {
		t.Errorf("%+v, want %+v", push, want)
	}
}

func TestPushesNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(f, newLog())
		o.OnPush, o.OnData = nil, nil
		c := newClient(t, o)
		p := f.welcomed()
		p.data("nobody wants this either")
		p.send(wire.AppendPush(nil, wire.Push{Flags: wire.FlagAck}))
		p.wantHeartbeat() // and no ACK
		if s := c.Stats(); s.Unwanted != 1 || s.Acks != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// The same tids on another link are other pushes.
func TestTidsBelongToTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		l := newLog()
		newClient(t, options(f, l))
		for range 2 {
			p := f.welcomed()
			p.send(wire.AppendPush(nil, wire.Push{Payload: []byte("hi")}))
			_ = p.conn.Close()
		}
		l.want(t, "push 0 hi", "push 0 hi")
	})
}

func TestDoublesAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	f := newFake(t)
	o := options(f, newLog())
	var got []uint32
	o.OnPush = func(p client.Push) { got = append(got, p.TID) }
	done := make(chan struct{})
	o.OnData = func([]byte) { close(done) }
	newClient(t, o)
	p := f.welcomed()
	seen := map[uint32]bool{}
	var want []uint32
	var b []byte
	for next := uint32(0); len(want) < 3000; {
		tid := next
		switch rnd.IntN(5) {
		case 0:
			tid = next - min(next, rnd.Uint32N(900))
		case 1:
			tid += rnd.Uint32N(4)
		}
		next = max(next, tid+1)
		if !seen[tid] {
			seen[tid] = true
			want = append(want, tid)
		}
		b = wire.AppendPush(b[:0], wire.Push{TID: tid})
		p.send(b)
	}
	p.data("end")
	<-done
	if !reflect.DeepEqual(got, want) {
		t.Error("other pushes than a set of all tids lets through")
	}
}
