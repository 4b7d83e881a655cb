package nic_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"syscall"
	"testing"

	"edged/nic"
)

// wantCounters are those of stats64: field i holds 1000 + i.
var wantCounters = nic.Counters{
	RxPackets: 1000, TxPackets: 1001, RxBytes: 1002, TxBytes: 1003, RxDropped: 1006, TxDropped: 1007, RxFifo: 1014, RxMissed: 1015,
}

// stats64 is a struct rtnl_link_stats64 of that many fields.
func stats64(fields int) []byte {
	var b []byte
	for i := range fields {
		b = binary.NativeEndian.AppendUint64(b, uint64(1000+i))
	}
	return b
}

func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return pad(append(b, value...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func message(kind uint16, seq, port uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, port)
	return append(b, body...)
}

// head is the fixed part of an answer, with the index where it belongs.
func head(size, index int) []byte {
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	return b
}

func newStats(seq, port uint32, index int) []byte {
	return message(nic.RTMNewStats, seq, port, append(head(12, index), attr(1, stats64(25))...))
}

func newLink(seq, port uint32, index int) []byte {
	body := append(head(16, index), attr(3, []byte("eth0\x00"))...)
	body = append(body, attr(7, make([]byte, 96))...) // IFLA_STATS, of 32 bits
	return message(nic.RTMNewLink, seq, port, append(body, attr(23, stats64(25))...))
}

// The request that the cases of replyCases answer.
const (
	replySeq   = 5
	replyPort  = 77
	replyIndex = 3
)

// replyCase is a datagram and what the parser must say of it.
type replyCase struct {
	name  string
	b     []byte
	want  int
	errno syscall.Errno
}

const (
	good    = iota // wantCounters
	foreign        // holds no answer to this request
	failed         // holds one, without counters
)

func stats(attrs ...[]byte) []byte {
	return message(nic.RTMNewStats, replySeq, replyPort, append(head(12, replyIndex), bytes.Join(attrs, nil)...))
}

// declaring is an answer whose header tells that length.
func declaring(size uint32) []byte {
	b := newStats(replySeq, replyPort, replyIndex)
	binary.NativeEndian.PutUint32(b, size)
	return b
}

func errorOf(n int32) []byte {
	return message(2, replySeq, replyPort, binary.NativeEndian.AppendUint32(nil, uint32(n)))
}

func replyCases() []replyCase {
	const seq, port, index = replySeq, replyPort, replyIndex
	return []replyCase{
		{"stats", newStats(seq, port, index), good, 0},
		{"link", newLink(seq, port, index), good, 0},
		{"oldest struct", stats(attr(1, stats64(23))), good, 0},
		{"least struct", stats(attr(1, stats64(16))), good, 0},
		{"later struct", stats(attr(1, stats64(400))), good, 0},
		{"other attributes before", stats(attr(2, []byte{1}), attr(4, nil), attr(1, stats64(25))), good, 0},
		{"flag bits in the type", stats(attr(1|1<<15, stats64(25))), good, 0},
		{"after others", append(newStats(seq-1, port, 9), newStats(seq, port, index)...), good, 0},
		{"empty", nil, foreign, 0},
		{"less than a header", newStats(seq, port, index)[:15], foreign, 0},
		{"another request", newStats(seq-1, port, index), foreign, 0},
		{"another socket", newStats(seq, port-1, index), foreign, 0},
		{"notification", newLink(0, 0, index), foreign, 0},
		{"longer than the datagram", declaring(5000), failed, 0},
		{"length in the header only", declaring(15), foreign, 0},
		{"length of nothing", declaring(0), foreign, 0},
		{"length without end", declaring(0xffffffff), failed, 0},
		{"another's, longer than the datagram", newStats(seq-1, port, index)[:100], foreign, 0},
		{"another interface", newStats(seq, port, index+1), failed, 0},
		{"no attribute", stats(), failed, 0},
		{"short struct", stats(attr(1, stats64(15))), failed, 0},
		{"attribute longer than the message", stats(append([]byte{200, 0, 1, 0}, stats64(20)...)), failed, 0},
		{"attribute of no length", stats([]byte{0, 0, 1, 0}, attr(1, stats64(25))), failed, 0},
		{"half a body", message(nic.RTMNewStats, seq, port, make([]byte, 11)), failed, 0},
		{"unknown message", message(99, seq, port, make([]byte, 64)), failed, 0},
		{"acknowledgement", errorOf(0), failed, 0},
		{"error", errorOf(-19), failed, syscall.ENODEV},
		{"error of a positive number", errorOf(19), failed, 0},
		{"error of the least number", errorOf(-1 << 31), failed, 0},
		{"half an error", message(2, seq, port, []byte{1, 2}), failed, 0},
	}
}

func TestParseReply(t *testing.T) {
	for _, c := range replyCases() {
		t.Run(c.name, func(t *testing.T) {
			got, ours, err := nic.ParseReply(c.b, replySeq, replyPort, replyIndex)
			if ours != (c.want != foreign) || (err != nil) != (c.want == failed) {
				t.Fatalf("ours %v, error %v", ours, err)
			}
			if c.want == good && got != wantCounters || c.want != good && got != (nic.Counters{}) {
				t.Errorf("counts %+v", got)
			}
			if c.errno != 0 && err != c.errno {
				t.Errorf("error is %v, want %v", err, c.errno)
			}
		})
	}
}

// TestParseReplyFinds hides an answer among random others and random attributes.
func TestParseReplyFinds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	junk := func(n int) []byte {
		b := make([]byte, rnd.IntN(n))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for range 2000 {
		seq, port, index := rnd.Uint32(), rnd.Uint32(), int(rnd.Int32())
		body := head(12, index)
		for range rnd.IntN(5) {
			body = append(body, attr(uint16(2+rnd.IntN(1000)), junk(50))...)
		}
		body = append(body, attr(1, append(stats64(16+rnd.IntN(20)), junk(8)...))...)
		body = append(body, junk(50)...)
		var b []byte
		for range rnd.IntN(4) {
			b = append(b, pad(message(uint16(rnd.Uint32()), seq+1+rnd.Uint32N(1000), port, junk(100)))...)
		}
		b = append(b, message(nic.RTMNewStats, seq, port, body)...)
		if got, ours, err := nic.ParseReply(b, seq, port, index); !ours || err != nil || got != wantCounters {
			t.Fatalf("%x: %+v, ours %v, error %v", b, got, ours, err)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add(newStats(1, 2, 3), uint32(1), uint32(2), 3)
	f.Add(newLink(1, 2, 3), uint32(1), uint32(2), 3)
	f.Add(append(newStats(1, 2, 3), newLink(2, 2, 3)...), uint32(2), uint32(2), 3)
	f.Add(message(2, 1, 2, []byte{0xed, 0xff, 0xff, 0xff}), uint32(1), uint32(2), 3)
	f.Fuzz(func(t *testing.T, b []byte, seq, port uint32, index int) {
		c, ours, err := nic.ParseReply(b, seq, port, index)
		if !ours && err != nil || (!ours || err != nil) && c != (nic.Counters{}) {
			t.Fatalf("ours %v, error %v, counts %+v", ours, err, c)
		}
		more := append(append([]byte{}, b...), newStats(seq+1, port, index)...)
		if ours && err == nil { // what follows an answer does not change it
			if c2, ours2, err2 := nic.ParseReply(more, seq, port, index); c2 != c || !ours2 || err2 != nil {
				t.Fatalf("with more behind: %+v, %v, %v; was %+v, %v", c2, ours2, err2, c, err)
			}
		}
	})
}
