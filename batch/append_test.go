package batch_test

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/batch"
)

// What is written by hand is read by generated code as it was meant: random batches, field by field.
func TestGeneratedCodeReadsUpstream(t *testing.T) {
	c := chance{newRand(t)}
	for range rounds {
		want := c.upstream()
		var b []byte
		if h := want.Hello; h != nil {
			b = batch.AppendUpstreamHello(b, batch.GatewayHello{ID: h.GatewayId, Address: h.Address, Protocol: h.Protocol,
				Version: h.Version, Reactor: h.Reactor, Resumed: h.Resumed, Epoch: h.Epoch})
		}
		for _, it := range want.Items {
			b = appendUpItem(t, b, it)
		}
		b = batch.AppendUpstreamSeq(b, want.Seq, want.Received)
		got := &edgedpb.Upstream{}
		if err := proto.Unmarshal(b, got); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if !proto.Equal(got, want) {
			t.Fatalf("%x:\ngot  %v\nwant %v", b, got, want)
		}
	}
}

func appendUpItem(t *testing.T, dst []byte, it *edgedpb.UpItem) []byte {
	t.Helper()
	session := marshal(t, &edgedpb.UpItem{Session: it.Session})
	var l *batch.Link
	if it.Link != nil {
		l = &batch.Link{Index: it.Link.Index, Uniq: it.Link.Uniq}
	}
	switch what := it.What.(type) {
	case *edgedpb.UpItem_Opened:
		return batch.AppendOpened(dst, *l, session)
	case *edgedpb.UpItem_Message:
		m := what.Message
		n := len(dst) + batch.MessageLen(*l, len(session), len(m.Payload))
		dst = batch.AppendMessage(dst, *l, session, byte(m.Kind), m.Payload)
		if len(dst) != n {
			t.Fatalf("MessageLen is %d off", n-len(dst))
		}
		return dst
	case *edgedpb.UpItem_Acked:
		var receipts []batch.Receipt
		for _, r := range what.Acked.Receipts {
			receipts = append(receipts, batch.Receipt{TID: r.Tid, MsgID: []byte(r.MsgId), Sampled: r.Sampled, Tries: r.Tries})
		}
		return batch.AppendAcked(dst, *l, session, receipts...)
	case *edgedpb.UpItem_Undelivered:
		var losses []batch.Loss
		for _, loss := range what.Undelivered.Losses {
			losses = append(losses, batch.Loss{MsgID: []byte(loss.MsgId), Reason: batch.LossReason(loss.Reason)})
		}
		return batch.AppendUndelivered(dst, l, session, losses...)
	case *edgedpb.UpItem_Closed:
		m := what.Closed
		return batch.AppendClosed(dst, *l, session, m.Reason, batch.Side(m.Side), m.Evidence)
	case *edgedpb.UpItem_Refused:
		m := what.Refused
		return batch.AppendRefused(dst, l, session, m.Ref, batch.Code(m.Code), m.Reason)
	}
	t.Fatalf("no way to write %v", it)
	return nil
}

func TestGeneratedCodeReadsDownstream(t *testing.T) {
	c := chance{newRand(t)}
	for range rounds {
		want := c.downstream()
		var b []byte
		if h := want.Hello; h != nil {
			b = batch.AppendDownstreamHello(b, batch.ManagerHello{ID: h.ManagerId, Protocol: h.Protocol, Receipts: h.Receipts})
		}
		for _, it := range want.Items {
			b = appendDownItem(t, b, it)
		}
		b = batch.AppendDownstreamSeq(b, want.Seq, want.Received)
		got := &edgedpb.Downstream{}
		if err := proto.Unmarshal(b, got); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if !proto.Equal(got, want) {
			t.Fatalf("%x:\ngot  %v\nwant %v", b, got, want)
		}
	}
}

func appendDownItem(t *testing.T, dst []byte, it *edgedpb.DownItem) []byte {
	t.Helper()
	to := target(it)
	switch what := it.What.(type) {
	case *edgedpb.DownItem_Data:
		if to.Kind == batch.TargetLink {
			return batch.AppendData(dst, to.Link, it.Ref, what.Data)
		}
		return batch.AppendDataTo(dst, to, it.Ref, what.Data)
	case *edgedpb.DownItem_Push:
		p := what.Push
		return batch.AppendPush(dst, to, it.Ref, batch.Push{Payload: p.Payload, MsgID: []byte(p.MsgId),
			Ack: batch.Ack(p.Ack), AllowGzip: p.AllowGzip, TTLMs: p.TtlMs, PackageID: p.PackageId, SeqID: p.SeqId,
			Count: p.Count, Version: p.Version})
	case *edgedpb.DownItem_Session:
		var set []batch.KV
		for k, v := range what.Session.Set {
			set = append(set, batch.KV{Key: k, Value: v})
		}
		if to.Kind == batch.TargetLink {
			return batch.AppendPatch(dst, to.Link, it.Ref, set, what.Session.Delete)
		}
		return batch.AppendPatchTo(dst, to, it.Ref, set, what.Session.Delete)
	case *edgedpb.DownItem_Bind:
		m := what.Bind
		return batch.AppendBind(dst, to.Link, it.Ref,
			batch.Bind{User: []byte(m.User), Device: []byte(m.Device), Synced: m.SyncedVersion})
	case *edgedpb.DownItem_Join:
		return batch.AppendJoin(dst, to, it.Ref, what.Join)
	case *edgedpb.DownItem_Leave:
		return batch.AppendLeave(dst, to, it.Ref, what.Leave)
	case *edgedpb.DownItem_Close:
		m := what.Close
		return batch.AppendClose(dst, to, it.Ref,
			batch.Close{Reason: m.Reason, RetryAfterMs: m.RetryAfterMs, Text: []byte(m.Text)})
	}
	t.Fatalf("no way to write %v", it)
	return nil
}

func target(it *edgedpb.DownItem) batch.Target {
	switch to := it.Target.(type) {
	case *edgedpb.DownItem_Link:
		return batch.ToLink(batch.Link{Index: to.Link.Index, Uniq: to.Link.Uniq})
	case *edgedpb.DownItem_User:
		return batch.ToUser(to.User)
	case *edgedpb.DownItem_Device:
		return batch.ToDevice(to.Device.User, to.Device.Device)
	case *edgedpb.DownItem_Room:
		return batch.ToRoom(to.Room)
	case *edgedpb.DownItem_Everyone:
		return batch.ToEveryone()
	}
	return batch.Target{}
}

// An operation without a target is legal as bytes; whoever reads it refuses it.
func TestNoTarget(t *testing.T) {
	b := batch.AppendDataTo(nil, batch.Target{}, 5, []byte("x"))
	items := batch.DownItems(b)
	item, _, _ := items.Next()
	var it batch.DownItem
	if err := batch.ParseDownItem(item, &it); err != nil || it.Target != batch.TargetNone || it.Ref != 5 {
		t.Errorf("got %+v, %v", it, err)
	}
}

// The fewest bytes: nothing that is zero is written, but what must be present is.
func TestDefaultsAreLeftOut(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want string
	}{
		{"opened", string(batch.AppendOpened(nil, batch.Link{}, nil)), "\x12\x04\x0a\x00\x1a\x00"},
		{"empty payload", string(batch.AppendMessage(nil, batch.Link{Index: 1}, nil, batch.KindData, nil)),
			"\x12\x08\x0a\x02\x08\x01\x22\x02\x08\x03"},
		{"closed", string(batch.AppendClosed(nil, batch.Link{Uniq: 2}, nil, 0, 0, "")), "\x12\x06\x0a\x02\x10\x02\x3a\x00"},
		{"refused without link", string(batch.AppendRefused(nil, nil, nil, 0, 0, "")), "\x12\x02\x42\x00"},
		{"undelivered", string(batch.AppendUndelivered(nil, nil, nil, batch.Loss{})), "\x12\x04\x32\x02\x0a\x00"},
		{"acked nothing", string(batch.AppendAcked(nil, batch.Link{}, nil)), "\x12\x04\x0a\x00\x2a\x00"},
		{"seq", string(batch.AppendUpstreamSeq(nil, 0, 0)), ""},
		{"received", string(batch.AppendUpstreamSeq(nil, 0, 1)), "\x20\x01"},
		{"hello", string(batch.AppendUpstreamHello(nil, batch.GatewayHello{})), "\x0a\x00"},
		{"data", string(batch.AppendData(nil, batch.Link{}, 0, nil)), "\x0a\x04\x0a\x00\x32\x00"},
		{"push", string(batch.AppendPush(nil, batch.ToUser(""), 0, batch.Push{})), "\x0a\x04\x12\x00\x3a\x00"},
		{"join", string(batch.AppendJoin(nil, batch.ToEveryone(), 0, "")), "\x0a\x04\x2a\x00\x52\x00"},
		{"patch", string(batch.AppendPatch(nil, batch.Link{}, 0, []batch.KV{{}}, []string{""})),
			"\x0a\x0c\x0a\x00\x42\x08\x0a\x04\x0a\x00\x12\x00\x12\x00"},
		{"downstream seq", string(batch.AppendDownstreamSeq(nil, 1, 0)), "\x10\x01"},
		{"downstream hello", string(batch.AppendDownstreamHello(nil, batch.ManagerHello{})), "\x22\x00"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %x, want %x", c.name, c.got, c.want)
		}
	}
}

// field writes one length-delimited field.
func field(num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
}
