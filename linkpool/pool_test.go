package linkpool_test

import (
	"strings"
	"testing"

	"edged/linkpool"
)

// link is a stand-in for what a shard keeps of a link.
type link struct {
	owner uint64
	read  linkpool.Millis
	flags [3]bool
}

func mustAdd(t *testing.T, p *linkpool.Pool[link]) (place, uniq uint32, l *link) {
	t.Helper()
	place, uniq, l, ok := p.Add()
	if !ok {
		t.Fatalf("Add refused at %d of %d links", p.Len(), p.Cap())
	}
	return place, uniq, l
}

func TestAddTakesPlacesInOrderThenTheLastFreed(t *testing.T) {
	p := linkpool.New[link](4, 10)
	for want := range uint32(3) {
		if place, uniq, _ := mustAdd(t, p); place != want || uniq != 10 {
			t.Fatalf("Add: place %d uniq %d, want %d and 10", place, uniq, want)
		}
	}
	p.Del(0, 10)
	p.Del(2, 10)
	wants := []struct{ place, uniq uint32 }{{2, 11}, {0, 11}, {3, 10}}
	for _, want := range wants {
		if place, uniq, _ := mustAdd(t, p); place != want.place || uniq != want.uniq {
			t.Errorf("Add: place %d uniq %d, want %v", place, uniq, want)
		}
	}
}

func TestAddGivesAZeroLink(t *testing.T) {
	p := linkpool.New[link](2, 0)
	place, uniq, l := mustAdd(t, p)
	*l = link{owner: 7, read: 9, flags: [3]bool{true, true, true}}
	p.Del(place, uniq)
	if again, _, l := mustAdd(t, p); again != place || *l != (link{}) {
		t.Errorf("place %d holds %+v after place %d was freed, want a zero link there", again, *l, place)
	}
}

func TestFullPool(t *testing.T) {
	p := linkpool.New[link](100, 0)
	for range 100 {
		mustAdd(t, p)
	}
	if _, _, l, ok := p.Add(); ok || l != nil || p.Len() != 100 || p.Cap() != 100 {
		t.Fatalf("Add to a full pool: ok %v, link %v, %d of %d links", ok, l, p.Len(), p.Cap())
	}
	for i := range uint32(100) {
		if p.Get(i, 0) == nil {
			t.Errorf("link %d is gone after the refusal", i)
		}
	}
	p.Del(42, 0)
	if place, uniq, _ := mustAdd(t, p); place != 42 || uniq != 1 {
		t.Errorf("Add after one Del: place %d uniq %d, want 42 and 1", place, uniq)
	}
}

func TestPoolWithoutPlaces(t *testing.T) {
	p := linkpool.New[link](0, 0)
	if _, _, _, ok := p.Add(); ok || p.Get(0, 0) != nil || p.Del(0, 0) || p.Each(0, 1, nil) != 0 {
		t.Error("a pool without places holds a link")
	}
}

func TestDelTwiceFreesOnce(t *testing.T) {
	p := linkpool.New[link](8, 5)
	place, uniq, _ := mustAdd(t, p)
	mustAdd(t, p)
	if !p.Del(place, uniq) || p.Del(place, uniq) || p.Len() != 1 {
		t.Fatalf("two Dels of one link leave %d links, want 1", p.Len())
	}
	seen := map[uint32]bool{1: true}
	for p.Len() < p.Cap() {
		again, _, _ := mustAdd(t, p)
		if seen[again] {
			t.Fatalf("place %d was given out twice", again)
		}
		seen[again] = true
	}
	// The place has another owner by now.
	if p.Del(place, uniq) || p.Len() != 8 {
		t.Error("a stale Del took the next link's place away")
	}
}

func TestStaleNamesFindNothing(t *testing.T) {
	p := linkpool.New[link](3, 100)
	place, uniq, _ := mustAdd(t, p)
	p.Del(place, uniq)
	_, next, l := mustAdd(t, p)
	l.owner = 2

	tests := []struct {
		name        string
		place, uniq uint32
		found       bool
	}{
		{"the link itself", place, next, true},
		{"the one before", place, uniq, false},
		{"the one to come", place, next + 1, false},
		{"a free place", 1, 100, false},
		{"a free place, the uniq it holds unused", 1, 99, false},
		{"a free place, zero", 1, 0, false},
		{"one place too many", 3, 100, false},
		{"the last place there could be", 1<<32 - 1, 100, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.Get(tt.place, tt.uniq); (got == l) != tt.found || (got != nil) != tt.found {
				t.Errorf("Get(%d, %d) = %v, want found %v", tt.place, tt.uniq, got, tt.found)
			}
			if !tt.found && p.Del(tt.place, tt.uniq) {
				t.Errorf("Del(%d, %d) took a link away", tt.place, tt.uniq)
			}
		})
	}
}

func TestFreedPlaceKnowsNoUniq(t *testing.T) {
	p := linkpool.New[link](1, 0)
	place, uniq, _ := mustAdd(t, p)
	p.Del(place, uniq)
	for _, u := range []uint32{uniq - 1, uniq, uniq + 1} {
		if p.Get(place, u) != nil {
			t.Errorf("Get(%d, %d) finds a link in a free place", place, u)
		}
	}
	if l, _ := p.At(place); l != nil {
		t.Error("At finds a link in a free place")
	}
}

func TestUniqWraps(t *testing.T) {
	p := linkpool.New[link](2, 1<<32-2)
	for _, want := range []uint32{1<<32 - 2, 1<<32 - 1, 0, 1} {
		place, uniq, l := mustAdd(t, p)
		if place != 0 || uniq != want {
			t.Fatalf("place %d uniq %d, want 0 and %d", place, uniq, want)
		}
		if p.Get(place, uniq) != l || p.Get(place, uniq-1) != nil || p.Get(place, uniq+1) != nil {
			t.Errorf("uniq %d: Get does not find this link alone", uniq)
		}
		if !p.Del(place, uniq) {
			t.Errorf("uniq %d: Del refused", uniq)
		}
	}
	// A pool that starts at 0 steps over the end on the way to its first uniq.
	if _, uniq, _ := mustAdd(t, linkpool.New[link](1, 0)); uniq != 0 {
		t.Errorf("first uniq %d, want the start, 0", uniq)
	}
}

func TestAt(t *testing.T) {
	p := linkpool.New[link](4, 7)
	mustAdd(t, p)
	place, uniq, l := mustAdd(t, p)
	if got, u := p.At(place); got != l || u != uniq {
		t.Errorf("At(%d) = %p, %d, want %p, %d", place, got, u, l, uniq)
	}
	for _, free := range []uint32{2, 4, 1<<32 - 1} {
		if got, u := p.At(free); got != nil || u != 0 {
			t.Errorf("At(%d) = %v, %d, want nothing", free, got, u)
		}
	}
}

func TestIndexNamesShardAndPlace(t *testing.T) {
	tests := []struct {
		shard int
		place uint32
		index uint32
	}{
		{0, 0, 0},
		{0, 231, 231},
		{1, 0, 1 << 24},
		{255, linkpool.MaxPlaces - 1, 1<<32 - 1},
	}
	for _, tt := range tests {
		if got := linkpool.Index(tt.shard, tt.place); got != tt.index {
			t.Errorf("Index(%d, %d) = %d, want %d", tt.shard, tt.place, got, tt.index)
		}
		if shard, place := linkpool.Place(tt.index); shard != tt.shard || place != tt.place {
			t.Errorf("Place(%d) = %d, %d, want %d, %d", tt.index, shard, place, tt.shard, tt.place)
		}
	}
}

func panicText(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = r.(string)
		}
	}()
	f()
	return ""
}

type named struct {
	ID   [2]struct{ N int32 }
	Text [2]struct{ S string }
}

func TestBrokenCallsPanicWithTheirValues(t *testing.T) {
	tests := []struct {
		name string
		call func()
		want string
	}{
		{"shard too large", func() { linkpool.Index(256, 3) }, "shard 256, place 3"},
		{"negative shard", func() { linkpool.Index(-1, 3) }, "shard -1"},
		{"place too large", func() { linkpool.Index(0, linkpool.MaxPlaces) }, "place 16777216"},
		{"negative capacity", func() { linkpool.New[link](-1, 0) }, "capacity -1"},
		{"capacity beyond the index", func() { linkpool.New[link](linkpool.MaxPlaces+1, 0) }, "capacity 16777217"},
		{"negative deadlines", func() { linkpool.NewDeadlines(-1) }, "capacity -1"},
		{"a pointer", func() { linkpool.New[*int](1, 0) }, "*int holds a pointer"},
		{"a slice", func() { linkpool.New[[]byte](1, 0) }, "[]uint8 holds a pointer"},
		{"an interface", func() { linkpool.New[error](1, 0) }, "error holds a pointer"},
		{"a string deep inside", func() { linkpool.New[named](1, 0) }, "linkpool_test.named holds a pointer: value.Text[0].S is of type string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := panicText(tt.call); !strings.Contains(got, tt.want) {
				t.Errorf("panic %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestFlatTypesAreTaken(t *testing.T) {
	linkpool.New[struct{}](1, 0)
	linkpool.New[[4]struct {
		a bool
		b uintptr
		c complex128
		d [8]float32
		_ linkpool.Millis
	}](1, 0)
}
