package batch_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/batch"
)

// The sizes that count: a short chat message from a link whose session has what the gateway and a Manager usually write.
var (
	link    = batch.Link{Index: 3<<24 | 70_001, Uniq: 2_500_000_000}
	payload = make([]byte, 64)
	values  = map[string]string{
		"link":      "192.0.2.7:8000:50401649:2500000000",
		"opened_at": "1766000000000",
		"remote":    "198.51.100.23:51234",
		"listener":  "main",
		"user":      "1000000042",
		"device":    "phone",
	}
	session, _ = proto.Marshal(&edgedpb.UpItem{Session: &edgedpb.Session{Values: values}})
)

const batchItems = 64

func TestSessionOfBenchmarks(t *testing.T) {
	if n := len(session); n < 140 || n > 170 {
		t.Errorf("the session is %d bytes, want about 150", n)
	}
}

// No function of the data path allocates, given a buffer with room.
func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, 1<<16)
	up := handUpstream(nil)
	down := handDownstream(nil)
	room := batch.ToRoom("live-1")
	push := batch.Push{Payload: payload, MsgID: []byte("id"), Ack: batch.AckRequired}
	receipts := []batch.Receipt{{TID: 1, MsgID: []byte("id")}}
	acked := batch.AppendAcked(nil, link, session, batch.Receipt{TID: 1}, batch.Receipt{TID: 2})
	set, del := []batch.KV{{Key: "a.b", Value: "c"}}, []string{"d.e"}
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"AppendMessage", func() { batch.AppendMessage(buf, link, session, batch.KindData, payload) }},
		{"AppendOpened", func() { batch.AppendOpened(buf, link, session) }},
		{"AppendClosed", func() { batch.AppendClosed(buf, link, session, 2, batch.SideGateway, "idle") }},
		{"AppendRefused", func() { l := link; batch.AppendRefused(buf, &l, session, 7, batch.CodeStaleLink, "gone") }},
		{"AppendUndelivered", func() {
			l := link
			batch.AppendUndelivered(buf, &l, session, batch.Loss{MsgID: push.MsgID, Reason: batch.LossNoAck})
		}},
		{"AppendAcked", func() { batch.AppendAcked(buf, link, session, receipts...) }},
		{"AppendUpstreamSeq", func() { batch.AppendUpstreamSeq(buf, 1, 2) }},
		{"AppendData", func() { batch.AppendData(buf, link, 7, payload) }},
		{"AppendPush", func() { batch.AppendPush(buf, room, 7, push) }},
		{"AppendPatch", func() { batch.AppendPatch(buf, link, 7, set, del) }},
		{"AppendBind", func() { batch.AppendBind(buf, link, 0, batch.Bind{User: push.MsgID}) }},
		{"AppendJoin", func() { batch.AppendJoin(buf, room, 0, "live-2") }},
		{"AppendClose", func() { batch.AppendClose(buf, room, 0, batch.Close{Reason: 7}) }},
		{"read Upstream", func() { handReadUpstream(t, up) }},
		{"read Downstream", func() { handReadDownstream(t, down) }},
		{"read Acked", func() { handReadUpstream(t, acked) }},
		{"SessionValue", func() { batch.SessionValue(session[3:], "user") }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func handUpstream(dst []byte) []byte {
	for range batchItems {
		dst = batch.AppendMessage(dst, link, session, batch.KindData, payload)
	}
	return batch.AppendUpstreamSeq(dst, 1, 1)
}

func handReadUpstream(t testing.TB, b []byte) {
	up, err := batch.ParseUpstream(b)
	if err != nil {
		t.Fatal(err)
	}
	var it batch.UpItem
	for {
		item, _, ok := up.Items.Next()
		if !ok {
			return
		}
		if err := batch.ParseUpItem(item, &it); err != nil {
			t.Fatal(err)
		}
		for _, more := it.Receipts.Next(); more; _, more = it.Receipts.Next() {
		}
	}
}

func handDownstream(dst []byte) []byte {
	for range batchItems {
		dst = batch.AppendData(dst, link, 0, payload)
	}
	return batch.AppendDownstreamSeq(dst, 1, 1)
}

func handReadDownstream(t testing.TB, b []byte) {
	down, err := batch.ParseDownstream(b)
	if err != nil {
		t.Fatal(err)
	}
	var it batch.DownItem
	var head batch.DownHead
	for {
		item, _, ok := down.Items.Next()
		if !ok {
			return
		}
		if err := batch.ParseDownHead(item, &head); err != nil {
			t.Fatal(err)
		}
		if err := batch.ParseDownItem(item, &it); err != nil {
			t.Fatal(err)
		}
	}
}

// perItem reports what one item of a batch costs.
func perItem(b *testing.B, f func()) {
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchItems, "ns/item")
}

func BenchmarkUpAppend(b *testing.B) {
	buf := make([]byte, 0, 1<<16)
	b.Run("hand", func(b *testing.B) { perItem(b, func() { handUpstream(buf) }) })
	b.Run("generated", func(b *testing.B) {
		perItem(b, func() {
			m := &edgedpb.Upstream{Seq: 1, Received: 1}
			for range batchItems {
				m.Items = append(m.Items, &edgedpb.UpItem{
					Link:    &edgedpb.LinkRef{Index: link.Index, Uniq: link.Uniq},
					Session: &edgedpb.Session{Values: values},
					What: &edgedpb.UpItem_Message{Message: &edgedpb.ClientMessage{
						Kind: edgedpb.ClientMessage_DATA, Payload: payload}},
				})
			}
			if _, err := (proto.MarshalOptions{}).MarshalAppend(buf, m); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func BenchmarkUpRead(b *testing.B) {
	bytes := handUpstream(nil)
	b.Run("hand", func(b *testing.B) { perItem(b, func() { handReadUpstream(b, bytes) }) })
	b.Run("hand with one key", func(b *testing.B) {
		perItem(b, func() {
			var it batch.UpItem
			for items := batch.UpItems(bytes); ; {
				item, _, ok := items.Next()
				if !ok {
					return
				}
				if err := batch.ParseUpItem(item, &it); err != nil {
					b.Fatal(err)
				}
				if _, ok := batch.SessionValue(it.Session, "user"); !ok {
					b.Fatal("no user")
				}
			}
		})
	})
	b.Run("generated", func(b *testing.B) {
		perItem(b, func() {
			if err := proto.Unmarshal(bytes, &edgedpb.Upstream{}); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func BenchmarkDownAppend(b *testing.B) {
	buf := make([]byte, 0, 1<<16)
	b.Run("hand", func(b *testing.B) { perItem(b, func() { handDownstream(buf) }) })
	b.Run("generated", func(b *testing.B) {
		perItem(b, func() {
			m := &edgedpb.Downstream{Seq: 1, Received: 1}
			for range batchItems {
				m.Items = append(m.Items, &edgedpb.DownItem{
					Target: &edgedpb.DownItem_Link{Link: &edgedpb.LinkRef{Index: link.Index, Uniq: link.Uniq}},
					What:   &edgedpb.DownItem_Data{Data: payload},
				})
			}
			if _, err := (proto.MarshalOptions{}).MarshalAppend(buf, m); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func BenchmarkDownRead(b *testing.B) {
	bytes := handDownstream(nil)
	b.Run("hand", func(b *testing.B) { perItem(b, func() { handReadDownstream(b, bytes) }) })
	b.Run("generated", func(b *testing.B) {
		perItem(b, func() {
			if err := proto.Unmarshal(bytes, &edgedpb.Downstream{}); err != nil {
				b.Fatal(err)
			}
		})
	})
}
