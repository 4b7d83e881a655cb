package room_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"edged/room"
)

// Pinned, because a later version of edged must load it.
const savedOnce = "\x01\x01\x06live-1\x03\x02\x00\x7f"

func TestStateOfTheFirstVersion(t *testing.T) {
	r, n, err := room.Load(room.Default(), []byte(savedOnce))
	if err != nil || n != len(savedOnce) {
		t.Fatalf("Load: %d, %v", n, err)
	}
	if got := walk(r, "live-1", 10); !slices.Equal(got, []uint32{2, 3, 131}) {
		t.Errorf("members %v, want 2 3 131", got)
	}
	if got := r.AppendState(nil); string(got) != savedOnce {
		t.Errorf("saved again as %q", got)
	}
	empty := room.New(room.Default()).AppendState(nil)
	if r, n, err = room.Load(room.Default(), empty); err != nil || n != 2 || r.Len() != 0 {
		t.Errorf("Load of the empty table: %d, %v", n, err)
	}
}

func TestStateOverTheLimits(t *testing.T) {
	r := room.New(room.Default())
	for _, name := range []string{"a", "b", "c"} {
		mustJoin(t, r, name, 1)
	}
	r, _, err := room.Load(room.Limits{RoomsPerLink: 1, Rooms: 1}, r.AppendState(nil))
	if err != nil || len(roomsOf(r, 1)) != 3 {
		t.Fatalf("%v; rooms %v, want all three", err, roomsOf(r, 1))
	}
	if _, err := r.Join([]byte("a"), 2); err != nil {
		t.Error(err)
	}
	if _, err := r.Join([]byte("d"), 2); !errors.Is(err, room.ErrRoomsPerLink) {
		t.Errorf("%v, want ErrRoomsPerLink", err)
	}
}

func TestLoadBelievesNothing(t *testing.T) {
	tests := map[string]string{
		"nothing":              "",
		"another version":      "\x02\x00",
		"no count":             "\x01",
		"more rooms":           "\x01\x02\x01a\x01\x00",
		"long count":           "\x01\x81\x00\x01a\x01\x00",
		"endless count":        "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"huge count":           "\x01\xff\xff\xff\x7f",
		"no name":              "\x01\x01\x00\x01\x00",
		"long name":            "\x01\x01\x80\x02" + strings.Repeat("x", 256) + "\x01\x00",
		"half a name":          "\x01\x01\x05live",
		"no members":           "\x01\x01\x01a\x00",
		"more members":         "\x01\x01\x01a\x03\x00\x00",
		"huge members":         "\x01\x01\x01a\xff\xff\xff\x07\x00\x00",
		"the same name":        "\x01\x02\x01a\x01\x00\x01a\x01\x01",
		"place out of reach":   "\x01\x01\x01a\x01\x80\x80\x80\x08",
		"second one out of it": "\x01\x01\x01a\x02\xff\xff\xff\x07\x00",
		"long place":           "\x01\x01\x01a\x01\x80\x00",
	}
	for name, state := range tests {
		t.Run(name, func(t *testing.T) {
			r, n, err := room.Load(room.Default(), []byte(state))
			if !errors.Is(err, room.ErrState) || r != nil || n != 0 {
				t.Errorf("%v, %d, %v, want ErrState", r, n, err)
			}
		})
	}
	for n := range len(savedOnce) {
		if _, _, err := room.Load(room.Default(), []byte(savedOnce[:n])); !errors.Is(err, room.ErrState) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}

// A link in more rooms than any limit allows was never saved.
func TestLoadBoundsTheRoomsOfALink(t *testing.T) {
	const most = 1 << 16
	build := func(rooms int) []byte {
		b := []byte{1, byte(rooms&0x7f | 0x80), byte(rooms>>7&0x7f | 0x80), byte(rooms >> 14)}
		for i := range rooms {
			b = append(b, 3, byte(i), byte(i>>8), byte(i>>16), 1, 7)
		}
		return b
	}
	if r, _, err := room.Load(room.Default(), build(most)); err != nil || len(roomsOf(r, 7)) != most {
		t.Errorf("%d rooms: %v", most, err)
	}
	if _, _, err := room.Load(room.Default(), build(most+1)); !errors.Is(err, room.ErrState) {
		t.Errorf("%d rooms: %v, want ErrState", most+1, err)
	}
}

// FuzzLoad: what is taken can be changed, is saved in as many bytes, and these
// are the same table again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(savedOnce))
	f.Add([]byte("\x01\x02\x01a\x01\x00\x02bc\x02\x00\xfe\xff\xff\x07rest"))
	r := room.New(room.Default())
	mustJoin(f, r, "live", upTo(600)...)
	f.Add(r.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := room.Load(room.Limits{RoomsPerLink: 2, Rooms: 2}, b)
		if err != nil {
			if r != nil || n != 0 {
				t.Fatalf("%v, but %v, %d", err, r, n)
			}
			return
		}
		state := r.AppendState(nil)
		if len(state) != n || r.Len() == 1 && !bytes.Equal(state, b[:n]) {
			t.Fatalf("%q is saved as %q", b[:n], state)
		}
		again, m, err := room.Load(room.Default(), state)
		if err != nil || m != n || again.Len() != r.Len() || again.Memberships() != r.Memberships() {
			t.Fatalf("%q is not loaded again: %d, %v", state, m, err)
		}
		for place := range uint32(200) {
			names := roomsOf(r, place)
			if !slices.Equal(roomsOf(again, place), names) {
				t.Fatalf("link %d is in %q, then in %q", place, names, roomsOf(again, place))
			}
			for _, name := range names {
				if !slices.Equal(walk(r, name, 7), walk(again, name, 100)) {
					t.Fatalf("%q has other members", name)
				}
			}
			if r.Drop(place) != len(names) || again.Drop(place) != len(names) {
				t.Fatalf("link %d cannot leave %q", place, names)
			}
		}
	})
}
