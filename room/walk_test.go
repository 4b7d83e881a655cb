package room_test

import (
	"slices"
	"testing"

	"edged/room"
)

func upTo(n uint32) (places []uint32) {
	for i := range n {
		places = append(places, i)
	}
	return places
}

func TestWalkInSlices(t *testing.T) {
	for _, members := range []uint32{1, 2, 255, 256, 1000} {
		r := room.New(room.Default())
		mustJoin(t, r, "live", upTo(members)...)
		for _, n := range []int{-1, 1, 2, 255, 999, 1000, 1001} {
			c := r.Walk([]byte("live"), 0)
			var got []uint32
			for more := true; more; {
				before := len(got)
				more = r.Each(&c, n, func(place uint32) { got = append(got, place) })
				if met := len(got) - before; more && met != max(n, 1) || !more && met > max(n, 1) {
					t.Fatalf("a slice of %d has %d members", n, met)
				}
				if more != (len(got) < int(members)) {
					t.Fatalf("more is %v after %d of %d members", more, len(got), members)
				}
			}
			if !slices.Equal(got, upTo(members)) {
				t.Fatalf("%d members in slices of %d: %v", members, n, got)
			}
			if r.Each(&c, n, func(uint32) { t.Error("a walk that is over goes on") }) {
				t.Error("a walk that is over has more")
			}
		}
	}
}

func TestWalkFromAPlace(t *testing.T) {
	r := room.New(room.Default())
	mustJoin(t, r, "live", upTo(1000)...)
	c := r.Walk([]byte("live"), 0)
	r.Each(&c, 600, func(uint32) {})
	if c.Place() != 600 {
		t.Fatalf("after 600 members it stands before %d", c.Place())
	}
	next := uint32(600)
	c = r.Walk([]byte("live"), c.Place())
	for r.Each(&c, 7, func(place uint32) {
		if place != next {
			t.Fatalf("met %d, want %d", place, next)
		}
		next++
	}) {
	}
	if next != 1000 {
		t.Errorf("the walk ends before %d", next)
	}
	if c = r.Walk([]byte("live"), 1000); r.Each(&c, 1, func(uint32) { t.Error("there is a member behind the last") }) {
		t.Error("there is more behind the last")
	}
}

// f closes links, as a write to a slow one may, and others come.
func TestChangesDuringASlice(t *testing.T) {
	r := room.New(room.Default())
	mustJoin(t, r, "live", upTo(2000)...)
	c := r.Walk([]byte("live"), 0)
	var got, want []uint32
	more := r.Each(&c, 1500, func(place uint32) {
		got = append(got, place)
		r.Drop(place)
		if place%2 == 0 {
			r.Drop(place + 1)
			mustJoin(t, r, "live", place)
		}
	})
	for i := uint32(0); i < 2000; i += 2 {
		want = append(want, i)
	}
	if more || !slices.Equal(got, want) {
		t.Errorf("met %d, more %v; want each even place once", len(got), more)
	}
	if n := r.Members([]byte("live")); n != 1000 {
		t.Errorf("%d members, want 1000", n)
	}
}

func TestRoomThatIsMadeAgain(t *testing.T) {
	r := room.New(room.Default())
	mustJoin(t, r, "live", 1, 2, 3)
	stale := r.Walk([]byte("live"), 0)
	inside := stale
	r.Each(&stale, 1, func(uint32) {})
	if r.Each(&inside, 3, func(place uint32) {
		if place != 1 {
			t.Errorf("place %d is met, though all have left", place)
		}
		r.Drop(1)
		r.Drop(2)
		r.Drop(3)
		mustJoin(t, r, "live", 1, 2, 3)
	}) {
		t.Error("a walk over a room that is gone has more")
	}
	if r.Each(&stale, 1, func(place uint32) { t.Errorf("place %d of another room is met", place) }) {
		t.Error("a stale walk has more")
	}
}

// A large room keeps its members in pieces; whole ones may leave one by one.
func TestWalkOverAGap(t *testing.T) {
	const members = 1500
	for from := uint32(0); from < members; from += 100 {
		for _, n := range []uint32{100, 255, 256, 600, members} {
			r := room.New(room.Default())
			mustJoin(t, r, "live", upTo(members)...)
			want := upTo(from)
			for place := from; place < members; place++ {
				if place >= from+n {
					want = append(want, place)
				} else if !r.Leave([]byte("live"), place) {
					t.Fatalf("%d cannot leave", place)
				}
			}
			if got := walk(r, "live", 200); !slices.Equal(got, want) {
				t.Fatalf("without %d to %d the members are %v", from, from+n-1, got)
			}
		}
	}
}

// A cursor may outlive the very memory that its room lay in.
func TestStaleCursorOfMemoryThatIsGone(t *testing.T) {
	r := room.New(room.Default())
	const rooms = 5000
	cursors := make([]room.Cursor, rooms)
	for i := range cursors {
		name := string(rune('a'+i%26)) + string(rune(0x4e00+i))
		mustJoin(t, r, name, 10_000, uint32(i))
		cursors[i] = r.Walk([]byte(name), 0)
		r.Leave([]byte(name), 10_000)
	}
	held := r.Held()
	for i := range uint32(rooms) {
		r.Drop(i)
	}
	if r.Held() > held/2 {
		t.Fatalf("%d bytes are held for no room, %d for %d rooms", r.Held(), held, rooms)
	}
	for i := range cursors {
		if r.Each(&cursors[i], 1, func(place uint32) { t.Errorf("%d is met", place) }) {
			t.Fatal("a stale walk has more")
		}
	}
	var zero room.Cursor
	if r.Each(&zero, 1, func(uint32) { t.Error("the zero Cursor meets somebody") }) {
		t.Error("the zero Cursor has more")
	}
}
