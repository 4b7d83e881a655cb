package manager_test

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/sdk/manager"
)

// What is written while a send is under way goes together in the next one: the pushes of others and the handlers'
// answers, in the order in which they came.
func TestMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manager.New(manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) {
			for range len(e.Payload) {
				_ = e.Data([]byte("answer"))
			}
		}}})
		got, gate := down{t: t}, make(chan struct{})
		p := call(m, func(b []byte) {
			got.add(b)
			if len(got.batches) == 2 {
				<-gate
			}
		})
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		synctest.Wait()
		l, err := m.Link("192.0.2.7:8000:1:1")
		if err != nil {
			t.Fatal(err)
		}
		put := func(what string) {
			if err := m.Data(l, []byte(what)); err != nil {
				t.Error(err)
			}
		}
		put("stuck")
		synctest.Wait()
		put("a")
		put("b")
		p.say(t, &pb.Upstream{Seq: 1, Items: []*pb.UpItem{data(ref(0, 1, 1), "x")}})
		synctest.Wait()
		put("c")
		p.say(t, &pb.Upstream{Seq: 2, Items: []*pb.UpItem{said(pb.ClientMessage_DATA, ref(0, 1, 1), make([]byte, 1300))}})
		synctest.Wait()
		put("d")
		close(gate)
		synctest.Wait()

		equal(t, got.batches[1].GetItems(), "1/1 data stuck")
		equal(t, got.batches[2].GetItems(), "1/1 data a", "1/1 data b", "1/1 data answer", "1/1 data c")
		total := 0
		for i, b := range got.batches {
			if i > 0 && b.GetSeq() != uint64(i) {
				t.Errorf("batch %d has seq %d", i, b.GetSeq())
			}
			if proto.Size(b)+5 > 16384 {
				t.Errorf("batch %d has %d bytes", i, proto.Size(b))
			}
			total += len(b.GetItems())
		}
		last := got.batches[len(got.batches)-1]
		if n := len(last.GetItems()); brief(last.GetItems()[n-1]) != "1/1 data d" || total != 1+3+1+1300+1 {
			t.Errorf("%d items, the last one is %s", total, brief(last.GetItems()[n-1]))
		}
		if last.GetReceived() != 2 {
			t.Errorf("received %d", last.GetReceived())
		}
		stop(t, m)
	})
}

// A transport that is slow to die may still read batches that are sent again on the next stream: they stay as they were.
func TestResendLeavesTheOldBytesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := manager.New(manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
		h := &hoarder{pipe: newPipe(func([]byte) {})}
		serveCall(m, h.pipe, h)
		h.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		for i := range uint64(3) {
			h.say(t, &pb.Upstream{Seq: i + 1, Items: []*pb.UpItem{data(ref(0, 1, 1), strconv.Itoa(int(i)))}})
		}
		synctest.Wait()
		before := h.bytes()
		close(h.in)
		<-h.result

		got := down{t: t}
		p := call(m, got.add)
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		synctest.Wait()
		if after := h.bytes(); after != before {
			t.Errorf("bytes of the old stream changed\nfrom %s\n  to %s", before, after)
		}
		if got.items() != 3 {
			t.Errorf("%d of 3 items sent again", got.items())
		}
		for i, b := range got.batches[1:] {
			if b.GetSeq() != uint64(i+1) || b.GetReceived() != 3 {
				t.Errorf("batch %d: seq %d, received %d", i, b.GetSeq(), b.GetReceived())
			}
		}
		h.free()
		p.say(t, &pb.Upstream{Received: 3})
		synctest.Wait()
		close(p.in)
		<-p.result
		stop(t, m)
	})
}

// hoarder is a transport that does not let go of what it was given to send.
type hoarder struct {
	*pipe
	kept []mem.BufferSlice
}

func (h *hoarder) SendMsg(v any) error {
	b, err := codec.Marshal(v)
	h.kept = append(h.kept, b)
	return err
}

func (h *hoarder) bytes() (s string) {
	for _, b := range h.kept {
		s += fmt.Sprintf("%x ", b.Materialize())
	}
	return s
}

func (h *hoarder) free() {
	for _, b := range h.kept {
		b.Free()
	}
}

// The gateways that a Manager remembers are bounded. One that is forgotten is told so by another name of the Manager.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4096
		var lost []string
		m := manager.New(manager.Options{Handler: manager.Handler{Lost: func(g manager.Gateway) { lost = append(lost, g.ID) }}})
		visit := func(id string) string {
			got := down{t: t}
			p := call(m, got.add)
			p.say(t, &pb.Upstream{Hello: hello(id, 1, 0)})
			close(p.in)
			if err := <-p.result; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return got.batches[0].GetHello().GetManagerId()
		}
		first, second := visit("0"), visit("1")
		for i := 2; i < most; i++ {
			visit(strconv.Itoa(i))
		}
		if visit("0") != first || len(lost) != 0 {
			t.Errorf("forgotten too early: %v", lost)
		}
		visit("one more")
		if len(lost) != 1 || lost[0] != "1" {
			t.Fatalf("lost %v, want the one that was away longest", lost)
		}
		if visit("1") == second {
			t.Error("a forgotten gateway is not told so")
		}
		stop(t, m)
	})
}
