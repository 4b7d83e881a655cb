package batch_test

import (
	"errors"
	"testing"

	"edged/api/edgedpb"
	"edged/batch"
)

func TestSessionValue(t *testing.T) {
	const session = "\x0a\x0a\x0a\x04user\x12\x0242" + // user = 42
		"\x0a\x02\x0a\x00" + // "" = ""
		"\x0a\x0d\x0a\x04link\x12\x05a:1:2" +
		"\x7a\x01x" + // unknown
		"\x0a\x0a\x12\x0243\x0a\x04user" + // user again, value first
		"\x0a\x03\x0a\x01k" // no value
	for _, c := range []struct {
		key, want string
		ok        bool
	}{
		{"user", "43", true},
		{"link", "a:1:2", true},
		{"", "", true},
		{"k", "", true},
		{"use", "", false},
		{"users", "", false},
	} {
		got, ok := batch.SessionValue([]byte(session), c.key)
		if string(got) != c.want || ok != c.ok {
			t.Errorf("%q: got %q %v, want %q %v", c.key, got, ok, c.want, c.ok)
		}
	}
}

func TestSessionEachIsTheMap(t *testing.T) {
	c := chance{newRand(t)}
	for range 200 {
		want := c.values(8)
		session := marshal(t, &edgedpb.Session{Values: want})
		got := map[string]string{}
		err := batch.SessionEach(session, func(k, v []byte) bool {
			got[string(k)] = string(v)
			return true
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %q %v, want %q", got, err, want)
		}
		for k, v := range want {
			if value, ok := batch.SessionValue(session, k); got[k] != v || !ok || string(value) != v {
				t.Fatalf("key %q: got %q and %q, want %q", k, got[k], value, v)
			}
		}
	}
}

func TestSessionEachStops(t *testing.T) {
	session := marshal(t, &edgedpb.Session{Values: map[string]string{"a": "1", "b": "2"}})
	calls := 0
	err := batch.SessionEach(session, func(_, _ []byte) bool {
		calls++
		return false
	})
	if calls != 1 || err != nil {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestSessionMalformed(t *testing.T) {
	const good = "\x0a\x06\x0a\x01k\x12\x01v"
	for _, c := range []struct{ name, bytes string }{
		{"cut short", good + "\x0a\x05\x0a"},
		{"entry cut short", good + "\x0a\x02\x0a\x05"},
		{"key not UTF-8", good + "\x0a\x03\x0a\x01\xff"},
		{"value not UTF-8", good + "\x0a\x06\x0a\x01l\x12\x01\xff"},
		{"end of a group", good + "\x0c"},
	} {
		if err := batch.SessionEach([]byte(c.bytes), func(_, _ []byte) bool { return true }); !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("%s: SessionEach says %v", c.name, err)
		}
		if v, ok := batch.SessionValue([]byte(c.bytes), "k"); ok {
			t.Errorf("%s: SessionValue says %q", c.name, v)
		}
	}
}
