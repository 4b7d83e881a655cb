package batch_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/batch"
)

// The yardstick is generated code: a batch is read here by hand, whole and down to the last string, into the messages that
// proto.Unmarshal would have made of it.

func readUpstream(b []byte) (*edgedpb.Upstream, error) {
	up, err := batch.ParseUpstream(b)
	if err != nil {
		return nil, err
	}
	m := &edgedpb.Upstream{Seq: up.Seq, Received: up.Received}
	if h := up.Hello; up.HasHello {
		m.Hello = &edgedpb.GatewayHello{GatewayId: h.ID, Address: h.Address, Protocol: h.Protocol, Version: h.Version,
			Reactor: h.Reactor, Resumed: h.Resumed, Epoch: h.Epoch}
	}
	it := dirtyUpItem()
	for {
		item, _, ok := up.Items.Next()
		if !ok {
			return m, up.Items.Err()
		}
		if err := batch.ParseUpItem(item, &it); err != nil {
			return nil, err
		}
		i, err := upItemMessage(it)
		if err != nil {
			return nil, err
		}
		m.Items = append(m.Items, i)
	}
}

func upItemMessage(it batch.UpItem) (*edgedpb.UpItem, error) {
	m := &edgedpb.UpItem{}
	if it.HasLink {
		m.Link = linkMessage(it.Link)
	}
	values := map[string]string{}
	err := batch.SessionEach(it.Session, func(k, v []byte) bool {
		values[string(k)] = string(v)
		return true
	})
	if err != nil {
		return nil, err
	}
	if len(values) > 0 {
		m.Session = &edgedpb.Session{Values: values}
	}
	switch it.What {
	case batch.UpOpened:
		m.What = &edgedpb.UpItem_Opened{Opened: &edgedpb.Opened{}}
	case batch.UpMessage:
		m.What = &edgedpb.UpItem_Message{Message: &edgedpb.ClientMessage{
			Kind: edgedpb.ClientMessage_Kind(it.Kind), Payload: it.Payload}}
	case batch.UpAcked:
		acked := &edgedpb.Acked{}
		for r, ok := it.Receipts.Next(); ok; r, ok = it.Receipts.Next() {
			acked.Receipts = append(acked.Receipts, &edgedpb.Receipt{
				Tid: r.TID, MsgId: string(r.MsgID), Sampled: r.Sampled, Tries: r.Tries})
		}
		m.What = &edgedpb.UpItem_Acked{Acked: acked}
	case batch.UpUndelivered:
		lost := &edgedpb.Undelivered{}
		for l, ok := it.Losses.Next(); ok; l, ok = it.Losses.Next() {
			lost.Losses = append(lost.Losses, &edgedpb.Loss{MsgId: string(l.MsgID), Reason: edgedpb.Loss_Reason(l.Reason)})
		}
		m.What = &edgedpb.UpItem_Undelivered{Undelivered: lost}
	case batch.UpClosed:
		m.What = &edgedpb.UpItem_Closed{Closed: &edgedpb.Closed{
			Reason: it.Reason, Side: edgedpb.Closed_Side(it.Side), Evidence: string(it.Evidence)}}
	case batch.UpRefused:
		m.What = &edgedpb.UpItem_Refused{Refused: &edgedpb.Refused{
			Ref: it.Ref, Code: edgedpb.Refused_Code(it.Code), Reason: string(it.Text)}}
	}
	return m, nil
}

func readDownstream(b []byte) (*edgedpb.Downstream, error) {
	down, err := batch.ParseDownstream(b)
	if err != nil {
		return nil, err
	}
	m := &edgedpb.Downstream{Seq: down.Seq, Received: down.Received}
	if h := down.Hello; down.HasHello {
		m.Hello = &edgedpb.ManagerHello{ManagerId: h.ID, Protocol: h.Protocol, Receipts: h.Receipts}
	}
	it := dirtyDownItem()
	for {
		item, _, ok := down.Items.Next()
		if !ok {
			return m, down.Items.Err()
		}
		if err := batch.ParseDownItem(item, &it); err != nil {
			return nil, err
		}
		i, err := downItemMessage(&it)
		if err != nil {
			return nil, err
		}
		m.Items = append(m.Items, i)
	}
}

func downItemMessage(it *batch.DownItem) (*edgedpb.DownItem, error) {
	m := &edgedpb.DownItem{Ref: it.Ref}
	switch it.Target {
	case batch.TargetLink:
		m.Target = &edgedpb.DownItem_Link{Link: linkMessage(it.Link)}
	case batch.TargetUser:
		m.Target = &edgedpb.DownItem_User{User: string(it.User)}
	case batch.TargetDevice:
		m.Target = &edgedpb.DownItem_Device{Device: &edgedpb.Device{User: string(it.User), Device: string(it.Device)}}
	case batch.TargetRoom:
		m.Target = &edgedpb.DownItem_Room{Room: string(it.Room)}
	case batch.TargetEveryone:
		m.Target = &edgedpb.DownItem_Everyone{Everyone: &edgedpb.Everyone{}}
	}
	switch it.Op {
	case batch.OpData:
		m.What = &edgedpb.DownItem_Data{Data: it.Data}
	case batch.OpPush:
		p := it.Push
		m.What = &edgedpb.DownItem_Push{Push: &edgedpb.Push{Payload: p.Payload, MsgId: string(p.MsgID),
			Ack: edgedpb.Push_Ack(p.Ack), AllowGzip: p.AllowGzip, TtlMs: p.TTLMs, PackageId: p.PackageID,
			SeqId: p.SeqID, Count: p.Count, Version: p.Version}}
	case batch.OpSession:
		patch := &edgedpb.SessionPatch{}
		if err := strip.Unmarshal(it.Patch, patch); err != nil {
			return nil, err
		}
		m.What = &edgedpb.DownItem_Session{Session: patch}
	case batch.OpBind:
		m.What = &edgedpb.DownItem_Bind{Bind: &edgedpb.Bind{
			User: string(it.Bind.User), Device: string(it.Bind.Device), SyncedVersion: it.Bind.Synced}}
	case batch.OpJoin:
		m.What = &edgedpb.DownItem_Join{Join: string(it.OpRoom)}
	case batch.OpLeave:
		m.What = &edgedpb.DownItem_Leave{Leave: string(it.OpRoom)}
	case batch.OpClose:
		m.What = &edgedpb.DownItem_Close{Close: &edgedpb.Close{
			Reason: it.Close.Reason, RetryAfterMs: it.Close.RetryAfterMs, Text: string(it.Close.Text)}}
	}
	return m, nil
}

func linkMessage(l batch.Link) *edgedpb.LinkRef {
	return &edgedpb.LinkRef{Index: l.Index, Uniq: l.Uniq}
}

// dirtyUpItem is what a reader's out may hold from before: nothing of it may shine through.
func dirtyUpItem() batch.UpItem {
	dirt := []byte("dirt")
	return batch.UpItem{Link: batch.Link{Index: 9, Uniq: 9}, HasLink: true, Session: dirt, What: batch.UpRefused, Kind: 9,
		Payload: dirt, Reason: 9, Side: 9, Evidence: dirt, Ref: 9, Code: 9, Text: dirt}
}

func dirtyDownItem() batch.DownItem {
	dirt := []byte("dirt")
	return batch.DownItem{Target: batch.TargetDevice, Link: batch.Link{Index: 9, Uniq: 9}, User: dirt, Device: dirt,
		Room: dirt, Op: batch.OpBind, Data: dirt, Push: batch.Push{Payload: dirt, MsgID: dirt, Ack: 9, AllowGzip: true},
		Patch: dirt, Bind: batch.Bind{User: dirt, Device: dirt, Synced: 9}, OpRoom: dirt,
		Close: batch.Close{Reason: 9, RetryAfterMs: 9, Text: dirt}, Ref: 9}
}

// strip reads what this version knows: a reader by hand does not keep unknown fields.
var strip = proto.UnmarshalOptions{DiscardUnknown: true}

// plain takes from an Upstream of generated code what the reader by hand does not tell apart: an empty session from none,
// and kinds that fit no byte from each other.
func plain(m *edgedpb.Upstream) *edgedpb.Upstream {
	for _, it := range m.Items {
		if len(it.Session.GetValues()) == 0 {
			it.Session = nil
		}
		if msg := it.GetMessage(); msg != nil && uint32(msg.Kind) > 255 {
			msg.Kind = edgedpb.ClientMessage_Kind(batch.KindOther)
		}
	}
	return m
}

// compareUpstream checks that generated code and the reader by hand agree on b: both refuse it or both read the same.
func compareUpstream(t *testing.T, b []byte) {
	t.Helper()
	want := &edgedpb.Upstream{}
	refused := strip.Unmarshal(b, want)
	got, err := readUpstream(b)
	compare(t, b, plain(want), got, refused, err)
}

func compareDownstream(t *testing.T, b []byte) {
	t.Helper()
	want := &edgedpb.Downstream{}
	refused := strip.Unmarshal(b, want)
	got, err := readDownstream(b)
	compare(t, b, want, got, refused, err)
}

func compare(t *testing.T, b []byte, want, got proto.Message, refused, err error) {
	t.Helper()
	switch {
	case refused != nil && err != nil:
		if !errors.Is(err, batch.ErrMalformed) {
			t.Fatalf("%x: error %v, want ErrMalformed", b, err)
		}
	case refused != nil:
		t.Fatalf("%x: generated code says %v, by hand it is %v", b, refused, got)
	case err != nil:
		t.Fatalf("%x: by hand %v, generated code reads %v", b, err, want)
	case !proto.Equal(got, want):
		t.Fatalf("%x:\nby hand   %v\ngenerated %v", b, got, want)
	}
}

// newRand returns a source of chance whose seed is printed, so that a failure can be had again.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
