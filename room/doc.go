// Package room keeps which links of one shard are in which rooms.
//
// A room is a name that a Manager gave to a set of links. It exists while it
// has members. A link is its place in the shard's pool; the shard tells the table
// when a link has ended (Drop), since the place will be another link's.
//
// # Walking
//
// A broadcast to a room of 100,000 must not stop the shard, so it is done in
// slices over several turns, while members come and go:
//
//	cursor := table.Walk(name, 0)
//	...
//	more := table.Each(&cursor, 1000, func(place uint32) { ... }) // once a turn
//
// The members of a room lie in the order of their places, and a walk follows
// that order. So a [Cursor] is nothing but a room and the place to go on
// from: no change can make it wrong, the table need not know of it, and it may be
// forgotten at any time. A member that stays for the whole walk is met exactly
// once; one that comes or goes meanwhile is met once or not at all; no place is met
// twice. Another process can go on with a walk from the name and [Cursor.Place].
// Places in their order are also what the shard's arrays are fastest at.
//
// # Memory
//
//	name > index > room   > one leaf, or a directory > leaves of up to 255 places, sorted
//	place > page > cell   > one room, or a list of rooms
//
// All of it lies in blocks of 32-bit words cut from chunks of 8 KiB, and refers
// to one another by number: the garbage collector sees one pointer per chunk.
// A member of a large room costs 4 to 8 bytes in the room, depending on how
// full the leaves are, and 8 bytes in its cell, or 4 to 8 in the list of a
// link in several rooms. A page is the cells of 16 neighbouring places and exists
// while one of them is in a room. So where nobody is in a room, a link costs nothing
// but the quarter of a byte that finds the page, and nowhere more than 8 bytes. A
// room costs 32 bytes with a name of up to 4 bytes, 64 with one of up to 36, 4 in
// the index, and 8 with one member, 16 with up to 3, 32 with up to 7. Memory is
// given back as rooms and pages empty.
//
// No call does work that grows with the table, but for Drop (the link's rooms),
// Leave (a scan of the link's list) and arrays that double: directories and what
// finds the pages, some microseconds with a million members. The index of names
// grows and shrinks by one bucket at a time.
//
// # Owner
//
// A Table belongs to one shard's thread and takes no lock. It does no I/O,
// starts nothing and reads no clock. It never knows what is said in a room, to
// whom a link belongs, or which links exist.
package room
