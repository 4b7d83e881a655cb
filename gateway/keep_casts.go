package gateway

import (
	"bytes"
	"sync"

	"edged/handover"
	"edged/relay"
)

// A walk is a record, by its number modulo maxWalks, as more there never are at a time. Hot bytes: number (u64), has it begun,
// where it goes on (u32), links that had it so far (u64). Cold bytes: is it for everyone, the room (text), and of each cast its
// number (u64), which it has in all shards, the Manager from whom it came (u16, 65535: none), its length (u32) and the item.

// keptWalks is which of them there are records of.
type keptWalks struct{ from uint64 } // none below

// writeCasts writes the casts under way, and how far they have come.
func (k *keeping) writeCasts() {
	a, first := &k.s.casting, k.s.casting.last+1
	if len(a.walks) > 0 {
		first = a.walks[0].number
	}
	at := func(number uint64) int { return k.all.layout.walksAt() + int(number%maxWalks) }
	for n := max(k.walks.from, first-min(first, maxWalks)); n < first && k.whole; n++ {
		k.records.Clear(at(n))
	}
	k.walks.from = first
	for i, w := range a.walks {
		if i > 0 && w.kept == len(w.casts) {
			continue
		}
		k.hot = w.appendPlace(k.hot[:0])
		if w.kept == len(w.casts) {
			if w.lasts {
				k.records.Put(at(w.number), k.hot)
			}
			continue
		}
		k.cold = w.appendCasts(k.cold[:0])
		w.kept = len(w.casts)
		if w.lasts = k.records.PutAll(at(w.number), k.hot, k.cold); !w.lasts {
			k.s.count.Unkept++
			k.records.Clear(at(w.number))
		}
	}
}

func (w *walk) appendPlace(b []byte) []byte {
	at := uint32(w.at)
	if !w.everyone && w.begun {
		at = w.cursor.Place()
	}
	return u64(u32(yesNo(u64(b, w.number), w.begun), at), uint64(w.links))
}

func (w *walk) appendCasts(b []byte) []byte {
	b = text(yesNo(b, w.everyone), w.room)
	for _, c := range w.casts {
		b = u32(u16(u64(b, c.number), uint16(c.origin)), uint32(len(c.raw)))
		b = append(b, c.raw...)
	}
	return b
}

// appendKeptWalks appends records recordWalk of the walks that there are, in their order.
func appendKeptWalks(b []byte, r *handover.Records, y *keepLayout) []byte {
	type found struct {
		number    uint64
		hot, cold []byte
	}
	var all []found
	for i := range maxWalks {
		hot, cold, err := r.Get(y.walksAt()+i, nil, nil)
		in := input{rest: hot}
		if number := in.u64(); err == nil && !in.bad {
			all = append(all, found{number, hot, cold})
		}
	}
	for len(all) > 0 {
		least := 0
		for i := range all {
			if all[i].number < all[least].number {
				least = i
			}
		}
		b = record(b, recordWalk, func(b []byte) []byte { return append(append(b, all[least].hot...), all[least].cold...) })
		all[least] = all[len(all)-1]
		all = all[:len(all)-1]
	}
	return b
}

// loadWalk has a walk go on.
func (s *shard) loadWalk(in *input, x *legacy) {
	a := &s.casting
	w := &walk{number: in.u64(), begun: in.flag(), at: int(in.u32()), links: int64(in.u64())}
	w.everyone, w.room = in.flag(), append([]byte(nil), in.text()...)
	if in.bad || w.number <= a.last || len(a.walks) == maxWalks || w.begun && len(a.walks) > 0 || w.at > s.links.Cap() {
		in.bad = true
		return
	}
	for len(in.rest) > 0 && !in.bad {
		number, origin, item := in.u64(), x.origin(int(in.u16())), in.bytes(int(in.u32()))
		if in.bad {
			break
		}
		if c := s.g.castAgain(number, origin, item); c != nil {
			a.add(w, c)
		}
	}
	a.last = w.number
	if len(w.casts) > 0 {
		a.walks = append(a.walks, w)
		w.shut = true
	}
}

// pastCasts is the casts that some shards are not through with, by their numbers.
type pastCasts struct {
	sync.Mutex
	all map[uint64]*cast
}

// castAgain reads a cast for one shard more. It may be called for all shards at a time.
func (g *Gateway) castAgain(number uint64, origin int, item []byte) *cast {
	p := &g.past.casts
	p.Lock()
	defer p.Unlock()
	if c := p.all[number]; c != nil && c.origin == origin && bytes.Equal(c.raw, item) {
		c.left.Add(1)
		return c
	}
	c, ok := g.newCast(origin, item).(*cast)
	if !ok || c.fault != 0 {
		return nil
	}
	if p.all == nil {
		p.all = map[uint64]*cast{}
	}
	p.all[number] = c
	c.left.Store(1)
	return c
}

// finishPast has nobody told that a cast was for nobody, where some shards are through with it, or have it still to come: for how
// many links it was there is not known.
func (p *pastCasts) finishPast(shards int) {
	for _, c := range p.all {
		if int(c.left.Load()) < shards {
			c.links.Store(1)
		}
	}
}

// origin is the Manager of a number in a predecessor's state.
func (x *legacy) origin(was int) int {
	if was < len(x.managers) && x.managers[was] >= 0 {
		return x.managers[was]
	}
	return relay.NoManager
}

// goOnWalking puts the cursors of walks that were loaded where they stood, all links being in their rooms again.
func (s *shard) goOnWalking() {
	for _, w := range s.casting.walks {
		if w.begun && !w.everyone {
			w.cursor = s.rooms.Walk(w.room, uint32(w.at))
		}
	}
}
