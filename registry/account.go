package registry

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"reflect"

	"edged/linkpool"
)

// A part keeps its users and devices without a pointer for each: a million links that are logged in are no work for the garbage
// collector, and cost some 20 bytes each besides their names.
//
//	cells:  hash > where the seat's record is in text      one for each seat, open addressing with linear probing
//	text:   index 4 | uniq 4 | length of user × 2, + 1 with kin | length of device | with kin: next 4, prev 4 | user | device
//
// A user's first seat is found by the hash of the user, each other by the hash of user and device. Only who has several seats has
// the two words that chain them. A record that has gone stays in text until that is full; then those that live move together.

// none is the record of nobody.
const none = math.MaxUint32

// longest is the longest user or device; a session has room for none that is longer.
const longest = math.MaxUint16

// cell is where a record begins, behind 16 bits of the hash that it is found by. These tell its home in a table of any size, so
// neither a table that grows nor one that loses a cell looks at names. The zero cell is free.
type cell struct{ mark, low, high uint16 }

func cellOf(mark uint16, at uint32) cell { return cell{mark, uint16(at), uint16(at >> 16)} }

func (c cell) at() uint32 { return uint32(c.low) | uint32(c.high)<<16 }

// markOf takes the hash's upper bits; parts are told apart by the lower ones.
func markOf(h uint64) uint16 { return max(uint16(h>>48), 1) }

// nameHash mixes a device into the hash of its user.
func nameHash(seed maphash.Seed, user uint64, device []byte) uint64 {
	return bits.RotateLeft64(user, 23)*0x9e3779b97f4a7c15 ^ maphash.Bytes(seed, device)
}

// record is one device of a user and its link, as it lies in text.
type record struct {
	at, names uint32 // where it begins, and where user and device do
	user      uint32 // the user's length × 2, + 1 with kin; a struct of five fields would not be kept in registers
	device    uint32 // the device's length
}

func (r record) kin() bool { return r.user&1 != 0 }

func (r record) split() uint32 { return r.names + r.user>>1 }

func (r record) end() uint32 { return r.split() + r.device }

func (r record) size() int { return int(r.end() - r.at) }

// next and prev are where the words are that name the user's other seats; only with kin.
func (r record) next() uint32 { return r.names - 8 }
func (r record) prev() uint32 { return r.names - 4 }

// Seat is one device of a user and its link.
type Seat struct {
	Device string
	Link
}

// book is the users of one hash; see the top of this file. Its owner is the part of the Directory that holds it.
type book struct {
	seed        maphash.Seed
	cells       []cell
	text        []byte
	live, users int
	dead        int // bytes of text that are nobody's
}

func (b *book) record(at uint32) record {
	head := b.text[at+8:]
	user, device := uint32(head[0]), uint32(head[1])
	names := at + 10
	if user|device >= 0x80 {
		u, n := binary.Uvarint(head)
		d, m := binary.Uvarint(head[n:])
		user, device, names = uint32(u), uint32(d), at+8+uint32(n+m)
	}
	return record{at: at, names: names + user&1*8, user: user, device: device}
}

func (b *book) userOf(r record) []byte { return b.text[r.names:r.split()] }

func (b *book) deviceOf(r record) []byte { return b.text[r.split():r.end()] }

func (b *book) word(at uint32) uint32 { return binary.LittleEndian.Uint32(b.text[at:]) }

func (b *book) setWord(at, v uint32) { binary.LittleEndian.PutUint32(b.text[at:], v) }

func (b *book) link(r record) Link {
	shard, place := linkpool.Place(b.word(r.at))
	return Link{Shard: shard, Place: place, Uniq: b.word(r.at + 4)}
}

func (b *book) setLink(r record, l Link) {
	b.setWord(r.at, linkpool.Index(l.Shard, l.Place))
	b.setWord(r.at+4, l.Uniq)
}

// isFirst says whether a record is its user's first: the one found by the user alone.
func (b *book) isFirst(r record) bool { return !r.kin() || b.word(r.prev()) == none }

func (b *book) home(mark uint16) int { return int(uint64(mark) * uint64(len(b.cells)) >> 16) }

// after is the cell behind one, around the end.
func (b *book) after(i int) int {
	if i++; i < len(b.cells) {
		return i
	}
	return 0
}

// first returns the record of a user's first seat, and its cell; none: -1.
func (b *book) first(h uint64, user []byte) (int, record) {
	if len(b.cells) == 0 {
		return -1, record{}
	}
	mark := markOf(h)
	for i := b.home(mark); b.cells[i].mark != 0; i = b.after(i) {
		if b.cells[i].mark != mark {
			continue
		}
		if r := b.record(b.cells[i].at()); bytes.Equal(b.userOf(r), user) && b.isFirst(r) {
			return i, r
		}
	}
	return -1, record{}
}

// find returns the record of a user's device, and its cell; none: -1.
func (b *book) find(h uint64, user, device []byte) (int, record) {
	i, r := b.first(h, user)
	if i < 0 || bytes.Equal(b.deviceOf(r), device) {
		return i, r
	}
	if !r.kin() {
		return -1, record{}
	}
	mark := markOf(nameHash(b.seed, h, device))
	for i = b.home(mark); b.cells[i].mark != 0; i = b.after(i) {
		if b.cells[i].mark != mark {
			continue
		}
		if r = b.record(b.cells[i].at()); bytes.Equal(b.deviceOf(r), device) && bytes.Equal(b.userOf(r), user) {
			return i, r
		}
	}
	return -1, record{}
}

// following returns the next record of the same user.
func (b *book) following(r record) (record, bool) {
	if !r.kin() || b.word(r.next()) == none {
		return record{}, false
	}
	return b.record(b.word(r.next())), true
}

// add takes in a device that is not there.
func (b *book) add(h uint64, user, device []byte, l Link) {
	if len(user) > longest || len(device) > longest {
		panic(fmt.Sprintf("registry: a name of %d and %d bytes, over 65,535", len(user), len(device)))
	}
	if (b.live+1)*8 > len(b.cells)*7 {
		b.retable(b.live + 1)
	}
	head, r := b.first(h, user)
	b.live++
	if head < 0 {
		b.reserve(recordMost + len(user) + len(device))
		b.users++
		b.enter(markOf(h), b.write(user, device, l, false).at)
		return
	}
	b.reserve(2*recordMost + 2*len(user) + len(device) + int(r.device))
	r = b.withKin(head)
	s := b.write(user, device, l, true)
	next := b.word(r.next())
	b.setWord(s.next(), next)
	b.setWord(s.prev(), r.at)
	b.setWord(r.next(), s.at)
	if next != none {
		b.setWord(b.record(next).prev(), s.at)
	}
	b.enter(markOf(nameHash(b.seed, h, device)), s.at)
}

// recordMost is the most that a record needs besides its names.
const recordMost = 4 + 4 + 3 + 3 + 8

// write puts a record at the end of text, where there is room. Its user has no other seats so far.
func (b *book) write(user, device []byte, l Link, kin bool) record {
	at := uint32(len(b.text))
	b.text = append(b.text, 0, 0, 0, 0, 0, 0, 0, 0)
	flag := uint64(0)
	if kin {
		flag = 1
	}
	b.text = binary.AppendUvarint(b.text, uint64(len(user))<<1|flag)
	b.text = binary.AppendUvarint(b.text, uint64(len(device)))
	if kin {
		b.text = binary.LittleEndian.AppendUint64(b.text, math.MaxUint64) // none and none
	}
	b.text = append(append(b.text, user...), device...)
	r := b.record(at)
	b.setLink(r, l)
	return r
}

// withKin returns the record of a user's first seat, which is to have others: one with the words for them.
func (b *book) withKin(i int) record {
	r := b.record(b.cells[i].at())
	if r.kin() {
		return r
	}
	b.dead += r.size()
	r = b.write(b.userOf(r), b.deviceOf(r), b.link(r), true)
	b.cells[i] = cellOf(b.cells[i].mark, r.at)
	return r
}

// remove takes out the record of a cell; h is its user's hash.
func (b *book) remove(h uint64, i int) {
	r := b.record(b.cells[i].at())
	b.leave(i)
	b.live--
	b.dead += r.size()
	next, prev := uint32(none), uint32(none)
	if r.kin() {
		next, prev = b.word(r.next()), b.word(r.prev())
	}
	if prev != none {
		b.setWord(b.record(prev).next(), next)
	}
	if next != none {
		b.setWord(b.record(next).prev(), prev)
	}
	switch {
	case prev != none:
	case next != none: // it is the first from now on
		b.leave(b.cellAt(markOf(nameHash(b.seed, h, b.deviceOf(b.record(next)))), next))
		b.enter(markOf(h), next)
	default:
		b.users--
	}
	if len(b.cells) > 64 && b.live < len(b.cells)/4 {
		b.retable(b.live)
		b.compact(0)
	}
}

// enter takes a record up into the table, where there is room.
func (b *book) enter(mark uint16, at uint32) {
	i := b.home(mark)
	for b.cells[i].mark != 0 {
		i = b.after(i)
	}
	b.cells[i] = cellOf(mark, at)
}

// cellAt returns the cell of a record.
func (b *book) cellAt(mark uint16, at uint32) int {
	i := b.home(mark)
	for b.cells[i] != cellOf(mark, at) {
		i = b.after(i)
	}
	return i
}

// leave frees a cell. Those behind it move up where their homes let them, so that there are no graves.
func (b *book) leave(i int) {
	n := len(b.cells)
	for j := b.after(i); b.cells[j].mark != 0; j = b.after(j) {
		if far := (j - b.home(b.cells[j].mark) + n) % n; far >= (j-i+n)%n {
			b.cells[i] = b.cells[j]
			i = j
		}
	}
	b.cells[i] = cell{}
}

// retable makes the table anew for n seats and some more: 7 of 8 cells are used at most, and one is always free.
func (b *book) retable(n int) {
	old := b.cells
	b.cells = roomy[cell](n*8/7 + 2)
	b.cells = b.cells[:cap(b.cells)]
	clear(b.cells)
	for _, c := range old {
		if c.mark != 0 {
			b.enter(c.mark, c.at())
		}
	}
}

// reserve makes room for n bytes of text.
func (b *book) reserve(n int) {
	switch {
	case len(b.text)+n <= cap(b.text):
	case b.dead == 0:
		b.text = append(roomy[byte](len(b.text)+n), b.text...)
	default:
		b.compact(n)
	}
	if cap(b.text) >= none {
		panic(fmt.Sprintf("registry: %d users of one hash have %d bytes of names", b.users, len(b.text)))
	}
}

// compact moves the records that live to a new text, with room for n bytes more. A record in the old one then begins with where
// it is now.
func (b *book) compact(n int) {
	old := *b
	b.dead = 0
	b.text = roomy[byte]((len(old.text) - old.dead + n) * 9 / 8) // or who comes and goes would have it full again at once
	for i, c := range b.cells {
		if c.mark == 0 {
			continue
		}
		r := old.record(c.at())
		to := uint32(len(b.text))
		b.text = append(b.text, old.text[r.at:r.end()]...)
		old.setWord(r.at, to)
		b.cells[i] = cellOf(c.mark, to)
	}
	for _, c := range b.cells {
		if c.mark == 0 {
			continue
		}
		if r := b.record(c.at()); r.kin() {
			for _, at := range []uint32{r.next(), r.prev()} {
				if to := b.word(at); to != none {
					b.setWord(at, old.word(to))
				}
			}
		}
	}
}

// bySteps is up to where sizes are powers of two. Each size that the allocator has to keep apart costs it some 20 KB, which is
// more than what small parts save by a close fit.
const bySteps = 4096

// roomy returns an empty slice with room for n and a little more.
func roomy[T any](n int) []T {
	size := int(reflect.TypeFor[T]().Size())
	want := n * size
	if want <= bySteps {
		want = max(64, 1<<bits.Len(uint(want-1)))
	} else {
		want += want / 8
	}
	return append([]T(nil), make([]T, want/size)...)[:0] // append takes what the allocator would give away besides
}
