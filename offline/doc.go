// Package offline keeps messages for users who are away: a log for each user in Redis, with a version for each message.
//
//	queue     Store ──> edged:ver, edged:seen, edged:log of {user}, in one script: all of it or nothing
//	gateway   Pull  <── what a device has not acknowledged, in the order of versions
//	gateway   Sync  ──> edged:sync of {user}: up to which version a device has everything
//
// # What holds
//
// Versions of a user are 1, 2, 3 and so on: none is skipped, none is given twice, whoever stores. A message whose msg_id was
// stored before gets the version that it had, and is not stored again, for as long as edged:seen remembers it (Config.Seen,
// Config.SeenCount); one without msg_id is always new. What a call acknowledged is as durable as Redis is told to be. A call
// that failed may still have been carried out: whoever repeats it with the same msg_id does no harm.
//
// The log is capped by count and age alone, never by what was acknowledged: another device may want it. The cap by count
// holds after each Store. Age is looked at with each Pull, and with each 16th version; a log whose newest message is too old
// is gone by itself. Ages go by the clock of Redis (TIME): no two machines' clocks are compared.
//
// A user's keys share the hash tag {user}, and so a slot of a Cluster. One of another type, or that holds what is no
// version, costs its own user the call (ClashError) and nobody else; nothing is then changed. Entries of a log that are none
// are skipped, and counted; they are removed when they are its oldest.
//
// If edged:ver is lost and the log is not, versions go on after the log's last. If both are lost they begin at 1; a
// synchronised version beyond the last one given out is then worthless and counts as none, so that nothing is missed.
//
// # An entry of the log
//
// edged:log:{user} is a sorted set. The score is the version, the member these bytes, integers in big-endian order:
//
//	 0      u8   format: 1
//	 1      u64  version, at most 2^53-1: the same as the score
//	 9      u64  when it was stored, Unix milliseconds by the clock of Redis
//	17      u64  when it stops being wanted, likewise; 0: never
//	25      u8   flags: bits 0 and 1 the acknowledgement (0 none, 1 required, 2 sampled), bit 2 the payload may be sent as
//	             gzip; the other bits are 0
//	26      u8   n, length of msg_id
//	27      n    msg_id
//	27+n         payload, up to the end
//
// Another format begins with another number; its first 17 bytes will mean the same. A reader leaves out what it does not know.
// Python: struct.unpack_from('>BQQQBB', entry); Redis Lua: struct.unpack('>I1I8I8I8I1I1', entry).
//
// # The other keys
//
//	edged:ver:{user}   string  the last version given out, decimal; lives for ever, 0 where there is none
//	edged:seen:{user}  sorted set of msg_ids; the score is the time in Unix seconds, and as its fraction the lower 21 bits of
//	                   the version: seconds + (version mod 2^21) / 2^21, which a double holds exactly until 2106
//	edged:sync:{user}  hash    device → version, decimal; lives for ever
//
// # Who owns what
//
// These keys are written and read here alone. A Log has no state but its counters, starts no goroutine and may be called from
// all of them. The package must never know links, tids, or who is online.
package offline
