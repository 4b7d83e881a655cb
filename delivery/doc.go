// Package delivery is what a shard knows about pushes beyond sending them: which of them a link has
// not acknowledged (Windows), and which must not go out yet, because an earlier one is missing
// (Orders). See docs/PROTOCOL.md, 1.2 and 3.
//
// # Windows
//
// A link's window holds its unacknowledged pushes. The link itself holds a Ref, which is what every
// call takes and gives back:
//
//	link.window, err = windows.Send(link.window, now, &push)
//
// One push of a window:
//
//	                   Due, its wait is over:
//	                   Repeat, and the wait doubles
//	                     +------+
//	                     |      v
//	      Send       +--------------+  Ack
//	(none) --------> |   awaited    | ----------> (gone: Receipt)
//	   |             +--------------+
//	   | ErrFull        |   |   |
//	   v                |   |   | End           the link ended
//	(not kept)          |   |   +-------------> (gone: Closed)
//	                    |   | Due, time to live over
//	                    |   +-----------------> (gone: Expired)
//	                    | Due, after Limits.Tries sends
//	                    +---------------------> (gone: NoAck)
//
// A sampled push goes the same ways but is never repeated: it is awaited as long as all tries of a
// required one take. It also leaves, without a word, when a required push needs its room. An ACK of
// a tid that is gone, or was never awaited, changes nothing.
//
// The window is made by the first push and given back with the last one. How long a push is waited
// for follows the link's round trips, as patience.go tells.
//
// What is kept to repeat a push is opaque here. A caller keeps the rest of its frame with the flag
// `again` set already, since it is needed for nothing else.
//
// # Orders
//
// An order is a sequence of numbers of which each message has one, and each is to be passed once
// and in turn: the places in a package (InPackage), or the versions of a device (Version). A link
// holds an OrderRef for all of its orders. What becomes of number n while the next in turn is x:
//
//	n = x   Pass, and what is held behind it follows by Pop
//	n > x   Held, until every number before n was passed or given up
//	n < x   Late if its turn was given up, else Double
//
// A gap, which is the numbers from x to the first one held, is given up when it is known for
// OrderLimits.Gap and nothing came in turn for as long; when the log no longer reaches back
// (GiveUp); and at once when too much is held. Its numbers are remembered as a hole, and leave it
// as they come late.
//
//	                         all numbers passed
//	(none) --InPackage--> [package] ------------------> (forgotten)
//	                         |  ^                        ^
//	           gap given up  v  | the last one comes     | nothing came
//	                      [with holes] ------------------+ for ten gaps
//
// The versions are an order without end. Start says what the client has; while that is being looked
// up, Start with 0 makes everything wait. What a package releases goes through Passed, so that live
// messages wait for the pull, and none is sent twice:
//
//	Pop gives a message of a package > Passed(its version) > Pass: send; Late: send as late; Double: drop
//
// A message that had its turn and could not be sent gives it back (Reopen). What the log turns out not to have any more is
// Gone: it is neither waited for nor counted as missing, so that Whole goes on.
//
// # Memory
//
// A link without unacknowledged pushes costs its Ref. A window is a record of 56 bytes, 32 for each
// push, and the bytes of msg_id and frame, all in flat arrays that grow and shrink by chunks of 32
// KiB (slab.go) and hold no pointers. A window has at most Limits.Window pushes and Limits.Bytes of
// them, but always room for one.
//
// A link to which nothing with a version or a package was ever sent has no orders. An order is a
// record of 64 bytes, 24 for each message held, and its bytes; of a link that only goes on in turn,
// the record alone.
//
// # Owner
//
// All of it belongs to one shard's thread and takes no lock. It does no I/O and reads no clock: now
// is an argument. It knows no link but by its Ref, no frame, and no Redis.
package delivery
