package keyindex_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/sdk/keyindex"
)

const chat = `
fromUserId  0
toUserId    1
content     2
attachments 3 {
	url   0
	bytes 1
	inner 2 {
		width  0
		height 1
	}
}
online 4
tags   5
`

type object = map[string]any

// The bytes of the protocol's own example, which every language has to write and read.
func TestExampleOfTheProtocol(t *testing.T) {
	s := parse(t, chat)
	in := object{"fromUserId": 123, "toUserId": 456, "content": "hello"}
	b, err := s.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = "1207" + "0800" + "1203" + "08f601" + // 0: int 123, in zigzag
		"1207" + "0801" + "1203" + "089007" + // 1: int 456
		"120b" + "0802" + "1207" + "220568656c6c6f" // 2: string
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var m edgedpb.Message
	if err := proto.Unmarshal(b, &m); err != nil || m.Body[0].GetInt() != 123 || m.Body[1].GetInt() != 456 || m.Body[2].GetString_() != "hello" {
		t.Errorf("%v, %v", &m, err)
	}
	out, err := s.Unmarshal(b)
	if err != nil || !reflect.DeepEqual(out, object{"fromUserId": int64(123), "toUserId": int64(456), "content": "hello"}) {
		t.Errorf("%v, %v", out, err)
	}
	text, _ := json.Marshal(in)
	if len(text) != 51 || len(b) != 31 {
		t.Errorf("doc.go tells other sizes than %d and %d", len(text), len(b))
	}
}

type (
	word  string
	octet byte
)

func TestValues(t *testing.T) {
	s := parse(t, "v 7 {\nk 1\n}")
	for name, c := range map[string]struct{ in, out any }{
		"int":         {-5, int64(-5)},
		"int8":        {int8(-128), int64(-128)},
		"least":       {int64(math.MinInt64), int64(math.MinInt64)},
		"uint64":      {uint64(math.MaxInt64), int64(math.MaxInt64)},
		"uint8":       {uint8(200), int64(200)},
		"float32":     {float32(0.5), 0.5},
		"float64":     {123.0, 123.0},
		"infinite":    {math.Inf(-1), math.Inf(-1)},
		"json int":    {json.Number("123"), int64(123)},
		"json double": {json.Number("1e3"), 1000.0},
		"bool":        {true, true},
		"text":        {"größe", "größe"},
		"empty":       {"", ""},
		"named":       {word("w"), "w"},
		"bytes":       {[]byte{0, 255}, []byte{0, 255}},
		"array":       {[3]byte{1, 2, 3}, []byte{1, 2, 3}},
		"octets":      {[]octet{1, 2}, []any{int64(1), int64(2)}},
		"nil":         {nil, nil},
		"list":        {[]any{1, "a", nil, []int{2}}, []any{int64(1), "a", nil, []any{int64(2)}}},
		"no list":     {[]string(nil), []any{}},
		"map":         {object{"k": 1}, object{"k": int64(1)}},
		"typed map":   {map[word]word{"k": "v"}, object{"k": "v"}},
		"no map":      {object(nil), object{}},
		"list of map": {[]object{{"k": true}, {}}, []any{object{"k": true}, object{}}},
	} {
		b, err := s.Marshal(object{"v": c.in})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if out, err := s.Unmarshal(b); err != nil || !reflect.DeepEqual(out["v"], c.out) {
			t.Errorf("%s: %#v, %v; want %#v", name, out["v"], err, c.out)
		}
	}
}

func TestWhatHasNoForm(t *testing.T) {
	s := parse(t, chat)
	loop := object{}
	loop["#0"] = []any{loop}
	n := 1
	for name, c := range map[string]struct {
		in   object
		want string
	}{
		"channel":  {object{"content": make(chan int)}, "content: a chan int has no form"},
		"pointer":  {object{"content": &n}, "content: a *int has no form"},
		"keys":     {object{"attachments": map[int]int{}}, "attachments: a map[int]int has no form"},
		"huge":     {object{"tags": []any{1, uint64(math.MaxUint64)}}, "tags[1]: 18446744073709551615 does not fit"},
		"text":     {object{"attachments": []any{object{"url": "\xff"}}}, "attachments[0].url: not UTF-8"},
		"number":   {object{"content": json.Number("0x")}, `content: "0x" is not a number`},
		"twice":    {object{"content": 1, "#2": 2}, "number 2 is there twice"},
		"itself":   {loop, "more than 64 maps and lists"},
		"too deep": {object{"tags": deep(64)}, "more than 64 maps and lists"},
	} {
		if b, err := s.Marshal(c.in); b != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if b, err := s.Marshal(object{"tags": deep(63)}); err != nil {
		t.Error(err)
	} else if _, err := s.Unmarshal(b); err != nil {
		t.Error(err)
	}
}

// deep is n lists inside each other.
func deep(n int) any {
	var v any
	for range n {
		v = []any{v}
	}
	return v
}

func TestUnknownNamesAreTold(t *testing.T) {
	s := parse(t, chat)
	_, err := s.Marshal(object{
		"contents": 1, "content": object{"a": 1}, "#02": 1, "#": 1, "#x": 1, "#4294967296": 1, "": 1,
		"attachments": []any{object{"url": "u"}, object{"URL": "u", "inner": object{"depth": 1}}},
	})
	var unknown *keyindex.UnknownError
	if !errors.As(err, &unknown) {
		t.Fatal(err)
	}
	want := []string{"", "#", "#02", "#4294967296", "#x", "attachments[1].URL", "attachments[1].inner.depth", "content.a", "contents"}
	if !slices.Equal(unknown.Names, want) || !strings.Contains(err.Error(), "attachments[1].inner.depth, content.a") {
		t.Errorf("%q, want %q", unknown.Names, want)
	}
}

// An old reader of new messages, and a new one of old messages; what the old one sends on is whole.
func TestSchemasThatChange(t *testing.T) {
	old := parse(t, "id 0\nbody 1 {\ntext 0\n}\n")
	new := parse(t, "id 0\nbody 1 {\ntext 0\nfont 1 {\nname 0\n}\n}\nreplyTo 2\n- 3")
	if err := new.Extends(old); err != nil {
		t.Error(err)
	}
	full := object{"id": int64(1), "body": object{"text": "hi", "font": object{"name": "mono"}}, "replyTo": int64(9)}
	b, err := new.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := old.Unmarshal(b)
	want := object{"id": int64(1), "body": object{"text": "hi", "#1": object{"#0": "mono"}}, "#2": int64(9)}
	if err != nil || !reflect.DeepEqual(seen, want) {
		t.Errorf("the old reader sees %v, %v", seen, err)
	}
	again, err := old.Marshal(seen)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("%x, %v; want %x", again, err, b)
	}
	b, err = old.Marshal(object{"id": 1, "body": object{"text": "hi"}})
	if err != nil {
		t.Fatal(err)
	}
	if seen, err = new.Unmarshal(b); err != nil || !reflect.DeepEqual(seen, object{"id": int64(1), "body": object{"text": "hi"}}) {
		t.Errorf("the new reader sees %v, %v", seen, err)
	}
	b, err = new.Marshal(object{"#3": 1}) // withdrawn, in a message of long ago
	if err != nil {
		t.Fatal(err)
	}
	if seen, err = new.Unmarshal(b); err != nil || !reflect.DeepEqual(seen, object{"#3": int64(1)}) {
		t.Errorf("%v, %v", seen, err)
	}
}

// Header and body of one Message, each with its own names.
func TestHeader(t *testing.T) {
	header, body := parse(t, "kind 1\nsub 2\nrequest 3\napp 10 {\nversion 0\n}"), parse(t, chat)
	h, err := header.Values(object{"kind": 1, "sub": 0, "app": object{"version": "2.1"}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := body.Values(object{"content": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&edgedpb.Message{Header: h, Body: v})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := body.Unmarshal(b); err != nil || !reflect.DeepEqual(got, object{"content": "hello"}) {
		t.Errorf("%v, %v", got, err)
	}
	var m edgedpb.Message
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	want := object{"kind": int64(1), "sub": int64(0), "app": object{"version": "2.1"}}
	if got, err := header.Names(m.Header); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNamesOfWhatNobodySends(t *testing.T) {
	s := parse(t, chat)
	got, err := s.Names(map[uint32]*edgedpb.Value{0: nil, 1: {}, 2: {Kind: &edgedpb.Value_Map{}}, 3: {Kind: &edgedpb.Value_List{}}, 5: {
		Kind: &edgedpb.Value_List{List: &edgedpb.List{Items: []*edgedpb.Value{nil}}},
	}})
	want := object{"fromUserId": nil, "toUserId": nil, "content": object{}, "attachments": []any{}, "tags": []any{nil}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%#v, %v", got, err)
	}
	v := &edgedpb.Value{}
	for range 64 {
		v = &edgedpb.Value{Kind: &edgedpb.Value_Map{Map: &edgedpb.Map{Fields: map[uint32]*edgedpb.Value{9: v}}}}
	}
	m := &edgedpb.Message{Body: map[uint32]*edgedpb.Value{0: v}}
	if _, err := s.Names(m.Body); err == nil {
		t.Error("65 maps inside each other are taken")
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Unmarshal(b); err == nil {
		t.Error("65 maps inside each other are unpacked")
	}
	if _, err := s.Unmarshal([]byte("no protobuf")); err == nil {
		t.Error("no error for garbage")
	}
}
