package dispatch

import (
	"math"
	"slices"
	"time"
)

// Guards are the two safety rules over a mode. The zero value switches both off.
type Guards struct {
	// Correction is τ, the time constant with which the memory of given answers fades; 0 or less: off. It must be longer
	// than a report's age and the lag of a link's traffic together: 15 s for reports of 5 s.
	Correction time.Duration
	// ShareCap is how many times its fair share of the recent answers a box may get before it stands behind those that
	// did not; 0, less or NaN: off.
	ShareCap float64
}

// DefaultGuards returns the guards at the settings that the storm test holds to its promise.
func DefaultGuards() Guards { return Guards{Correction: 15 * time.Second, ShareCap: 10} }

const (
	shareWindow  = 2 * time.Second       // time constant of what counts as recent for the share cap
	shareAnswers = 20                    // recent answers up to which there is no cap: a share of few is chance
	step         = 10 * time.Millisecond // how finely memory fades; 1/200 of the shorter of the two time constants
	forgotten    = 0.01                  // answers; a box that is away and has less is forgotten: one answer in 4.6 τ

	// leastLeft is the part of its availability that the correction leaves to a box: those that were handed out down to
	// nothing still stand in the order of what was reported, and before the full ones.
	leastLeft = 1e-3
	// capped is small enough to put a box behind every other that has anything left.
	capped = 1e-9
)

// memory is what a guard remembers of one box.
type memory struct {
	assigned float64 // first places, fading with Correction
	recent   float64 // first places, fading with shareWindow
	lesson   lesson
}

// guard remembers who was put first and says how much availability that leaves.
//
// The correction: of box i with reported availability A, of which this dispatcher put first aᵢ(t) = Σ e^−(t−tₖ)/τ over
// its first places at the times tₖ, what is left is
//
//	max(A·leastLeft, A − aᵢ(t)·costᵢ)
//
// and the cost of an answer is that of a link times the number of dispatchers; see tariff.
//
// The share cap: of the answers of this dispatcher in the last seconds, rᵢ(t) = Σ e^−(t−tₖ)/2s, a box whose part is over
// ShareCap · fairᵢ stands behind all that are not. fairᵢ is 1/N, or its part of the fleet's capacity where that is
// larger: of boxes of unequal size the large one has a right to more, and no report of a large capacity may take
// anything from the rights of others. A box's rate of new links from all dispatchers together is so bounded by ShareCap ·
// fairᵢ times the rate of requests, plus shareAnswers for each dispatcher.
type guard struct {
	Guards
	at    time.Duration  // up to here everything has faded
	place map[string]int // name to index in boxes
	boxes []memory       // those of the last update in its order, then those that are away
	total float64        // of all that was ever added to recent, fading likewise

	// by box of the last update
	cost  []float64 // availability that one answer takes
	limit []float64 // part of total above which recent is too much

	lessons lessons
}

func newGuard(g Guards) *guard {
	g.Correction = max(g.Correction, 0)
	if !(g.ShareCap > 0) {
		g.ShareCap = 0
	}
	return &guard{Guards: g, place: map[string]int{}}
}

// on reports whether there is anything to remember.
func (g *guard) on() bool { return g.Correction > 0 || g.ShareCap > 0 }

// advance lets the memory fade up to now and reports whether it did: not within a step, nor when the clock goes back.
func (g *guard) advance(now time.Duration) bool {
	passed := now - g.at
	if passed < step || !g.on() {
		return false
	}
	g.at = now
	long := 0.0
	if g.Correction > 0 {
		long = math.Exp(-float64(passed) / float64(g.Correction))
	}
	short := math.Exp(-float64(passed) / float64(shareWindow))
	for i := range g.boxes {
		m := &g.boxes[i]
		m.assigned = faded(m.assigned, long)
		m.recent = faded(m.recent, short)
	}
	g.total = faded(g.total, short)
	return true
}

// faded returns v times by, and 0 for what would only slow the processor down as a denormal number.
func faded(v, by float64) float64 {
	if v *= by; v < 1e-9 {
		return 0
	}
	return v
}

// update takes over a new fleet. Memory follows the names; that of boxes that are not in the fleet is kept until it has
// faded.
func (g *guard) update(now time.Duration, fleet []Box, dispatchers int) {
	if !g.on() {
		return
	}
	g.advance(now)
	boxes := make([]memory, len(fleet), len(fleet)+8)
	place := make(map[string]int, len(fleet))
	for i, b := range fleet {
		if old, ok := g.place[b.Name]; ok {
			boxes[i] = g.boxes[old]
			delete(g.place, b.Name) // a second box of this name begins without memory
		}
		place[b.Name] = i
	}
	for name, old := range g.place {
		if m := g.boxes[old]; m.assigned >= forgotten || m.recent >= forgotten {
			m.lesson = lesson{}
			place[name] = len(boxes)
			boxes = append(boxes, m)
		}
	}
	g.boxes, g.place = boxes, place
	g.setCosts(now, fleet, dispatchers)
	g.setLimits(fleet)
}

func (g *guard) setCosts(now time.Duration, fleet []Box, dispatchers int) {
	g.cost = resized(g.cost, len(fleet))
	if g.Correction == 0 {
		return
	}
	g.lessons.learn(now, g.Correction, fleet, g.boxes)
	t := newTariff(fleet)
	for i, b := range fleet {
		link := t.link(b)
		if dispatchers > 0 && link > 0 {
			g.cost[i] = link * float64(dispatchers)
		} else {
			g.cost[i] = max(link*guessed, g.lessons.cost)
		}
	}
}

func (g *guard) setLimits(fleet []Box) {
	g.limit = resized(g.limit, len(fleet))
	known := !slices.ContainsFunc(fleet, func(b Box) bool { return b.Capacity == 0 })
	all := 0.0
	for _, b := range fleet {
		all += b.Capacity
	}
	for i, b := range fleet {
		fair := 1 / float64(len(fleet))
		if known {
			fair = max(fair, b.Capacity/all)
		}
		g.limit[i] = g.ShareCap * fair
	}
}

// left returns what the guards leave of box i's availability a: more than 0 if a is.
func (g *guard) left(i int, a float64) float64 {
	if !g.on() {
		return a
	}
	m := &g.boxes[i]
	w := max(a-m.assigned*g.cost[i], a*leastLeft)
	if g.ShareCap > 0 && g.total > shareAnswers && m.recent > g.limit[i]*g.total {
		w *= capped
	}
	return w
}

// count remembers that box i was put first.
func (g *guard) count(i int) {
	if !g.on() {
		return
	}
	m := &g.boxes[i]
	m.assigned++
	m.recent++
	m.lesson.answers++
	g.total++
}
