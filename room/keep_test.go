package room_test

import (
	"fmt"
	"testing"

	"edged/room"
)

func TestKeep(t *testing.T) {
	table := room.New(room.Default())
	for place := range uint32(100) {
		for n := range place%3 + 1 {
			if _, err := table.Join(fmt.Appendf(nil, "room %d", n), place); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := table.Memberships()
	asked := 0
	left := table.Keep(func(place uint32) bool { asked++; return place%2 == 0 && place < 50 })
	if asked < 100 || asked > 112 {
		t.Errorf("asked for %d places", asked)
	}
	if before-left != table.Memberships() {
		t.Errorf("%d memberships of %d left, %d are there", left, before, table.Memberships())
	}
	for place := range uint32(100) {
		for n := range uint32(3) {
			want := place%2 == 0 && place < 50 && n <= place%3
			if table.Has(fmt.Appendf(nil, "room %d", n), place) != want {
				t.Errorf("place %d in room %d: not %v", place, n, want)
			}
		}
	}
	if table.Keep(func(uint32) bool { return true }) != 0 {
		t.Error("somebody left although all are kept")
	}
	table.Keep(func(uint32) bool { return false })
	if table.Len() != 0 || table.Memberships() != 0 {
		t.Errorf("%d rooms, %d memberships", table.Len(), table.Memberships())
	}
}
