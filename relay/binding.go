package relay

import "sync/atomic"

// binding is what a splitter knows of the binds that it gave to one shard and that may not be carried out
// yet. The shard gives buffers back in the order in which it got them, so that two numbers tell which are
// still under way. Of their users it keeps a bit each, in two filters that take turns: it may take a user
// for another one, but overlooks none.
type binding struct {
	done atomic.Uint64 // buffers with binds that came back; the shard adds

	// Owned by the splitter.
	given  uint64 // buffers with binds
	recent users  // in the buffers behind until
	older  users  // in those up to until
	until  uint64
}

// users is a set of users by their hashes.
type users [16]uint64

func (u *users) add(hash uint64)      { u[hash/64%16] |= 1 << (hash % 64) }
func (u *users) has(hash uint64) bool { return u[hash/64%16]&(1<<(hash%64)) != 0 }

// note remembers that in, the next buffer for the shard, holds a bind of a user.
func (b *binding) note(in *inbound, hash uint64) {
	if in.binds == nil {
		if b.done.Load() >= b.until {
			b.older, b.until, b.recent = b.recent, b.given, users{}
		}
		in.binds = b
		b.given++
	}
	b.recent.add(hash)
}

// withdraw forgets the last buffer, which does not reach the shard. Its users stay until the next one is back.
func (b *binding) withdraw() { b.given-- }

// idle says that no bind is under way.
func (b *binding) idle() bool { return b.done.Load() == b.given }

// has says whether a bind of a user may be under way.
func (b *binding) has(hash uint64) bool {
	return b.recent.has(hash) || b.done.Load() < b.until && b.older.has(hash)
}
