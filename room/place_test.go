package room_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edged/room"
)

// A table that is saved link by link is the same one again.
func TestRoomsOfPlacesMakeTheTableAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	one, two := room.New(room.Default()), room.New(room.Limits{RoomsPerLink: 1, Rooms: 1})
	for range 3000 {
		name := fmt.Sprint(strings.Repeat("r", 1+random.IntN(40)), random.IntN(30))
		if _, err := one.Join([]byte(name), uint32(random.IntN(100))); err != nil {
			t.Fatal(err)
		}
	}
	for place := range uint32(100) {
		b := one.AppendRooms([]byte("x"), place)
		if err := two.LoadRooms(b[1:], place); err != nil {
			t.Fatal(err)
		}
		a, b2 := roomsOf(one, place), roomsOf(two, place)
		slices.Sort(a)
		slices.Sort(b2)
		if !slices.Equal(a, b2) {
			t.Fatalf("place %d: %v, not %v", place, b2, a)
		}
	}
	if one.Len() != two.Len() || one.Memberships() != two.Memberships() {
		t.Errorf("%d rooms, %d memberships, not %d and %d", two.Len(), two.Memberships(), one.Len(), one.Memberships())
	}
	if b := one.AppendRooms(nil, 200); len(b) != 0 {
		t.Errorf("a link without rooms: % x", b)
	}
}

func TestLoadRoomsBelievesNothing(t *testing.T) {
	good := "\x02\x01a\x03bcd"
	bad := []string{"\x01\x00", "\x02\x01a\x01a", good + "x", "\xff\xff\xff\x7f", "\x01\xff\x01", "\x00x"}
	for n := 1; n < len(good); n++ {
		bad = append(bad, good[:n])
	}
	for _, b := range bad {
		r := room.New(room.Default())
		if err := r.LoadRooms([]byte(b), 3); !errors.Is(err, room.ErrState) {
			t.Errorf("%q: %v", b, err)
		}
		if r.Drop(3); r.Len() != 0 || r.Memberships() != 0 {
			t.Errorf("%q: %d rooms are left", b, r.Len())
		}
	}
	r := room.New(room.Default())
	if err := r.LoadRooms([]byte(good), 3); err != nil || r.Members([]byte("bcd")) != 1 {
		t.Error(err)
	}
	if err := r.LoadRooms([]byte(good), 1<<24); !errors.Is(err, room.ErrState) {
		t.Error(err)
	}
}

func TestAppendRoomsDoesNotAllocate(t *testing.T) {
	r := room.New(room.Default())
	for i := range 10 {
		mustJoin(t, r, fmt.Sprint("room ", i), 3)
	}
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = r.AppendRooms(b[:0], 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLoadRooms(f *testing.F) {
	f.Add([]byte("\x02\x01a\x03bcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := room.New(room.Default())
		if r.LoadRooms(b, 3) == nil {
			if again := r.AppendRooms(nil, 3); len(b) > 0 && string(again) != string(b) && r.Memberships() > 0 {
				t.Errorf("% x is saved as % x", b, again)
			}
		}
		if r.Drop(3); r.Len() != 0 {
			t.Errorf("%d rooms are left", r.Len())
		}
	})
}
