// Package netpoll serves very many TCP connections from few threads: one reactor (Loop) is one locked OS thread with its
// own epoll, its own connections and its own buffers. Nothing on the way of a byte takes a lock, allocates or reads a clock.
//
// One turn of a loop:
//
//	wait for events > accept, read (Handler.Read) > Handler.Turn > send what was written, once per connection > wait
//
// A connection is named by a Conn, a slot number with a generation: a stale one is ignored, never taken for the slot's next
// owner, and so is an event that epoll had queued for it. Epoll is level-triggered, so that the set of ready connections is
// no state of this process, and its data is the Conn, never a pointer: both let a successor process take the epoll over.
//
// Buffers are lent. A connection owns none while it is quiet; it holds one while a message is half received or half sent.
// Output waits here as a row of pieces, each what one Write was given; Thin takes pieces out of the row of a slow peer.
// Input is read into one buffer of the loop and lent to Handler.Read; what that does not use comes again with more behind it.
//
// All descriptors are non-blocking and all system calls but the long wait are raw, so that the Go scheduler does not take
// the loop's P away at each of them; wait_linux.go says how the wait itself is done.
package netpoll
