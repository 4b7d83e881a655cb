package manager_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "edged/api/edgedpb"
	"edged/batch"
	"edged/sdk/manager"
)

// FuzzStream gives a Manager any bytes as the first and second batch after a good hello. It answers what is a batch of
// generated code, ends the stream for anything else, and serves another gateway as if nothing had happened.
func FuzzStream(f *testing.F) {
	add := func(a, b *pb.Upstream) {
		first, _ := proto.Marshal(a)
		second, _ := proto.Marshal(b)
		f.Add(first, second)
	}
	l := ref(0, 1, 1)
	message, _ := proto.Marshal(request(1, 0, 2, 3))
	add(&pb.Upstream{Seq: 1, Items: []*pb.UpItem{opened(l, "link", "x"), data(l, "x"), said(pb.ClientMessage_DATA, l, message)}},
		&pb.Upstream{Seq: 2, Received: 1, Items: []*pb.UpItem{{Link: l, What: &pb.UpItem_Closed{Closed: &pb.Closed{Reason: 300}}}}})
	add(&pb.Upstream{Seq: 1, Items: []*pb.UpItem{
		{What: &pb.UpItem_Acked{Acked: &pb.Acked{Receipts: []*pb.Receipt{{Tid: 1, MsgId: "m"}}}}},
		{What: &pb.UpItem_Undelivered{Undelivered: &pb.Undelivered{Losses: []*pb.Loss{{MsgId: "m"}}}}},
		{What: &pb.UpItem_Refused{Refused: &pb.Refused{Ref: 1}}},
	}}, &pb.Upstream{Hello: hello("other", 3, 4), Seq: 1})
	f.Add([]byte{0x12, 0}, []byte{0x12, 2, 0x22, 0})

	var r manager.Router
	r.Handle(manager.Tag{A: 1}, func(c *manager.Call) { _ = c.Answer(map[uint32]any{0: c.Value(0)}) })
	f.Fuzz(func(t *testing.T, first, second []byte) {
		look := func(e *manager.Event) {
			e.Receipts(func(manager.Receipt) bool { return true })
			e.Losses(func(manager.Loss) bool { return true })
			_ = e.Session.Each(func(k, v []byte) bool { return true })
			_ = e.Session.Text("link") + e.Link.String() + e.Kind.String() + e.Reason.String() + e.Side.String() + e.Code.String()
			_ = e.Data(e.Payload)
			_ = e.Close(e.Reason, 0, string(e.Evidence))
		}
		m := manager.New(manager.Options{Handler: manager.Handler{
			Opened: look, Hello: look, Data: r.Serve, Acked: look, Undelivered: look, Closed: look, Refused: look}})
		got := down{t: t}
		p := call(m, got.add)
		p.say(t, &pb.Upstream{Hello: hello("gw", 1, 0)})
		if p.give(first) {
			p.give(second)
		}
		go func() { // a good stream still ends by itself
			select {
			case <-p.ctx.Done():
			default:
				close(p.in)
			}
		}()
		err := <-p.result
		checkEnd(t, err, first, second)
		other := call(m, func([]byte) {})
		other.say(t, &pb.Upstream{Hello: hello("another", 1, 0)})
		close(other.in)
		if err := <-other.result; err != nil {
			t.Errorf("another gateway's stream ended with %v", err)
		}
		if n := m.Stats().Panics; n != 0 {
			t.Errorf("%d panics", n)
		}
		stop(t, m)
	})
}

// checkEnd says whether a stream ended as its bytes deserve.
func checkEnd(t *testing.T, err error, batches ...[]byte) {
	t.Helper()
	switch status.Code(err) {
	case codes.OK:
		for _, b := range batches {
			if proto.Unmarshal(b, new(pb.Upstream)) != nil && lookedInto(b) {
				t.Errorf("%x is no Upstream and passed", b)
			}
		}
	case codes.InvalidArgument, codes.FailedPrecondition:
	default:
		t.Errorf("ended with %v", err)
	}
}

// lookedInto says whether what is wrong with a batch must be noticed. The items of a repeated batch are not read, nor is
// a session that nobody asks for.
func lookedInto(b []byte) bool {
	u, err := batch.ParseUpstream(b)
	if err != nil {
		return true
	}
	var it batch.UpItem
	for {
		item, _, ok := u.Items.Next()
		if !ok {
			return false
		}
		if batch.ParseUpItem(item, &it) != nil {
			return u.Seq != 1 // the first batch may have had this number
		}
	}
}
