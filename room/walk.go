package room

// Cursor is where a walk over the members of a room has come to. It is plain
// data that belongs to the caller; see the package comment for what a walk
// promises. The zero Cursor is a walk that is over.
type Cursor struct {
	room ref
	uniq uint32
	next uint32 // the first place that was not looked at
}

// Walk begins a walk over the members of a room at a place, 0 for all of
// them. With a room that does not exist it is over at once.
func (t *Table) Walk(room []byte, from uint32) Cursor {
	r := t.find(t.hash(room), room)
	if r == 0 {
		return Cursor{}
	}
	return Cursor{r, t.rooms.words(r)[roomUniq], from}
}

// Place returns where the walk goes on, so that another process can.
func (c Cursor) Place() uint32 { return c.next }

// Each calls f for the next n members of a walk at most, but for one at least,
// and reports whether there are more. The walk ends, too, when its room has ceased
// to be, even if there is one of that name again: nobody can have stayed. All
// methods of the table may be called by f.
func (t *Table) Each(c *Cursor, n int, f func(place uint32)) (more bool) {
	n = max(n, 1)
	for {
		list := t.rest(c)
		if len(list) == 0 {
			*c = Cursor{}
			return false
		}
		if n <= 0 {
			return true
		}
		changes := t.changes
		for _, place := range list[:min(n, len(list))] {
			c.next = place + 1
			n--
			f(place)
			if t.changes != changes {
				break
			}
		}
	}
}

// rest returns some of the members before which a walk stands; none is its end.
func (t *Table) rest(c *Cursor) []uint32 {
	if c.room == 0 {
		return nil
	}
	// The block may be another room's by now, or free, or memory no more.
	w := t.rooms.words(c.room)
	if w == nil || w[roomUniq] != c.uniq {
		return nil
	}
	return t.from(w, c.next)
}
