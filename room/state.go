package room

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// stateVersion is the first byte of a saved table. The number of rooms follows, and
// of each room the length of its name, the name, the number of its members,
// and their places in rising order: the first one, then how many places were left
// out before each. All numbers are varints.
const stateVersion = 1

// ErrState means that saved bytes are not those of a table.
var ErrState = errors.New("room: not a saved table")

// AppendState adds what Load needs to make the table again in another process.
func (t *Table) AppendState(dst []byte) []byte {
	dst = append(dst, stateVersion)
	dst = binary.AppendUvarint(dst, uint64(t.count))
	for b := range t.index.buckets {
		for r := ref(*t.index.at(b)); r != 0; {
			w := t.rooms.words(r)
			dst = t.appendRoom(dst, w)
			r = ref(w[roomNext])
		}
	}
	return dst
}

func (t *Table) appendRoom(dst []byte, w []uint32) []byte {
	dst = binary.AppendUvarint(dst, uint64(w[roomNameLen]))
	dst = appendName(dst, w)
	dst = binary.AppendUvarint(dst, uint64(w[roomMembers]))
	next := uint32(0)
	for i := range int(w[roomLeaves]) {
		for _, place := range t.places(t.leaf(w, i)) {
			dst = binary.AppendUvarint(dst, uint64(place-next))
			next = place + 1
		}
	}
	return dst
}

// Load makes a table from the start of b and returns how many bytes it took.
// It believes nothing: what AppendState did not write is ErrState. More
// than the limits allow is taken, as memberships are worth more than the limits. That
// each place holds a link is for the caller to see to.
func Load(limits Limits, b []byte) (*Table, int, error) {
	if len(b) == 0 {
		return nil, 0, ErrState
	}
	if b[0] != stateVersion {
		return nil, 0, fmt.Errorf("%w: version %d", ErrState, b[0])
	}
	t := New(limits)
	in := input{rest: b[1:]}
	for range in.number(maxRooms) {
		if t.loadRoom(&in); in.bad {
			break
		}
	}
	if in.bad {
		return nil, 0, ErrState
	}
	return t, len(b) - len(in.rest), nil
}

// loadRoom marks the input as bad where it is.
func (t *Table) loadRoom(in *input) {
	name := in.bytes(in.number(MaxName))
	members := in.number(maxPlaces)
	if in.bad || len(name) == 0 || members == 0 || t.memberships+members > maxMemberships {
		in.bad = true
		return
	}
	hash := t.hash(name)
	if t.find(hash, name) != 0 {
		in.bad = true
		return
	}
	r := t.create(hash, name)
	next := 0
	for range members {
		place := next + in.number(maxPlaces-1)
		if in.bad || place >= maxPlaces || len(t.roomsOf(uint32(place))) == maxRoomsPerLink {
			in.bad = true
			return
		}
		t.join(r, uint32(place))
		next = place + 1
	}
}

// input is bytes that are read from the front; bad says that they were not what
// was asked for, and nothing is read from then on.
type input struct {
	rest []byte
	bad  bool
}

// number reads a varint of limit at most, in its shortest form.
func (in *input) number(limit int) int {
	v, n := binary.Uvarint(in.rest)
	if in.bad || n <= 0 || v > uint64(limit) || n != max(1, (bits.Len64(v)+6)/7) {
		in.bad = true
		return 0
	}
	in.rest = in.rest[n:]
	return int(v)
}

func (in *input) bytes(n int) []byte {
	if in.bad || n > len(in.rest) {
		in.bad = true
		return nil
	}
	b := in.rest[:n]
	in.rest = in.rest[n:]
	return b
}
