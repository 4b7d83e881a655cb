package offline_test

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/offline"
)

var entries = []struct {
	name  string
	bytes string // hex
	entry offline.Entry
}{
	{"least", "01" + "0000000000000001" + "0000000000000000" + "0000000000000000" + "00" + "00",
		offline.Entry{Version: 1, Stored: time.UnixMilli(0)}},
	{"all", "01" + "0000000000000102" + "0000019a00000000" + "0000019a00000001" + "06" + "02" + "6d31" + "68656c6c6f",
		offline.Entry{Version: 258, Stored: time.UnixMilli(0x19a00000000), Expires: time.UnixMilli(0x19a00000001),
			Ack: batch.AckSampled, AllowGzip: true, MsgID: []byte("m1"), Payload: []byte("hello")}},
	{"required, no payload", "01" + "001fffffffffffff" + "0000000000000001" + "0000000000000000" + "01" + "01" + "ff",
		offline.Entry{Version: 1<<53 - 1, Stored: time.UnixMilli(1), Ack: batch.AckRequired, MsgID: []byte{0xff}}},
}

func TestEntry(t *testing.T) {
	for _, c := range entries {
		t.Run(c.name, func(t *testing.T) {
			b, _ := hex.DecodeString(c.bytes)
			e, err := offline.ParseEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := plain(e), plain(c.entry); !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, want %+v", got, want)
			}
			if got := offline.AppendEntry([]byte("before"), &c.entry); string(got) != "before"+string(b) {
				t.Errorf("%x", got)
			}
		})
	}
}

// plain makes empty what is nil.
func plain(e offline.Entry) offline.Entry {
	e.MsgID, e.Payload = append([]byte{}, e.MsgID...), append([]byte{}, e.Payload...)
	return e
}

func TestEntryRefused(t *testing.T) {
	good, _ := hex.DecodeString(entries[1].bytes)
	with := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"empty", nil},
		{"text", []byte(strings.Repeat("some text ", 10))},
		{"format 0", with(0, 0)},
		{"format 2", with(0, 2)},
		{"version 0", with(1, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"version 2^53", with(1, 0, 0x20, 0, 0, 0, 0, 0, 0)},
		{"stored in an era", with(9, 0xff)},
		{"expires in an era", with(17, 0xff)},
		{"ack 3", with(25, 3)},
		{"unknown flag", with(25, 8)},
		{"short", good[:26]},
		{"short msg_id", good[:28]},
	} {
		if e, err := offline.ParseEntry(c.bytes); err == nil {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func FuzzEntry(f *testing.F) {
	for _, c := range entries {
		b, _ := hex.DecodeString(c.bytes)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := offline.ParseEntry(b)
		if err != nil {
			return
		}
		if again := offline.AppendEntry(nil, &e); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func TestParseEntryAllocates(t *testing.T) {
	b, _ := hex.DecodeString(entries[1].bytes)
	if n := testing.AllocsPerRun(100, func() { _, _ = offline.ParseEntry(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEntryRandom(t *testing.T) {
	r := seeded(t)
	for range 1000 {
		e := offline.Entry{Version: 1 + r.Uint64N(1<<53-1), Stored: time.UnixMilli(r.Int64N(1 << 42)), Ack: batch.Ack(r.IntN(3)),
			AllowGzip: r.IntN(2) == 0, MsgID: noise(r, 256), Payload: noise(r, 3000)}
		if r.IntN(2) == 0 {
			e.Expires = time.UnixMilli(1 + r.Int64N(1<<42))
		}
		got, err := offline.ParseEntry(offline.AppendEntry(nil, &e))
		if err != nil || !reflect.DeepEqual(plain(got), plain(e)) {
			t.Fatalf("%+v, %v, want %+v", got, err, e)
		}
	}
}

func noise(r *rand.Rand, below int) []byte {
	b := make([]byte, r.IntN(below))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
