// Package session keeps what the gateway and the Managers know about each
// link of one shard: a map of string to string, see docs/PROTOCOL.md, 2.4.
//
// A session goes with every item towards a Manager, and changes a few times in
// a link's life. So it is kept as the bytes that are sent: the session field of
// UpItem in api/manager.proto, with its tag and its length, encoded once per
// change. To attach it to a message is to copy [Store.Field].
//
// The bytes lie in slots of fixed sizes, cut from large chunks, so that a
// million sessions are some thousand pointers to the garbage collector. A
// [Ref] is all that a link holds. It names the slot and therefore changes
// when the session outgrows it:
//
//	link.session, err = store.Patch(link.session, patch)
//
// is right in every case, as a refused change returns the Ref it was given.
//
// Who may write what: the gateway writes the keys without a dot (Open, Bind),
// a Manager those with a dot (Patch). A change is made as a whole or not at
// all. The gateway's keys stand first, each key keeps its place while it
// lives, and keys and values are valid UTF-8, since generated code would
// refuse the whole batch for one bad string.
//
// A Store belongs to the thread of its shard. It does no I/O, starts nothing
// and reads no clock. It does not know what a link is beyond its name, nor how
// items are put together: that is package batch.
package session
