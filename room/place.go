package room

import "encoding/binary"

// The rooms of one link, for who saves a table link by link: how many they are, and of each the length of its name and the
// name, all numbers as varints.

// AppendRooms adds the names of the rooms that a link is in, for LoadRooms. Without any it adds nothing.
func (t *Table) AppendRooms(dst []byte, place uint32) []byte {
	list := t.roomsOf(place)
	if len(list) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, r := range list {
		w := t.rooms.words(ref(r))
		dst = binary.AppendUvarint(dst, uint64(w[roomNameLen]))
		dst = appendName(dst, w)
	}
	return dst
}

// LoadRooms puts a link, which is in no room, into those that b tells of, all of it. It believes nothing: with an error, which
// is ErrState, the link may be in some of them. More than the limits allow is taken.
func (t *Table) LoadRooms(b []byte, place uint32) error {
	if len(b) == 0 {
		return nil
	}
	in := input{rest: b}
	for range in.number(maxRoomsPerLink) {
		name := in.bytes(in.number(MaxName))
		if in.bad || len(name) == 0 || place >= maxPlaces || t.memberships >= maxMemberships {
			return ErrState
		}
		hash := t.hash(name)
		r := t.find(hash, name)
		if r == 0 {
			if t.count >= maxRooms {
				return ErrState
			}
			r = t.create(hash, name)
		}
		if !t.join(r, place) {
			return ErrState
		}
	}
	if in.bad || len(in.rest) > 0 {
		return ErrState
	}
	return nil
}
