// Package registry knows who is where: in this process in memory, in the fleet by Redis.
//
//	gateway   Directory: user → device → link        Put at bind, Remove at the end of a link
//	             └> Routes: a goroutine ───────────> Redis: edged:route:{user}, edged:lease:{gateway}, edged:presence
//	readers   Reader.Lookup, LookupAll, Events <───────┘
//
// # In the process
//
// A [Directory] has at most one link for each user and device. Put answers which link it replaced, so that the caller closes
// that one; Remove takes a link out only if it is still the one that is there, so that the late end of an old link never
// removes its successor. Of any number of logins that race, each but the last is the replaced one of exactly one Put.
//
// # In Redis
//
// [Routes] writes what has changed, in pipelines, in the background: nobody waits for it. A change is only the name of a user's
// device; what is written is what the Directory says when the pipeline is put together. So the newest wins however long Redis
// was away, and a name that changed a hundred times is written once.
//
// A route is `<gateway> <epoch> <link ID>`, and counts only while the gateway's lease lives and holds the same epoch. The lease
// is one key for all users of a gateway: where a process dies without a word, they are all offline when it runs out. Whoever
// reads a dead route removes it, if it is still the one that he read. An upgrade keeps the epoch, so that no route changes.
//
// A bind writes over every other gateway's route: the newest login wins in the fleet too. What the resync finds, which walks
// through the whole Directory at a bounded rate, stays behind the live route of another gateway. That walk runs at once when the
// lease was lost (Redis was flushed, restarted or away for so long), once more some seconds later because a reader may just
// then be removing what he saw without a lease, and slowly all the time: a Cluster can lose one node's keys and nobody hears
// of it.
//
// A write that Redis did not answer may still be carried out, after later ones. Such names are therefore written again a
// second after Redis is back. Routes that nobody reads or writes for a day die by themselves.
//
// Of two processes with one gateway ID the one with the higher epoch, that is the younger, has the lease; the other one waits
// and says so.
//
// # Exclusive
//
// With Config.Exclusive a user's device has one link in the fleet and not only one in each gateway. Whoever writes a route over
// that of another gateway is told the old one by the callback Evicted; a gateway whose resync finds its link outlived by
// a live route elsewhere is told its own. In both cases the link of that route is to be closed, with BYE 6.
//
// # Presence
//
// A user is online while Lookup finds a route. edged:presence tells changes as they are written: online and offline of a user's
// device, with the link's uniq, so that an offline that belongs to an older link is recognised. The users of a gateway that
// died without a word get their offline when somebody looks them up; who needs to know earlier asks for the lease.
//
// # Who owns what
//
// The keys edged:lease, edged:route and edged:presence are written and read by this package alone. Each script keeps to one key.
// A Directory is locked in parts by the users' hashes. The writer's state belongs to its goroutine, the lease's to another one,
// so that a long pipeline never delays a renewal. The package must never know sockets, or how a message is delivered.
package registry
