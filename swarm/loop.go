package swarm

import (
	"time"

	"edged/linkpool"
	"edged/netpoll"
	"edged/sdk/client"
)

// phase is what all loops do at a time; doc.go draws it.
type phase uint8

const (
	phaseRamp phase = iota
	phaseRun
	phaseSettle
	phaseFinish
	phaseLeave
	phases
)

// String names the phase.
func (p phase) String() string {
	return [...]string{"ramp", "run", "settle", "finish", "leave"}[p]
}

// Budgets of one turn, so that a large swarm goes on reading while it works through a list.
const (
	dialBudget = 64
	walkBudget = 512
	sendBudget = 1024
)

// loop is one reactor's share of the swarm. All of it is owned by the reactor's thread once the group has started; the
// coordinator reaches it through netpoll.Loop.Post alone, and events is how the loop answers.
type loop struct {
	// Static after construction.
	cfg    *Config
	net    *netpoll.Loop
	stride uint32       // loops in all
	events chan<- event // has room for all that will ever be sent

	guide

	links     []link
	ledgers   []Ledger // with Checker, by place: of the client's numbers in the answers
	numbers   []Ledger // with Checker, by place: of the Manager's numbers in what it sends
	deadlines *linkpool.Deadlines
	ups       []uint32 // places of the links that are up, in no order

	now    time.Duration
	millis linkpool.Millis
	stage
	more  bool   // a budget was used up: turn again at once
	buf   []byte // for the frame that is being made
	login loginMaker

	opening  opening
	schedule schedule
	flying   uint64 // sum over the links

	count tally
	find  findings
}

// stage is where a loop stands in the run.
type stage struct {
	phase    phase
	told     bool   // the end of the phase was reported
	walk     uint32 // how far the phase's walk over all links has come
	awaiting int    // accounts that the Manager still owes
	upAtEnd  int    // links that were up when phaseLeave began
}

// guide says where a loop's links go.
type guide struct {
	targets  []target // static, or what the finder has told so far; it owns their array
	places   []placeCount
	finder   *finder        // nil without a dispatch service
	routes   []route        // by place; nil without a dispatch service
	asking   int            // links that wait for an answer
	tryLimit time.Duration  // of a connection and login
	ttl      time.Duration  // of lists, as the last one says
	backoff  client.Backoff // as the last list says
}

// placeCount counts the links of a target.
type placeCount struct {
	opened, failed, ended uint64
	up, upAtEnd           int
}

// event tells the coordinator that a loop has come to the end of a phase.
type event struct {
	loop  int
	phase phase
}

// opening is the state of the ramp and of connecting in general.
type opening struct {
	begun    bool
	next     uint32 // place of the first link that was not begun with
	start    time.Duration
	rate     float64 // links/s of this loop; 0: as many at a time as most
	most     int
	underWay int // connecting or in login
	open     int // first tries without an end
	failed   int // in a row before the first link that came up
	everUp   bool
	hopeless bool // too many failures to go on
}

func newLoop(cfg *Config, net *netpoll.Loop, targets []target, loops int, events chan<- event) *loop {
	n := (cfg.Links - net.Number() + loops - 1) / loops
	r := &loop{
		cfg: cfg, net: net, stride: uint32(loops), events: events,
		guide: guide{targets: targets, places: make([]placeCount, len(targets)), tryLimit: cfg.Patience, backoff: localBackoff},
		links: make([]link, n), deadlines: linkpool.NewDeadlines(n), ups: make([]uint32, 0, n),
		buf: make([]byte, 0, 256), count: newTally(),
	}
	share := float64(n) / float64(cfg.Links)
	r.opening = opening{rate: cfg.Ramp * share, most: max(1, mostConnects/loops), open: n}
	r.schedule.rate = cfg.Rate * share
	if cfg.Checker {
		r.ledgers, r.numbers = make([]Ledger, n), make([]Ledger, n)
	}
	return r
}

// begin starts the ramp. Posted by the coordinator.
func (r *loop) begin() {
	r.opening.start, r.opening.begun = r.net.Now(), true
	r.more = true
}

// enter starts another phase. Posted by the coordinator.
func (r *loop) enter(p phase) {
	r.phase, r.told, r.walk, r.more = p, false, 0, true
	switch p {
	case phaseRun:
		r.schedule.start, r.schedule.next = r.net.Now(), 0
	case phaseLeave:
		r.upAtEnd = len(r.ups)
		for i := range r.places {
			r.places[i].upAtEnd = r.places[i].up
		}
	}
}

// Turn does what is due. It is called once per wake-up.
func (r *loop) Turn(now time.Duration) time.Duration {
	r.tick(now)
	r.more = false
	r.expire()
	wait := time.Duration(-1)
	switch r.phase {
	case phaseRamp:
		wait = r.ramp()
	case phaseRun:
		wait = r.run()
	case phaseFinish:
		r.walkLinks(r.finish)
	case phaseLeave:
		r.walkLinks(r.leave)
	}
	if !r.told && r.over() {
		r.told = true
		r.events <- event{r.net.Number(), r.phase}
	}
	if at, ok := r.deadlines.Next(); ok {
		d := max(at.Sub(r.millis), 0)
		if wait < 0 || d < wait {
			wait = d
		}
	}
	return wait
}

// Pending says whether a budget was used up.
func (r *loop) Pending() bool { return r.more }

func (r *loop) tick(now time.Duration) {
	r.now, r.millis = now, linkpool.MillisAt(now)
}

// over says whether the present phase has nothing left to wait for.
func (r *loop) over() bool {
	switch r.phase {
	case phaseRamp:
		return r.opening.open == 0
	case phaseRun:
		return len(r.ups) == 0 && r.asking == 0 && r.deadlines.Len() == 0 // all gone for good
	case phaseSettle:
		return r.flying == 0
	case phaseFinish:
		return r.walked() && r.awaiting == 0
	}
	return r.walked() && r.net.Stats().Conns == 0
}

func (r *loop) walked() bool { return int(r.walk) == len(r.links) }

// walkLinks calls f for the next links of the phase's walk.
func (r *loop) walkLinks(f func(place uint32, l *link)) {
	end := min(int(r.walk)+walkBudget, len(r.links))
	for ; int(r.walk) < end; r.walk++ {
		f(r.walk, &r.links[r.walk])
	}
	if !r.walked() {
		r.more = true
	}
}

// owner returns the link that c belongs to, nil when it has another connection by now, or none.
func (r *loop) owner(c netpoll.Conn) (uint32, *link) {
	place := r.net.Tag(c)
	if l := &r.links[place]; l.conn == c {
		return place, l
	}
	return 0, nil
}

// expire visits the links whose deadline has come.
func (r *loop) expire() {
	for range walkBudget {
		place, ok := r.deadlines.Due(r.millis)
		if !ok {
			return
		}
		l := &r.links[place]
		at, ok := r.nextDeadline(l)
		switch {
		case !ok:
			r.deadlines.Remove(place)
		case r.millis.Before(at):
			r.deadlines.Set(place, at)
		default:
			r.due(place, l)
			r.setDeadline(place, l)
		}
	}
	r.more = true
}

// setDeadline puts the link where it belongs in the heap.
func (r *loop) setDeadline(place uint32, l *link) {
	if at, ok := r.nextDeadline(l); ok {
		r.deadlines.Set(place, at)
	} else {
		r.deadlines.Remove(place)
	}
}

// nextDeadline says when something is due for the link if nothing happens until then. What only puts it off, a message that
// is sent or received, does not touch the heap: expire finds out when it comes there.
func (r *loop) nextDeadline(l *link) (at linkpool.Millis, ok bool) {
	switch l.state {
	case connecting, login:
		return l.act.Deadline(r.tryLimit), true
	case waiting:
		return l.act, true
	case up:
		return r.upDeadline(l), true
	}
	return 0, false
}

func (r *loop) upDeadline(l *link) linkpool.Millis {
	heartbeat, idle := linkpool.Millis(l.heartbeat), linkpool.Millis(l.idle)
	at := l.wrote + heartbeat
	silence := l.heard + heartbeat
	if l.flags&asked != 0 {
		silence = l.heard + idle
	}
	at = earlier(at, silence)
	if l.flags&thinking != 0 {
		at = earlier(at, l.act)
	} else if l.flying > 0 && r.closed() {
		at = earlier(at, l.act.Deadline(r.cfg.Patience))
	}
	return at
}

func earlier(a, b linkpool.Millis) linkpool.Millis {
	if a.Before(b) {
		return a
	}
	return b
}

// due does what the link's time has come for.
func (r *loop) due(place uint32, l *link) {
	switch l.state {
	case connecting:
		r.failed(place, l, "no answer in time")
	case login:
		r.failed(place, l, "no welcome in time")
	case waiting:
		r.dial(place, l)
	case up:
		r.dueUp(place, l)
	}
}

func (r *loop) dueUp(place uint32, l *link) {
	if l.flags&asked != 0 && !r.millis.Before(l.heard+linkpool.Millis(l.idle)) {
		r.lost(place, l, "silent")
		return
	}
	if l.flags&thinking != 0 && !r.millis.Before(l.act) {
		l.flags &^= thinking
		r.topUp(place, l)
	} else if l.flags&thinking == 0 && l.flying > 0 && r.closed() && !r.millis.Before(l.act.Deadline(r.cfg.Patience)) {
		r.giveUp(l)
		r.topUp(place, l)
	}
	heartbeat := linkpool.Millis(l.heartbeat)
	if silent := l.flags&asked == 0 && !r.millis.Before(l.heard+heartbeat); silent || !r.millis.Before(l.wrote+heartbeat) {
		r.heartbeat(l)
	}
}
