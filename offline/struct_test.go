package offline_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"

	"edged/offline"
)

// openBare is open with a server in this process whose Lua has no struct.
func openBare(t *testing.T) (*miniredis.Miniredis, *offline.Log) {
	t.Helper()
	s := miniredis.RunT(t)
	client := dial(t, s.Addr())
	has, err := client.Do(soon(t), func(b rueidis.Builder) rueidis.Completed {
		return b.Eval().Script("return rawget(_G, 'struct') and 1 or 0").Numkeys(0).Build()
	}).AsInt64()
	if err != nil || has != 0 {
		t.Fatalf("this server has struct, or no Lua: %v", err)
	}
	c := offline.Default()
	c.Count, c.Age = modelCount, time.Hour
	return s, offline.New(client, c)
}

func TestModelWithoutStruct(t *testing.T) {
	t.Parallel()
	_, l := openBare(t)
	model(t, l, 200)
}

// A server without struct writes the same bytes, and reads them likewise.
func TestEntryWithoutStruct(t *testing.T) {
	t.Parallel()
	s, l := openBare(t)
	now := time.UnixMilli(1_700_000_000_123)
	s.SetTime(now)
	m := msg("u", "id", "text")
	m.TTL = 90 * time.Second
	store(t, l, m)
	got, err := s.ZMembers("edged:log:{u}")
	if err != nil {
		t.Fatal(err)
	}
	want := offline.AppendEntry(nil, &offline.Entry{
		Version: 1, Stored: now, Expires: now.Add(m.TTL), MsgID: []byte(m.MsgID), Payload: m.Payload,
	})
	if len(got) != 1 || got[0] != string(want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	s.SetTime(now.Add(time.Hour))
	store(t, l, msg("u", "", "later"))
	s.SetTime(now.Add(time.Hour + time.Millisecond))
	if p := pull(t, l, "u", "d", 0, 0); brief(p.Entries) != "2=later" || p.Oldest != 2 {
		t.Errorf("pulled %s, the oldest is %d", brief(p.Entries), p.Oldest)
	}
}
