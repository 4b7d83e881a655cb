package gateway

import "time"

// stalledBudget is what is read from a link in a turn while there is no room towards a Manager: enough for a heartbeat to be
// answered, and little to be kept for each link that has something to say.
const stalledBudget = 512

// compactFrom is the length of a list of waiting links from which those that have ended are looked for.
const compactFrom = 256

// One link can say more than a Manager can take, and would fill all the room there is: the others would wait behind it, and new
// links be refused. So while more than crowdBytes are held, which is enough for full speed, a link may say muchTalk bytes in a
// turn, and then waits until half of that is gone. Nobody tells the shard when: it looks every crowdTick.
const (
	crowdBytes = 256 << 10
	muchTalk   = 4 << 10
	crowdTick  = time.Millisecond
)

type linkName struct{ place, uniq uint32 }

// waitingList is the links that are not read because there is no room towards their Manager, in the order in which they began to
// wait. Those that end meanwhile stay in it until somebody looks, so they are counted apart.
type waitingList struct {
	list []linkName
	n    int // that still wait
}

// add takes a link in. Links that come, wait and end while a Manager takes nothing must not make the list grow for ever.
func (w *waitingList) add(s *shard, name linkName) {
	w.n++
	if len(w.list) >= compactFrom && len(w.list) >= 2*w.n {
		kept := w.list[:0]
		for _, n := range w.list {
			if l := s.links.Get(n.place, n.uniq); l != nil && l.flags&waiting != 0 {
				kept = append(kept, n)
			}
		}
		w.list = kept
	}
	w.list = append(w.list, name)
}

// left takes one link out that is going to be read again, or has ended.
func (w *waitingList) left(s *shard, l *link) {
	l.flags &^= waiting
	if w.n--; w.n == 0 {
		w.list = w.list[:0]
		s.loop.SetReadBudget(0)
	}
}

// wait stops reading from a link that has something for a Manager to which there is no room.
func (s *shard) wait(place, uniq uint32, l *link) {
	if l.flags&waiting == 0 {
		s.queueUp(place, uniq, l)
		s.loop.SetReadBudget(stalledBudget)
	}
}

func (s *shard) queueUp(place, uniq uint32, l *link) {
	s.count.Stalls++
	l.flags |= waiting
	l.since = s.now()
	s.loop.Pause(l.conn)
	s.waiting.add(s, linkName{place, uniq})
	s.deadlines.Earlier(place, l.since.Deadline(s.g.cfg.StallTimeout))
}

// crowded says whether much is held for the link's Manager.
func (s *shard) crowded(l *link) bool {
	return s.port.Held(int(l.manager)) > crowdBytes
}

// waitInCrowd is wait for a link that has had its share. The others are read as ever.
func (s *shard) waitInCrowd(place, uniq uint32, l *link) {
	if l.flags&waiting == 0 {
		s.managers.of(l).crowd = true
		s.queueUp(place, uniq, l)
	}
}

// thinOut goes on with those who wait in a crowd that is none any more.
func (s *shard) thinOut() {
	thin := false
	for i := range s.managers.list {
		if m := &s.managers.list[i]; m.crowd && s.port.Held(i) <= crowdBytes/2 {
			m.crowd = false
			thin = thin || !m.full
		}
	}
	if thin {
		s.resumeWaiting()
	}
}

// room goes on where a Manager has room again.
func (s *shard) room(manager int) {
	s.managers.room(s, manager)
	s.resumeWaiting()
}

// resumeWaiting reads again from the links that waited and need not any more, in the order in which they began to.
func (s *shard) resumeWaiting() {
	list := s.waiting.list
	s.waiting.list = nil // so that left leaves it alone
	kept := list[:0]
	for _, n := range list {
		l := s.links.Get(n.place, n.uniq)
		if l == nil || l.flags&waiting == 0 {
			continue
		}
		s.managers.home(s, n.place, n.uniq, l)
		if s.managers.of(l).full {
			kept = append(kept, n)
			continue
		}
		s.waiting.left(s, l)
		l.heard = s.now() // its silence was ours
		s.loop.Resume(l.conn)
	}
	s.waiting.list = kept
}
