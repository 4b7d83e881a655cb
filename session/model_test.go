package session_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"edged/api/edgedpb"
	"edged/session"
)

// twin is a session as one would write it without a thought of memory: the
// pairs in their order, patches read by generated code.
type twin struct {
	gateway, manager []kv
}

func (w *twin) pairs() []kv { return slices.Concat(w.gateway, w.manager) }

func (w *twin) clone() *twin {
	return &twin{slices.Clone(w.gateway), slices.Clone(w.manager)}
}

func put(list []kv, k, v string) []kv {
	if i := slices.IndexFunc(list, func(p kv) bool { return p.k == k }); i >= 0 {
		list[i].v = v
		return list
	}
	return append(list, kv{k, v})
}

func (w *twin) bind(user, device string, limit int) (*twin, error) {
	if !utf8.ValidString(user) || !utf8.ValidString(device) {
		return w, session.ErrPatch
	}
	next := w.clone()
	next.gateway = put(put(next.gateway, "user", user), "device", device)
	return next, next.full(w, limit)
}

func (w *twin) full(before *twin, limit int) error {
	if n := size(w.pairs()); n > limit && n > size(before.pairs()) {
		return session.ErrFull
	}
	return nil
}

// patch takes the order of new keys from the caller, as generated code has a
// map and so has lost it.
func (w *twin) patch(b []byte, order []string, limit int) (*twin, error) {
	var p edgedpb.SessionPatch
	if err := proto.Unmarshal(b, &p); err != nil {
		return w, session.ErrPatch
	}
	for k := range p.GetSet() {
		if !strings.Contains(k, ".") {
			return w, session.ErrKey
		}
	}
	for _, k := range p.GetDelete() {
		if !strings.Contains(k, ".") {
			return w, session.ErrKey
		}
	}
	next := w.clone()
	next.manager = slices.DeleteFunc(next.manager, func(q kv) bool {
		_, set := p.GetSet()[q.k]
		return !set && slices.Contains(p.GetDelete(), q.k)
	})
	for _, k := range order {
		if v, ok := p.GetSet()[k]; ok {
			next.manager = put(next.manager, k, v)
		}
	}
	return next, next.full(w, limit)
}

// seed is random, or EDGED_SEED, so that a failure can be seen again.
func seed(t testing.TB) uint64 {
	n := uint64(time.Now().UnixNano())
	if v := os.Getenv("EDGED_SEED"); v != "" {
		var err error
		if n, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("EDGED_SEED=%d", n)
	return n
}

type dice struct{ *rand.Rand }

func (d dice) key() string {
	switch d.IntN(120) {
	case 0:
		return [...]string{"", "user", "link", "nodot", "opened_at"}[d.IntN(5)]
	case 1:
		return "a.\xff"
	case 2:
		return strings.Repeat("long", d.IntN(60)) + ".key"
	}
	return fmt.Sprintf("k.%d", d.IntN(40))
}

func (d dice) value() string {
	switch d.IntN(60) {
	case 0:
		return "\xf0\x28"
	case 1:
		return strings.Repeat("v", d.IntN(1200))
	case 2, 3, 4:
		return "grün"
	}
	return strings.Repeat("x", d.IntN(40))
}

// patch builds a patch of random order and form, and the keys that it sets in their order.
func (d dice) patch() (b []byte, order []string) {
	for range d.IntN(8) {
		switch k := d.key(); d.IntN(10) {
		case 0, 1, 2:
			b = append(b, field(2, k)...)
		case 3:
			b = append(b, field(1, field(2, d.value())+field(1, k))...)
			order = append(order, k)
		case 4:
			b = append(b, field(1, field(1, k))...)
			order = append(order, k)
		case 5:
			b = append(b, "\x18\x07\x2d\x01\x02\x03\x04"...)
		default:
			b = append(b, entry(k, d.value())...)
			order = append(order, k)
		}
	}
	if d.IntN(60) == 0 && len(b) > 0 {
		b = b[:d.IntN(len(b))]
	}
	return b, order
}

// model is a store and its twins.
type model struct {
	testing.TB
	dice
	s     *session.Store
	limit int
	refs  []session.Ref
	twins []*twin
}

// step does one random thing to a random session and returns which one it was.
func (m *model) step() int {
	if len(m.refs) == 0 || m.IntN(20) == 0 {
		return m.open()
	}
	i := m.IntN(len(m.refs))
	r, w := m.refs[i], m.twins[i]
	var want, got error
	switch m.IntN(12) {
	case 0:
		if len(m.refs) > 30 {
			m.s.Free(r)
			last := len(m.refs) - 1
			m.refs[i], m.twins[i] = m.refs[last], m.twins[last]
			m.refs, m.twins = m.refs[:last], m.twins[:last]
			return -1
		}
	case 1:
		user, device := m.value(), m.value()
		r, got = m.s.Bind(r, []byte(user), []byte(device))
		w, want = w.bind(user, device, m.limit)
	case 2:
		state := m.s.AppendState([]byte("before"), r)
		m.s.Free(r)
		var n int
		r, n, got = m.s.LoadState(append(state, "after"...)[len("before"):])
		if n != len(state)-len("before") {
			m.Fatalf("LoadState took %d bytes of %d", n, len(state)-len("before"))
		}
	default:
		b, order := m.patch()
		r, got = m.s.Patch(r, b)
		w, want = w.patch(b, order, m.limit)
	}
	if got != want {
		m.Fatalf("session %d: error %v, want %v", i, got, want)
	}
	if want == nil {
		m.twins[i] = w
	}
	m.refs[i] = r
	return i
}

func (m *model) open() int {
	w := &twin{gateway: []kv{{"link", "L" + m.key()}, {"opened_at", strconv.Itoa(m.IntN(1 << 40))}, {"remote", "r"}, {"listener", "l"}}}
	at, _ := strconv.ParseInt(w.gateway[1].v, 10, 64)
	r := m.s.Open([]byte(w.gateway[0].v), []byte("r"), []byte("l"), at)
	w.gateway[0].v = strings.ToValidUTF8(w.gateway[0].v, "?")
	m.refs, m.twins = append(m.refs, r), append(m.twins, w)
	return len(m.refs) - 1
}

// whole compares everything, so that a change of one session that spoils
// another one is seen.
func (m *model) whole() {
	m.Helper()
	sum := 0
	for i, r := range m.refs {
		check(m, m.s, r, m.twins[i].pairs())
		sum += len(m.s.Field(r))
	}
	if m.s.Len() != len(m.refs) || m.s.Bytes() != sum {
		m.Fatalf("Len %d, Bytes %d, want %d, %d", m.s.Len(), m.s.Bytes(), len(m.refs), sum)
	}
}

func TestAgainstTwin(t *testing.T) {
	n := seed(t)
	for _, limit := range []int{session.DefaultBytes, 300} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			m := &model{TB: t, dice: dice{rand.New(rand.NewPCG(n, uint64(limit)))}, s: session.NewStore(limit), limit: limit}
			for i := range 8_000 {
				if at := m.step(); at >= 0 {
					check(t, m.s, m.refs[at], m.twins[at].pairs())
				}
				if i%500 == 0 {
					m.whole()
				}
			}
			m.whole()
			for _, r := range m.refs {
				m.s.Free(r)
			}
			if m.s.Len() != 0 || m.s.Bytes() != 0 {
				t.Errorf("Len %d, Bytes %d after all are freed", m.s.Len(), m.s.Bytes())
			}
		})
	}
}

// Many sessions at once, growing and shrinking over the borders of chunks.
func TestManySessionsMoveBetweenSizes(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(seed(t), 0))}
	s := session.NewStore(session.DefaultBytes)
	const n = 3000
	refs, want := make([]session.Ref, n), make([]string, n)
	for i := range 60_000 {
		at := d.IntN(n)
		switch d.IntN(4) {
		case 0:
			s.Free(refs[at])
			refs[at], want[at] = 0, ""
		default:
			v := fmt.Sprintf("%d %s", i, strings.Repeat("v", d.IntN(1+d.IntN(4000))))
			r, err := s.Patch(refs[at], []byte(entry("a.b", v)))
			if err != nil {
				t.Fatal(err)
			}
			refs[at], want[at] = r, v
		}
	}
	live := 0
	for i, r := range refs {
		if got := string(s.Value(r, "a.b")); got != want[i] {
			t.Fatalf("session %d holds %.20q, want %.20q", i, got, want[i])
		}
		if r != 0 {
			live++
		}
	}
	if s.Len() != live {
		t.Errorf("Len %d, want %d", s.Len(), live)
	}
	t.Logf("%d sessions of %d bytes lie in %d", live, s.Bytes(), s.Held())
}
