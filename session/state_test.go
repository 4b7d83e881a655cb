package session_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"edged/session"
)

func TestStateRoundTrip(t *testing.T) {
	from := session.NewStore(session.DefaultBytes)
	full, err := from.Patch(open(from), encode(t, map[string]string{"a.b": "c", "d.e": strings.Repeat("v", 3000), "f.g": ""}))
	if err != nil {
		t.Fatal(err)
	}
	empty, err := from.Patch(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	refs := []session.Ref{open(from), 0, full, empty}
	var state []byte
	for _, r := range refs {
		state = from.AppendState(state, r)
	}
	// The new process has a smaller limit; the sessions live on.
	to := session.NewStore(512)
	rest := state
	for i, r := range refs {
		again, n, err := to.LoadState(rest)
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		rest = rest[n:]
		if (again == 0) != (r == 0) || !bytes.Equal(to.Field(again), from.Field(r)) {
			t.Errorf("session %d is %q, was %q", i, to.Field(again), from.Field(r))
		}
	}
	if len(rest) != 0 || to.Len() != 3 || to.Bytes() != from.Bytes() {
		t.Errorf("%d bytes left, Len %d, Bytes %d, want 0, 3, %d", len(rest), to.Len(), to.Bytes(), from.Bytes())
	}
}

// What version 1 wrote must load for ever.
func TestStateOfVersion1(t *testing.T) {
	const saved = "\x01\x19\x12\x17\x0a\x0a\x0a\x04link\x12\x02L1\x0a\x09\x0a\x03a.b\x12\x02c\x64"
	s := session.NewStore(session.DefaultBytes)
	r, n, err := s.LoadState([]byte(saved + "more"))
	if err != nil || n != len(saved) {
		t.Fatalf("took %d of %d bytes: %v", n, len(saved), err)
	}
	check(t, s, r, []kv{{"link", "L1"}, {"a.b", "cd"}})
	if got := s.AppendState(nil, r); string(got) != saved {
		t.Errorf("saved again as %q", got)
	}
}

func TestStateRefusesGarbage(t *testing.T) {
	state := func(body string) string { return "\x01" + field(2, body) }
	for name, b := range map[string]string{
		"nothing":              "",
		"another version":      "\x02\x00",
		"no length":            "\x01",
		"length of long form":  "\x01\x80\x00",
		"cut":                  "\x01\x19\x12",
		"not a field":          "\x01\x02\x0a\x00",
		"another field behind": "\x01\x04\x12\x00\x12\x00",
		"long form inside":     "\x01\x03\x12\x80\x00",
		"another entry":        state(field(2, "x")),
		"value before key":     state(field(1, field(2, "v")+field(1, "k"))),
		"no value":             state(field(1, field(1, "k"))),
		"more than a value":    state(field(1, field(1, "k")+field(2, "v")+field(3, "w"))),
		"empty key":            state(entry("", "v")),
		"key twice":            state(entry("a.b", "1") + entry("a.b", "2")),
		"gateway's key behind": state(entry("a.b", "1") + entry("link", "2")),
		"key not UTF-8":        state(entry("a.\xff", "1")),
		"value not UTF-8":      state(entry("a.b", "\xff")),
		"too large":            state(entry("a.b", strings.Repeat("v", 1<<20))),
	} {
		t.Run(name, func(t *testing.T) {
			if name != "nothing" && strings.HasPrefix(b, "\x01\x12") {
				// field gives tag, length, body; the state wants the field's length before it.
				b = "\x01" + field(2, b[1:])[1:]
			}
			s := session.NewStore(session.DefaultBytes)
			r, n, err := s.LoadState([]byte(b))
			if !errors.Is(err, session.ErrState) || r != 0 || n != 0 {
				t.Errorf("%#x, %d, %v, want ErrState", r, n, err)
			}
			if s.Len() != 0 || s.Bytes() != 0 {
				t.Errorf("Len %d, Bytes %d after a refusal", s.Len(), s.Bytes())
			}
		})
	}
}

// Every single byte of a state is worth something: changed, it is refused or
// is a session that differs.
func TestStateEveryByteCounts(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	good := s.AppendState(nil, open(s))
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1
		r, n, err := s.LoadState(bad)
		if err == nil && n == len(good) && !bytes.Equal(s.AppendState(nil, r), bad) {
			t.Errorf("byte %d changed: loads as %q", i, s.Field(r))
		}
	}
}
