package queue_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/queue"
)

func TestParseBody(t *testing.T) {
	hi := queue.Message{To: batch.ToUser("42"), Payload: []byte("hi")}
	const one = `{"to":"user:42","text":"hi"}`
	for _, tt := range []struct {
		name, text string
		want       []queue.Message
	}{
		{"one", one, []queue.Message{hi}},
		{"one over lines", "\r\n{\n\"to\":\t\"user:42\",\n\"text\" : \"hi\"\n}\n", []queue.Message{hi}},
		{"lines", one + "\n" + one + "\n\n" + one, []queue.Message{hi, hi, hi}},
		{"a list", " [" + one + ",\n" + one + " ] ", []queue.Message{hi, hi}},
		{
			"all keys", `{"gzip":false,"ttl_ms":1500,"offline":true,"ack":"required","msg_id":"m-ü","payload":"AP8=","to":"user:42"}`,
			[]queue.Message{{To: batch.ToUser("42"), Payload: []byte("\x00\xff"), MsgID: "m-ü", Ack: batch.AckRequired, Offline: true, NoGzip: true, TTL: 1500 * time.Millisecond}},
		},
		{"said as the default", `{"to":"user:42","text":"hi","gzip":true,"ttl_ms":0,"offline":false,"ack":"none","msg_id":""}`, []queue.Message{hi}},
		{"a device", `{"to":"device:42/phone","payload":""}`, []queue.Message{{To: batch.ToDevice("42", "phone"), Payload: []byte{}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := queue.ParseBody([]byte(tt.text), payloadMax)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	got, err := queue.ParseBody([]byte(strings.Repeat(one+"\n", 1000)), payloadMax)
	if err != nil || len(got) != 1000 {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

func TestParseBodyErrors(t *testing.T) {
	const one = `{"to":"user:42","text":"hi"}`
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "line 1: there is no message"},
		{"blanks", "\n\n ", "line 3: there is no message"},
		{"an empty list", "[\n]", "line 2: there is no message"},
		{"no JSON", "to=user:42", "line 1: is no JSON: "},
		{"the second", one + "\n" + `{"to":"user:42","text":"hi","ack":"maybe"}` + "\n" + one, `line 2: ack: "maybe" is not none, required or sampled`},
		{"the third of a list", "[" + one + ",\n" + one + ",\n" + `{"text":"x"}]`, "line 3: to: missing"},
		{"cut off", one + "\n{\"to\":", "line 2: the JSON ends too early"},
		{"a list that does not end", "[" + one + ",\n", "line 2: the JSON ends too early"},
		{"a list without its end", "[" + one + "\n", "line 2: the JSON ends too early"},
		{"a list and more", "[" + one + "]\n" + one, "line 2: something stands behind the list"},
		{"a list of lists", "[[" + one + "]]", "line 1: a message is an object in braces"},
		{"a number", "1", "line 1: a message is an object in braces"},
		{"no payload", `{"to":"user:42"}`, "line 1: payload: missing; give text, or payload in base64"},
		{"two payloads", `{"to":"user:42","text":"","payload":""}`, "line 1: payload: text and payload exclude each other"},
		{"no base64", `{"to":"user:42","payload":"?"}`, "line 1: payload: must be base64"},
		{"too large", `{"to":"user:42","text":"` + strings.Repeat("x", payloadMax+1) + `"}`, "line 1: payload: has 1001 bytes, not 1000 at most"},
		{"to", `{"to":"nobody","text":"x"}`, `line 1: to: "nobody" is not user:U`},
		{"to as a number", `{"to":42,"text":"x"}`, "line 1: to: must be text"},
		{"null", `{"to":null,"text":"x"}`, "line 1: to: must be text"},
		{"text as a list", `{"to":"user:42","text":["x"]}`, "line 1: text: must be text"},
		{"ack as a number", `{"to":"user:42","text":"x","ack":1}`, "line 1: ack: must be text"},
		{"msg_id", `{"to":"user:42","text":"x","msg_id":"` + strings.Repeat("x", 256) + `"}`, "line 1: msg_id: has 256 bytes, not 255 at most"},
		{"msg_id as a number", `{"to":"user:42","text":"x","msg_id":7}`, "line 1: msg_id: must be text"},
		{"offline as text", `{"to":"user:42","text":"x","offline":"1"}`, "line 1: offline: must be true or false"},
		{"gzip as a number", `{"to":"user:42","text":"x","gzip":1}`, "line 1: gzip: must be true or false"},
		{"ttl_ms as text", `{"to":"user:42","text":"x","ttl_ms":"1s"}`, "line 1: ttl_ms: must be a whole number"},
		{"ttl_ms with a fraction", `{"to":"user:42","text":"x","ttl_ms":1.5}`, "line 1: ttl_ms: must be a whole number"},
		{"ttl_ms below zero", `{"to":"user:42","text":"x","ttl_ms":-1}`, "line 1: ttl_ms: -1 is not between 0 and"},
		{"unknown", `{"to":"user:42","text":"x","ttl":1}`, `line 1: "ttl": unknown; there are to, text, payload`},
		{"in capitals", `{"To":"user:42","text":"x"}`, `line 1: "To": unknown`},
		{"twice", `{"to":"user:42","text":"x","to":"user:43"}`, "line 1: to: stands there twice"},
		{"a room", `{"to":"room:r","text":"x","offline":true}`, "line 1: offline: messages are stored for users"},
		{"not UTF-8", one + "\n" + "{\"to\":\"user:\xff\"}", "line 2: is not UTF-8"},
		{"no comma", `{"to":"user:42" "text":"x"}`, "line 1: is no JSON: "},
		{"too many", strings.Repeat(one+"\n", 1001), "line 1001: more than 1000 messages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := queue.ParseBody([]byte(tt.text), payloadMax)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// FuzzParseBody: whatever is posted is messages that the stream's reader takes, the same ones, or is refused with a line of the body.
func FuzzParseBody(f *testing.F) {
	const one = `{"to":"user:42","text":"hi","ack":"sampled","offline":true,"ttl_ms":5,"gzip":false,"msg_id":"m"}`
	for _, s := range []string{one, one + "\n" + one, "[" + one + "," + one + "]", `{"to":"device:1/2","payload":"AP8="}`, "[", "{}", `{"to":`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		messages, err := queue.ParseBody(text, payloadMax)
		if err != nil {
			var line int
			if _, e := fmt.Sscanf(err.Error(), "line %d: ", &line); e != nil || line < 1 || line > 1+strings.Count(string(text), "\n") {
				t.Fatalf("error %v", err)
			}
			return
		}
		for _, m := range messages {
			again, err := queue.Parse(m.AppendFields(nil), payloadMax)
			if err != nil || !reflect.DeepEqual(m, again) {
				t.Fatalf("%+v comes back as %+v, %v", m, again, err)
			}
		}
		if len(messages) == 1 && !json.Valid(text) && text[0] != '[' {
			t.Fatalf("%q is no JSON", text)
		}
	})
}
