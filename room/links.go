package room

// A page is the cells of pagePlaces neighbouring places. A cell is two words: the
// number of rooms of the link, and of one room its ref, of several the ref of
// the block in which they are listed.
const (
	pagePlaces = 16
	pageClass  = 5
)

// cell returns the cell of a place, or nil when there is no such page.
func (t *Table) cell(place uint32) []uint32 {
	i := place / pagePlaces
	if int(i) >= len(t.pages) || t.pages[i] == 0 {
		return nil
	}
	at := 2 * (place % pagePlaces)
	return t.blocks.words(ref(t.pages[i]))[at : at+2]
}

// roomsOf returns the refs of the rooms that a link is in, good until the
// table's next change.
func (t *Table) roomsOf(place uint32) []uint32 {
	cell := t.cell(place)
	switch {
	case cell == nil || cell[0] == 0:
		return nil
	case cell[0] == 1:
		return cell[1:]
	}
	return t.blocks.words(ref(cell[1]))[:cell[0]]
}

// enter adds a room, which is not there yet, to those of a link.
func (t *Table) enter(place uint32, r ref) {
	cell := t.cell(place)
	if cell == nil {
		t.addPage(place / pagePlaces)
		cell = t.cell(place)
	}
	n := cell[0]
	cell[0]++
	list := ref(cell[1])
	switch {
	case n == 0:
		cell[1] = uint32(r)
		return
	case n == 1:
		list = t.blocks.take(1)
		t.blocks.words(list)[0] = cell[1]
	case n == 1<<list.class():
		list = t.blocks.resize(list, list.class()+1, int(n))
	}
	t.blocks.words(list)[n] = uint32(r)
	cell[1] = uint32(list)
}

// exit takes a room, which is there, out of those of a link; the last one
// fills its place.
func (t *Table) exit(place uint32, r ref) {
	cell := t.cell(place)
	rooms := t.roomsOf(place)
	// From the back, because Drop takes them from there.
	last := len(rooms) - 1
	i := last
	for rooms[i] != uint32(r) {
		i--
	}
	rooms[i] = rooms[last]
	cell[0]--
	list := ref(cell[1])
	switch n := len(rooms) - 1; {
	case n == 0:
		cell[1] = 0
		t.tidyPage(place / pagePlaces)
	case n == 1:
		cell[1] = rooms[0]
		t.blocks.give(list)
	case n <= 1<<list.class()/4:
		cell[1] = uint32(t.blocks.resize(list, list.class()-1, n))
	}
}

func (t *Table) addPage(i uint32) {
	if more := int(i) + 1 - len(t.pages); more > 0 {
		t.pages = append(t.pages, make([]uint32, more)...)
	}
	page := t.blocks.take(pageClass)
	clear(t.blocks.words(page))
	t.pages[i] = uint32(page)
}

// tidyPage gives a page back when no link of it is in a room.
func (t *Table) tidyPage(i uint32) {
	page := t.blocks.words(ref(t.pages[i]))
	for at := 0; at < len(page); at += 2 {
		if page[at] != 0 {
			return
		}
	}
	t.blocks.give(ref(t.pages[i]))
	t.pages[i] = 0
}
