// Package linkpool keeps the links of one shard in flat arrays of fixed
// capacity: who sits where (Pool), and whose time is up next (Deadlines).
//
// # Places
//
// A Pool is a cursor, an array of place numbers and an array of links. The
// numbers at the cursor and behind it are the free places, in the order in
// which they will be taken:
//
//	cursor      0                1                2                1
//	index       0 1 2 3          0 1 2 3          0 1 2 3          0 1 2 3
//	            ^                  ^                  ^              ^
//	            all free         Add gives 0      Add gives 1      Del(1)
//
// Add takes index[cursor] and moves the cursor on; Del moves it back and writes
// the freed place there. Both cost the same at one link and at a million, and
// the place that was freed last is taken first, while the caches still know it.
//
// # Uniq
//
// A place is used by one link after another, and somebody may still hold the
// name of an earlier one. So each link is known by its place and its uniq, and
// the uniq of a place grows by one with each link, over 2^32-1 to 0, which is a
// uniq like any other. Get and Del refuse every uniq but the current one.
//
// The first link of every place gets the uniq that the pool was started with.
// A process that starts cold hands in a random one, so that the names which its
// crashed predecessor gave out meet nobody. The start is one for the pool, not
// one for each place. An old name can fit only when the two starts lie as close
// as a place's count of links, say a thousand: one chance in some millions, once
// per restart. With a start of its own, each of a million places would take that
// chance, and at one of every few restarts some place would lose it.
//
// # Deadlines
//
// A heartbeat must not cost a walk through a heap. Reading from a link
// therefore only stamps the time into it; the deadline in the heap stays as it
// is, too early by now. When it comes up, its owner looks at the stamp and
// either sets the deadline that the stamp asks for or closes the link:
//
//	for {
//		place, ok := deadlines.Due(now)
//		if !ok {
//			break
//		}
//		link, _ := pool.At(place)
//		if at := link.lastRead.Deadline(idle); now.Before(at) {
//			deadlines.Set(place, at)
//			continue
//		}
//		deadlines.Remove(place)
//		// the link has been silent for idle
//	}
//
// That is one visit to the heap per link and idle time, however often the link
// speaks. A rule that brings a link's deadline forward uses Earlier.
//
// # Memory
//
// No array holds a pointer, so the garbage collector scans none of them, and
// the links themselves must be free of pointers. A place costs 8 bytes and one
// bit besides its link, and 12 bytes for a deadline. Nothing is written to
// a place before its first link, so a pool that is larger than its use costs
// address space and no memory: in a process that just started, the arrays come
// from the kernel and stay untouched.
//
// # Owner
//
// Pool and Deadlines belong to one shard's thread and take no lock. They know no
// clock and no chance: the time and the first uniq are handed in. They never
// know what a link carries.
package linkpool
