package room

import "slices"

// The members of a room are leaves: blocks whose first word is the number of places
// in them and which hold these sorted. Between two leaves stands a separator: places
// below it are in leaves before it. A room with one leaf has no directory; that of
// others is an array of pairs, the separator before a leaf (not used with the
// first one) and the leaf's ref. Only a room that ends has an empty leaf.
const (
	leafClass = 8 // of the largest leaf: 255 places in 1 KiB, so that to make room in one costs little
	leafMax   = 1<<leafClass - 1
)

// leaf returns the i-th leaf of a room.
func (t *Table) leaf(w []uint32, i int) ref {
	if w[roomLeaves] == 1 {
		return ref(w[roomSet])
	}
	return ref(t.blocks.words(ref(w[roomSet]))[2*i+1])
}

func (t *Table) setLeaf(w []uint32, i int, leaf ref) {
	if w[roomLeaves] == 1 {
		w[roomSet] = uint32(leaf)
		return
	}
	t.blocks.words(ref(w[roomSet]))[2*i+1] = uint32(leaf)
}

// leafFor returns the number of the leaf in which the place is, if it is in any.
func (t *Table) leafFor(w []uint32, place uint32) int {
	if w[roomLeaves] == 1 {
		return 0
	}
	dir := t.blocks.words(ref(w[roomSet]))
	low, high := 0, int(w[roomLeaves]) // the leaf is in [low, high)
	for high-low > 1 {
		if mid := int(uint(low+high) / 2); dir[2*mid] <= place {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// places returns what is in a leaf.
func (t *Table) places(leaf ref) []uint32 {
	b := t.blocks.words(leaf)
	return b[1 : 1+b[0]]
}

func (t *Table) holds(r ref, place uint32) bool {
	w := t.rooms.words(r)
	_, ok := slices.BinarySearch(t.places(t.leaf(w, t.leafFor(w, place))), place)
	return ok
}

// from returns the members of a room from a place on that lie in one leaf; none
// is the end.
func (t *Table) from(w []uint32, place uint32) []uint32 {
	i := t.leafFor(w, place)
	list := t.places(t.leaf(w, i))
	at, _ := slices.BinarySearch(list, place)
	if at == len(list) && i+1 < int(w[roomLeaves]) {
		return t.places(t.leaf(w, i+1))
	}
	return list[at:]
}

// insert adds a place to the members and reports whether it was none of them.
func (t *Table) insert(r ref, place uint32) bool {
	w := t.rooms.words(r)
	i := t.leafFor(w, place)
	leaf := t.leaf(w, i)
	list := t.places(leaf)
	at, ok := slices.BinarySearch(list, place)
	if ok {
		return false
	}
	if len(list) == leafMax {
		t.divide(w, i, at, place)
		return t.insert(r, place)
	}
	if 1+len(list) == 1<<leaf.class() {
		leaf = t.blocks.resize(leaf, leaf.class()+1, 1+len(list))
		t.setLeaf(w, i, leaf)
	}
	b := t.blocks.words(leaf)
	copy(b[at+2:], b[at+1:1+b[0]])
	b[at+1] = place
	b[0]++
	w[roomMembers]++
	return true
}

// divide makes two leaves of a full one, to one of which a place is then added;
// at is where that would stand. Links get places in rising order in a young
// pool, so a room that grows at its end leaves full leaves behind.
func (t *Table) divide(w []uint32, i, at int, place uint32) {
	leaf := t.leaf(w, i)
	list := t.places(leaf)
	cut, separator := leafMax/2, list[leafMax/2]
	if at == leafMax && i+1 == int(w[roomLeaves]) {
		cut, separator = at, place
	}
	second := t.blocks.take(classOf(1 + len(list) - cut + 1))
	b := t.blocks.words(second)
	b[0] = uint32(copy(b[1:], list[cut:]))
	t.blocks.words(leaf)[0] = uint32(cut)
	t.addLeaf(w, i+1, separator, second)
}

// remove takes a place out of the members and reports whether it was one of them.
func (t *Table) remove(r ref, place uint32) bool {
	w := t.rooms.words(r)
	i := t.leafFor(w, place)
	leaf := t.leaf(w, i)
	list := t.places(leaf)
	at, ok := slices.BinarySearch(list, place)
	if !ok {
		return false
	}
	copy(list[at:], list[at+1:])
	t.blocks.words(leaf)[0]--
	w[roomMembers]--
	t.shed(w, i, leaf, len(list)-1)
	return true
}

// shed gives back the memory that a leaf, which has n places now, no longer needs.
// Of two neighbours at least one has leafMax/4 places or more.
func (t *Table) shed(w []uint32, i int, leaf ref, n int) {
	if n <= leafMax/4 && w[roomLeaves] > 1 {
		if n == 0 {
			t.blocks.give(leaf)
			t.cutLeaf(w, i)
			return
		}
		if i+1 < int(w[roomLeaves]) && t.unite(w, i) || i > 0 && t.unite(w, i-1) {
			return
		}
	}
	if c := leaf.class(); c > 1 && 1+n <= 1<<c/4 {
		t.setLeaf(w, i, t.blocks.resize(leaf, c-1, 1+n))
	}
}

// unite puts leaf i+1 into leaf i if the two are half a leaf together, which
// is twice as much as makes them try.
func (t *Table) unite(w []uint32, i int) bool {
	first, second := t.leaf(w, i), t.leaf(w, i+1)
	n, more := len(t.places(first)), t.places(second)
	if n+len(more) > leafMax/2 {
		return false
	}
	if need := classOf(1 + n + len(more)); need > first.class() {
		first = t.blocks.resize(first, need, 1+n)
		t.setLeaf(w, i, first)
	}
	b := t.blocks.words(first)
	b[0] += uint32(copy(b[1+n:], more))
	t.blocks.give(second)
	t.cutLeaf(w, i+1)
	return true
}

// addLeaf makes a leaf the i-th of the directory, which is made if there is none.
func (t *Table) addLeaf(w []uint32, i int, separator uint32, leaf ref) {
	n := 2 * int(w[roomLeaves])
	dir := ref(w[roomSet])
	if n == 2 {
		dir = t.blocks.take(2)
		pair := t.blocks.words(dir)
		pair[0], pair[1] = 0, w[roomSet]
	} else if n == 1<<dir.class() {
		dir = t.blocks.resize(dir, dir.class()+1, n)
	}
	b := t.blocks.words(dir)
	copy(b[2*i+2:], b[2*i:n])
	b[2*i], b[2*i+1] = separator, uint32(leaf)
	w[roomSet] = uint32(dir)
	w[roomLeaves]++
}

// cutLeaf takes the i-th leaf out of the directory.
func (t *Table) cutLeaf(w []uint32, i int) {
	n := 2 * int(w[roomLeaves])
	dir := ref(w[roomSet])
	b := t.blocks.words(dir)
	copy(b[2*i:], b[2*i+2:n])
	n -= 2
	w[roomLeaves]--
	if n == 2 {
		w[roomSet] = b[1]
		t.blocks.give(dir)
	} else if c := dir.class(); c > 2 && n <= 1<<c/4 {
		w[roomSet] = uint32(t.blocks.resize(dir, c-1, n))
	}
}
