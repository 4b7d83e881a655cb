package dispatch

import "time"

const (
	// dearest bounds what a link may be found to cost: a gateway holds a hundred, whatever the numbers say.
	dearest = 0.01
	// mostDear bounds how many times dearer a link may be than its part of the capacity.
	mostDear = 20
	// wellUsed is the part of its links from which a box says something about what a link costs. An emptier one says more
	// about the traffic that is not of links.
	wellUsed = 1.0 / mostDear
	// guessed is the number of dispatchers while it is unknown. Too many make a fresh box fill slowly, too few in excess.
	guessed = 4
)

// tariff says what a link takes from a box's availability, as the fleet's reports have it.
//
// Where links are what a box runs out of, one of them takes gateways/capacity. Where packets or bytes are, it takes more:
// the used availability of all boxes, over the part of their links that is open, says how much. That factor is taken
// from the whole fleet, because one box by itself is too easily between two states, and it is never below one, because
// the traffic of new links is late.
//
// Where a box's capacity is not known, a link takes what links take elsewhere: all used availability over all links.
type tariff struct {
	factor float64 // on gateways/capacity
	plain  float64 // for a box of unknown capacity; 0: unknown
}

func newTariff(fleet []Box) tariff {
	var used, parts, allUsed, links float64
	for _, b := range fleet {
		if b.Availability == 0 || b.Links == 0 {
			continue // full, draining or just begun: what it has used is not what its links use
		}
		u := b.gateways() - b.Availability
		allUsed += u
		links += b.Links
		if b.Capacity > 0 && b.Links >= wellUsed*b.Capacity {
			used += u
			parts += b.gateways() * b.Links / b.Capacity
		}
	}
	t := tariff{factor: 1}
	if parts > 0 {
		t.factor = min(max(used/parts, 1), mostDear)
	}
	if links > 0 {
		t.plain = min(allUsed/links, dearest)
	}
	return t
}

// link returns what one link takes from b's availability; 0: unknown.
func (t tariff) link(b Box) float64 {
	if b.Capacity > 0 {
		return t.factor * b.gateways() / b.Capacity
	}
	return t.plain
}

// lesson is one box's part in learning: what it was when the window began, and what it was given since.
type lesson struct {
	answers  float64 // first places since then
	avail    float64 // 0: it had none or was not there, so there is nothing to learn from it
	gateways float64
}

// lessons learn what an answer of this dispatcher takes from the availability of the box that it names, for when that
// cannot be worked out: nobody knows what a link costs, or how many dispatchers there are (then the larger of what was
// learned and a guess counts). The answers of the others are in it, as they give about the same ones.
//
// It is the slope of a straight line through the boxes of a window: what each has lost against what each was given, both
// from their means, so that what all boxes lose or gain alike, by links that leave or traffic that swells, is not in it.
// Quiet windows teach nothing and so take nothing away; what a busy one says displaces what is old.
type lessons struct {
	began    time.Duration
	xx, xy   float64 // sums of squares and products of the deviations
	cost     float64 // 0: nothing learned
	underway bool
}

const (
	// doubt is added to the squared deviations: until some box was given a hundred answers more than the mean, a slope
	// is mostly noise.
	doubt = 100 * 100
	// enough bounds the weight of what was learned earlier.
	enough = 100 * doubt
)

// learn ends the window if it is over, and begins the next one. boxes begins with the fleet's.
func (l *lessons) learn(now, window time.Duration, fleet []Box, boxes []memory) {
	if l.underway && now-l.began < window {
		return
	}
	if l.underway {
		l.take(fleet, boxes)
	}
	l.began, l.underway = now, true
	for i, b := range fleet {
		boxes[i].lesson = lesson{avail: b.Availability, gateways: b.gateways()}
	}
}

func (l *lessons) take(fleet []Box, boxes []memory) {
	var n, meanGiven, meanLost float64
	for i, b := range fleet {
		if s := boxes[i].lesson; s.tells(b) {
			n++
			meanGiven += (s.answers - meanGiven) / n
			meanLost += (s.avail - b.Availability - meanLost) / n
		}
	}
	for i, b := range fleet {
		if s := boxes[i].lesson; s.tells(b) {
			given := s.answers - meanGiven
			l.xx += given * given
			l.xy += given * (s.avail - b.Availability - meanLost)
		}
	}
	if l.xx > enough {
		l.xx, l.xy = enough, l.xy*(enough/l.xx)
	}
	l.cost = min(max(l.xy/(l.xx+doubt), 0), dearest)
}

// tells reports whether a window of b's that began with s can be learned from: at 0 it may have lost more than it shows,
// and a gateway that came or went is no link.
func (s lesson) tells(b Box) bool {
	return s.avail > 0 && b.Availability > 0 && s.gateways == b.gateways()
}
