package dispatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
)

// face is what clients see of one load balancer, encoded once. It outlives the rosters that it is in. Immutable, but
// for the counter.
type face struct {
	name      string
	addresses int
	json      []byte        // its addresses as JSON objects, joined by commas
	jsonEnd   []int         // where each of them ends in json
	text      []byte        // its addresses, a line each
	textEnd   []int         // where each line ends in text
	first     atomic.Uint64 // answers that it stood at the head of
}

func newFace(name string, addresses []string) *face {
	f := &face{name: name, addresses: len(addresses)}
	for i, a := range addresses {
		if i > 0 {
			f.json = append(f.json, ',')
		}
		f.json = appendJSON(append(f.json, `{"address":`...), a)
		f.json = append(appendJSON(append(f.json, `,"slb":`...), name), '}')
		f.jsonEnd = append(f.jsonEnd, len(f.json))
		f.text = append(append(f.text, a...), '\n')
		f.textEnd = append(f.textEnd, len(f.text))
	}
	return f
}

// appendJSON appends s as a JSON string. A name of a load balancer may hold what HTML has a use for; an answer is no HTML.
func appendJSON(b []byte, s string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("dispatch: a string does not fit into JSON: %v", err))
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// balancer is one load balancer as the last reading has it.
type balancer struct {
	*face    // nil: it has no address in the configuration
	box      Box
	gateways int // with a report, or put back
	open     int // of these, neither draining nor down
}

// roster is the load balancers of one reading. Immutable.
type roster struct {
	serving []balancer // with a gateway that takes links; a Ranker has their boxes, in this order
	idle    []balancer // the others, in any order behind them
	unknown []balancer // with gateways, but without an address: nobody is sent there
	total   int        // addresses
}

// size is the number of load balancers that clients are told.
func (r *roster) size() int { return len(r.serving) + len(r.idle) }

// face returns that of number i: of the serving ones, then of the idle ones.
func (r *roster) face(i int) *face {
	if i < len(r.serving) {
		return r.serving[i].face
	}
	return r.idle[i-len(r.serving)].face
}

// boxes are what a Ranker is to put in order.
func (r *roster) boxes() []Box {
	boxes := make([]Box, len(r.serving))
	for i := range r.serving {
		boxes[i] = r.serving[i].box
	}
	return boxes
}

// sums are the availabilities of all of them, also of those that clients are not told.
func (r *roster) sums() map[string]float64 {
	sums := make(map[string]float64, r.size()+len(r.unknown))
	for _, list := range [][]balancer{r.serving, r.idle, r.unknown} {
		for i := range list {
			sums[list[i].box.Name] = list[i].box.Availability
		}
	}
	return sums
}

// faces keeps the encoded form of load balancers from reading to reading.
type faces struct {
	slbs []SLB            // of the configuration; static
	set  map[string]*face // theirs; static
	own  map[string]*face // of gateways that are their own load balancer: those of the last roster
}

func newFaces(slbs []SLB) *faces {
	f := &faces{slbs: slbs, set: make(map[string]*face, len(slbs)), own: map[string]*face{}}
	for _, s := range slbs {
		f.set[s.Name] = newFace(s.Name, s.Addresses)
	}
	return f
}

// roster groups gateways by load balancer.
func (f *faces) roster(gateways []Gateway) *roster {
	index, all := make(map[string]int), make([]balancer, 0, len(f.slbs))
	for _, s := range f.slbs {
		index[s.Name] = len(all)
		all = append(all, balancer{face: f.set[s.Name], box: Box{Name: s.Name}})
	}
	own := make(map[string]*face)
	for i := range gateways {
		g := &gateways[i]
		name := cmp.Or(g.SLB, g.Address)
		k, ok := index[name]
		if !ok {
			k = len(all)
			index[name] = k
			all = append(all, balancer{face: f.ownFace(name, g, own), box: Box{Name: name}})
		}
		all[k].add(g)
	}
	f.own = own
	return sorted(all)
}

// ownFace is that of a load balancer which the configuration does not name: a gateway can be its own, under the address
// that it advertises, if anybody can dial that.
func (f *faces) ownFace(name string, g *Gateway, own map[string]*face) *face {
	if name != g.Address || checkPublic(name) != nil {
		return nil
	}
	if own[name] = f.own[name]; own[name] == nil {
		own[name] = newFace(name, []string{name})
	}
	return own[name]
}

// add counts a gateway in. One that sends its links away has no room, whatever it reported before that; one that warms up
// serves who finds no other, but what its links cost is not known yet.
func (b *balancer) add(g *Gateway) {
	b.gateways++
	if g.State == StateDraining || g.State == StateDown {
		return
	}
	b.open++
	if g.State == StateWarming {
		return
	}
	b.box.Gateways++
	if g.Availability > 0 { // no number is none
		b.box.Availability += min(g.Availability, 1)
	}
	b.box.Capacity += float64(max(g.Capacity, 0))
	b.box.Links += float64(max(g.Links, 0))
}

// sorted sorts load balancers into those that serve, that are idle, and that have no address, each by name.
func sorted(all []balancer) *roster {
	slices.SortFunc(all, func(a, b balancer) int { return cmp.Compare(a.box.Name, b.box.Name) })
	r := &roster{}
	for _, b := range all {
		switch {
		case b.face == nil:
			r.unknown = append(r.unknown, b)
			continue
		case b.open > 0:
			r.serving = append(r.serving, b)
		default:
			r.idle = append(r.idle, b)
		}
		r.total += b.addresses
	}
	return r
}
