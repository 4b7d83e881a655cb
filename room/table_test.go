package room_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"edged/room"
)

func mustJoin(t testing.TB, r *room.Table, name string, places ...uint32) {
	t.Helper()
	for _, place := range places {
		if joined, err := r.Join([]byte(name), place); !joined || err != nil {
			t.Fatalf("Join(%q, %d) = %v, %v", name, place, joined, err)
		}
	}
}

// roomsOf returns the names of a link's rooms, sorted.
func roomsOf(r *room.Table, place uint32) (names []string) {
	for name := range r.Rooms(place) {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

// walk returns the members of a room, met in slices of n.
func walk(r *room.Table, name string, n int) (places []uint32) {
	for c := r.Walk([]byte(name), 0); r.Each(&c, n, func(place uint32) { places = append(places, place) }); {
	}
	return places
}

func TestJoinAndLeave(t *testing.T) {
	r := room.New(room.Default())
	mustJoin(t, r, "live-1", 7, 3, 1<<24-1)
	mustJoin(t, r, "live-2", 3)
	if joined, err := r.Join([]byte("live-1"), 3); joined || err != nil {
		t.Errorf("second Join: %v, %v, want false", joined, err)
	}
	if n := r.Members([]byte("live-1")); n != 3 {
		t.Errorf("%d members, want 3", n)
	}
	if got := roomsOf(r, 3); !slices.Equal(got, []string{"live-1", "live-2"}) {
		t.Errorf("rooms of 3: %v", got)
	}
	if r.Len() != 2 || r.Memberships() != 4 {
		t.Errorf("%d rooms, %d memberships, want 2, 4", r.Len(), r.Memberships())
	}
	if !r.Leave([]byte("live-1"), 3) || r.Leave([]byte("live-1"), 3) {
		t.Error("Leave is not true once and false then")
	}
	for _, name := range []string{"live", "live-11", "live-", ""} {
		if r.Leave([]byte(name), 7) || r.Members([]byte(name)) != 0 || walk(r, name, 1) != nil {
			t.Errorf("there is a room %q", name)
		}
	}
	if got := walk(r, "live-1", 1); !slices.Equal(got, []uint32{7, 1<<24 - 1}) {
		t.Errorf("members %v, want 7 and the last place", got)
	}
}

func TestDropLeavesAllRooms(t *testing.T) {
	r := room.New(room.Default())
	for i := range 100 {
		mustJoin(t, r, fmt.Sprint("room-", i), 5, 40)
	}
	if n := r.Drop(5); n != 100 || len(roomsOf(r, 5)) != 0 {
		t.Errorf("Drop left %d rooms, want 100; it is still in %v", n, roomsOf(r, 5))
	}
	if n := r.Drop(5) + r.Drop(6) + r.Drop(1<<24-1) + r.Drop(1<<32-1); n != 0 {
		t.Errorf("links without rooms leave %d", n)
	}
	if r.Len() != 100 || r.Memberships() != 100 || len(roomsOf(r, 40)) != 100 {
		t.Errorf("left: %d rooms, %d memberships, want 100", r.Len(), r.Memberships())
	}
	if r.Drop(40); r.Len() != 0 || r.Memberships() != 0 || r.Members([]byte("room-1")) != 0 {
		t.Errorf("left: %d rooms, %d memberships, want none", r.Len(), r.Memberships())
	}
}

func TestRoomsMayBeLeftWhileGoneOver(t *testing.T) {
	r := room.New(room.Default())
	for i := range 50 {
		mustJoin(t, r, fmt.Sprint("room-", i), 9)
	}
	met := map[string]bool{}
	for name := range r.Rooms(9) {
		if met[string(name)] {
			t.Errorf("%s comes twice", name)
		}
		met[string(name)] = true
		if len(met)%3 != 0 && !r.Leave(name, 9) {
			t.Errorf("%s cannot be left", name)
		}
	}
	if len(met) != 50 || r.Memberships() != 16 {
		t.Errorf("met %d rooms, %d are left, want 50, 16", len(met), r.Memberships())
	}
	for range r.Rooms(9) {
		break
	}
	for range r.Rooms(9) {
		r.Drop(9)
	}
}

func TestJoinIsRefused(t *testing.T) {
	tests := []struct {
		name  string
		room  string
		place uint32
		want  error
	}{
		{"no name", "", 1, room.ErrName},
		{"long name", strings.Repeat("x", room.MaxName+1), 1, room.ErrName},
		{"longest name", strings.Repeat("x", room.MaxName), 2, nil},
		{"link in two rooms", "c", 1, room.ErrRoomsPerLink},
		{"link in two rooms, new room", "new", 1, room.ErrRoomsPerLink},
		{"in it already", "b", 1, nil},
		{"fifth room", "new", 2, room.ErrRooms},
		{"room that is there", "c", 2, nil},
	}
	r := room.New(room.Limits{RoomsPerLink: 2, Rooms: 4})
	mustJoin(t, r, "a", 1)
	mustJoin(t, r, "b", 1)
	mustJoin(t, r, "c", 3)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := r.Memberships()
			joined, err := r.Join([]byte(tt.room), tt.place)
			if !errors.Is(err, tt.want) || joined && err != nil {
				t.Fatalf("%v, %v, want %v", joined, err, tt.want)
			}
			if !joined && r.Memberships() != before {
				t.Error("it is in the room all the same")
			}
		})
	}
	if r.Len() != 4 {
		t.Errorf("%d rooms, want 4", r.Len())
	}
	defer func() {
		if recover() == nil {
			t.Error("a place beyond all pools is taken")
		}
	}()
	_, _ = r.Join([]byte("a"), 1<<24)
}

func TestLimits(t *testing.T) {
	if err := room.Default().Validate(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		limits room.Limits
		keys   []string
	}{
		{room.Limits{}, []string{"rooms_per_link", "rooms"}},
		{room.Limits{RoomsPerLink: 1<<16 + 1, Rooms: 1}, []string{"rooms_per_link"}},
		{room.Limits{RoomsPerLink: 1, Rooms: 1<<24 + 1}, []string{"rooms"}},
		{room.Limits{RoomsPerLink: 1 << 16, Rooms: -1}, []string{"rooms"}},
	}
	for _, tt := range tests {
		err := tt.limits.Validate()
		for _, key := range tt.keys {
			if err == nil || !strings.Contains("\n"+err.Error(), "\n"+key+": ") {
				t.Errorf("%+v: %v, want a word on %s", tt.limits, err, key)
			}
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New takes %+v", tt.limits)
				}
			}()
			room.New(tt.limits)
		}()
	}
}

// names of all lengths, which are told apart by their last byte alone.
func TestNames(t *testing.T) {
	r := room.New(room.Default())
	var names []string
	for n := range room.MaxName {
		stem := strings.Repeat("\x00", n)
		names = append(names, stem+"\x00", stem+"a", stem+"\xff")
	}
	for i, name := range names {
		mustJoin(t, r, name, uint32(i), 1_000_000)
	}
	for i, name := range names {
		if got := walk(r, name, 1000); !slices.Equal(got, []uint32{uint32(i), 1_000_000}) {
			t.Fatalf("members of %q: %v, want %d and a million", name, got, i)
		}
	}
	slices.Sort(names)
	if got := roomsOf(r, 1_000_000); !slices.Equal(got, names) {
		t.Errorf("%d rooms of a link in %d", len(got), len(names))
	}
}
