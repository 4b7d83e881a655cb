package gateway

import (
	"hash/maphash"
	"time"

	"edged/linkpool"
)

// An item for a user is given to the shards that have a link of his when it comes in. Such a link may end before its shard
// carries the item out, and the user have another one by then in a shard that was not given it: so a shard remembers for a
// while whose links have ended in it, and answers for them. That alone says it: a shard is also given items because of binds
// that are on their way to it, and must keep silent about those.
const (
	departedKept = 1024
	departedFor  = 5 * time.Second // longer than an item is on its way
)

// departed is the users whose links ended last, by the hashes of their names.
type departed struct {
	seed maphash.Seed // static
	last [departedKept]departure
	next int
}

type departure struct {
	user, device uint64
	at           linkpool.Millis
	used         bool
}

func (d *departed) note(now linkpool.Millis, user, device []byte) {
	d.last[d.next] = departure{maphash.Bytes(d.seed, user), maphash.Bytes(d.seed, device), now, true}
	d.next = (d.next + 1) % departedKept
}

// has says whether a link of the user, or of that device of his, has ended here lately; a nil device means any.
func (d *departed) has(now linkpool.Millis, user, device []byte) bool {
	u := maphash.Bytes(d.seed, user)
	for i := range d.last {
		x := &d.last[i]
		if x.used && x.user == u && now.Sub(x.at) < departedFor && (device == nil || x.device == maphash.Bytes(d.seed, device)) {
			return true
		}
	}
	return false
}
