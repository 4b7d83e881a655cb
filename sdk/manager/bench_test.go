package manager_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
)

// Echoing raw payloads allocates nothing, neither for a message nor for a batch of them. (gRPC itself does, for a batch.)
func TestEchoDoesNotAllocate(t *testing.T) {
	skipRace(t)
	e := newEcho(32)
	for range 100 {
		e.turn()
	}
	if n := testing.AllocsPerRun(200, e.turn); n >= 1 {
		t.Errorf("%v allocations for a batch of 32 messages", n)
	}
	if st := e.m.Stats(); st.ItemsOut != st.ItemsIn {
		t.Errorf("%+v", st)
	}
	stop(t, e.m)
}

// Acting on a link from elsewhere allocates nothing either.
func TestOperationsDoNotAllocate(t *testing.T) {
	skipRace(t)
	e := newEcho(1)
	e.turn()
	l, err := e.m.Link("192.0.2.7:8000:1:1")
	if err != nil {
		t.Fatal(err)
	}
	payload, set, del := make([]byte, 64), map[string]string{"a.b": "c"}, []string{"d.e"}
	ops := func() {
		_ = e.m.Data(l, payload, 1)
		_ = e.m.Push(l, manager.Push{Payload: payload, MsgID: "0123456789012345678901234567890123456789"})
		_ = e.m.Patch(l, set, del)
		_ = e.m.Bind(l, "a user with a name that fills more than one word", "d")
		_ = e.m.Close(l, 7, 0, "a text that is longer than what the stack would hold")
		e.turn()
	}
	for range 200 {
		ops()
	}
	if n := testing.AllocsPerRun(200, ops); n >= 1 {
		t.Errorf("%v allocations for five operations and a batch", n)
	}
	stop(t, e.m)
}

// skipRace skips a test that counts allocations under the race detector, which makes sync.Pool forget at random.
func skipRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
}

// BenchmarkEcho is the kit's own price of a message: parse, call, answer, keep, receipt; no gRPC and no network. The two
// changes of goroutine for a batch are the benchmark's.
func BenchmarkEcho(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			e := newEcho(n)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				e.turn()
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/msg")
			stop(b, e.m)
		})
	}
}

// BenchmarkCall is the price of a tagged call in the Router: decode, find, answer.
func BenchmarkCall(b *testing.B) {
	var r manager.Router
	r.Handle(manager.Tag{A: 1}, func(c *manager.Call) { _ = c.Answer(map[uint32]any{0: c.Int(0)}) })
	got := make(chan struct{}, 1)
	m := manager.New(manager.Options{NoReceipts: true, Handler: manager.Handler{Data: r.Serve}})
	p := call(m, func([]byte) {
		select {
		case got <- struct{}{}:
		default:
		}
	})
	raw, _ := proto.Marshal(&pb.Upstream{Hello: hello("gw", 1, 0)})
	p.give(raw)
	<-got
	message, _ := proto.Marshal(request(1, 0, 5, 1))
	items := make([]*pb.UpItem, 64)
	for i := range items {
		items[i] = said(pb.ClientMessage_DATA, ref(0, uint32(i), 1), message)
	}
	raw, _ = proto.Marshal(&pb.Upstream{Items: items})
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		p.give(raw)
		<-got
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/msg")
	stop(b, m)
}
