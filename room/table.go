package room

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
)

const (
	// MaxName is the length in bytes of the longest name of a room.
	MaxName = 255

	// Limits of this implementation.
	maxPlaces       = 1 << 24 // a link's index has 24 bits for its place
	maxRooms        = 1 << 24
	maxRoomsPerLink = 1 << 16
	maxMemberships  = 1 << 26 // never more blocks than a class can number
)

// What a Join can be refused for. The table is as it was.
var (
	// ErrName means that the name of a room is empty or longer than MaxName.
	ErrName = errors.New("room: name is empty or too long")
	// ErrRoomsPerLink means that the link is in as many rooms as it may be.
	ErrRoomsPerLink = errors.New("room: link is in too many rooms")
	// ErrRooms means that the shard has as many rooms as it may have.
	ErrRooms = errors.New("room: too many rooms")
	// ErrFull means that the table cannot number more memberships.
	ErrFull = errors.New("room: full")
)

// Limits is what one Table may hold.
type Limits struct {
	RoomsPerLink int `toml:"rooms_per_link"` // rooms that one link may be in
	Rooms        int `toml:"rooms"`          // rooms of one reactor that have members
}

// Default returns the usual limits: a person in many groups, a reactor in
// which every link has some of its own.
func Default() Limits { return Limits{RoomsPerLink: 1000, Rooms: 1_000_000} }

// Validate reports every limit that cannot be meant, each with its key.
func (l Limits) Validate() error {
	var errs []error
	if l.RoomsPerLink < 1 || l.RoomsPerLink > maxRoomsPerLink {
		errs = append(errs, fmt.Errorf("rooms_per_link: %d is not between 1 and %d", l.RoomsPerLink, maxRoomsPerLink))
	}
	if l.Rooms < 1 || l.Rooms > maxRooms {
		errs = append(errs, fmt.Errorf("rooms: %d is not between 1 and %d", l.Rooms, maxRooms))
	}
	return errors.Join(errs...)
}

// Table is the rooms of one shard, owned by the shard's thread.
type Table struct {
	// Static after New.
	limits Limits
	seed   maphash.Seed

	rooms  slab     // rooms alone, so that a Cursor's ref never meets another kind of block
	blocks slab     // leaves, directories, pages, lists
	index  index    // of rooms by the hash of their names
	pages  []uint32 // by place / pagePlaces: ref of the page in blocks

	count       int    // rooms
	memberships int    // pairs of room and link
	uniq        uint32 // of the room that was made last
	changes     uint64 // joins and leaves ever: tells a walk that what it looks at may have moved
}

// New returns an empty table. It panics when the limits do not pass Validate.
func New(limits Limits) *Table {
	if err := limits.Validate(); err != nil {
		panic("room: " + err.Error())
	}
	return &Table{limits: limits, seed: maphash.MakeSeed()}
}

// Join puts a link into a room, which is made if there is none of that name. It
// reports false when the link is in the room already, whatever the limits are.
// Errors are ErrName, ErrRoomsPerLink, ErrRooms and ErrFull. The name is copied. A
// place that no pool has is a fault of the caller and panics.
func (t *Table) Join(room []byte, place uint32) (joined bool, err error) {
	if place >= maxPlaces {
		panic(fmt.Sprintf("room: place %d is beyond %d", place, maxPlaces))
	}
	if len(room) == 0 || len(room) > MaxName {
		return false, ErrName
	}
	hash := t.hash(room)
	r := t.find(hash, room)
	if err := t.mayJoin(r, place); err != nil {
		if r != 0 && t.holds(r, place) {
			return false, nil
		}
		return false, err
	}
	if r == 0 {
		r = t.create(hash, room)
	}
	return t.join(r, place), nil
}

// mayJoin returns the limit that stands against a new membership; r is 0 for a
// room that is yet to be made.
func (t *Table) mayJoin(r ref, place uint32) error {
	switch {
	case len(t.roomsOf(place)) >= t.limits.RoomsPerLink:
		return ErrRoomsPerLink
	case r == 0 && t.count >= t.limits.Rooms:
		return ErrRooms
	case t.memberships >= maxMemberships:
		return ErrFull
	}
	return nil
}

func (t *Table) join(r ref, place uint32) bool {
	if !t.insert(r, place) {
		return false
	}
	t.enter(place, r)
	t.memberships++
	t.changes++
	return true
}

// Leave takes a link out of a room and reports whether it was in it. A room
// without members ceases to be.
func (t *Table) Leave(room []byte, place uint32) bool {
	r := t.find(t.hash(room), room)
	return r != 0 && t.part(r, place)
}

// Drop takes a link that has ended out of all its rooms and returns how many
// these were.
func (t *Table) Drop(place uint32) (left int) {
	for {
		list := t.roomsOf(place)
		if len(list) == 0 {
			return left
		}
		t.part(ref(list[len(list)-1]), place)
		left++
	}
}

func (t *Table) part(r ref, place uint32) bool {
	if !t.remove(r, place) {
		return false
	}
	t.exit(place, r)
	t.memberships--
	t.changes++
	if t.rooms.words(r)[roomMembers] == 0 {
		t.destroy(r)
	}
	return true
}

// Has reports whether a link is in a room. It looks at the rooms of the link.
func (t *Table) Has(room []byte, place uint32) bool {
	r := t.find(t.hash(room), room)
	return r != 0 && slices.Contains(t.roomsOf(place), uint32(r))
}

// Members returns how many links are in the room.
func (t *Table) Members(room []byte) int {
	r := t.find(t.hash(room), room)
	if r == 0 {
		return 0
	}
	return int(t.rooms.words(r)[roomMembers])
}

// Rooms goes over the names of the rooms that a link is in, in no
// particular order. A name is good until the next one. The room that was just
// handed out may be left meanwhile; what other changes do to the rest is not said.
func (t *Table) Rooms(place uint32) iter.Seq[[]byte] {
	return func(yield func(name []byte) bool) {
		var name []byte
		// From the back, because exit fills a gap with the last one.
		for i := len(t.roomsOf(place)); ; {
			list := t.roomsOf(place)
			if i = min(i, len(list)) - 1; i < 0 {
				return
			}
			name = appendName(name[:0], t.rooms.words(ref(list[i])))
			if !yield(name) {
				return
			}
		}
	}
}

// Len returns the number of rooms that have members.
func (t *Table) Len() int { return t.count }

// Memberships returns the number of pairs of a room and a link in it.
func (t *Table) Memberships() int { return t.memberships }

// Held returns the bytes of memory that rooms and memberships lie in, what is
// free at present included.
func (t *Table) Held() int {
	return wordBytes * (t.rooms.held + t.blocks.held + t.index.held() + cap(t.pages))
}
