package offline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"edged/offline"
)

func TestPull(t *testing.T) {
	t.Parallel()
	_, l := open(t)
	store(t, l, several("u", 5)...)
	synced(t, l, "u", "phone", 3)
	for _, c := range []struct {
		name   string
		device string
		after  uint64
		most   int
		want   string
		began  uint64
		more   bool
	}{
		{"all", "tablet", 0, 0, "1=text 1, 2=text 2, 3=text 3, 4=text 4, 5=text 5", 0, false},
		{"after the stored one", "phone", 0, 0, "4=text 4, 5=text 5", 3, false},
		{"after another", "phone", 1, 0, "2=text 2, 3=text 3, 4=text 4, 5=text 5", 1, false},
		{"the first two", "phone", 1, 2, "2=text 2, 3=text 3", 1, true},
		{"as many as there are", "tablet", 3, 2, "4=text 4, 5=text 5", 3, false},
		{"after the last", "tablet", 5, 0, "", 5, false},
		{"after one never given out", "tablet", 6, 1, "1=text 1", 0, true},
		{"after the highest number", "tablet", 1<<64 - 1, 1, "1=text 1", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pull(t, l, "u", c.device, c.after, c.most)
			if got := brief(p.Entries); got != c.want || p.After != c.began || p.More != c.more || p.Oldest != 1 || p.Last != 5 {
				t.Errorf("%+v: %s, want %s", p, got, c.want)
			}
			if want := uint64(3); c.device == "phone" && p.Synced != want || c.device != "phone" && p.Synced != 0 {
				t.Errorf("synced %d", p.Synced)
			}
		})
	}
	if p := pull(t, l, "nobody", "phone", 0, 0); len(p.Entries) != 0 || p.Oldest != 0 || p.Last != 0 || p.More {
		t.Errorf("nobody has %+v", p)
	}
	for _, user := range []string{"", "}"} {
		if _, err := l.Pull(soon(t), user, "d", 0, 0); !errors.Is(err, offline.ErrUser) {
			t.Errorf("user %q: %v", user, err)
		}
	}
}

// TestPullPages: more than Redis gives in one answer, by number and by size.
func TestPullPages(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	many := several("many", 5000)
	store(t, l, many...)
	large := several("large", 20)
	for i := range large {
		large[i].Payload = []byte(strings.Repeat(fmt.Sprint(i%10), 300<<10))
	}
	store(t, l, large...)
	for _, c := range []struct {
		messages []offline.Message
		most     int
		want     int
	}{
		{many, 0, 5000}, {many, 1023, 1023}, {many, 1024, 1024}, {many, 1025, 1025}, {many, 5000, 5000}, {many, 6000, 5000},
		{large, 0, 20}, {large, 4, 4}, {large, 19, 19}, {large, 20, 20},
	} {
		p := pull(t, l, c.messages[0].User, "d", 0, c.most)
		if len(p.Entries) != c.want || p.More != (c.want < len(c.messages)) {
			t.Errorf("%d messages of %d, more %v", len(p.Entries), c.most, p.More)
		}
		for i, e := range p.Entries {
			if e.Version != uint64(i+1) || string(e.MsgID) != c.messages[i].MsgID || string(e.Payload) != string(c.messages[i].Payload) {
				t.Fatalf("message %d has version %d", i+1, e.Version)
			}
		}
	}
	if got := l.Stats().Pulled; got != 5000*3+1023+1024+1025+63 {
		t.Errorf("%d pulled", got)
	}
	s.Do("CONFIG", "RESETSTAT")
	pull(t, l, "large", "d", 0, 0)
	if got := s.Do("INFO", "commandstats"); !strings.Contains(got, "cmdstat_evalsha:calls=5,") { // 4 messages of 300 KiB in each answer
		t.Errorf("20 messages of 300 KiB took other than five answers: %s", got)
	}
}

func TestPullExpired(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	at := time.UnixMilli(unixMS(s) - 10_000)
	store(t, l,
		offline.Message{User: "u", At: at, TTL: 9 * time.Second},
		offline.Message{User: "u", At: at, TTL: time.Minute},
		offline.Message{User: "u", At: at},
		offline.Message{User: "u", TTL: time.Minute})
	var got []bool
	for _, e := range pull(t, l, "u", "d", 0, 0).Entries {
		got = append(got, e.Expired)
	}
	if fmt.Sprint(got) != "[true false false false]" {
		t.Errorf("expired: %v", got)
	}
}

func TestCapByCount(t *testing.T) {
	t.Parallel()
	s, l := open(t, func(c *offline.Config) { c.Count = 10 })
	for i, m := range several("u", 25) {
		store(t, l, m)
		p := pull(t, l, "u", "d", 0, 0)
		if first := max(1, i-8); len(p.Entries) != min(i+1, 10) || p.Oldest != uint64(first) || p.Last != uint64(i+1) {
			t.Errorf("after %d messages: %d from %d", i+1, len(p.Entries), p.Oldest)
		}
	}
	store(t, l, several("v", 100)...)
	if got := s.Do("ZCARD", "edged:log:{v}"); got != "10" {
		t.Errorf("%s messages of a call that has more than are kept", got)
	}
	if st := l.Stats(); st.Removed != 105 {
		t.Errorf("%+v", st)
	}
}

func TestCapByAge(t *testing.T) {
	t.Parallel()
	s, l := open(t, func(c *offline.Config) { c.Age = time.Hour })
	var stored []int64
	for v := range uint64(100) {
		stored = append(stored, forge(s, "u", v+1, time.Hour+time.Minute-time.Duration(v)*time.Second)) // up to 60 they are too old
	}
	hour := time.Hour.Milliseconds()
	before := unixMS(s) - hour
	p := pull(t, l, "u", "d", 0, 0)
	after := unixMS(s) - hour
	if p.Last != 100 || p.Oldest < 2 || len(p.Entries) != 101-int(p.Oldest) || p.Entries[0].Version != p.Oldest {
		t.Fatalf("%d from %d to %d", len(p.Entries), p.Oldest, p.Last)
	}
	if stored[p.Oldest-1] < before || stored[p.Oldest-2] >= after {
		t.Errorf("the oldest is %d; those stored before %d are too old: %v", p.Oldest, after, stored)
	}
	if got := l.Stats().Removed; got != p.Oldest-1 {
		t.Errorf("%d removed", got)
	}
	store(t, l, msg("u", "a", "x"))
	if ms := s.Do("PTTL", "edged:log:{u}"); len(ms) != 7 {
		t.Errorf("the log lives %s ms", ms)
	}
	for v := range uint64(14) {
		forge(s, "w", v+1, 2*time.Hour)
	}
	store(t, l, msg("w", "a", "x"), msg("w", "b", "x")) // the 16th version
	if got := s.Do("ZCARD", "edged:log:{w}"); got != "2" {
		t.Errorf("%s messages", got)
	}
	for v := range uint64(3) {
		forge(s, "gone", v+1, 2*time.Hour)
	}
	s.Do("SET", "edged:ver:{gone}", "3")
	if p := pull(t, l, "gone", "d", 0, 0); len(p.Entries) != 0 || p.Oldest != 0 || p.Last != 3 {
		t.Errorf("%+v", p)
	}
}

// TestPullGarbage: entries that another program wrote cost only themselves.
func TestPullGarbage(t *testing.T) {
	t.Parallel()
	s, l := open(t, func(c *offline.Config) { c.Age = time.Hour })
	store(t, l, several("u", 4)...)
	wrong := offline.Entry{Version: 2, Stored: time.UnixMilli(unixMS(s))}
	for _, g := range [][2]string{
		{"-inf", "low"}, {"0", "a text that is longer than the head of an entry"}, {"1", string(make([]byte, 40))},
		{"2.5", "between"}, {"3", "\x02\x00\x00\x00\x00\x00\x00\x00\x03 and what a later format may add"},
		{"3.5", string(offline.AppendEntry(nil, &wrong))}, {"+inf", "high"},
	} {
		s.Do("ZADD", "edged:log:{u}", g[0], g[1])
	}
	for range 2 {
		p := pull(t, l, "u", "d", 0, 0)
		if got := brief(p.Entries); got != "1=text 1, 2=text 2, 3=text 3, 4=text 4" || p.Oldest != 1 {
			t.Errorf("%s, the oldest %d", got, p.Oldest)
		}
	}
	if p := pull(t, l, "u", "d", 2, 2); brief(p.Entries) != "3=text 3, 4=text 4" {
		t.Errorf("%s", brief(p.Entries))
	}
	if got := store(t, l, msg("u", "new", "x")); got[0] != 5 {
		t.Errorf("version %d", got[0])
	}
	if st := l.Stats(); st.Garbage == 0 || st.Removed < 2 {
		t.Errorf("%+v", st)
	}
	s.Do("DEL", "edged:log:{u}")
	for i := range 3000 { // more than a page of it
		s.Do("ZADD", "edged:log:{u}", "1", fmt.Sprint(i))
		if i%300 == 0 {
			s.Do("ZADD", "edged:log:{u}", fmt.Sprint(2+i), fmt.Sprint("x", i))
		}
	}
	if p := pull(t, l, "u", "d", 0, 0); len(p.Entries) != 0 || p.Oldest != 0 {
		t.Errorf("%+v", p)
	}
}

func TestPullClash(t *testing.T) {
	t.Parallel()
	s, l := open(t)
	for _, c := range [][]string{
		{"edged:log:{u}", "SET", "edged:log:{u}", "x"},
		{"edged:ver:{u}", "RPUSH", "edged:ver:{u}", "x"},
		{"edged:ver:{u}", "SET", "edged:ver:{u}", "x"},
		{"edged:sync:{u}", "SET", "edged:sync:{u}", "x"},
	} {
		s.Do(c[1:]...)
		if _, err := l.Pull(soon(t), "u", "d", 0, 0); !isClash(err, "u", c[0]) {
			t.Errorf("%v: %v", c, err)
		}
		s.Do("DEL", c[0])
	}
	s.Do("HSET", "edged:sync:{u}", "d", "a word")
	store(t, l, several("u", 2)...)
	if p := pull(t, l, "u", "d", 0, 0); len(p.Entries) != 2 || p.Synced != 0 {
		t.Errorf("%+v", p)
	}
}
