package handover_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"edged/handover"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

func someSections() []handover.Section {
	return []handover.Section{
		{Name: "netpoll/0", Version: 1, Bytes: []byte("one\x00two")},
		{Name: "netpoll/1", Version: 1, Bytes: []byte{}},
		{Name: "gateway", Version: 7, Bytes: bytes.Repeat([]byte{0xa5}, 300)},
		{Name: strings.Repeat("x", 39), Version: 65535, Bytes: []byte{1}},
	}
}

func TestEncodeParse(t *testing.T) {
	for _, want := range [][]handover.Section{nil, someSections()} {
		got, err := handover.Parse(handover.Encode(want))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestKind(t *testing.T) {
	for name, want := range map[string]string{"netpoll/0": "netpoll", "gateway": "gateway", "a/b/c": "a"} {
		if got := (handover.Section{Name: name}).Kind(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The files of every released version must be readable for ever: testdata/state-V.bin is what version V of the file's format
// wrote, and stays as it is when a new one is added.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "state-1.bin")
	if *update {
		if err := os.WriteFile(path, handover.Encode(someSections()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := handover.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, someSections()) {
		t.Errorf("it reads as %v", got)
	}
	if !bytes.Equal(handover.Encode(someSections()), file) {
		t.Error("the present code writes another file: a new format needs a new version")
	}
}

// Any single changed or missing byte is found.
func TestParseBelievesNothing(t *testing.T) {
	file := handover.Encode(someSections())
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 0x10
		if _, err := handover.Parse(damaged); !errors.Is(err, handover.ErrFile) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := handover.Parse(file[:i]); !errors.Is(err, handover.ErrFile) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
	if _, err := handover.Parse(append(bytes.Clone(file), 0)); !errors.Is(err, handover.ErrFile) {
		t.Errorf("a byte more: %v", err)
	}
}

// Lies that carry the right checksum.
func TestParseLies(t *testing.T) {
	const head, entry = 32, 64
	put32, put64 := binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint64
	for _, tc := range []struct {
		name, want string
		lie        func(b []byte)
	}{
		{"another version of the file", "the file's format is 2, not 1", func(b []byte) { b[8] = 2 }},
		{"another size", "not the 9999 that were written", func(b []byte) { put64(b[16:], 9999) }},
		{"no version", "section 0: netpoll/0 has no version", func(b []byte) { b[head+40] = 0 }},
		{"no name", "section 0: a name that is none", func(b []byte) { b[head] = 0 }},
		{"a name of nothing", `"" is not 1 to 39 letters`, func(b []byte) { b[head] = 0; clear(b[head+1 : head+40]) }},
		{"a name too long", "section 0: a name that is none", func(b []byte) { b[head] = 40 }},
		{"a name with a space", `"net oll/0" is not`, func(b []byte) { b[head+4] = ' ' }},
		{"two of a name", `two sections "netpoll/0"`, func(b []byte) { b[head+entry+9] = '0' }},
		{"in the table", "netpoll/0: 7 bytes at 40", func(b []byte) { put64(b[head+48:], 40) }},
		{"beyond the end", "netpoll/0: 7 bytes at 9000", func(b []byte) { put64(b[head+48:], 9000) }},
		{"longer than the file", "bytes at", func(b []byte) { put64(b[head+56:], 1<<63) }},
		{"so long that it wraps", "bytes at", func(b []byte) { put64(b[head+56:], ^uint64(0)) }},
		{"overlap", "netpoll/0 and netpoll/1 overlap", func(b []byte) { put64(b[head+56:], 8) }},
		{"bytes", "the checksum of gateway differs", func(b []byte) { b[len(b)-2] ^= 1 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := handover.Encode(someSections())
			tc.lie(b)
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(crc32.Checksum(b[:28], table), table, b[head:head+4*entry])
			put32(b[28:], sum)
			if _, err := handover.Parse(b); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestEncodePanics(t *testing.T) {
	for name, s := range map[string]handover.Section{
		"no name": {Version: 1}, "no version": {Name: "a"}, "a space": {Name: "a b", Version: 1}, "an equals sign": {Name: "a=b", Version: 1},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it did not panic")
				}
			}()
			handover.Encode([]handover.Section{s})
		})
	}
}

// FuzzParse: whatever comes, Parse neither panics nor returns what is not in the file; what it takes can be written again.
func FuzzParse(f *testing.F) {
	f.Add(handover.Encode(nil))
	f.Add(handover.Encode(someSections()))
	f.Fuzz(func(t *testing.T, file []byte) {
		fixSums(file)
		sections, err := handover.Parse(file)
		if err != nil {
			if !errors.Is(err, handover.ErrFile) {
				t.Errorf("%v is no ErrFile", err)
			}
			return
		}
		again, err := handover.Parse(handover.Encode(sections))
		if err != nil || len(again) != len(sections) {
			t.Errorf("written again: %v", err)
		}
	})
}

// fixSums gives a file the checksums that it should have, so that fuzzing gets behind them.
func fixSums(b []byte) {
	if len(b) < 32 {
		return
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	n := binary.LittleEndian.Uint32(b[12:])
	if n > 1000 || len(b) < 32+64*int(n) {
		return
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
	for i := range int(n) {
		e := b[32+64*i:]
		at, size := binary.LittleEndian.Uint64(e[48:]), binary.LittleEndian.Uint64(e[56:])
		if at <= uint64(len(b)) && size <= uint64(len(b))-at {
			binary.LittleEndian.PutUint32(e[44:], crc32.Checksum(b[at:at+size], table))
		}
	}
	binary.LittleEndian.PutUint32(b[28:], crc32.Update(crc32.Checksum(b[:28], table), table, b[32:32+64*n]))
}

func TestRecords(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	var want []handover.Record
	for i := range 100 {
		body := bytes.Repeat([]byte{byte(i)}, r.IntN(200))
		var start int
		b, start = handover.Begin(b, uint16(i))
		b = append(b, body...)
		handover.End(b, start)
		want = append(want, handover.Record{Version: uint16(i), Body: body})
	}
	rest := b
	for i, w := range want {
		got, after, err := handover.Next(rest)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if got.Version != w.Version || !bytes.Equal(got.Body, w.Body) {
			t.Fatalf("record %d: %v, want %v", i, got, w)
		}
		rest = after
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes left", len(rest))
	}
	if _, _, err := handover.Next(rest); !errors.Is(err, handover.ErrRecord) {
		t.Errorf("behind the last: %v", err)
	}
}

func FuzzNext(f *testing.F) {
	b, start := handover.Begin(nil, 1)
	handover.End(append(b, "body"...), start)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			r, rest, err := handover.Next(b)
			if err != nil {
				return
			}
			if len(r.Body)+len(rest)+6 != len(b) {
				t.Fatalf("%d and %d of %d bytes", len(r.Body), len(rest), len(b))
			}
			b = rest
		}
	})
}
