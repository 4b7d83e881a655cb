package gateway

import (
	"encoding/binary"

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
	next    int // of the round in which new links are given out
	walking bool
	at      int // where the walk goes on
}

// manager is one of them.
//
//	full  Take said no: nothing is added, links wait, until EventRoom
//	gone  it was not reachable for its grace: links move to another one if there is any
type manager struct {
	open  *relay.Batch // being filled in this turn
	held  []byte       // items that may not be lost and found no room; they go first
	items uint64
	era   uint8 // counts the processes behind the address
	full  bool
	gone  bool
}

func (ms *managers) of(l *link) *manager { return &ms.list[l.manager] }

// assign gives a link its Manager: the next in turn that is there.
func (ms *managers) assign(l *link) {
	for range ms.list {
		ms.next = (ms.next + 1) % len(ms.list)
		if !ms.list[ms.next].gone {
			break
		}
	}
	l.manager = uint8(ms.next)
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

func (ms *managers) allFull() bool {
	for i := range ms.list {
		if !ms.list[i].full {
			return false
		}
	}
	return len(ms.list) > 0
}

// batchFor returns a batch of Manager i with room for n bytes, nil when there is none to be had.
func (ms *managers) batchFor(s *shard, i, n int) *relay.Batch {
	m := &ms.list[i]
	if m.full {
		return nil
	}
	if m.open != nil && len(m.open.Items) > 0 && len(m.open.Items)+n > batchBytes {
		s.port.Send(i, m.open)
		m.open = nil
	}
	if m.open == nil {
		m.open = s.port.Take(i)
		m.full = m.open == nil
	}
	return m.open
}

// must adds an item that may not be lost: what has no room is held. That is bounded, because a full Manager gets no new links
// and a link has two such items, and few more for operations of the Manager's own.
func (ms *managers) must(s *shard, i int, item []byte) {
	m := &ms.list[i]
	m.items++
	if b := ms.batchFor(s, i, len(item)); b != nil {
		b.Items = append(b.Items, item...)
		return
	}
	m.held = append(m.held, item...)
}

// room is the relay's word that Manager i takes batches again.
func (ms *managers) room(s *shard, i int) {
	m := &ms.list[i]
	m.full = false
	held := m.held
	m.held = nil
	items := batch.UpItems(held)
	for {
		_, raw, ok := items.Next()
		if !ok {
			return
		}
		if b := ms.batchFor(s, i, len(raw)); b != nil {
			b.Items = append(b.Items, raw...)
		} else {
			m.held = append(m.held, raw...)
		}
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

// changed takes in that a Manager came, went, or was replaced by another process.
func (ms *managers) changed(s *shard, e relay.Event) {
	m := &ms.list[e.Manager]
	m.gone = e.Kind == relay.EventGone
	var lost [][]byte
	for _, b := range e.Lost {
		lost = append(lost, b.Items)
	}
	if e.Kind == relay.EventNew {
		m.era++
	}
	if e.Kind == relay.EventNew || m.gone && ms.anyHere() {
		// What was to follow the lost batches goes their way.
		if m.open != nil {
			lost = append(lost, m.open.Items)
			m.open = nil
		}
		if len(m.held) != 0 {
			lost = append(lost, m.held)
			m.held = nil
		}
		m.full = false
	}
	for _, items := range lost {
		ms.reroute(s, e.Manager, items)
	}
	ms.walking, ms.at = true, 0
	s.resumeWaiting()
}

// walk brings links home after a change, a slice in each turn.
func (ms *managers) walk(s *shard) {
	if !ms.walking || ms.allFull() {
		return
	}
	ms.at = s.links.Each(ms.at, walkSlice, func(place, uniq uint32, l *link) { ms.home(s, place, uniq, l) })
	ms.walking = ms.at != 0
}

// home moves a link whose Manager is gone to one that is there, and announces it where it is not known.
func (ms *managers) home(s *shard, place, uniq uint32, l *link) {
	if ms.of(l).gone && ms.anyHere() {
		s.count.Moved++
		ms.assign(l)
	}
	if l.flags&announced == 0 || l.era != ms.of(l).era {
		s.announce(place, uniq, l)
	}
}

// reroute sends items again that a Manager has not confirmed: each to where its link is now.
func (ms *managers) reroute(s *shard, from int, lost []byte) {
	told := map[batch.Link]bool{} // links that have ended, and whose `opened` went ahead
	items := batch.UpItems(lost)
	var up batch.UpItem
	for {
		item, raw, ok := items.Next()
		if !ok {
			return
		}
		if batch.ParseUpItem(item, &up) != nil {
			continue
		}
		s.count.Rerouted++
		to := from
		if ms.list[to].gone && ms.anyHere() {
			var any link
			ms.assign(&any)
			to = int(any.manager)
		}
		if up.HasLink {
			place, uniq, l := s.find(up.Link)
			if l != nil {
				ms.home(s, place, uniq, l)
				to = int(l.manager)
			} else if up.What != batch.UpOpened && !told[up.Link] {
				told[up.Link] = true
				s.scratch = batch.AppendOpened(s.scratch[:0], up.Link, sessionField(up.Session))
				ms.must(s, to, s.scratch)
			}
			if l != nil && up.What == batch.UpOpened {
				continue // home has announced it
			}
		}
		ms.must(s, to, raw)
	}
}

// sessionField puts the tag and length of UpItem.session before a Session message.
func sessionField(message []byte) []byte {
	if len(message) == 0 {
		return nil
	}
	f := binary.AppendUvarint([]byte{2<<3 | 2}, uint64(len(message)))
	return append(f, message...)
}
