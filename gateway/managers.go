package gateway

import (
	"edged/batch"
	"edged/relay"
)

// batchBytes bounds a batch, unless one item alone is larger: one HTTP/2 frame of 16,384 bytes less what gRPC and the batch's
// numbers take.
const batchBytes = 16384 - 64

// walkSlice is how many links a turn looks at when Managers came or went.
const walkSlice = 256

// managers is what one shard knows of the Managers, in the order of the configuration.
type managers struct {
	list    []manager
	next    int // who was given the last new link
	bound   int // bytes of messages and answers that may be held for one Manager
	walking bool
	at      int    // where the walk goes on
	version uint32 // grows when something of the Managers changes that does not with each message
}

// manager is one of them.
//
//	here  items go to the relay
//	crowd much is held for it: links that talk much wait, so that the others find room
//	full  there is no room: links wait, and only what may not be lost is added, to held, until EventRoom
//	gone  it was not reachable for its grace: its links move to another one if there is any. If there is none, items are
//	      held up to the bound, because what is given to the relay could not follow its link to whoever comes first.
//	      A Manager that is the only one needs none of that: the relay waits for it
type manager struct {
	open  *relay.Batch // being filled in this turn
	held  []byte       // items that found no room, in their order; they go before any other
	kept  int          // bytes of held that are written down as they are: keep_shard.go
	known uint16       // counts those who answered: a link is announced to the last one
	items uint64
	full  bool
	gone  bool
	crowd bool // links that talk much wait until less is held for it
}

func (ms *managers) of(l *link) *manager { return &ms.list[l.manager] }

// pick chooses the Manager of a new link: the next in turn that is here, one with room if there is any.
func (ms *managers) pick() int {
	n, here := len(ms.list), -1
	for step := 1; step <= n; step++ {
		i := (ms.next + step) % n
		if m := &ms.list[i]; m.gone {
			continue
		} else if !m.full {
			ms.next = i
			return i
		}
		if here < 0 {
			here = i
		}
	}
	if here < 0 {
		here = (ms.next + 1) % n
	}
	ms.next = here
	return here
}

// assign gives a link its Manager, which does not know it yet.
func (ms *managers) assign(l *link) {
	l.manager = uint8(ms.pick())
	l.flags &^= announced
}

func (ms *managers) anyUp(s *shard) bool {
	for i := range ms.list {
		if s.port.Up(i) {
			return true
		}
	}
	return false
}

func (ms *managers) anyHere() bool {
	for i := range ms.list {
		if !ms.list[i].gone {
			return true
		}
	}
	return false
}

func (ms *managers) anyCrowd() bool {
	for i := range ms.list {
		if ms.list[i].crowd {
			return true
		}
	}
	return false
}

// allFull says that no Manager can take a new link: none of those that are here, or, if none is, none at all.
func (ms *managers) allFull() bool {
	here := ms.anyHere()
	for i := range ms.list {
		if m := &ms.list[i]; !m.full && (!here || !m.gone) {
			return false
		}
	}
	return len(ms.list) > 0
}

// holds says that Manager i's items stay with the shard, because it is gone and another one may come first.
func (ms *managers) holds(i int) bool { return ms.list[i].gone && len(ms.list) > 1 }

// roomFor returns where the next n bytes for Manager i go, nil when there is no room for them.
func (ms *managers) roomFor(s *shard, i, n int) *[]byte {
	m := &ms.list[i]
	if m.full {
		return nil
	}
	if ms.holds(i) {
		if m.full = len(m.held)+n > ms.bound; m.full {
			return nil
		}
		return &m.held
	}
	if m.open != nil && len(m.open.Items) > 0 && len(m.open.Items)+n > batchBytes {
		s.port.Send(i, m.open)
		m.open = nil
	}
	if m.open == nil {
		if m.open = s.port.Take(i); m.open == nil {
			m.full = true
			return nil
		}
	}
	return &m.open.Items
}

// must adds an item that may not be lost: where there is no room it is held. Its callers see to it that this is bounded: no
// new link is taken when there is no room, a link has two such items, and answers go by answer.
func (ms *managers) must(s *shard, i int, item []byte) {
	ms.list[i].items++
	ms.put(s, i, item)
}

func (ms *managers) put(s *shard, i int, item []byte) {
	to := ms.roomFor(s, i, len(item))
	if to == nil {
		to = &ms.list[i].held
	}
	*to = append(*to, item...)
}

// answer tells Manager i about one of its own operations. There is no bound to what a Manager can ask while it does not listen:
// beyond ours the answers are dropped. If it went meanwhile, another one is told.
func (ms *managers) answer(s *shard, i int, item []byte) {
	if ms.list[i].gone && ms.anyHere() {
		i = ms.pick()
	}
	if len(ms.list[i].held)+len(item) > ms.bound {
		s.count.Dropped[DropAnswer]++
		return
	}
	ms.must(s, i, item)
}

// room tries again what is held for Manager i.
func (ms *managers) room(s *shard, i int) {
	m := &ms.list[i]
	m.full = false
	items := batch.UpItems(m.held)
	m.held, m.kept = nil, 0
	for {
		_, raw, ok := items.Next()
		if !ok {
			return
		}
		ms.put(s, i, raw)
	}
}

// flush gives the turn's batches to the relay.
func (ms *managers) flush(s *shard) {
	for i := range ms.list {
		if m := &ms.list[i]; m.open != nil && len(m.open.Items) > 0 {
			s.port.Send(i, m.open)
			m.open = nil
		}
	}
}

// pending says whether the next turn has something for a Manager already.
func (ms *managers) pending() bool {
	if ms.walking && !ms.allFull() {
		return true
	}
	for i := range ms.list {
		if m := &ms.list[i]; m.open != nil && len(m.open.Items) > 0 {
			return true
		}
	}
	return false
}

// owing says whether something is held for a Manager that can still be told.
func (ms *managers) owing() bool {
	for i := range ms.list {
		if m := &ms.list[i]; !m.gone && len(m.held) > 0 {
			return true
		}
	}
	return false
}
