package swarm

import (
	"math"
	"math/rand/v2"
	"time"

	"edged/linkpool"
	"edged/wire"
)

// tryLimit is for how long a link of a dispatch service's list is waited for, from connect to WELCOME, before the next
// address has its turn; Config.Patience if that is shorter. Package client waits for as long.
const tryLimit = 3 * time.Second

// route is where a link goes, if a dispatch service says so; without pointers, in one array for each loop. It follows the
// rules of package client: a round is a walk over the picks, without a wait from one to the next; the service is asked
// before a round if all of the last one failed or the list is older than its TTL; the last list is used while there is no
// other. Owned by the loop.
type route struct {
	picks  [mostPicks]uint32 // in loop.targets
	avoid  uint32            // 1 + the target that sent the link away; 0: none
	listed linkpool.Millis   // when the list came
	n      uint8             // of picks; 0: there never was a list
	next   uint8             // of the picks, taken as a ring
	left   uint8             // tries of the round
	worn   bool              // all of the last round failed
}

// set takes a new list over. A target that has just sent the link away is the last resort.
func (t *route) set(a *found, now linkpool.Millis) {
	t.n, t.next, t.listed, t.worn = 0, 0, now, false
	var avoided bool
	for _, p := range a.picks[:a.n] {
		if p+1 == t.avoid {
			avoided = true
			continue
		}
		t.picks[t.n] = p
		t.n++
	}
	if avoided {
		t.picks[t.n] = t.avoid - 1
		t.n++
	}
}

// take returns the next target of the round.
func (t *route) take() uint32 {
	p := t.picks[t.next%t.n]
	t.next = t.next%t.n + 1
	t.left--
	return p
}

// follow has the loop's links go where a dispatch service says.
func (r *loop) follow(f *finder) {
	r.finder, r.routes, r.backoff = f, make([]route, len(r.links)), localBackoff
	r.tryLimit = min(r.tryLimit, tryLimit)
}

// dial begins a try: of the next target in turn, or as the link's list says. The caller sets the link's deadline.
func (r *loop) dial(place uint32, l *link) {
	r.opening.underWay++
	if l.state == waiting {
		r.count.retries++
	}
	if r.finder == nil {
		r.connect(place, l, uint32((int(r.number(place))+int(l.tries))%len(r.targets)))
		return
	}
	t := &r.routes[place]
	if t.left == 0 {
		if t.n == 0 || t.worn || r.millis.Sub(t.listed) >= r.ttl {
			l.state = asking
			r.asking++
			r.finder.ask(r, place)
			return
		}
		t.left = t.n
	}
	r.connect(place, l, t.take())
}

// found is the answer to a question. Posted by the finder.
func (r *loop) found(a *found) {
	l := &r.links[a.place]
	if l.state != asking || r.phase == phaseLeave {
		return
	}
	r.tick(r.net.Now())
	r.learn(a.targets)
	t := &r.routes[a.place]
	if a.n > 0 {
		t.set(a, r.millis)
		r.ttl, r.backoff = a.ttl, a.backoff
	}
	if t.n == 0 {
		r.failed(a.place, l, a.why)
		return
	}
	t.left = t.n
	r.asking--
	r.connect(a.place, l, t.take())
	r.setDeadline(a.place, l)
}

// learn takes over the targets that are new.
func (r *loop) learn(targets []target) {
	if len(targets) > len(r.targets) { // answers may overtake each other
		r.targets = targets
		r.places = append(r.places, make([]placeCount, len(targets)-len(r.places))...)
	}
}

// givePlaces adds the loop's links by address to the report.
func (r *loop) givePlaces(rep *Report) {
	for i := len(rep.Addresses); i < len(r.targets); i++ {
		rep.Addresses = append(rep.Addresses, Place{Address: r.targets[i].name, SLB: r.targets[i].slb})
	}
	for i := range r.places {
		p, n := &rep.Addresses[i], &r.places[i]
		p.Opened += n.opened
		p.Failed += n.failed
		p.Ended += n.ended
		p.Up += n.upAtEnd
	}
}

// walksOn notes the end of a try and says whether another address of the round is to be tried at once.
func (r *loop) walksOn(place uint32, wasUp bool, notBefore time.Duration) bool {
	if r.finder == nil {
		return false
	}
	t := &r.routes[place]
	if !wasUp && notBefore == 0 && t.left > 0 {
		return true
	}
	t.worn = !wasUp && t.left == 0
	t.left = 0
	return false
}

// comeBack lets a dropped link wait for its next try, no sooner than after the given time.
func (r *loop) comeBack(place uint32, l *link, wasUp bool, notBefore time.Duration) {
	switch walksOn := r.walksOn(place, wasUp, notBefore); {
	case r.phase > phaseRun:
		r.resolve(l)
	case walksOn:
		l.state, l.act = waiting, r.millis
	case r.cfg.Reconnect:
		r.resolve(l)
		most := min(float64(r.backoff.Base)*math.Pow(r.backoff.Factor, float64(l.tries)), float64(r.backoff.Max))
		if l.tries < math.MaxUint8 {
			l.tries++
		}
		wait := max(time.Duration(rand.Float64()*most), notBefore)
		l.state, l.act = waiting, r.millis+1+linkpool.Millis(millis(wait)) // not before: r.millis has begun
	default:
		r.resolve(l)
	}
	r.setDeadline(place, l)
}

// avoid notes whom to call last when the next list comes: a gateway that had no room for the link. why is 0 if there was no
// BYE.
func (r *loop) avoid(place uint32, l *link, why wire.Reason) {
	if r.finder == nil {
		return
	}
	t := &r.routes[place]
	t.avoid = 0
	if why == wire.ByeDraining || why == wire.ByeOverloaded || why == wire.ByeNoManager {
		t.avoid = l.target + 1
	}
}
