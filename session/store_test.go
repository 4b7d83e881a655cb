package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/session"
)

// open makes the session that most tests begin with: what a link has before its login.
func open(s *session.Store) session.Ref {
	return s.Open([]byte("192.0.2.7:8000:231:23"), []byte("198.51.100.4:50312"), []byte("public"), 1_700_000_000_123)
}

var opened = []kv{
	{"link", "192.0.2.7:8000:231:23"}, {"opened_at", "1700000000123"},
	{"remote", "198.51.100.4:50312"}, {"listener", "public"},
}

type kv struct{ k, v string }

func size(pairs []kv) int {
	n := 0
	for _, p := range pairs {
		n += len(p.k) + len(p.v)
	}
	return n
}

// pairs reads a field in its order with protowire, and as a map with generated
// code, and holds one against the other.
func pairs(t testing.TB, s *session.Store, r session.Ref) []kv {
	t.Helper()
	field := s.Field(r)
	var item edgedpb.UpItem
	if err := proto.Unmarshal(field, &item); err != nil {
		t.Fatalf("generated code refuses the field: %v", err)
	}
	values := maps.Clone(item.GetSession().GetValues())
	if r == 0 {
		return nil
	}
	number, kind, n := protowire.ConsumeTag(field)
	if number != 2 || kind != protowire.BytesType {
		t.Fatalf("field %d of kind %d, want 2 of kind 2", number, kind)
	}
	body, m := protowire.ConsumeBytes(field[n:])
	if n+m != len(field) {
		t.Fatalf("%d bytes after the field", len(field)-n-m)
	}
	var list []kv
	for len(body) > 0 {
		_, _, n := protowire.ConsumeTag(body)
		_, m := protowire.ConsumeBytes(body[n:])
		var one edgedpb.Session
		if err := proto.Unmarshal(body[:n+m], &one); err != nil || len(one.GetValues()) != 1 {
			t.Fatalf("entry %q: %v, %v", body[:n+m], one.GetValues(), err)
		}
		for k, v := range one.GetValues() {
			list = append(list, kv{k, v})
			if got, ok := values[k]; !ok || got != v {
				t.Fatalf("key %q stands there twice", k)
			}
			delete(values, k)
			if len(list) > 200 {
				// Value looks through the session: enough of it.
			} else if got := s.Value(r, k); got == nil || string(got) != v {
				t.Fatalf("Value(%q) = %q, want %q", k, got, v)
			}
		}
		body = body[n+m:]
	}
	return list
}

func encode(t testing.TB, set map[string]string, del ...string) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&edgedpb.SessionPatch{Set: set, Delete: del})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func check(t testing.TB, s *session.Store, r session.Ref, want []kv) {
	t.Helper()
	if got := pairs(t, s, r); !slices.Equal(got, want) {
		t.Fatalf("session holds\n%q, want\n%q", got, want)
	}
}

func TestOpenWritesTheGatewaysKeys(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	r := open(s)
	check(t, s, r, opened)
	if s.Len() != 1 || s.Bytes() != len(s.Field(r)) {
		t.Errorf("Len %d, Bytes %d, want 1, %d", s.Len(), s.Bytes(), len(s.Field(r)))
	}
	if v := s.Value(r, "user"); v != nil {
		t.Errorf("user is %q before bind", v)
	}
}

func TestOpenIsAlwaysUTF8AndAlwaysWritten(t *testing.T) {
	s := session.NewStore(8)
	r := s.Open([]byte("l"), []byte("/run/\xff\xfe.sock"), []byte("gr\xc3\xbcn"), -5)
	want := []kv{{"link", "l"}, {"opened_at", "-5"}, {"remote", "/run/?.sock"}, {"listener", "grün"}}
	check(t, s, r, want)
	if again, err := s.Patch(r, encode(t, map[string]string{"a.b": ""})); err != session.ErrFull || again != r {
		t.Errorf("a session over the limit grew: %v", err)
	}
	if _, err := s.Patch(r, encode(t, nil, "a.b")); err != nil {
		t.Errorf("a change that does not grow it is refused: %v", err)
	}
}

func TestRefZeroIsNoSession(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	if s.Field(0) != nil || s.Value(0, "link") != nil {
		t.Error("Ref 0 holds something")
	}
	s.Free(0)
	r, err := s.Patch(0, encode(t, map[string]string{"a.b": "c"}))
	if err != nil || r == 0 {
		t.Fatalf("Patch of Ref 0: %v, %v", r, err)
	}
	check(t, s, r, []kv{{"a.b", "c"}})
	s.Free(r)
	if r, err = s.Patch(0, encode(t, map[string]string{"ab": "c"})); r != 0 || err != session.ErrKey {
		t.Errorf("refused Patch of Ref 0: %v, %v", r, err)
	}
	if r, err = s.Bind(0, []byte("u"), nil); err != nil {
		t.Fatal(err)
	}
	check(t, s, r, []kv{{"user", "u"}, {"device", ""}})
}

func TestBindReplacesAndStaysInFront(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	r := open(s)
	r, err := s.Patch(r, encode(t, map[string]string{"auth.level": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []kv{{"42", "phone"}, {"a much longer name than before", ""}, {"7", "tv"}} {
		if r, err = s.Bind(r, []byte(who.k), []byte(who.v)); err != nil {
			t.Fatal(err)
		}
		check(t, s, r, append(slices.Clone(opened), kv{"user", who.k}, kv{"device", who.v}, kv{"auth.level", "2"}))
	}
	before := bytes.Clone(s.Field(r))
	for _, c := range []struct {
		user, device string
		want         error
	}{
		{"\xff", "phone", session.ErrPatch},
		{"42", "\xc3", session.ErrPatch},
		{strings.Repeat("u", session.DefaultBytes), "", session.ErrFull},
	} {
		again, err := s.Bind(r, []byte(c.user), []byte(c.device))
		if err != c.want || again != r || !bytes.Equal(s.Field(r), before) {
			t.Errorf("Bind(%.10q, %q): %v, want %v and no change", c.user, c.device, err, c.want)
		}
	}
}

// field builds what generated code would never write.
func field(number protowire.Number, value string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), value))
}

func entry(k, v string) string { return field(1, field(1, k)+field(2, v)) }

func TestPatch(t *testing.T) {
	group := "\x1b\x08\x01\x1c" // field 3: a group with a number in it
	cases := []struct {
		name, patch string
		want        []kv // after the gateway's keys, from a.x=1 b.x=2 c.x=3
		err         error
	}{
		{name: "nothing", want: []kv{{"a.x", "1"}, {"b.x", "2"}, {"c.x", "3"}}},
		{name: "set", patch: entry("d.x", "4"), want: []kv{{"a.x", "1"}, {"b.x", "2"}, {"c.x", "3"}, {"d.x", "4"}}},
		{name: "set again keeps the place", patch: entry("b.x", ""), want: []kv{{"a.x", "1"}, {"b.x", ""}, {"c.x", "3"}}},
		{name: "delete", patch: field(2, "b.x"), want: []kv{{"a.x", "1"}, {"c.x", "3"}}},
		{name: "delete what is not there", patch: field(2, "z.x"), want: []kv{{"a.x", "1"}, {"b.x", "2"}, {"c.x", "3"}}},
		{name: "delete all", patch: field(2, "c.x") + field(2, "a.x") + field(2, "b.x") + field(2, "a.x")},
		{name: "set wins over a later delete", patch: entry("b.x", "9") + field(2, "b.x"), want: []kv{{"a.x", "1"}, {"b.x", "9"}, {"c.x", "3"}}},
		{name: "set wins over an earlier delete", patch: field(2, "b.x") + entry("b.x", "9"), want: []kv{{"a.x", "1"}, {"b.x", "9"}, {"c.x", "3"}}},
		{name: "last set wins", patch: entry("d.x", "4") + entry("e.x", "5") + entry("d.x", "6"), want: []kv{{"a.x", "1"}, {"b.x", "2"}, {"c.x", "3"}, {"d.x", "6"}, {"e.x", "5"}}},
		{name: "only a dot", patch: entry(".", "v") + field(2, "a.x") + field(2, "b.x") + field(2, "c.x"), want: []kv{{".", "v"}}},
		{name: "entry without value", patch: field(1, field(1, "a.x")), want: []kv{{"a.x", ""}, {"b.x", "2"}, {"c.x", "3"}}},
		{name: "entry backwards", patch: field(1, field(2, "8")+field(1, "a.x")), want: []kv{{"a.x", "8"}, {"b.x", "2"}, {"c.x", "3"}}},
		{name: "entry with its parts twice", patch: field(1, field(1, "zz")+field(1, "a.x")+field(2, "7")+field(2, "8")), want: []kv{{"a.x", "8"}, {"b.x", "2"}, {"c.x", "3"}}},
		{name: "unknown fields", patch: "\x18\x05" + group + field(9, "\xff") + "\x08\x01" + field(1, "\x18\x05"+group+field(3, "x")+field(1, "a.x")+field(2, "8")), want: []kv{{"a.x", "8"}, {"b.x", "2"}, {"c.x", "3"}}},

		{name: "key without a dot", patch: entry("d.x", "4") + entry("user", "root"), err: session.ErrKey},
		{name: "delete without a dot", patch: field(2, "a.x") + field(2, "link"), err: session.ErrKey},
		{name: "empty key", patch: entry("", "v"), err: session.ErrKey},
		{name: "entry without key", patch: field(1, field(2, "v")), err: session.ErrKey},
		{name: "empty entry", patch: field(1, ""), err: session.ErrKey},
		{name: "empty delete", patch: field(2, ""), err: session.ErrKey},
		{name: "key not UTF-8", patch: entry("a.\xff", "v"), err: session.ErrPatch},
		{name: "value not UTF-8", patch: entry("a.x", "\xc3"), err: session.ErrPatch},
		{name: "first value not UTF-8", patch: field(1, field(1, "a.x")+field(2, "\xc3")+field(2, "v")), err: session.ErrPatch},
		{name: "delete not UTF-8", patch: field(2, "a.\xff"), err: session.ErrPatch},
		{name: "cut in a length", patch: "\x0a", err: session.ErrPatch},
		{name: "cut in an entry", patch: entry("a.x", "8") + "\x0a\x05\x0a", err: session.ErrPatch},
		{name: "entry longer than itself", patch: "\x0a\x02\x0a\x05", err: session.ErrPatch},
		{name: "field 0", patch: "\x02\x00", err: session.ErrPatch},
		{name: "end of no group", patch: "\x1c", err: session.ErrPatch},
		{name: "endless number", patch: strings.Repeat("\xff", 12), err: session.ErrPatch},
		{name: "broken after a forbidden key", patch: entry("user", "root") + "\x0a", err: session.ErrPatch},
		{name: "too large", patch: entry("d.x", strings.Repeat("v", 4096)), err: session.ErrFull},
		{name: "too large and forbidden", patch: entry("d.x", strings.Repeat("v", 4096)) + field(2, "link"), err: session.ErrKey},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := session.NewStore(session.DefaultBytes)
			r, err := s.Patch(open(s), []byte(entry("a.x", "1")+entry("b.x", "2")+entry("c.x", "3")))
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(s.Field(r))
			r, err = s.Patch(r, []byte(c.patch))
			if err != c.err {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err != nil {
				if !bytes.Equal(s.Field(r), before) {
					t.Fatalf("a refused patch left %q", pairs(t, s, r))
				}
				return
			}
			check(t, s, r, append(slices.Clone(opened), c.want...))
		})
	}
}

func TestFullAtTheLimit(t *testing.T) {
	s := session.NewStore(4096)
	r := open(s)
	room := 4096 - size(opened) - len("a.x")
	if again, err := s.Patch(r, encode(t, map[string]string{"a.x": strings.Repeat("v", room+1)})); err != session.ErrFull || again != r {
		t.Fatalf("4097 bytes: %v", err)
	}
	check(t, s, r, opened)
	r, err := s.Patch(r, encode(t, map[string]string{"a.x": strings.Repeat("v", room)}))
	if err != nil {
		t.Fatalf("4096 bytes: %v", err)
	}
	if got := size(pairs(t, s, r)); got != 4096 {
		t.Fatalf("holds %d bytes, want 4096", got)
	}
	if again, err := s.Bind(r, nil, nil); err != session.ErrFull || again != r {
		t.Errorf("bind of a full session: %v", err)
	}
	// What is deleted makes room within the same patch.
	if r, err = s.Patch(r, encode(t, map[string]string{"b.x": strings.Repeat("w", room)}, "a.x")); err != nil {
		t.Fatalf("4096 other bytes: %v", err)
	}
	if got := size(pairs(t, s, r)); got != 4096 {
		t.Fatalf("holds %d bytes, want 4096", got)
	}
}

// A session of nothing but tiny keys takes several times its bytes when encoded.
func TestManyTinyKeys(t *testing.T) {
	for _, limit := range []int{session.DefaultBytes, session.MaxBytes} {
		s := session.NewStore(limit)
		set, sum := map[string]string{}, 0
		for i := 0; ; i++ {
			k := fmt.Sprintf(".%x", i)
			if sum += len(k); sum > limit {
				break
			}
			set[k] = ""
		}
		r, err := s.Patch(0, encode(t, set))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(pairs(t, s, r)); got != len(set) {
			t.Fatalf("holds %d keys, want %d", got, len(set))
		}
		if _, err := s.Patch(r, encode(t, map[string]string{".zzzzzz": ""})); err != session.ErrFull {
			t.Fatalf("one more key: %v", err)
		}
		t.Logf("%d bytes in %d keys take %d encoded", limit, len(set), len(s.Field(r)))
	}
}

func TestReusedSlotShowsNothingOld(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	const secret = "SECRET"
	old, err := s.Patch(open(s), encode(t, map[string]string{"auth.token": secret, "auth.pad": "0123456789"}))
	if err != nil {
		t.Fatal(err)
	}
	room := len(s.Field(old))
	slot := s.Field(old)[:0:room]
	s.Free(old)
	if s.Field(old) != nil || s.Value(old, "auth.token") != nil {
		t.Error("a freed session still shows")
	}
	if bytes.Contains(slot[:room], []byte(secret)) {
		t.Error("a freed slot still holds the old bytes")
	}
	// As long as the old session and one byte shorter, so that the slot is the same.
	pad := strings.Repeat("p", len("auth.token")+len(secret)+len("auth.pad")+len("0123456789")+6-len("a.x")-1)
	r, err := s.Patch(0, encode(t, map[string]string{"a.x": pad}))
	if err != nil {
		t.Fatal(err)
	}
	s.Free(r)
	r, err = s.Patch(open(s), encode(t, map[string]string{"a.x": pad}))
	if err != nil {
		t.Fatal(err)
	}
	if r != old {
		t.Fatalf("slot %#x was not used again, but %#x", old, r)
	}
	check(t, s, r, append(slices.Clone(opened), kv{"a.x", pad}))
	if v := s.Value(r, "auth.token"); v != nil {
		t.Errorf("the new session has the old token %q", v)
	}
	// Within one slot, too, a shorter session leaves nothing behind its end.
	if r, err = s.Patch(r, encode(t, map[string]string{"a.x": pad[:len(pad)-3]})); err != nil || r != old {
		t.Fatalf("shorter by 3: %#x, %v", r, err)
	}
	if tail := slot[:room]; tail[room-2] != 0 || tail[room-1] != 0 {
		t.Errorf("old bytes behind the end: %q", tail[room-8:])
	}
}

func TestCountsReturnToZero(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	const n = 20_000
	refs := make([]session.Ref, n)
	for i := range refs {
		r, err := s.Patch(open(s), encode(t, map[string]string{"a.x": strings.Repeat("v", i%3000)}))
		if err != nil {
			t.Fatal(err)
		}
		refs[i] = r
	}
	if s.Len() != n {
		t.Fatalf("Len %d, want %d", s.Len(), n)
	}
	peak := s.Held()
	for _, r := range refs {
		s.Free(r)
	}
	if s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("Len %d, Bytes %d after all are freed", s.Len(), s.Bytes())
	}
	// At most a chunk for each of the sizes stays.
	if kept := s.Held(); kept > 60*64<<10 || kept >= peak/2 {
		t.Errorf("%d of %d bytes are still held", kept, peak)
	}
	for range 2 {
		r := open(s)
		check(t, s, r, opened)
		s.Free(r)
	}
}

func TestFaultsOfTheCallerPanic(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	r := open(s)
	s.Free(r)
	for name, f := range map[string]func(){
		"freed twice":   func() { s.Free(r) },
		"bind freed":    func() { _, _ = s.Bind(r, nil, nil) },
		"patch freed":   func() { _, _ = s.Patch(r, nil) },
		"no limit":      func() { session.NewStore(0) },
		"limit too big": func() { session.NewStore(session.MaxBytes + 1) },
		"huge listener": func() { s.Open(nil, nil, make([]byte, 2<<20), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
	if s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("Len %d, Bytes %d", s.Len(), s.Bytes())
	}
	check(t, s, open(s), opened)
}

func TestErrorsAreDistinct(t *testing.T) {
	all := []error{session.ErrPatch, session.ErrKey, session.ErrFull, session.ErrState}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	s := session.NewStore(session.DefaultBytes)
	r := open(s)
	patches := [][]byte{
		encode(t, map[string]string{"auth.level": "2", "auth.name": strings.Repeat("n", 200)}),
		encode(t, nil, "auth.name"),
	}
	link, remote, listener := []byte("192.0.2.7:8000:231:24"), []byte("198.51.100.4:50313"), []byte("public")
	user, device := []byte("42"), []byte("phone")
	dst := make([]byte, 0, 1024)
	for name, f := range map[string]func(){
		"Field": func() { dst = append(dst[:0], s.Field(r)...) },
		"Value": func() { dst = append(dst[:0], s.Value(r, "listener")...) },
		"Bind":  func() { r, _ = s.Bind(r, user, device) },
		"Patch": func() {
			for _, p := range patches {
				r, _ = s.Patch(r, p)
			}
		},
		"Open and Free": func() { s.Free(s.Open(link, remote, listener, 1)) },
		"State": func() {
			dst = s.AppendState(dst[:0], r)
			again, _, _ := s.LoadState(dst)
			s.Free(again)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
