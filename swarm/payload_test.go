package swarm_test

import (
	"bytes"
	"reflect"
	"testing"

	"edged/swarm"
)

func TestPayloadLayout(t *testing.T) {
	p := swarm.Payload{Op: swarm.OpEcho, Seq: 0x01020304, SentNs: 0x1112131415161718, Answer: 0x21222324, Rest: []byte("rest")}
	want := []byte("swm1\x01\x01\x02\x03\x04\x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x23\x24rest")
	b := swarm.AppendPayload([]byte("before"), p)
	if !bytes.Equal(b[6:], want) || string(b[:6]) != "before" {
		t.Errorf("%q, want %q", b, want)
	}
	if got, ok := swarm.ParsePayload(want); !ok || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v, %v", got, ok)
	}
}

func TestForeignPayloads(t *testing.T) {
	good := swarm.AppendPayload(nil, swarm.Payload{Op: swarm.OpEcho, Seq: 1})
	for name, b := range map[string][]byte{
		"empty":        nil,
		"short":        good[:swarm.PayloadHead-1],
		"other magic":  append([]byte("swm2"), good[4:]...),
		"op 0":         append(append([]byte("swm1"), 0), good[5:]...),
		"op 5":         append(append([]byte("swm1"), 5), good[5:]...),
		"another talk": []byte("hello there, how are you today?"),
	} {
		if p, ok := swarm.ParsePayload(b); ok {
			t.Errorf("%s: taken as %+v", name, p)
		}
		if answer := new(swarm.Answerer).Answer([]byte("x"), b); string(answer) != "x" {
			t.Errorf("%s: answered with %q", name, answer)
		}
	}
}

func TestFillerTellsMessagesApart(t *testing.T) {
	for n := range 70 {
		b := swarm.AppendFiller(nil, 7, 9, n)
		if len(b) != n || !swarm.FillerOK(b, 7, 9) {
			t.Fatalf("%d bytes of filler: %x", n, b)
		}
		for i := range b {
			b[i] ^= 0x10
			if swarm.FillerOK(b, 7, 9) {
				t.Fatalf("a change at byte %d of %d is not seen", i, n)
			}
			b[i] ^= 0x10
		}
		if n >= 4 && (swarm.FillerOK(b, 8, 9) || swarm.FillerOK(b, 7, 10) || swarm.FillerOK(b, 9, 7)) {
			t.Fatalf("%d bytes of filler fit another message", n)
		}
	}
}

func TestReports(t *testing.T) {
	many := make([]uint32, 30)
	for name, tc := range map[string]struct {
		tally swarm.Tally
		first int
	}{
		"faultless": {swarm.Tally{Received: 10}, 0},
		"faults":    {swarm.Tally{Received: 7, Missing: 3, Doubled: 1, Disordered: 2, First: []uint32{4, 5, 9}}, 3},
		"too many":  {swarm.Tally{Missing: 30, First: many}, swarm.MaxTallyList},
	} {
		t.Run(name, func(t *testing.T) {
			b := swarm.AppendReport(nil, swarm.Payload{Op: swarm.OpFinish, Seq: 10, SentNs: 5}, 11, tc.tally)
			p, ok := swarm.ParsePayload(b)
			if !ok || p.Op != swarm.OpReport || p.Seq != 10 || p.SentNs != 5 || p.Answer != 11 {
				t.Fatalf("%+v, %v", p, ok)
			}
			want := tc.tally
			want.First = want.First[:tc.first:tc.first]
			if got, ok := swarm.ParseReport(p.Rest); !ok || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v, want %+v", got, ok, want)
			}
		})
	}
	for _, n := range []int{0, 15, 17, 18, 16 + 4*17} {
		if got, ok := swarm.ParseReport(make([]byte, n)); ok {
			t.Errorf("%d bytes are taken as %+v", n, got)
		}
	}
	if got, ok := swarm.ParseReport(make([]byte, 20)); ok {
		t.Errorf("a list without missing messages is taken as %+v", got)
	}
}

func TestAnswerer(t *testing.T) {
	var a swarm.Answerer
	for i, seq := range []uint32{1, 2, 4, 4, 3, 7} {
		ask := swarm.AppendPayload(nil, swarm.Payload{Op: swarm.OpEcho, Seq: seq, SentNs: 99, Rest: []byte("filler")})
		p, ok := swarm.ParsePayload(a.Answer(nil, ask))
		if !ok || p.Op != swarm.OpEcho || p.Seq != seq || p.SentNs != 99 || p.Answer != uint32(i+1) || string(p.Rest) != "filler" {
			t.Fatalf("answer %d: %+v", i+1, p)
		}
	}
	p, _ := swarm.ParsePayload(a.Answer(nil, swarm.AppendPayload(nil, swarm.Payload{Op: swarm.OpFinish, Seq: 8})))
	got, ok := swarm.ParseReport(p.Rest)
	want := swarm.Tally{Received: 5, Missing: 3, Doubled: 1, Disordered: 1, First: []uint32{5, 6, 8}}
	if !ok || p.Answer != 7 || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v: %+v, want %+v", p, got, want)
	}
}

func TestAnswerDoesNotAllocate(t *testing.T) {
	var a swarm.Answerer
	ask := swarm.AppendPayload(nil, swarm.Payload{Op: swarm.OpEcho, Seq: 1, Rest: make([]byte, 43)})
	buf := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(100, func() { buf = a.Answer(buf[:0], ask) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		buf = swarm.AppendFiller(buf[:0], 1, 2, 43)
		_ = swarm.FillerOK(buf, 1, 2)
	}); n != 0 {
		t.Errorf("filler: %v allocations", n)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add(swarm.AppendPayload(nil, swarm.Payload{Op: swarm.OpFinish, Seq: 3, Rest: []byte("abc")}))
	f.Add(swarm.AppendReport(nil, swarm.Payload{Seq: 3}, 2, swarm.Tally{Missing: 2, First: []uint32{1, 2}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := swarm.ParsePayload(b)
		if !ok {
			return
		}
		if again := swarm.AppendPayload(nil, p); !bytes.Equal(again, b) {
			t.Errorf("%q became %q", b, again)
		}
		if tally, ok := swarm.ParseReport(p.Rest); ok {
			again := swarm.AppendReport(nil, p, p.Answer, tally)
			if !bytes.Equal(again[swarm.PayloadHead:], p.Rest) {
				t.Errorf("report %q became %q", p.Rest, again)
			}
		}
		var a swarm.Answerer
		a.Answer(nil, b)
	})
}
