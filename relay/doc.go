// Package relay carries batches of items between the shards and the Managers over gRPC streams
// (docs/PROTOCOL.md, section 2): one connection and one stream for each pair of shard and Manager.
//
//	shard thread   Take, fill, Send ──> queue ──> sender: number, keep, SendMsg ──> Manager
//	               Next <── lane <── receiver: judge the number, split by shard <── RecvMsg
//
// # Who owns what
//
// The Port is the shard's end; its methods run on the shard's thread alone, never wait and, once
// its buffers are warm, never allocate. A stream is two goroutines: the sender, which also dials,
// waits and gives up, and the receiver. What both of them need, the outbox (batches that wait or
// that lack a receipt), the inbox (numbers of the other direction) and the peer (who answers), lies
// under the stream's mutex. Between the shard's thread and the sender stands only a chain of batches, pushed with one
// compare-and-swap.
//
// # Lending
//
// Two goroutines between a reactor and its Managers are two threads to be woken for each batch. So, with Options.Watch and
// without TLS, they lend their work to the shard's thread while there is nothing to wait for (lend.go): Send and Commit write to the
// Manager's socket, and the reactor's own epoll says by Port.Ready that something came, in the turn in which the links are served.
// What has to wait goes back to the goroutine as it stands: a socket or a window that is full, a lane without room (what found none is
// spilt, in its order, until the receiver pours it), the first word of a Manager, a gate that is shut. Who holds the stream's mutex never
// waits for anything, so the shard's thread may take it.
//
// # What holds
//
// Numbers run without holes for each (epoch, shard, Manager). A batch that was sent to a Manager
// that gives receipts is kept until its receipt came and repeated on the next stream to the same
// Manager. The bytes that wait or are kept are bounded by Config.Buffer: beyond it Take returns nil,
// the shard stops reading, and EventRoom tells it to go on. In the other direction a full lane
// makes the receiver wait, and HTTP/2 flow control the Manager. Nothing is dropped to make room.
//
// # Where an item goes
//
// The receiver sorts a Downstream's items by their heads alone (batch.ParseDownHead). One for a link goes to
// the shard that owns the link. One for a user or device goes to every shard that Options.UserShards names,
// and to those that may not have carried out a bind of that user yet which stood before it on the same
// stream. One for a room or everyone becomes a value, by Options.Cast, that every shard gets. What all that
// says nothing about goes to the stream's own shard. For each shard the order of a stream is kept, casts
// included; between shards there is none.
//
// An Inlet is the same for batches that no stream brings. It waits for a shard for a bounded time only, and
// then drops and counts what that one has no room for: there is no flow control behind it.
//
// # The road
//
// Without TLS a stream is a call of package h2 on a connection of its own: SendMsg writes to the socket, RecvMsg reads from
// it. With TLS it is the gRPC library's, which takes five goroutines for a batch. Both are a road (road.go), and nothing
// else in the package knows which.
//
// # Hand-over
//
// A successor that takes the links over goes on with the numbering, so that the same Manager gets what it lacks and what it
// repeats is dropped. In the old process that is
//
//	Hold ──> the shards take what there is, flush and stand ──> Freeze ──> AppendState ──> the process ends
//	  `──────────────────────────────────────────────────────────`───────> Thaw
//
// and in the new one New with Options.Inherit, Orphans, Start. Two gates in each stream say what may be under way (gate.go):
// behind news is all that a shard is told, and all that came; behind sending is what the sender changes and sends. What stands
// before a gate was neither taken in nor sent. Hold also has all duties given back that were lent, since the successor gets the epoll.
//
// Without receipts nothing that SendMsg took is repeated, and what the Manager had not read yet of the old stream, or we of
// its, may be lost with it. A Manager that was met so lately that it did not say its name yet, and to which something was sent
// that is kept no more, counts as another one afterwards.
//
// # Crashes
//
// With Options.Rings a process may die at any instruction, and a successor goes on from shared memory (RecoverState, and what the
// shards wrote down by Carried). A turn of a shard is one step of which all is left or nothing, and its Commit the only place where
// something becomes true:
//
//	Next, Send ──> Carried ──> the shard commits (handover.Records.Commit) ──> Port.Commit ──> what was sent goes out,
//	                                                                                   what came may be receipted
//
// So a Manager that gives receipts gets each item once, and so do the shards. A Downstream is receipted when every shard that got a
// part of it has committed that (ticket.go); what comes again after a crash is left out for those shards that had (keeper.go). Until
// a shard has committed that it knows of another Manager, or of one that is gone, nothing is sent to it nor taken from it: a crash
// finds everything as it was before.
//
// What nobody knows is where an item for a user went before the crash. Should the user have come to another shard since, that gets
// it or not, as it had got further in the batch or not; should nobody have the user any more, the item is found to be for nobody
// once more. What comes by an Inlet has no positions.
//
// # Keepalive
//
// A stream on which nothing arrives is probed every 10 s, so that a frozen Manager is noticed. A
// gRPC server must allow that (in Go keepalive.EnforcementPolicy{MinTime: 5 * time.Second}): the
// usual default of five minutes ends such a connection after some probes; the streams come back by
// themselves, and gRPC doubles the interval each time.
//
// The package must never know epoll, the clients' frames or Redis, nor what an item means: of an
// item it reads whom it is for, and whether it is a bind.
package relay
