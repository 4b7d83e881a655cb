package batch_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"edged/batch"
)

// Each case is written byte by byte and says what protobuf makes of it; that generated code agrees is tested too.
// One flat table, and so is TestParseDownItem.
func TestParseUpItem(t *testing.T) {
	for _, c := range []struct {
		name string
		item string
		want batch.UpItem // lists are left out
	}{
		{"nothing", "", batch.UpItem{}},
		{"empty link is a link", "\x0a\x00", batch.UpItem{HasLink: true}},
		{"no link", "\x42\x02\x08\x07", batch.UpItem{What: batch.UpRefused, Ref: 7}},
		{"opened", "\x0a\x04\x08\x07\x10\x02\x1a\x00",
			batch.UpItem{Link: batch.Link{Index: 7, Uniq: 2}, HasLink: true, What: batch.UpOpened}},
		{"message", "\x22\x05\x08\x03\x12\x01x", batch.UpItem{What: batch.UpMessage, Kind: batch.KindData, Payload: []byte("x")}},
		{"fields in another order", "\x22\x05\x12\x01x\x08\x03\x0a\x02\x10\x02",
			batch.UpItem{Link: batch.Link{Uniq: 2}, HasLink: true, What: batch.UpMessage, Kind: 3, Payload: []byte("x")}},
		{"number twice: the last", "\x0a\x04\x08\x01\x08\x02", batch.UpItem{Link: batch.Link{Index: 2}, HasLink: true}},
		{"number twice: the last, if zero", "\x0a\x04\x08\x01\x08\x00", batch.UpItem{HasLink: true}},
		{"link in two parts: merged", "\x0a\x02\x08\x01\x0a\x02\x10\x02",
			batch.UpItem{Link: batch.Link{Index: 1, Uniq: 2}, HasLink: true}},
		{"member of the oneof in two parts: merged", "\x22\x02\x08\x03\x22\x03\x12\x01x",
			batch.UpItem{What: batch.UpMessage, Kind: 3, Payload: []byte("x")}},
		{"two members: the last", "\x3a\x04\x08\x02\x10\x01\x22\x03\x12\x01x",
			batch.UpItem{What: batch.UpMessage, Payload: []byte("x")}},
		{"two members and the first again: afresh", "\x3a\x02\x08\x02\x1a\x00\x3a\x02\x10\x01",
			batch.UpItem{What: batch.UpClosed, Side: batch.SideClient}},
		{"session in two parts: joined", "\x12\x05\x0a\x03\x0a\x01a\x12\x05\x0a\x03\x0a\x01b\x12\x05\x0a\x03\x0a\x01c",
			batch.UpItem{Session: []byte("\x0a\x03\x0a\x01a\x0a\x03\x0a\x01b\x0a\x03\x0a\x01c")}},
		{"unknown field", "\x78\x05\x1a\x00", batch.UpItem{What: batch.UpOpened}},
		{"unknown fixed numbers and group", "\x7d1234\x7912345678\x7b\x0a\x01x\x7c\x1a\x00", batch.UpItem{What: batch.UpOpened}},
		{"known number, another wire type", "\x18\x05", batch.UpItem{}},
		{"kind that fits no byte", "\x22\x03\x08\x83\x02", batch.UpItem{What: batch.UpMessage, Kind: batch.KindOther}},
		{"negative enumerator", "\x3a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", batch.UpItem{What: batch.UpClosed, Side: -1}},
		{"u32 in ten bytes: the low bits", "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
			batch.UpItem{Link: batch.Link{Index: math.MaxUint32}, HasLink: true}},
		{"u64 in ten bytes", "\x42\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
			batch.UpItem{What: batch.UpRefused, Ref: math.MaxUint64}},
		{"small number in ten bytes", "\x42\x0b\x08\x85\x80\x80\x80\x80\x80\x80\x80\x80\x00",
			batch.UpItem{What: batch.UpRefused, Ref: 5}},
		{"tag in three bytes", "\x9a\x80\x00\x00", batch.UpItem{What: batch.UpOpened}},
	} {
		t.Run(c.name, func(t *testing.T) {
			compareUpstream(t, field(2, []byte(c.item)))
			got := dirtyUpItem()
			if err := batch.ParseUpItem([]byte(c.item), &got); err != nil {
				t.Fatal(err)
			}
			if !sameUpItem(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func sameUpItem(a, b batch.UpItem) bool {
	return a.Link == b.Link && a.HasLink == b.HasLink && a.What == b.What && a.Kind == b.Kind && a.Reason == b.Reason &&
		a.Side == b.Side && a.Ref == b.Ref && a.Code == b.Code && string(a.Session) == string(b.Session) &&
		string(a.Payload) == string(b.Payload) && string(a.Evidence) == string(b.Evidence) && string(a.Text) == string(b.Text)
}

func TestParseDownItem(t *testing.T) {
	for _, c := range []struct {
		name string
		item string
		ok   func(it *batch.DownItem) bool
	}{
		{"nothing", "", func(it *batch.DownItem) bool { return it.Target == batch.TargetNone && it.Op == batch.OpNone }},
		{"two targets: the last", "\x12\x01u\x0a\x02\x08\x01", func(it *batch.DownItem) bool {
			return it.Target == batch.TargetLink && it.Link == batch.Link{Index: 1} && it.User == nil
		}},
		{"link, user, link: the first is forgotten", "\x0a\x02\x08\x01\x12\x01u\x0a\x02\x10\x02", func(it *batch.DownItem) bool {
			return it.Target == batch.TargetLink && it.Link == batch.Link{Uniq: 2}
		}},
		{"device in two parts: merged", "\x1a\x03\x0a\x01u\x1a\x03\x12\x01d", func(it *batch.DownItem) bool {
			return it.Target == batch.TargetDevice && string(it.User) == "u" && string(it.Device) == "d"
		}},
		{"device, then user", "\x1a\x06\x0a\x01u\x12\x01d\x12\x01v", func(it *batch.DownItem) bool {
			return it.Target == batch.TargetUser && string(it.User) == "v" && it.Device == nil
		}},
		{"everyone", "\x2a\x00", func(it *batch.DownItem) bool { return it.Target == batch.TargetEveryone }},
		{"empty data", "\x32\x00", func(it *batch.DownItem) bool { return it.Op == batch.OpData && len(it.Data) == 0 }},
		{"two operations: the last", "\x3a\x06\x0a\x01x\x12\x01m\x32\x01d", func(it *batch.DownItem) bool {
			return it.Op == batch.OpData && string(it.Data) == "d" && it.Push.MsgID == nil
		}},
		{"push in two parts: merged", "\x3a\x03\x0a\x01x\x3a\x02\x18\x01", func(it *batch.DownItem) bool {
			return it.Op == batch.OpPush && string(it.Push.Payload) == "x" && it.Push.Ack == batch.AckRequired
		}},
		{"join of a room's links to another room", "\x22\x01a\x52\x01b", func(it *batch.DownItem) bool {
			return it.Target == batch.TargetRoom && string(it.Room) == "a" && it.Op == batch.OpJoin && string(it.OpRoom) == "b"
		}},
		{"patch in two parts: joined", "\x42\x03\x12\x01a\x42\x03\x12\x01b", func(it *batch.DownItem) bool {
			return it.Op == batch.OpSession && string(it.Patch) == "\x12\x01a\x12\x01b"
		}},
		{"patch, bind, patch: the first is forgotten", "\x42\x03\x12\x01a\x4a\x00\x42\x03\x12\x01b", func(it *batch.DownItem) bool {
			return it.Op == batch.OpSession && string(it.Patch) == "\x12\x01b"
		}},
		{"patch, then bind", "\x42\x03\x12\x01a\x4a\x02\x18\x05", func(it *batch.DownItem) bool {
			return it.Op == batch.OpBind && it.Patch == nil && it.Bind.Synced == 5
		}},
		{"close", "\x62\x08\x08\x07\x10\x90\x4e\x1a\x01t\x68\x09", func(it *batch.DownItem) bool {
			return it.Op == batch.OpClose && it.Close.Reason == 7 && it.Close.RetryAfterMs == 10000 &&
				string(it.Close.Text) == "t" && it.Ref == 9
		}},
		{"bool in two bytes is true", "\x3a\x03\x20\x80\x02", func(it *batch.DownItem) bool { return it.Push.AllowGzip }},
	} {
		t.Run(c.name, func(t *testing.T) {
			compareDownstream(t, field(1, []byte(c.item)))
			it := dirtyDownItem()
			if err := batch.ParseDownItem([]byte(c.item), &it); err != nil {
				t.Fatal(err)
			}
			if !c.ok(&it) {
				t.Errorf("got %+v", it)
			}
		})
	}
}

// Bytes that generated code refuses in an item, whatever the item.
var malformed = []struct{ name, bytes string }{
	{"tag without value", "\x0a"},
	{"length without bytes", "\x0a\x05"},
	{"length beyond the end", "\x0a\x02\x08"},
	{"length of 64 bits", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
	{"length that wraps", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00"},
	{"varint without end", "\x68\x80\x80"},
	{"varint of eleven bytes", "\x68\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"},
	{"varint beyond 64 bits", "\x68\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"},
	{"field zero", "\x02\x00"},
	{"field number too high", "\x80\x80\x80\x80\x10\x00"},
	{"end of a group that did not begin", "\x7c"},
	{"group without end", "\x7b\x08\x01"},
	{"group with another end", "\x7b\x08\x01\x74"},
	{"reserved wire type", "\x0e"},
	{"short fixed number", "\x7d123"},
	{"link cut short", "\x0a\x01\x08"},
}

func TestMalformed(t *testing.T) {
	for _, c := range malformed {
		t.Run(c.name, func(t *testing.T) {
			b := []byte(c.bytes)
			var up batch.UpItem
			if err := batch.ParseUpItem(b, &up); !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("UpItem: %v", err)
			}
			var down batch.DownItem
			if err := batch.ParseDownItem(b, &down); !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("DownItem: %v", err)
			}
			var head batch.DownHead
			if err := batch.ParseDownHead(append([]byte("\x0a\x02\x08\x01"), b...), &head); !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("DownHead: %v", err)
			}
			compareUpstream(t, field(2, b))
			compareDownstream(t, field(1, b))
			compareUpstream(t, b)
			compareDownstream(t, b)
		})
	}
}

// Every string of the protocol is checked, and so is every embedded message, known to be empty or not.
func TestMalformedInside(t *testing.T) {
	const bad = "\xff"
	for _, c := range []struct{ name, item string }{
		{"opened", "\x1a\x01\x08"},
		{"message", "\x22\x01\x08"},
		{"evidence", "\x3a\x03\x1a\x01" + bad},
		{"refused reason", "\x42\x03\x12\x01" + bad},
		{"receipt", "\x2a\x03\x0a\x01\x08"},
		{"receipt msg_id", "\x2a\x05\x0a\x03\x12\x01" + bad},
		{"loss", "\x32\x03\x0a\x01\x10"},
		{"loss msg_id", "\x32\x05\x0a\x03\x0a\x01" + bad},
		{"evidence that is overwritten", "\x3a\x06\x1a\x01" + bad + "\x1a\x01x"},
		{"evidence of a member that is replaced", "\x3a\x03\x1a\x01" + bad + "\x1a\x00"},
	} {
		var it batch.UpItem
		if err := batch.ParseUpItem([]byte(c.item), &it); !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("up, %s: %v", c.name, err)
		}
		compareUpstream(t, field(2, []byte(c.item)))
	}
	for _, c := range []struct{ name, item string }{
		{"user", "\x12\x01" + bad},
		{"device", "\x1a\x03\x12\x01" + bad},
		{"device's user", "\x1a\x03\x0a\x01" + bad},
		{"room", "\x22\x01" + bad},
		{"everyone", "\x2a\x01\x08"},
		{"push msg_id", "\x3a\x03\x12\x01" + bad},
		{"patch key", "\x42\x05\x0a\x03\x0a\x01" + bad},
		{"patch value", "\x42\x05\x0a\x03\x12\x01" + bad},
		{"patch delete", "\x42\x03\x12\x01" + bad},
		{"bind user", "\x4a\x03\x0a\x01" + bad},
		{"bind device", "\x4a\x03\x12\x01" + bad},
		{"join", "\x52\x01" + bad},
		{"leave", "\x5a\x01" + bad},
		{"close text", "\x62\x03\x1a\x01" + bad},
		{"patch that is replaced", "\x42\x03\x12\x01" + bad + "\x32\x00"},
	} {
		var it batch.DownItem
		if err := batch.ParseDownItem([]byte(c.item), &it); !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("down, %s: %v", c.name, err)
		}
		compareDownstream(t, field(1, []byte(c.item)))
	}
	for _, hello := range []string{"\x0a\x01" + bad, "\x12\x01" + bad, "\x22\x01" + bad, "\x18"} {
		if _, err := batch.ParseUpstream(field(1, []byte(hello))); !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("gateway's hello %x: %v", hello, err)
		}
	}
	for _, hello := range []string{"\x0a\x01" + bad, "\x10"} {
		if _, err := batch.ParseDownstream(field(4, []byte(hello))); !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("Manager's hello %x: %v", hello, err)
		}
	}
}

// Joining a message that comes in very many parts takes linear time: a Manager cannot stall a shard with it.
func TestManyParts(t *testing.T) {
	const parts = 200_000
	item := []byte(strings.Repeat("\x42\x05\x12\x03a.b", parts))
	var it batch.DownItem
	if err := batch.ParseDownItem(item, &it); err != nil {
		t.Fatal(err)
	}
	if len(it.Patch) != 5*parts {
		t.Errorf("%d bytes, want %d", len(it.Patch), 5*parts)
	}
}

// What was parsed ends where it ends: appending to it does not write into its neighbour.
func TestParsedPartsDoNotOverlap(t *testing.T) {
	b := batch.AppendPush(nil, batch.ToUser("u"), 0, batch.Push{Payload: []byte("p"), MsgID: []byte("m")})
	b = batch.AppendData(b, batch.Link{}, 0, []byte("d"))
	before := string(b)
	items := batch.DownItems(b)
	item, raw, _ := items.Next()
	var it batch.DownItem
	if err := batch.ParseDownItem(item, &it); err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{item, raw, it.User, it.Push.Payload, it.Push.MsgID} {
		_ = append(part, "overwritten"...)
	}
	if string(b) != before {
		t.Error("appending to a part changed the batch")
	}
}

func TestLabels(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{batch.SideNetwork.String(), "network"},
		{batch.Side(-1).String(), "unknown"},
		{batch.CodeTooLarge.String(), "too_large"},
		{batch.LossTooLarge.String(), "too_large"},
		{batch.LossReason(99).String(), "unknown"},
		{batch.OpNone.String(), "none"},
		{batch.OpClose.String(), "close"},
		{batch.Op(13).String(), "unknown"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
