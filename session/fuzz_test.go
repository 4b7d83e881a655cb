package session_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"edged/session"
)

// order returns the keys that a patch sets, as often as it does, in their order.
func order(patch []byte) (keys []string) {
	for len(patch) > 0 {
		number, kind, n := protowire.ConsumeTag(patch)
		if n < 0 {
			return keys
		}
		m := protowire.ConsumeFieldValue(number, kind, patch[n:])
		if m < 0 {
			return keys
		}
		if number == 1 && kind == protowire.BytesType {
			keys = append(keys, keyOf(patch[n:]))
		}
		patch = patch[n+m:]
	}
	return keys
}

func keyOf(value []byte) (key string) {
	entry, _ := protowire.ConsumeBytes(value)
	for len(entry) > 0 {
		number, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return key
		}
		m := protowire.ConsumeFieldValue(number, kind, entry[n:])
		if m < 0 {
			return key
		}
		if number == 1 && kind == protowire.BytesType {
			b, _ := protowire.ConsumeBytes(entry[n:])
			key = string(b)
		}
		entry = entry[n+m:]
	}
	return key
}

// FuzzPatch holds two patches in a row against generated code, beside a
// session that must not notice.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(entry("a.b", "c")), []byte(field(2, "a.b")))
	f.Add([]byte(entry("a.b", strings.Repeat("v", 200))+entry("link", "")), []byte("\x1b\x08\x01\x1c"))
	f.Add([]byte(field(1, field(2, "v")+field(1, "a.b"))), []byte(entry("a.b", "x")+entry("a.b", "y")+field(2, "a.b")))
	f.Add([]byte(field(1, "")), []byte("\x0a\x05\x0a"))
	f.Add([]byte(entry("a.\xff", "")), []byte(entry("a.b", strings.Repeat("v", 250))))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		const limit = 300
		s := session.NewStore(limit)
		beside := open(s)
		r, w := open(s), &twin{gateway: opened}
		for _, patch := range [][]byte{one, two} {
			before := bytes.Clone(s.Field(r))
			again, got := s.Patch(r, patch)
			next, want := w.patch(patch, order(patch), limit)
			if got != want {
				t.Fatalf("Patch(%q): %v, want %v", patch, got, want)
			}
			if want != nil {
				if again != r || !bytes.Equal(s.Field(r), before) {
					t.Fatalf("a refused patch left %q", s.Field(r))
				}
				continue
			}
			r, w = again, next
			check(t, s, r, w.pairs())
		}
		check(t, s, beside, opened)
		if s.Len() != 2 || s.Bytes() != len(s.Field(r))+len(s.Field(beside)) {
			t.Fatalf("Len %d, Bytes %d", s.Len(), s.Bytes())
		}
		s.Free(r)
		s.Free(beside)
		if s.Len() != 0 || s.Bytes() != 0 {
			t.Fatalf("Len %d, Bytes %d after all are freed", s.Len(), s.Bytes())
		}
	})
}

// FuzzLoadState: what is taken is a session that generated code reads, that
// can be changed, and that is saved as the same bytes.
func FuzzLoadState(f *testing.F) {
	s := session.NewStore(session.DefaultBytes)
	f.Add(s.AppendState(nil, open(s)))
	f.Add(s.AppendState(nil, 0))
	f.Add([]byte("\x01\x19\x12\x17\x0a\x0a\x0a\x04link\x12\x02L1\x0a\x09\x0a\x03a.b\x12\x02cd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := session.NewStore(session.DefaultBytes)
		r, n, err := s.LoadState(b)
		if err != nil {
			if r != 0 || n != 0 || s.Len() != 0 || s.Bytes() != 0 {
				t.Fatalf("%v, but %#x, %d, Len %d, Bytes %d", err, r, n, s.Len(), s.Bytes())
			}
			return
		}
		if got := s.AppendState(nil, r); !bytes.Equal(got, b[:n]) {
			t.Fatalf("%q is saved as %q", b[:n], got)
		}
		list := pairs(t, s, r)
		if r, err = s.Patch(r, []byte(entry("fuzz.new", "v"))); err == nil && len(list) == 0 {
			check(t, s, r, []kv{{"fuzz.new", "v"}})
		}
		s.Free(r)
		if s.Len() != 0 || s.Bytes() != 0 {
			t.Fatalf("Len %d, Bytes %d after all are freed", s.Len(), s.Bytes())
		}
	})
}
