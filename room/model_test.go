package room_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edged/room"
)

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

type places map[uint32]bool

// tour is one walk and what it promises.
type tour struct {
	name   string
	cursor room.Cursor
	stayed places // members since it began
	met    places
}

// model is a table and its twin: maps, as one would write it without a thought of memory.
type model struct {
	testing.TB
	r      *room.Table
	limits room.Limits
	rooms  map[string]places
	links  map[uint32]map[string]bool
	tours  []*tour
}

func newModel(t testing.TB, limits room.Limits) *model {
	return &model{TB: t, r: room.New(limits), limits: limits, rooms: map[string]places{}, links: map[uint32]map[string]bool{}}
}

func (m *model) join(name string, place uint32) {
	was := m.rooms[name][place]
	var want error
	switch {
	case was:
	case len(m.links[place]) >= m.limits.RoomsPerLink:
		want = room.ErrRoomsPerLink
	case m.rooms[name] == nil && len(m.rooms) >= m.limits.Rooms:
		want = room.ErrRooms
	}
	joined, err := m.r.Join([]byte(name), place)
	if err != want || joined != (!was && want == nil) {
		m.Fatalf("Join(%q, %d) = %v, %v, want %v; it was in: %v", name, place, joined, err, want, was)
	}
	if !joined {
		return
	}
	if m.rooms[name] == nil {
		m.rooms[name] = places{}
	}
	if m.links[place] == nil {
		m.links[place] = map[string]bool{}
	}
	m.rooms[name][place] = true
	m.links[place][name] = true
}

// left takes a membership out of the twin.
func (m *model) left(name string, place uint32) {
	delete(m.rooms[name], place)
	if len(m.rooms[name]) == 0 {
		delete(m.rooms, name)
	}
	delete(m.links[place], name)
	if len(m.links[place]) == 0 {
		delete(m.links, place)
	}
	for _, w := range m.tours {
		if w.name == name {
			delete(w.stayed, place)
		}
	}
}

func (m *model) leave(name string, place uint32) {
	want := m.rooms[name][place]
	if got := m.r.Leave([]byte(name), place); got != want {
		m.Fatalf("Leave(%q, %d) = %v, want %v", name, place, got, want)
	}
	if want {
		m.left(name, place)
	}
}

func (m *model) drop(place uint32) {
	if got, want := m.r.Drop(place), len(m.links[place]); got != want {
		m.Fatalf("Drop(%d) = %d, want %d", place, got, want)
	}
	for name := range maps.Clone(m.links[place]) {
		m.left(name, place)
	}
}

func (m *model) begin(name string) {
	m.tours = append(m.tours, &tour{name, m.r.Walk([]byte(name), 0), maps.Clone(m.rooms[name]), places{}})
}

// goOn walks one slice of a tour; during is called after each member.
func (m *model) goOn(i, n int, during func()) {
	w := m.tours[i]
	count := 0
	more := m.r.Each(&w.cursor, n, func(place uint32) {
		count++
		if w.met[place] || !m.rooms[w.name][place] {
			m.Fatalf("%q: place %d is met; twice: %v, a member: %v", w.name, place, w.met[place], m.rooms[w.name][place])
		}
		w.met[place] = true
		during()
	})
	if count > max(n, 1) || more && count < max(n, 1) {
		m.Fatalf("a slice of %d has %d members, more: %v", n, count, more)
	}
	if more {
		return
	}
	for place := range w.stayed {
		if !w.met[place] {
			m.Fatalf("%q: place %d stayed throughout the walk and is not met", w.name, place)
		}
	}
	last := len(m.tours) - 1
	m.tours[i] = m.tours[last]
	m.tours = m.tours[:last]
}

// reload puts another table in place of this one, as an upgrade does.
func (m *model) reload() {
	state := m.r.AppendState([]byte("before"))
	r, n, err := room.Load(m.limits, append(state, "after"...)[len("before"):])
	if err != nil || n != len(state)-len("before") {
		m.Fatalf("Load took %d bytes of %d: %v", n, len(state)-len("before"), err)
	}
	m.r = r
	for _, w := range m.tours {
		if w.cursor != (room.Cursor{}) {
			w.cursor = r.Walk([]byte(w.name), w.cursor.Place())
		}
	}
}

// whole compares everything.
func (m *model) whole() {
	m.Helper()
	sum := 0
	for name, want := range m.rooms {
		got := walk(m.r, name, 1000)
		if !slices.Equal(got, slices.Sorted(maps.Keys(want))) || m.r.Members([]byte(name)) != len(want) {
			m.Fatalf("%q has %d members: %v, want %v", name, m.r.Members([]byte(name)), got, want)
		}
		sum += len(want)
	}
	for place, want := range m.links {
		if got := roomsOf(m.r, place); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			m.Fatalf("link %d is in %q, want %v", place, got, want)
		}
	}
	if m.r.Len() != len(m.rooms) || m.r.Memberships() != sum {
		m.Fatalf("%d rooms, %d memberships, want %d, %d", m.r.Len(), m.r.Memberships(), len(m.rooms), sum)
	}
}

// dice says how large the world of a model is, and what happens in it.
type dice struct {
	*rand.Rand
	rooms, places int
	filling       bool
}

func (d *dice) name() string {
	n := d.IntN(d.rooms)
	return fmt.Sprint(strings.Repeat("-", n%11), n)
}

// place is uniform, or close to a few spots.
func (d *dice) place() uint32 {
	if d.IntN(2) == 0 {
		return uint32(d.IntN(d.places))
	}
	return uint32(min(d.places-1, d.places/4*d.IntN(4)+d.IntN(40)))
}

// change is one that may happen within a slice, too.
func (d *dice) change(m *model) {
	switch op := d.IntN(20); {
	case op < 14 && d.filling, op < 5:
		m.join(d.name(), d.place())
	case op < 18:
		m.leave(d.name(), d.place())
	default:
		m.drop(d.place())
	}
}

func (d *dice) step(m *model) {
	switch op := d.IntN(100); {
	case op < 2 && len(m.tours) < 20:
		m.begin(d.name())
	case op < 10 && len(m.tours) > 0:
		m.goOn(d.IntN(len(m.tours)), d.IntN(20), func() {
			if d.IntN(10) == 0 {
				d.change(m)
			}
		})
	default:
		d.change(m)
	}
}

func TestAgainstTwin(t *testing.T) {
	n := seed(t)
	tests := []struct {
		name          string
		limits        room.Limits
		rooms, places int
	}{
		{"at the limits", room.Limits{RoomsPerLink: 5, Rooms: 8}, 14, 60},
		{"many rooms", room.Default(), 3000, 300},
		{"large rooms", room.Default(), 2, 5000},
		{"wide", room.Default(), 20, 1 << 24},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &dice{Rand: rand.New(rand.NewPCG(n, uint64(tt.rooms))), rooms: tt.rooms, places: tt.places}
			m := newModel(t, tt.limits)
			for i := range 80_000 {
				d.filling = i/20_000%2 == 0
				d.step(m)
				if i%5000 == 0 {
					m.whole()
					m.reload()
					m.whole()
				}
			}
			for place := range maps.Clone(m.links) {
				m.drop(place)
			}
			m.whole()
		})
	}
}

// FuzzTable is the model with operations that a fuzzer chooses.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 1, 2, 3, 1, 0, 4, 0, 1, 1, 1, 2, 4, 0, 1, 2, 1, 0, 5, 0, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		m := newModel(t, room.Limits{RoomsPerLink: 3, Rooms: 4})
		for ; len(ops) >= 3; ops = ops[3:] {
			name, place := string('a'+rune(ops[1]%6)), uint32(ops[2])<<(ops[1]>>5)
			switch ops[0] % 6 {
			case 0:
				m.join(name, place)
			case 1:
				m.leave(name, place)
			case 2:
				m.drop(place)
			case 3:
				m.begin(name)
			case 4:
				if len(m.tours) > 0 {
					m.goOn(int(ops[1])%len(m.tours), int(ops[2]%4), func() { m.leave(name, place) })
				}
			case 5:
				m.reload()
			}
		}
		m.whole()
	})
}
