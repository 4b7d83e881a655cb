package gateway

import (
	"encoding/binary"

	"edged/batch"
	"edged/relay"
)

// changed takes in that a Manager came, went, or was replaced by another process.
//
// What it has not confirmed and what was to follow that is sent again, at once and in order, to where each link is now.
// The links that have nothing there are brought home slice by slice (walk), or when they have something to say.
func (ms *managers) changed(s *shard, e relay.Event) {
	m := &ms.list[e.Manager]
	m.gone = e.Kind == relay.EventGone
	ms.version++
	switch {
	case e.Kind == relay.EventNew:
		ms.estrange(s, e.Manager)
		ms.reroute(s, e.Manager, ms.takeBack(m, e.Lost), true)
	case ms.holds(e.Manager):
		ms.reroute(s, e.Manager, ms.takeBack(m, e.Lost), false)
	case !m.gone:
		ms.room(s, e.Manager)
	}
	if !m.gone {
		ms.takeOver(s)
	}
	ms.walking, ms.at = true, 0
	s.resumeWaiting()
}

// takeOver brings what is held for Managers that are gone to one that is here.
func (ms *managers) takeOver(s *shard) {
	for i := range ms.list {
		if m := &ms.list[i]; m.gone && (m.full || len(m.held) > 0) {
			ms.reroute(s, i, ms.takeBack(m, nil), false)
		}
	}
}

// takeBack returns all items that a Manager has not confirmed or not been sent, in their order.
func (ms *managers) takeBack(m *manager, lost []*relay.Batch) (runs [][]byte) {
	for _, b := range lost {
		runs = append(runs, b.Items)
	}
	if m.open != nil {
		runs = append(runs, m.open.Items)
	}
	runs = append(runs, m.held)
	m.open, m.held, m.kept, m.full = nil, nil, 0, false
	return runs
}

// estrange notes that nobody behind Manager i knows our links.
func (ms *managers) estrange(s *shard, i int) {
	ms.list[i].known++ // so the records need not be written anew
	s.links.Each(0, s.links.Cap(), func(_, _ uint32, l *link) {
		if int(l.manager) == i {
			l.flags &^= announced
		}
	})
}

// walk brings links home after a change, a slice in each turn.
func (ms *managers) walk(s *shard) {
	if !ms.walking || ms.allFull() {
		return
	}
	ms.at = s.links.Each(ms.at, walkSlice, func(place, uniq uint32, l *link) { ms.home(s, place, uniq, l) })
	ms.walking = ms.at != 0
}

// home moves a link whose Manager is gone to one that is here, and announces it where it is not known.
func (ms *managers) home(s *shard, place, uniq uint32, l *link) {
	if ms.of(l).gone && ms.anyHere() {
		s.count.Moved++
		ms.assign(l)
	}
	if l.flags&announced == 0 {
		s.announce(place, uniq, l)
		s.keep.touch(place)
	}
}

// reroute sends items again that were for Manager from; renewed says that its links are strangers to it.
func (ms *managers) reroute(s *shard, from int, runs [][]byte, renewed bool) {
	r := rerouting{from: from, renewed: renewed}
	for _, run := range runs {
		items := batch.UpItems(run)
		for {
			item, raw, ok := items.Next()
			if !ok {
				break
			}
			r.route(s, item, raw)
		}
	}
}

// nobody is the number of a Manager that is configured no more.
const nobody = -1

// rerouting is one call of reroute.
type rerouting struct {
	from    int // nobody: a predecessor's, whom we do not have
	renewed bool
	ended   map[batch.Link]int // links that have ended: which Manager gets their last items, `opened` having gone ahead
	up      batch.UpItem
}

func (r *rerouting) route(s *shard, item, raw []byte) {
	if batch.ParseUpItem(item, &r.up) != nil {
		return // none of ours
	}
	s.count.Rerouted++
	if !r.up.HasLink {
		s.managers.put(s, r.any(s), raw)
		return
	}
	place, uniq, l := s.find(r.up.Link)
	if l == nil {
		s.managers.put(s, r.last(s), raw)
		return
	}
	s.managers.home(s, place, uniq, l)
	to := int(l.manager)
	if r.up.What == batch.UpOpened && (r.renewed || to != r.from) {
		return // home has announced it
	}
	s.managers.put(s, to, raw)
}

// any returns the Manager for what concerns no link.
func (r *rerouting) any(s *shard) int {
	if ms := &s.managers; r.from == nobody || ms.list[r.from].gone && ms.anyHere() {
		return ms.pick()
	}
	return r.from
}

// last returns the Manager for the item of a link that has ended, and sees to it that it knows the link: `opened` is repeated
// from the item's session. An item without one is about a link that never was.
func (r *rerouting) last(s *shard) int {
	to, known := r.ended[r.up.Link]
	if known {
		return to
	}
	to = r.any(s)
	if len(r.up.Session) == 0 {
		return to
	}
	if r.ended == nil {
		r.ended = make(map[batch.Link]int)
	}
	r.ended[r.up.Link] = to
	if r.up.What != batch.UpOpened && (r.renewed || to != r.from) {
		s.scratch = batch.AppendOpened(s.scratch[:0], r.up.Link, sessionField(r.up.Session))
		s.managers.must(s, to, s.scratch)
	}
	return to
}

// sessionField puts the tag and length of UpItem.session before a Session message.
func sessionField(message []byte) []byte {
	f := binary.AppendUvarint([]byte{2<<3 | 2}, uint64(len(message)))
	return append(f, message...)
}
