package queue_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/queue"
)

const payloadMax = 1000

// fields makes the fields of an entry of names and values.
func fields(texts ...string) []queue.Field {
	var list []queue.Field
	for i := 0; i < len(texts); i += 2 {
		list = append(list, queue.Field{Name: texts[i], Value: texts[i+1]})
	}
	return list
}

func TestParseTo(t *testing.T) {
	for _, tt := range []struct {
		text string
		want batch.Target
	}{
		{"user:42", batch.ToUser("42")},
		{"user:a:b/c", batch.ToUser("a:b/c")},
		{"user:{x}", batch.ToUser("{x}")},
		{"device:42/phone", batch.ToDevice("42", "phone")},
		{"device:42/a/b", batch.ToDevice("42", "a/b")},
		{"room:live-1", batch.ToRoom("live-1")},
		{"room:}", batch.ToRoom("}")},
		{"room:für alle", batch.ToRoom("für alle")},
		{"everyone", batch.ToEveryone()},
	} {
		got, err := queue.ParseTo(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
		if back := queue.FormatTo(got); back != tt.text {
			t.Errorf("%q comes back as %q", tt.text, back)
		}
	}
	for text, want := range map[string]string{
		"": `"" is not user:U`, "user": `"user" is not user:U`, "User:42": "is not user:U", "link:1": "is not user:U", " everyone": "is not user:U",
		"everyone:": "is not user:U", "user:": "the user is empty", "user:}x": "a user cannot begin with }", "user:\xff": "the user is not UTF-8",
		"device:42": "is not device:U/D", "device:/x": "the user is empty", "device:42/": "the device is empty", "device:}/x": "cannot begin with }",
		"room:": "the room is empty", "room:" + strings.Repeat("x", 1025): "the room has 1025 bytes, not 1024 at most",
		strings.Repeat("\xffy", 1000): "... is not user:U",
	} {
		if _, err := queue.ParseTo(text); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.80q: error %v, want %q", text, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	user := batch.ToUser("42")
	for _, tt := range []struct {
		name   string
		fields []queue.Field
		want   queue.Message
	}{
		{"the least", fields("to", "user:42", "payload", "x"), queue.Message{To: user, Payload: []byte("x")}},
		{"an empty payload", fields("payload", "", "to", "everyone"), queue.Message{To: batch.ToEveryone(), Payload: []byte{}}},
		{
			"all", fields("msg_id", "m", "to", "user:42", "gzip", "0", "payload", "\x00\xff", "ttl_ms", "1500", "offline", "1", "ack", "required"),
			queue.Message{To: user, Payload: []byte("\x00\xff"), MsgID: "m", Ack: batch.AckRequired, Offline: true, NoGzip: true, TTL: 1500 * time.Millisecond},
		},
		{"defaults", fields("to", "user:42", "payload", "x", "ack", "none", "offline", "0", "gzip", "1", "ttl_ms", "0"), queue.Message{To: user, Payload: []byte("x")}},
		{"empty ones", fields("to", "user:42", "payload", "x", "ack", "", "offline", "", "gzip", "", "ttl_ms", "", "msg_id", ""), queue.Message{To: user, Payload: []byte("x")}},
		{"unknown ones", fields("x", "1", "x", "2", "to", "user:42", "reason", "no", "payload", "x", "", ""), queue.Message{To: user, Payload: []byte("x")}},
		{"sampled", fields("to", "room:r", "payload", "x", "ack", "sampled"), queue.Message{To: batch.ToRoom("r"), Payload: []byte("x"), Ack: batch.AckSampled}},
		{"the largest", fields("to", "user:42", "payload", strings.Repeat("x", payloadMax), "msg_id", strings.Repeat("é", 127)),
			queue.Message{To: user, Payload: []byte(strings.Repeat("x", payloadMax)), MsgID: strings.Repeat("é", 127)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := queue.Parse(tt.fields, payloadMax)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// poison is entries of every kind that can never be handled.
var poison = []struct {
	reason queue.Reason
	detail string
	fields []queue.Field
}{
	{queue.BadTo, "to: missing", fields("payload", "x")},
	{queue.BadTo, `to: "nobody" is not user:U`, fields("to", "nobody", "payload", "x")},
	{queue.BadTo, "to: a user cannot begin with }", fields("to", "user:}", "payload", "x", "offline", "1")},
	{queue.NoPayload, "payload: missing", fields("to", "user:42", "text", "x")},
	{queue.PayloadTooLarge, "payload: has 1001 bytes, not 1000 at most", fields("to", "user:42", "payload", strings.Repeat("x", 1001))},
	{queue.BadMsgID, "msg_id: has 256 bytes, not 255 at most", fields("to", "user:42", "payload", "x", "msg_id", strings.Repeat("x", 256))},
	{queue.BadMsgID, "msg_id: is not UTF-8", fields("to", "user:42", "payload", "x", "msg_id", "\xff")},
	{queue.BadAck, `ack: "maybe" is not none, required or sampled`, fields("to", "user:42", "payload", "x", "ack", "maybe")},
	{queue.BadOffline, `offline: "yes" is not 0 or 1`, fields("to", "user:42", "payload", "x", "offline", "yes")},
	{queue.BadTTL, `ttl_ms: "-1" is not a number of milliseconds`, fields("to", "user:42", "payload", "x", "ttl_ms", "-1")},
	{queue.BadTTL, `ttl_ms: "99999999999999999999" is not a number`, fields("to", "user:42", "payload", "x", "ttl_ms", "99999999999999999999")},
	{queue.BadTTL, `ttl_ms: "9223372036854775807" is not a number`, fields("to", "user:42", "payload", "x", "ttl_ms", "9223372036854775807")},
	{queue.BadTTL, `ttl_ms: "1s" is not a number`, fields("to", "user:42", "payload", "x", "ttl_ms", "1s")},
	{queue.BadGzip, `gzip: "2" is not 0 or 1`, fields("to", "user:42", "payload", "x", "gzip", "2")},
	{queue.FieldTwice, "to: stands there twice", fields("to", "user:42", "payload", "x", "to", "user:43")},
	{queue.NoMembers, "offline: messages are stored for users", fields("to", "room:r", "payload", "x", "offline", "1")},
	{queue.NoMembers, "offline: messages are stored for users", fields("to", "everyone", "payload", "x", "offline", "1")},
	{queue.DeviceStored, "offline: messages are stored for users, not for a device", fields("to", "device:42/phone", "payload", "x", "offline", "1")},
	{queue.BadTo, "to: missing", fields("some", "thing", "of", "another program")},
}

func TestParsePoison(t *testing.T) {
	for _, tt := range poison {
		_, err := queue.Parse(tt.fields, payloadMax)
		var bad *queue.BadError
		if !errors.As(err, &bad) || bad.Reason != tt.reason || !strings.HasPrefix(err.Error(), tt.detail) {
			t.Errorf("%.100q: %v, want %v: %s", tt.fields, err, tt.reason, tt.detail)
		}
	}
	if got := queue.Reason(200).String(); got != "Reason(200)" {
		t.Error(got)
	}
}

// FuzzParse: whatever another program writes is a message or one of the reasons; a message comes back from its own fields.
func FuzzParse(f *testing.F) {
	for _, p := range poison {
		if len(p.fields) > 1 {
			f.Add("to", "user:42", p.fields[0].Name, p.fields[0].Value, p.fields[len(p.fields)-1].Name, p.fields[len(p.fields)-1].Value)
		}
	}
	f.Add("to", "device:a/b", "payload", "x", "ttl_ms", "12")
	f.Add("to", "everyone", "payload", "x", "ack", "sampled")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, name3, value3 string) {
		m, err := queue.Parse(fields(name1, value1, name2, value2, name3, value3), payloadMax)
		if err != nil {
			var bad *queue.BadError
			if !errors.As(err, &bad) || strings.HasPrefix(bad.Reason.String(), "Reason") || len(err.Error()) > 400 {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := queue.Parse(m.AppendFields(nil), payloadMax)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v comes back as %+v, %v", m, again, err)
		}
		item := batch.AppendPush(nil, m.To, 0, batch.Push{Payload: m.Payload, MsgID: []byte(m.MsgID), Ack: m.Ack})
		items := batch.DownItems(item)
		raw, _, ok := items.Next()
		if d, err := parseItem(raw); !ok || err != nil || d.Target != m.To.Kind {
			t.Fatalf("a gateway would not take it: %v", err)
		}
	})
}
