package gateway

import (
	"edged/batch"
	"edged/delivery"
)

// A push with a version, or with a place in a package, goes out in its turn (delivery.Orders). What has to wait for an earlier
// one is kept there as an encoded item; while that is missing the log is asked for it (replay.go).

// inTurn takes a push that has a version or a place in a package.
func (s *shard) inTurn(from int, place, uniq uint32, l *link, d *batch.DownItem) {
	if d.Push.PackageID == 0 && s.leftToLog(place, uniq, l, d) {
		return
	}
	s.keep.change(place)
	now, p := delivery.Millis(s.now()), &d.Push
	s.aside = s.aside[:0]
	if p.PackageID != 0 || s.orders.Turn(l.order) != p.Version {
		s.aside = batch.AppendPush(s.aside, batch.ToLink(s.name(place, uniq)), s.refAtHome(from, l, d.Ref), *p)
	}
	var v delivery.Verdict
	if p.PackageID != 0 {
		l.order, v = s.orders.InPackage(l.order, now, delivery.Position{Package: p.PackageID, Seq: p.SeqID, Count: p.Count}, s.aside)
		s.placed(from, place, uniq, l, d, v)
	} else {
		s.beginVersions(l)
		l.order, v = s.orders.Version(l.order, now, p.Version, s.aside)
		s.judged(from, place, uniq, l, d, v)
	}
	if s.links.Get(place, uniq) != nil {
		s.popTurns(place, uniq, l)
	}
}

// beginVersions sees to it that no version is taken for the first one where the log knows of earlier ones.
func (s *shard) beginVersions(l *link) {
	if s.logged(l) && s.orders.Turn(l.order) == 0 {
		l.order = s.orders.Start(l.order, delivery.Millis(s.now()), 0)
	}
}

// refAtHome is the ref to answer a held push by: who is told then is the link's Manager, to whom another one's says nothing.
func (s *shard) refAtHome(from int, l *link, ref uint64) uint64 {
	if from != int(l.manager) {
		return 0
	}
	return ref
}

// judged does what the order of versions says about a push.
func (s *shard) judged(from int, place, uniq uint32, l *link, d *batch.DownItem, v delivery.Verdict) {
	switch v {
	case delivery.Pass, delivery.Late:
		s.deliver(from, place, uniq, l, d, v == delivery.Late)
	case delivery.Double:
		s.count.Doubles++
		if l.flags&replaying == 0 { // versions begin again where Redis has lost them, and the log tells that
			s.replay(place, uniq, l)
		}
	default:
		s.count.HeldBack++
		if v == delivery.Gap || l.flags&replaying != 0 {
			s.replay(place, uniq, l)
		}
	}
}

// placed does what the order of its package says about a push.
func (s *shard) placed(from int, place, uniq uint32, l *link, d *batch.DownItem, v delivery.Verdict) {
	switch v {
	case delivery.Pass, delivery.Late:
		s.passed(from, place, uniq, l, d, v == delivery.Late)
	case delivery.Double:
		s.count.Doubles++
	default:
		s.count.HeldBack++
	}
}

// passed sends a push whose turn in its package has come, unless its version says that the client has it. It returns what
// deliver does.
func (s *shard) passed(from int, place, uniq uint32, l *link, d *batch.DownItem, late bool) bool {
	s.keep.change(place)
	if d.Push.Version != 0 {
		s.beginVersions(l)
	}
	var v delivery.Verdict
	l.order, v = s.orders.Passed(l.order, delivery.Millis(s.now()), d.Push.Version)
	if v == delivery.Double {
		s.count.Doubles++
		return true
	}
	return s.deliver(from, place, uniq, l, d, late || v == delivery.Late)
}

// popTurns sends what was held and whose turn has come. What the log has goes before.
func (s *shard) popTurns(place, uniq uint32, l *link) {
	if l.flags&replaying != 0 && s.replays.by[place].busy() {
		return
	}
	s.keep.change(place)
	now := delivery.Millis(s.now())
	for {
		var out delivery.Released
		var ok bool
		if l.order, ok = s.orders.Pop(l.order, now, &out); !ok {
			break
		}
		if !s.parseHeld(out.Message) {
			continue
		}
		if out.Package != 0 {
			ok = s.passed(int(l.manager), place, uniq, l, &s.held, out.Late)
		} else {
			ok = s.deliver(int(l.manager), place, uniq, l, &s.held, out.Late || out.Gap)
		}
		if !ok && s.links.Get(place, uniq) == nil {
			return
		} else if !ok {
			break // what is behind it waits for the log too
		}
	}
	if _, _, missing := s.orders.Missing(l.order); missing && l.flags&replaying == 0 {
		s.replay(place, uniq, l)
	}
	if at, ok := s.orders.Next(l.order); ok {
		s.deadlines.Earlier(place, linkpoolMillis(at))
	}
}

// parseHeld reads what was kept of a push into held. Its slices are those of b.
func (s *shard) parseHeld(b []byte) bool {
	s.writtenOf = nil
	it := batch.DownItems(b)
	item, _, ok := it.Next()
	return ok && batch.ParseDownItem(item, &s.held) == nil
}
