package batch_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"edged/api/edgedpb"
	"edged/batch"
)

// compareDownHead checks that the head of an item says what the whole item says. An item that cannot be read may have a
// head all the same.
func compareDownHead(t *testing.T, item []byte) {
	t.Helper()
	dirt := []byte("dirt")
	got := batch.DownHead{Target: batch.TargetRoom, Op: batch.OpBind, Link: batch.Link{Index: 9, Uniq: 9}, User: dirt, Device: dirt, Room: dirt}
	err := batch.ParseDownHead(item, &got)
	var want batch.DownItem
	if batch.ParseDownItem(item, &want) != nil {
		if err != nil && !errors.Is(err, batch.ErrMalformed) {
			t.Fatalf("%x: error %v, want ErrMalformed", item, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%x: %v, but it is %+v", item, err, want)
	}
	same := got.Op == want.Op && got.Target == want.Target
	var lent [][]byte
	switch want.Target {
	case batch.TargetLink:
		same = same && got.Link == want.Link
	case batch.TargetUser:
		same = same && bytes.Equal(got.User, want.User) && got.Device == nil
		lent = [][]byte{got.User}
	case batch.TargetDevice:
		same = same && bytes.Equal(got.User, want.User) && bytes.Equal(got.Device, want.Device) && got.Device != nil
		lent = [][]byte{got.User, got.Device}
	case batch.TargetRoom:
		same = same && bytes.Equal(got.Room, want.Room)
		lent = [][]byte{got.Room}
	}
	if !same {
		t.Fatalf("%x: head %+v of %+v", item, got, want)
	}
	for _, b := range lent {
		if cap(b) > len(b) {
			t.Fatalf("%x: an append to %q would land in the item", item, b)
		}
	}
}

// Whatever our own and generated code write is read on the quick way; both ways agree.
func TestHeadOfUsualItems(t *testing.T) {
	c := chance{newRand(t)}
	for range rounds {
		compareDownHead(t, marshal(t, c.downItem()))
	}
	long := string(bytes.Repeat([]byte("x"), 300))
	for _, to := range []batch.Target{
		batch.ToLink(batch.Link{}), batch.ToLink(batch.Link{Index: 1 << 31, Uniq: 1 << 31}), batch.ToUser("u"), batch.ToUser(""),
		batch.ToUser(long), batch.ToDevice("u", "d"), batch.ToDevice("", "d"), batch.ToDevice("u", ""), batch.ToDevice(long, long),
		batch.ToRoom("r"), batch.ToRoom(long), batch.ToEveryone(), {}, {Kind: batch.TargetNone},
	} {
		for _, ref := range []uint64{0, 1, 1 << 63} {
			b := batch.AppendDataTo(nil, to, ref, []byte("payload"))
			b = batch.AppendJoin(b, to, ref, long)
			b = batch.AppendPush(b, to, ref, batch.Push{})
			b = batch.AppendClose(b, to, ref, batch.Close{})
			b = batch.AppendPatchTo(b, to, ref, nil, []string{"a.b"})
			items := batch.DownItems(b)
			for item, _, ok := items.Next(); ok; item, _, ok = items.Next() {
				compareDownHead(t, item)
			}
		}
	}
}

// An item whose operation is broken still has a head, so that it comes to whom it was meant for and is found out there;
// one whose target is broken has none.
func TestHeadOfBrokenItems(t *testing.T) {
	var head batch.DownHead
	push := append(field(2, []byte("u")), field(7, []byte("\x0a\x7f"))...)
	if err := batch.ParseDownHead(push, &head); err != nil || head.Op != batch.OpPush || string(head.User) != "u" {
		t.Errorf("a broken push: %+v, %v", head, err)
	}
	for name, b := range map[string][]byte{
		"a user that is no text":     field(2, []byte("\xff")),
		"a room that is no text":     field(4, []byte("\xff")),
		"a device that is no text":   field(3, field(2, []byte("\xff"))),
		"a link cut short":           field(1, []byte{1 << 3}),
		"an everyone that is no one": field(5, []byte{1 << 3}),
	} {
		for _, b := range [][]byte{b, append(b, field(6, nil)...)} {
			if err := batch.ParseDownHead(b, &head); !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("%s: %+v, %v", name, head, err)
			}
		}
	}
}

func TestHeadDoesNotAllocate(t *testing.T) {
	to := batch.ToDevice("user", "device")
	items := batch.DownItems(batch.AppendPush(nil, to, 0, batch.Push{Payload: []byte("payload")}))
	item, _, _ := items.Next()
	general := append(append([]byte{}, item...), 15<<3, 1)
	var head batch.DownHead
	for name, b := range map[string][]byte{"usual": item, "general": general} {
		if n := testing.AllocsPerRun(100, func() {
			if batch.ParseDownHead(b, &head) != nil {
				t.Fatal("malformed")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzDownHead(f *testing.F) {
	desc := (&edgedpb.DownItem{}).ProtoReflect().Descriptor()
	c := chance{rand.New(rand.NewPCG(5, 6))}
	for range 40 {
		b := marshal(f, c.downItem())
		f.Add(b)
		f.Add(c.scramble(b, desc))
	}
	for _, m := range malformed {
		f.Add([]byte(m.bytes))
	}
	f.Fuzz(compareDownHead)
}

func BenchmarkHead(b *testing.B) {
	for name, to := range map[string]batch.Target{
		"link": batch.ToLink(batch.Link{Index: 1 << 30, Uniq: 77}), "user": batch.ToUser("user-123456"),
		"device": batch.ToDevice("user-123456", "phone"), "room": batch.ToRoom("room-12"), "everyone": batch.ToEveryone(),
	} {
		items := batch.DownItems(batch.AppendDataTo(nil, to, 0, make([]byte, 100)))
		item, _, _ := items.Next()
		b.Run(name, func(b *testing.B) {
			var head batch.DownHead
			for b.Loop() {
				if batch.ParseDownHead(item, &head) != nil {
					b.Fatal("malformed")
				}
			}
		})
	}
}
