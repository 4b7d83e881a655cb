package dispatch

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"
)

// Mode is the rule by which a Ranker puts boxes into order. The package comment compares them.
type Mode int

const (
	// Seed orders by availability times a random number, largest first.
	Seed Mode = iota
	// Proportional puts a box first with a chance proportional to its availability, or, where every box's Gateways and
	// Capacity are known, to its free links: availability per gateway times capacity.
	Proportional
	// P2C fills each place with the freer of two boxes drawn at random.
	P2C
)

// modes are the names of the modes in the configuration.
var modes = [...]string{Seed: "seed", Proportional: "proportional", P2C: "p2c"}

// ParseMode returns the mode of this name: "seed", "proportional" or "p2c".
func ParseMode(name string) (Mode, error) {
	if i := slices.Index(modes[:], name); i >= 0 {
		return Mode(i), nil
	}
	return Seed, fmt.Errorf("%q is not one of %q", name, modes)
}

// String returns the mode's name.
func (m Mode) String() string {
	if m < 0 || int(m) >= len(modes) {
		return fmt.Sprintf("Mode(%d)", int(m))
	}
	return modes[m]
}

// Box is what a Ranker needs to know of one load balancer. The numbers are sums over the same live gateways. One that
// is negative, infinite or NaN counts as 0.
type Box struct {
	Name         string  // the key of its memory: unique in one Update
	Availability float64 // 0: nothing free; each gateway adds between 0 and 1
	Gateways     int     // the most that Availability can be; 0: unknown, and taken as the least that Availability allows
	Capacity     float64 // links; 0: unknown
	Links        float64 // links open when it was reported
}

// mostGateways bounds the availability of a box that does not say how many gateways it has.
const mostGateways = 1e6

// cleaned returns b with every number in its range.
func (b Box) cleaned() Box {
	for _, v := range []*float64{&b.Availability, &b.Capacity, &b.Links} {
		if !(*v > 0) || math.IsInf(*v, 1) {
			*v = 0
		}
	}
	if b.Capacity < 1 {
		b.Capacity = 0
	}
	most := float64(mostGateways)
	if b.Gateways > 0 {
		most = float64(b.Gateways)
	}
	b.Availability = min(b.Availability, most)
	return b
}

// gateways returns the number of gateways behind a cleaned box, as far as it can be known.
func (b Box) gateways() float64 {
	if b.Gateways > 0 {
		return float64(b.Gateways)
	}
	return max(1, math.Ceil(b.Availability))
}

// Ranker puts the boxes of a fleet into the order in which one client shall try them, and remembers for its guards whom
// it put first. It is not safe for concurrent use.
type Ranker struct {
	mode  Mode
	guard *guard

	// by box, as of the last Update
	avail  []float64 // cleaned availability
	scale  []float64 // mode Proportional: from availability to free links; else 1
	weight []float64 // what the guards have left of avail, times scale; as of the guard's time and the last answer

	live []int32  // boxes with availability, in whatever order the last answer left them
	full []int32  // the other boxes, likewise
	keys []uint64 // scratch of byKey; room for every box
}

// NewRanker returns a Ranker without boxes.
func NewRanker(mode Mode, g Guards) *Ranker {
	return &Ranker{mode: mode, guard: newGuard(g)}
}

// Update makes boxes the fleet from which Order chooses. What the guards remember is kept by name, also of boxes that
// are missing now and come back before it has faded. dispatchers is the number of live dispatchers that share the
// clients, this one included; 0 means that it is unknown. now is read from a clock that does not jump, the same as
// Order's. The slice is not kept.
func (r *Ranker) Update(now time.Duration, boxes []Box, dispatchers int) {
	fleet := make([]Box, len(boxes))
	for i, b := range boxes {
		fleet[i] = b.cleaned()
	}
	n := len(fleet)
	r.avail, r.scale, r.weight = resized(r.avail, n), resized(r.scale, n), resized(r.weight, n)
	r.keys = resized(r.keys, n)
	r.live, r.full = r.live[:0], r.full[:0]
	bySize := r.mode == Proportional && !slices.ContainsFunc(fleet, func(b Box) bool { return b.Gateways <= 0 || b.Capacity == 0 })
	for i, b := range fleet {
		r.avail[i], r.scale[i] = b.Availability, 1
		if bySize {
			r.scale[i] = b.Capacity / b.gateways()
		}
		if b.Availability > 0 {
			r.live = append(r.live, int32(i))
		} else {
			r.full = append(r.full, int32(i))
		}
	}
	r.guard.update(now, fleet, dispatchers)
	r.weighAll()
}

func resized[E any](s []E, n int) []E { return slices.Grow(s[:0], n)[:n] }

// Order returns the boxes of the last Update as indices, the one to try first at the head, in dst's memory from its
// start; it allocates only if dst has no room for them. Every box is in it once. The first counts as handed out.
func (r *Ranker) Order(now time.Duration, rnd *rand.Rand, dst []int) []int {
	return r.OrderFirst(now, rnd, len(r.avail), dst)
}

// OrderFirst is Order cut off after n boxes, and cheaper than that for a few. With n below 1 it returns none and counts
// nothing.
func (r *Ranker) OrderFirst(now time.Duration, rnd *rand.Rand, n int, dst []int) []int {
	dst = dst[:0]
	n = min(n, len(r.avail))
	if n < 1 {
		return dst
	}
	if r.guard.advance(now) {
		r.weighAll()
	}
	k := min(n, len(r.live))
	if r.mode == P2C {
		dst = r.byTwo(rnd, k, dst)
	} else {
		dst = r.byKey(rnd, k, dst)
	}
	dst = shuffled(rnd, r.full, n-k, dst)
	r.guard.count(dst[0])
	r.weigh(dst[0])
	return dst
}

func (r *Ranker) weighAll() {
	for i := range r.weight {
		r.weigh(i)
	}
}

func (r *Ranker) weigh(i int) { r.weight[i] = r.guard.left(i, r.avail[i]) * r.scale[i] }

// byKey appends the n boxes with the best keys.
//
// A key is an order-preserving form of a number that is not negative, smallest first, with the box's index in the low
// bits, which hold nothing that matters: at 65,536 boxes 36 of the 52 bits of the fraction are left. So the sort moves
// plain integers.
func (r *Ranker) byKey(rnd *rand.Rand, n int, dst []int) []int {
	index := uint64(1)<<bits.Len(uint(len(r.weight))) - 1
	keys := r.keys[:len(r.live)]
	if r.mode == Seed {
		for k, i := range r.live {
			keys[k] = ^math.Float64bits(r.weight[i]*rnd.Float64())&^index | uint64(i)
		}
	} else {
		// A-Res: the key U^(1/w), largest first, is the same order as −ln(U)/w, smallest first, and −ln(U) is exponential.
		for k, i := range r.live {
			w := max(r.weight[i], math.SmallestNonzeroFloat64)
			keys[k] = math.Float64bits(rnd.ExpFloat64()/w)&^index | uint64(i)
		}
	}
	for _, key := range smallest(keys, n) {
		dst = append(dst, int(key&index))
	}
	return dst
}

// few is the number of places up to which insertion beats a sort of all: 200 keys meet about n·ln(200/n) insertions.
const few = 16

// smallest returns the n smallest keys in ascending order, in the memory of keys.
func smallest(keys []uint64, n int) []uint64 {
	if n == 0 || n > few {
		slices.Sort(keys)
		return keys[:n]
	}
	slices.Sort(keys[:n])
	for _, key := range keys[n:] {
		if key >= keys[n-1] {
			continue
		}
		i := n - 1
		for ; i > 0 && keys[i-1] > key; i-- {
			keys[i] = keys[i-1]
		}
		keys[i] = key
	}
	return keys[:n]
}

// byTwo appends n boxes, each the better of two drawn from those that are left. Boxes that are taken lie at the front of
// live; what order the rest is in does not matter to a uniform draw.
func (r *Ranker) byTwo(rnd *rand.Rand, n int, dst []int) []int {
	for taken := range n {
		rest := r.live[taken:]
		a := rnd.IntN(len(rest))
		if len(rest) > 1 {
			b := rnd.IntN(len(rest) - 1)
			if b >= a {
				b++
			}
			if r.weight[rest[b]] > r.weight[rest[a]] {
				a = b
			}
		}
		rest[0], rest[a] = rest[a], rest[0]
		dst = append(dst, int(rest[0]))
	}
	return dst
}

// shuffled appends n of the boxes in uniform order: the first steps of R. Durstenfeld's shuffle (CACM 7(7), 1964), which
// any order of the rest may precede.
func shuffled(rnd *rand.Rand, boxes []int32, n int, dst []int) []int {
	for taken := range n {
		rest := boxes[taken:]
		a := rnd.IntN(len(rest))
		rest[0], rest[a] = rest[a], rest[0]
		dst = append(dst, int(rest[0]))
	}
	return dst
}
