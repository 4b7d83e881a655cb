package keyindex_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"edged/sdk/keyindex"
)

// shapes are messages as applications have them, each with its schema.
var shapes = map[string]struct {
	schema string
	body   object
}{
	"example": {chat, object{"fromUserId": 123, "toUserId": 456, "content": "hello"}},
	"attachments": {chat, object{
		"fromUserId": 1234567890, "toUserId": 9876543210, "content": strings.Repeat("a longer text. ", 40),
		"attachments": []any{
			object{"url": "https://files.example/1", "bytes": 123456, "inner": object{"width": 640, "height": 480}},
			object{"url": "https://files.example/2", "bytes": 65432, "inner": object{"width": 320, "height": 200}},
		},
		"online": true, "tags": []string{"family", "holiday"},
	}},
	"like":   {"room 0\nlikes 1\ncombo 2", object{"room": "live-1", "likes": 3, "combo": 17}},
	"reader": {"read 0\nuntil 1", object{"read": true, "until": 1785312345678}},
	"members": {"group 0\nmembers 1 {\nid 0\nnickname 1\nrole 2\n}", object{"group": 77, "members": []object{
		{"id": 1, "nickname": "Ann", "role": 2}, {"id": 2, "nickname": "Bob", "role": 1}, {"id": 3, "nickname": "Cem", "role": 1},
	}}},
	"telemetry": {"device 0\ntemperature 1\nhumidity 2\nposition 3 {\nlatitude 0\nlongitude 1\n}\nfirmware 4", object{
		"device": "boiler-17", "temperature": 21.5, "humidity": 0.43, "firmware": []byte{1, 4, 22, 255},
		"position": object{"latitude": 48.137154, "longitude": 11.576124},
	}},
	"command": {"command 0\narguments 1\ndeadline 2\nretries 3", object{
		"command": "open-valve", "arguments": []any{"north", 3}, "deadline": 1785312345678, "retries": 0,
	}},
	"empty": {chat, object{}},
}

func TestSmallerThanJSON(t *testing.T) {
	for name, c := range shapes {
		s := parse(t, c.schema)
		small, err := s.Marshal(c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := json.Marshal(c.body)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-12s JSON %4d, here %4d", name, len(text), len(small))
		if len(small) >= len(text) {
			t.Errorf("%s takes %d bytes, and %d in JSON", name, len(small), len(text))
		}
		// And both mean the same: what came over the wire gives the same JSON.
		back, err := s.Unmarshal(small)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := json.Marshal(back); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%s: %s, %v; want %s", name, again, err, text)
		}
	}
}

// A random map, under a random schema of which the writer may know more than the reader, comes back as it went.
func TestRandomMapsComeBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var text strings.Builder
		in := randomMap(rnd, &text, 0)
		s := parse(t, text.String())
		b, err := s.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := s.Unmarshal(b); err != nil || !reflect.DeepEqual(out, in) {
			t.Fatalf("%v, %v; want %v", out, err, in)
		}
		ignorant := parse(t, "")
		numbered, err := ignorant.Unmarshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ignorant.Marshal(numbered); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x, %v; want %x", again, err, b)
		}
	}
}

// randomMap makes a map, and writes the lines of its schema.
func randomMap(rnd *rand.Rand, text *strings.Builder, depth int) object {
	out := object{}
	for i := range rnd.IntN(6) {
		name := fmt.Sprintf("n%d", i)
		if rnd.IntN(4) > 0 || depth > 4 {
			fmt.Fprintf(text, "%s %d\n", name, i*i)
			out[name] = randomValue(rnd)
			continue
		}
		fmt.Fprintf(text, "%s %d {\n", name, i*i)
		inner := randomMap(rnd, text, depth+1)
		out[name] = inner
		if rnd.IntN(2) == 0 {
			out[name] = []any{inner, inner}
		}
		text.WriteString("}\n")
	}
	return out
}

func randomValue(rnd *rand.Rand) any {
	switch rnd.IntN(6) {
	case 0:
		return int64(rnd.Uint64() >> rnd.IntN(64))
	case 1:
		return rnd.NormFloat64()
	case 2:
		return rnd.IntN(2) == 0
	case 3:
		return strings.Repeat("ü", rnd.IntN(300))
	case 4:
		return bytes.Repeat([]byte{0xff}, rnd.IntN(300))
	}
	return nil
}

// Whatever comes is refused, or comes back from its own map as it went.
func FuzzUnmarshal(f *testing.F) {
	for _, c := range shapes {
		if b, err := parse(f, c.schema).Marshal(c.body); err == nil {
			f.Add(b)
		}
	}
	s := parse(f, chat)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := s.Unmarshal(b)
		if err != nil {
			return
		}
		packed, err := s.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.Unmarshal(packed)
		if err != nil || !same(m, again) {
			t.Fatalf("%v, %v; want %v", again, err, m)
		}
	})
}

// same is DeepEqual, but NaN equals itself.
func same(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case object:
		b, ok := b.(object)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, there := b[k]; !there || !same(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

func BenchmarkMarshal(b *testing.B) {
	s, in := parse(b, chat), shapes["example"].body
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Marshal(in); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleSchema_Marshal() {
	schema, err := keyindex.Parse(strings.NewReader("fromUserId 0\ntoUserId 1\ncontent 2\n"))
	if err != nil {
		panic(err)
	}
	payload, err := schema.Marshal(map[string]any{"fromUserId": 123, "toUserId": 456, "content": "hello"})
	if err != nil {
		panic(err)
	}
	message, err := schema.Unmarshal(payload)
	fmt.Println(len(payload), message, err)
	// Output: 31 map[content:hello fromUserId:123 toUserId:456] <nil>
}
