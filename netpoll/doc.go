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
// A new connection should come to the loop that runs where its packets are worked on, so that the interrupt, the kernel's TCP
// and its owner share one CPU's caches. Config.Steer asks for that:
//
//	queue  a classic BPF program on the SO_REUSEPORT group names the socket, that is the loop, of the packet's receive queue;
//	       where the queue is not noted or not known, as cpu
//	cpu    the program names the loop of the CPU that works on the packet
//	hash   the kernel spreads by a hash of the addresses
//
// Nothing of it can keep a group from running. What cannot be had, and a program of whose connections over 5 % turn out to
// belong to another loop, gives way to the next line, and Steering says why; Resteer, with a new map, tries again. Whether
// drivers note a queue's number as it is or one more is seen in the first connections. Sockets that somebody else passed are
// steered alike if there is one for each loop; of fewer, or of a group in another order than was said, who accepts looks where
// the connection came (SO_INCOMING_NAPI_ID, SO_INCOMING_CPU) and hands it over. The sockets of a group are opened in the order
// of the loops and closed together, because the kernel fills the place of one that goes with the last.
//
// Queues are not even, and may be fewer than the loops: a loop with over a fifth (and 256) connections more than the mean gets
// no new ones; who accepts gives them to the loop with the fewest. Below some thousand connections a difference is mostly chance, or a
// burst that not all loops have accepted yet, and a connection's own queue is worth more. Open connections never move.
//
// A group can be handed over to another process, which inherits its descriptors under the same numbers: Pause stops accepting,
// Freeze has every loop stand still between two turns, AppendState (state.go) writes what each one has, and a group made with
// Config.Inherit goes on with it. Until its Start the new one touches nothing, so that the old one can go on instead (Thaw),
// even when the new one has begun and died: CheckFlows then finds the connections that it used.
//
// What a killed process had goes on too where somebody held the descriptors open: Note says at the end of each turn which
// connections are not as they were, AppendConn writes what has to be known of one, and a group made with Config.Restore goes on with
// those whose record is the last word: the kernel's counters tell. The others, which the last turn had begun with, are torn.
//
// Where CPUs are full a loop rests some tens of microseconds before it waits (Config.Coalesce), so that it is woken for several
// messages and not for each: coalesce_linux.go says when.
//
// Who expects something short that can wait has the kernel keep it until it is asked for (Gather, Collect), so that a loop is woken
// for many of them and not for each.
//
// All descriptors are non-blocking and all system calls but the long wait are raw, so that the Go scheduler does not take
// the loop's P away at each of them; wait_linux.go says how the wait itself is done.
package netpoll
