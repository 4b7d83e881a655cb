package batch_test

import (
	"errors"
	"testing"

	"edged/batch"
)

// Items copied by their raw bytes into another batch, with the numbers of that one, are the same items.
func TestItemsAreCopiedRaw(t *testing.T) {
	c := chance{newRand(t)}
	from := c.upstream()
	from.Hello, from.Received = nil, 0
	b := marshal(t, from)
	var to []byte
	items := batch.UpItems(b)
	for {
		_, raw, ok := items.Next()
		if !ok {
			break
		}
		to = append(to, raw...)
	}
	to = batch.AppendUpstreamSeq(to, from.Seq, 0)
	got, err := readUpstream(to)
	compare(t, to, plain(from), got, nil, err)
}

// Items may stand anywhere among the other fields, and the iterator of one side does not see the other side's.
func TestItemsAmongOtherFields(t *testing.T) {
	l := batch.Link{Index: 1, Uniq: 2}
	b := batch.AppendDownstreamSeq(nil, 1, 1)
	b = batch.AppendData(b, l, 0, []byte("one"))
	b = append(b, "\x7a\x03abc\x7b\x7c"...)
	b = batch.AppendDownstreamHello(b, batch.ManagerHello{ID: "m"})
	b = batch.AppendData(b, l, 0, []byte("two"))
	down, err := batch.ParseDownstream(b)
	if err != nil || !down.HasHello || down.Hello.ID != "m" || down.Seq != 1 || down.Received != 1 {
		t.Fatalf("got %+v, %v", down, err)
	}
	again := down.Items
	for _, items := range []batch.Items{down.Items, again, batch.DownItems(b)} {
		var got []string
		for {
			item, _, ok := items.Next()
			if !ok {
				break
			}
			var it batch.DownItem
			if err := batch.ParseDownItem(item, &it); err != nil {
				t.Fatal(err)
			}
			got = append(got, string(it.Data))
		}
		if len(got) != 2 || got[0] != "one" || got[1] != "two" || items.Err() != nil {
			t.Errorf("got %q, %v", got, items.Err())
		}
	}
}

// Over bytes that nobody checked the iterator stops at the first that is no field, says so, and stays there.
func TestItemsOfBrokenBytes(t *testing.T) {
	b := append(batch.AppendOpened(nil, batch.Link{}, nil), "\x12\x7fx"...)
	if _, err := batch.ParseUpstream(b); !errors.Is(err, batch.ErrMalformed) {
		t.Errorf("ParseUpstream: %v", err)
	}
	items := batch.UpItems(b)
	if _, _, ok := items.Next(); !ok || items.Err() != nil {
		t.Fatal("the whole item before the break is not told")
	}
	for range 2 {
		if item, raw, ok := items.Next(); ok || item != nil || raw != nil {
			t.Errorf("got %x after the break", raw)
		}
		if !errors.Is(items.Err(), batch.ErrMalformed) {
			t.Errorf("Err is %v", items.Err())
		}
	}
}

func TestItemsOfNothing(t *testing.T) {
	var none batch.Items
	for _, items := range []batch.Items{none, batch.UpItems(nil), batch.DownItems([]byte{})} {
		if _, _, ok := items.Next(); ok || items.Err() != nil {
			t.Errorf("an item of nothing, or %v", items.Err())
		}
	}
}

func TestLists(t *testing.T) {
	l := batch.Link{Index: 1}
	receipts := []batch.Receipt{{TID: 1, MsgID: []byte("a"), Sampled: true}, {}, {TID: 3, Tries: 2}}
	losses := []batch.Loss{{MsgID: []byte("a"), Reason: batch.LossNoAck}, {}}
	items := batch.UpItems(batch.AppendUndelivered(batch.AppendAcked(nil, l, nil, receipts...), &l, nil, losses...))
	var it batch.UpItem
	item, _, _ := items.Next()
	if err := batch.ParseUpItem(item, &it); err != nil {
		t.Fatal(err)
	}
	again := it.Receipts
	for _, list := range []batch.Receipts{it.Receipts, again} {
		for i, want := range receipts {
			got, ok := list.Next()
			if !ok || got.TID != want.TID || string(got.MsgID) != string(want.MsgID) || got.Sampled != want.Sampled || got.Tries != want.Tries {
				t.Errorf("receipt %d: got %+v %v, want %+v", i, got, ok, want)
			}
		}
		if _, ok := list.Next(); ok {
			t.Error("a receipt too many")
		}
	}
	item, _, _ = items.Next()
	if err := batch.ParseUpItem(item, &it); err != nil {
		t.Fatal(err)
	}
	for i, want := range losses {
		got, ok := it.Losses.Next()
		if !ok || got.Reason != want.Reason || string(got.MsgID) != string(want.MsgID) {
			t.Errorf("loss %d: got %+v %v, want %+v", i, got, ok, want)
		}
	}
	if _, ok := it.Losses.Next(); ok {
		t.Error("a loss too many")
	}
	if _, ok := it.Receipts.Next(); ok {
		t.Error("receipts of the item before")
	}
}
