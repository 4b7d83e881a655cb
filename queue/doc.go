// Package queue is the queue layer: it takes messages from a broker, stores those that are to be stored, finds where their users
// are, and publishes them to the gateways there.
//
//	XADD, Handler ──> edged:in ──> Stream ──> Service: store ──> deliver ──> finish ──> Stream: acknowledged, trimmed
//	                                                     │          │           └──> edged:dead: what can never be handled
//	                                                  offline    registry, bus ──> gateways
//
// Any number of processes share the work: to Redis they are consumers of one group. The entry of a message is plain fields,
// PROTOCOL.md section 3; Parse says what it means.
//
// # What holds
//
// An entry is acknowledged when all is done that it asks for, and not before. So it survives the death of any process, and of Redis
// as far as Redis keeps its data: entries of a process that was silent for claim_after are taken over by the others, those that
// were read and whose answer was lost are read again. What comes again may have been published already, so that a message is
// published at least once. A stored one is stored once: its msg_id says that it was there before, which is the entry's ID if the
// sender gave none, and the same version is published again. A required one has a msg_id likewise. By version or msg_id
// gateways and clients know what they have had.
//
// A message is in the log before it is published. A gateway that does not hear it finds a hole in the versions and pulls it.
// One that is not stored, and whose user is away, or whose gateway does not hear, is gone, and counted.
//
// One process publishes the messages for a user in the order in which they came to it, which is that of their versions; so for a
// room, and for everyone. Two processes interleave: the gateways sort by version.
//
// # What fails
//
// What Redis does not do is tried again for as long as it takes, with pauses of up to 2 s, and what follows for the same user
// waits behind it; others go on, until in_flight entries are held. That covers a Redis that is away or out of memory, a node of a
// Cluster that is away, a user of Redis that lacks a right.
//
// What can never be handled goes to edged:dead: all its fields, then `reason` (one of Reason, by its name), `detail` (a sentence)
// and `entry` (its ID in edged:in). In a Cluster that key is at another node than edged:in, so the entry is put there before it is
// acknowledged; a process that dies in between leaves it there twice. Whoever has mended an entry adds its fields to edged:in again:
// the three are left alone there.
//
// An entry whose time to live is over when it is its turn is acknowledged and counted. So is a stored one whose user's routes are
// another program's key: it will be pulled.
//
// # Other brokers
//
// A Service knows its broker as a Source of three methods: read, done, refused. Stream is the one over Redis.
//
// # Who owns what
//
// edged:in and edged:dead are written and read here alone, but for senders, who add to edged:in. An entry in flight belongs to one
// stage of the Service at a time; each stage is a goroutine and hands batches to the next one, so that one batch is stored while
// another is published. A Stream's reader and its keeper share nothing but counters. The package must never know links or sockets
// of clients, or how a gateway delivers.
package queue
