package offline_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/offline"
)

func TestStore(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	for _, c := range []struct {
		name     string
		messages []offline.Message
		want     []int
	}{
		{"first", several("u", 3), []int{1, 2, 3}},
		{"again", several("u", 4), []int{-1, -2, -3, 4}},
		{"twice in one call", []offline.Message{msg("u", "a", "x"), msg("u", "a", "y"), msg("u", "b", "z"), msg("u", "a", "x")}, []int{5, -5, 6, -5}},
		{"without msg_id", []offline.Message{msg("u", "", "x"), msg("u", "", "x")}, []int{7, 8}},
		{"several users", []offline.Message{msg("v", "a", "x"), msg("u", "c", "x"), msg("v", "b", "x"), msg("u", "a", "x")}, []int{1, 9, 2, -5}},
		{"odd names", []offline.Message{msg("{}", "\r\n\x00", ""), msg("a}b{c", "i d", ""), msg("ü\xff\n", strings.Repeat("x", 255), "")}, []int{1, 1, 1}},
		{"none", nil, nil},
	} {
		if got := store(t, l, c.messages...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := s.Do("GET", "edged:ver:{u}"); got != "9" {
		t.Errorf("the counter is %s", got)
	}
	if st := l.Stats(); st.Stored != 14 || st.Duplicates != 6 || st.Refused+st.Failed+st.Removed != 0 {
		t.Errorf("%+v", st)
	}
}

// TestStoreMany: messages of one user keep their order, however many there are, and others are not held up.
func TestStoreMany(t *testing.T) {
	t.Parallel()
	_, l := open(t)
	var messages []offline.Message
	want := make(map[string]int)
	for i := range 3000 {
		user := fmt.Sprint("u", i%7)
		if i%3 > 0 {
			user = fmt.Sprint("other", i)
		}
		payload := make([]byte, 100)
		if i%500 == 0 {
			payload = make([]byte, 300<<10) // more than what one script takes
		}
		messages = append(messages, offline.Message{User: user, MsgID: fmt.Sprint(i), Payload: payload})
	}
	for i, v := range store(t, l, messages...) {
		user := messages[i].User
		if want[user]++; v != want[user] {
			t.Fatalf("message %d for %s has version %d, want %d", i, user, v, want[user])
		}
	}
	for _, e := range pull(t, l, "u0", "d", 0, 0).Entries {
		if got := want["u0"]; int(e.Version) > got {
			t.Errorf("version %d of %d", e.Version, got)
		}
	}
}

func TestStoreRefused(t *testing.T) {
	t.Parallel()
	_, l := open(t)
	messages := []offline.Message{
		msg("u", "1", "x"),
		msg("", "2", "x"),
		msg("}u", "3", "x"),
		msg("u", strings.Repeat("x", 256), "x"),
		{User: "u", Payload: make([]byte, 1<<20+1)},
		{User: "u", Ack: 3},
		{User: "u", Ack: -1},
		{User: "u", MsgID: "9", Payload: make([]byte, 1<<20)},
	}
	want := []error{nil, offline.ErrUser, offline.ErrUser, offline.ErrMsgID, offline.ErrPayload, offline.ErrAck, offline.ErrAck, nil}
	for i, r := range l.Store(soon(t), messages) {
		if !errors.Is(r.Err, want[i]) || (r.Err == nil) != (r.Version > 0) {
			t.Errorf("message %d: %+v, want error %v", i, r, want[i])
		}
	}
	if st := l.Stats(); st.Refused != 6 || st.Stored != 2 {
		t.Errorf("%+v", st)
	}
}

// TestStoreEntry looks at the bytes in Redis as another program would.
func TestStoreEntry(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	before := unixMS(s)
	at := time.UnixMilli(before - 5000)
	store(t, l,
		offline.Message{User: "u", MsgID: "m1", Payload: []byte("hello"), Ack: batch.AckRequired, AllowGzip: true, TTL: time.Minute, At: at},
		offline.Message{User: "u", TTL: time.Minute},
		offline.Message{User: "u", Ack: batch.AckSampled, At: at})
	after := unixMS(s)
	for i, want := range []struct {
		tail             string
		least, mostAlive int64 // of expires
	}{
		{"\x05\x02m1hello", before + 55_000, before + 55_000},
		{"\x00\x00", before + 60_000, after + 60_000},
		{"\x02\x00", 0, 0},
	} {
		member := s.Do("ZRANGE", "edged:log:{u}", fmt.Sprint(i+1), fmt.Sprint(i+1), "BYSCORE")
		e, err := offline.ParseEntry([]byte(member))
		if err != nil || member[25:] != want.tail || e.Version != uint64(i+1) {
			t.Errorf("entry %d is %q, %+v, %v", i+1, member, e, err)
		}
		if ms := e.Stored.UnixMilli(); ms < before || ms > after {
			t.Errorf("entry %d was stored at %d, not within %d and %d", i+1, ms, before, after)
		}
		if want.least == 0 && !e.Expires.IsZero() || want.least > 0 && (e.Expires.UnixMilli() < want.least || e.Expires.UnixMilli() > want.mostAlive) {
			t.Errorf("entry %d expires %v", i+1, e.Expires)
		}
	}
}

func TestStoreClash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		key  string
		do   []string // with KEY for the key
	}{
		{"log is a string", "edged:log:{u}", []string{"SET", "KEY", "x"}},
		{"ver is a list", "edged:ver:{u}", []string{"RPUSH", "KEY", "x"}},
		{"ver is a word", "edged:ver:{u}", []string{"SET", "KEY", "x"}},
		{"ver is hexadecimal", "edged:ver:{u}", []string{"SET", "KEY", "0x10"}},
		{"ver is negative", "edged:ver:{u}", []string{"SET", "KEY", "-1"}},
		{"ver is no integer", "edged:ver:{u}", []string{"SET", "KEY", "1.5"}},
		{"ver is empty", "edged:ver:{u}", []string{"SET", "KEY", ""}},
		{"ver is at its end", "edged:ver:{u}", []string{"SET", "KEY", "9007199254740991"}},
		{"ver is beyond its end", "edged:ver:{u}", []string{"SET", "KEY", "9007199254740992"}},
		{"seen is a hash", "edged:seen:{u}", []string{"HSET", "KEY", "x", "y"}},
		{"a score of the log is infinite, without ver", "edged:log:{u}", []string{"ZADD", "KEY", "inf", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, l := open(t)
			for i := range c.do {
				c.do[i] = strings.ReplaceAll(c.do[i], "KEY", c.key)
			}
			s.Do(c.do...)
			before := s.Do("DUMP", c.key) + s.Do("DBSIZE")
			results := l.Store(soon(t), []offline.Message{msg("u", "a", "x"), msg("v", "a", "x"), msg("u", "b", "x")})
			if results[1].Err != nil || results[1].Version != 1 {
				t.Errorf("the other user has %+v", results[1])
			}
			for _, r := range []offline.Stored{results[0], results[2]} {
				if !isClash(r.Err, "u", c.key) || r.Version != 0 {
					t.Errorf("%+v", r)
				}
			}
			s.Do("DEL", "edged:log:{v}", "edged:ver:{v}", "edged:seen:{v}")
			if after := s.Do("DUMP", c.key) + s.Do("DBSIZE"); after != before {
				t.Errorf("it was changed: %q, was %q", after, before)
			}
			if st := l.Stats(); st.Refused != 2 || st.Stored != 1 || st.Failed != 0 {
				t.Errorf("%+v", st)
			}
			s.Do("DEL", c.key)
			if got := store(t, l, msg("u", "a", "x")); got[0] != 1 {
				t.Errorf("version %d afterwards", got[0])
			}
		})
	}
}

// TestStoreWithoutCounter: versions go on after the log's last.
func TestStoreWithoutCounter(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	store(t, l, several("u", 5)...)
	s.Do("DEL", "edged:ver:{u}")
	if got := store(t, l, msg("u", "u-2", "x"), msg("u", "new", "x")); !slices.Equal(got, []int{-2, 6}) {
		t.Errorf("%v", got)
	}
	s.Do("DEL", "edged:ver:{u}", "edged:log:{u}") // what is seen now names versions that were never given out
	if got := store(t, l, msg("u", "u-5", "x"), msg("u", "new", "x")); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("%v", got)
	}
}

// TestSeenFades: a msg_id is known for its time and no longer, and versions beyond 2^21 are told right.
func TestSeenFades(t *testing.T) {
	t.Parallel()
	s, l := open(t, func(c *offline.Config) { c.Seen, c.SeenCount = time.Hour, 10 })
	const last = 5<<21 + 3 // versions wrap in a score before it
	s.Do("SET", "edged:ver:{u}", fmt.Sprint(last))
	now := unixMS(s) / 1000
	mark := func(id string, version, at int64) {
		s.Do("ZADD", "edged:seen:{u}", fmt.Sprintf("%.17g", float64(at)+float64(version%(1<<21))/(1<<21)), id)
	}
	mark("fresh", last, now)
	mark("before the wrap", 5<<21-1, now-3500)
	mark("at the wrap", 5<<21, now-3500)
	mark("old", last-2, now-3700)
	want := []int{-last, -(5<<21 - 1), -(5 << 21), last + 1}
	got := store(t, l, msg("u", "fresh", ""), msg("u", "before the wrap", ""), msg("u", "at the wrap", ""), msg("u", "old", ""))
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := store(t, l, msg("u", "old", "")); got[0] != -(last + 1) {
		t.Errorf("%v", got)
	}
	store(t, l, several("u", 30)...)
	if got := s.Do("ZCARD", "edged:seen:{u}"); got != "10" {
		t.Errorf("%s msg_ids are remembered", got)
	}
	if got := store(t, l, several("u", 30)[20:]...); !slices.ContainsFunc(got, func(v int) bool { return v < 0 }) || got[9] != -(last+31) {
		t.Errorf("the last ten are %v", got)
	}
	if life := s.Do("TTL", "edged:seen:{u}"); life != "3601" && life != "3600" {
		t.Errorf("msg_ids live %s s", life)
	}
}

// TestStoreForgottenScript: a server that lost its scripts gets them again, within the call.
func TestStoreForgottenScript(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	for i := range 3 {
		s.Do("SCRIPT", "FLUSH")
		if got := store(t, l, msg("u", fmt.Sprint(i), "x"), msg("v", fmt.Sprint(i), "x")); !slices.Equal(got, []int{i + 1, i + 1}) {
			t.Errorf("%v", got)
		}
	}
}

// TestStoreOutOfMemory: a message that Redis has no room for takes no version.
func TestStoreOutOfMemory(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	store(t, l, several("u", 2)...)
	s.Do("CONFIG", "SET", "maxmemory", "1")
	if r := l.Store(soon(t), []offline.Message{msg("u", "full", "x")})[0]; r.Err == nil || !strings.Contains(r.Err.Error(), "OOM") {
		t.Errorf("%+v", r)
	}
	s.Do("CONFIG", "SET", "maxmemory", "0")
	if got := store(t, l, msg("u", "full", "x")); got[0] != 3 {
		t.Errorf("version %d", got[0])
	}
	if st := l.Stats(); st.Failed != 1 {
		t.Errorf("%+v", st)
	}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := offline.Entry{Version: 1, Stored: time.UnixMilli(1), MsgID: []byte("0123456789abcdef"), Payload: make([]byte, 64)}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = offline.AppendEntry(dst[:0], &e)
	}
}
