package room

// Keep takes every place that holds no link out of all its rooms, and returns how many memberships these were: for who has
// loaded a table and not all of the links.
func (t *Table) Keep(holds func(place uint32) bool) (left int) {
	for i := range t.pages {
		for at := range uint32(pagePlaces) {
			if place := uint32(i)*pagePlaces + at; t.pages[i] != 0 && !holds(place) {
				left += t.Drop(place)
			}
		}
	}
	return left
}
