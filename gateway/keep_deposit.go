package gateway

import (
	"time"

	"edged/handover"
	"edged/linkpool"
)

// The keeper holds the connections of the links that are kept: it gets one when the link's record is first written, after the
// commit, and lets go of it before the connection is closed.

const (
	keeperTick  = 10 * time.Millisecond // between two tries with a keeper that is slow
	keeperEvery = time.Second           // between two looks for one that is not there
	keeperSlice = 256                   // links that a turn gives anew to another keeper
)

// depositing is how a shard stands with the keeper.
type depositing struct {
	to    *handover.Deposit // nil: there is none yet
	askAt linkpool.Millis   // when to ask for it again
	asked bool
	all   bool // all links are given to it, slice by slice
	at    int
	late  bool     // it has to be tried again soon
	stray []uint64 // keys that it has of links which nobody knows
}

// add gives a link that is kept to the keeper.
func (k *keeping) add(place, uniq uint32, l *link) {
	if k.marks[place]&markDeposit != 0 {
		return
	}
	k.marks[place] |= markDeposit
	if d := k.deposit.to; d != nil {
		d.Add(k.s.keyOf(place, uniq), k.s.loop.FD(l.conn))
	} else {
		k.deposit.all = true
	}
}

// release has the keeper let go of a link that ends. It comes before its connection is closed.
func (k *keeping) release(place, uniq uint32) {
	if k.marks[place]&markDeposit == 0 {
		return
	}
	k.marks[place] &^= markDeposit
	if x := &k.deposit; x.to != nil {
		x.to.Release(k.s.keyOf(place, uniq))
	} else if !x.asked { // one that was restored, and ends in the first turn
		x.stray = append(x.stray, k.s.keyOf(place, uniq))
	}
}

// ended is release for a link that ends. Nothing of it is left to the next one in its place.
func (k *keeping) ended(place, uniq uint32) {
	if k != nil {
		k.release(place, uniq)
		k.mark(place, markCold)
		k.binds[place] = 0
	}
}

// toKeeper tells the keeper what the turn has changed, which is committed.
func (k *keeping) toKeeper() {
	x := &k.deposit
	if x.to == nil && !k.findKeeper() {
		return
	}
	for _, key := range x.stray {
		x.to.Release(key)
	}
	x.stray = nil
	if x.all {
		k.addSlice()
	}
	if x.to.Flush() {
		x.all, x.at = true, 0
	}
	if late := x.to.Waiting(); late != x.late {
		if x.late = late; late {
			k.s.loop.Post(func() {}) // the turn has said already how long the loop may sleep
		}
	}
}

// findKeeper asks for a keeper, and says whether there is one.
func (k *keeping) findKeeper() bool {
	x, now := &k.deposit, k.s.now()
	if k.all.Deposit == nil || x.asked && now.Before(x.askAt) {
		return false
	}
	x.to = k.all.Deposit(k.s.number)
	x.asked, x.askAt = true, now.Deadline(keeperEvery)
	return x.to != nil
}

// addSlice goes on with giving all links to the keeper.
func (k *keeping) addSlice() {
	x := &k.deposit
	room := min(x.to.Room(), keeperSlice)
	if room == 0 {
		return
	}
	x.at = k.s.links.Each(x.at, room, func(place, uniq uint32, l *link) {
		if k.marks[place]&markKept != 0 {
			k.marks[place] |= markDeposit
			x.to.Add(k.s.keyOf(place, uniq), k.s.loop.FD(l.conn))
		}
	})
	x.all = x.at != 0
}

// pending says that the keeper takes more of what it is to get.
func (k *keeping) pending() bool {
	return k != nil && k.deposit.all && k.deposit.to != nil && k.deposit.to.Room() > 0
}

// sleep is the longest that the loop may sleep.
func (k *keeping) sleep() time.Duration {
	switch {
	case k == nil || k.all.Deposit == nil:
		return maxTimeout
	case k.deposit.late:
		return keeperTick
	}
	return keeperEvery
}
