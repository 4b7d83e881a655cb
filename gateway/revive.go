package gateway

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"edged/batch"
	"edged/handover"
	"edged/linkpool"
	"edged/netpoll"
	"edged/registry"
	"edged/relay"
)

// reviveAge is how many names of a place are left out after a crash: more than links can have come and gone there in the turn
// that was not committed.
const reviveAge = 1 << 16

// revival is what a predecessor that crashed has left, beside the sections that it would have handed over.
type revival struct {
	conns   netpoll.Restoration
	carried []relay.Carried
	strays  []uint64 // keys of connections that nothing is known of
	used    [maxListeners + 1]bool
}

// Revive makes what New takes over of a memory that a gateway wrote until it crashed (Keep), and of the connections that the
// keeper holds of it, by their keys. Nothing of the memory is kept, and nothing written to it. The descriptors become the
// gateway's by New, unless that fails; Revive itself takes none. An error says that no link can be gone on with.
func Revive(m *handover.Memory, fds map[uint64]int) (*Inheritance, error) {
	if m.Retired() {
		return nil, errors.New("gateway: what the memory tells was passed on already")
	}
	g := m.Geometry()
	parts := make([]revivedShard, g.Shards)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { parts[i] = reviveShard(m, i, fds) })
	}
	wg.Wait()
	r := &revival{conns: netpoll.Restoration{Version: netpoll.StateVersion, Check: handover.CheckFlow}}
	in := &Inheritance{Claim: func(int) error { return nil }, revival: r}
	known := 0
	for i := range parts {
		p := &parts[i]
		if p.err != nil {
			return nil, fmt.Errorf("gateway: shared memory of shard %d: %w", i, p.err)
		}
		if p.layout != parts[0].layout {
			return nil, fmt.Errorf("gateway: shared memory of shards %d and 0: %+v and %+v", i, p.layout, parts[0].layout)
		}
		in.Sections = append(in.Sections, handover.Section{Name: fmt.Sprintf("shard/%d", i), Version: stateVersion, Bytes: p.section})
		r.conns.Loops = append(r.conns.Loops, p.conns)
		known += len(p.conns)
		for l, used := range p.used {
			r.used[l] = r.used[l] || used
		}
	}
	r.carried = carriedOf(m, parts)
	own := getBlob(m.Records(0), ownAt, ownChunks)
	managers := int(parts[0].layout.Managers)
	version, streams, err := relay.RecoverState(m.Ring, g.Shards, managers)
	if err != nil {
		return nil, err
	}
	in.Sections = append(in.Sections, handover.Section{Name: "gateway", Version: stateVersion, Bytes: own},
		handover.Section{Name: "relay", Version: version, Bytes: streams})
	if known < len(fds) {
		r.findStrays(fds, parts)
	}
	return in, nil
}

// findStrays notes the connections that no record names.
func (r *revival) findStrays(fds map[uint64]int, parts []revivedShard) {
	known := map[int]bool{}
	for i := range parts {
		for _, c := range parts[i].conns {
			known[c.FD] = true
		}
	}
	for key, fd := range fds {
		if !known[fd] {
			r.strays = append(r.strays, key)
			r.conns.Strays = append(r.conns.Strays, fd)
		}
	}
	slices.Sort(r.strays)
}

// revivedShard is what a shard has left.
type revivedShard struct {
	layout    keepLayout
	section   []byte
	conns     []netpoll.Kept
	addresses []string // of the Managers
	used      [maxListeners + 1]bool
	known     []uint16 // as which process each Manager knows links
	err       error
}

var errKept = errors.New("what was written cannot be read")

func reviveShard(m *handover.Memory, shard int, fds map[uint64]int) (x revivedShard) {
	r := m.Records(shard)
	h, ok := readKeptHead(r, m.Geometry())
	if !ok {
		x.err = errKept
		return x
	}
	x.layout = h.layout
	if x.err = x.head(r, h.cold); x.err != nil {
		return x
	}
	n := max(min(r.Used()-h.layout.linksAt(), int(h.layout.Places)), 0)
	places, links := linkpool.NewPlaces(h.start), []byte(nil)
	var p keptPlace
	var hot, cold, conns []byte
	for i := range uint32(n) {
		var err error
		hot, cold, err = r.Get(h.layout.linksAt()+int(i), hot[:0], cold[:0])
		if err == nil && !p.parse(i, hot, cold) {
			err = handover.ErrBadRecord
		}
		switch {
		case errors.Is(err, handover.ErrNoRecord):
			places.Add(h.start-1, true)
		case err != nil: // far from all names that it can have had
			places.Add(h.start+1<<31, true)
		default:
			places.Add(p.uniq, p.what == keptFree)
		}
		if err == nil && p.what != keptFree {
			links, conns = x.link(links, conns, &p, shard, fds)
		}
	}
	b := record(x.section, recordPlaces, places.AppendState)
	b = appendKeptWalks(b, r, &h.layout)
	x.section = append(b, links...)
	return x
}

// head puts together what the shard has beside its links.
func (x *revivedShard) head(r *handover.Records, b []byte) error {
	managers := 0
	return eachRecord(b, func(kind byte, in *input) error {
		body := in.rest
		switch kind {
		case recordManager:
			if managers >= int(x.layout.Managers) {
				return errKept
			}
			x.addresses = append(x.addresses, string(in.text()))
			body = append(body[:len(body):len(body)], getBlob(r, x.layout.heldAt(managers), int(x.layout.Held))...)
			managers++
		case recordLeaving:
			body = append(body[:len(body):len(body)], getBlob(r, x.layout.shedAt(), x.layout.shedChunks())...)
		case recordKnown:
			for len(in.rest) > 0 && !in.bad {
				x.known = append(x.known, in.u16())
			}
			return nil
		}
		x.section = record(x.section, kind, func(b []byte) []byte { return append(b, body...) })
		return nil
	})
}

// link appends one link, and notes its connection if the keeper has it.
func (x *revivedShard) link(links, conns []byte, p *keptPlace, shard int, fds map[uint64]int) (linksOut, connsOut []byte) {
	if int(p.manager) < len(x.known) && x.known[p.manager] != p.known {
		p.flags &^= announced
	}
	x.used[p.listener] = true
	if p.what == keptBare {
		return record(links, recordBare, p.appendHead), conns
	}
	links = record(links, recordKept, p.appendState)
	fd, ok := fds[linkKey(batch.Link{Index: linkpool.Index(shard, p.place), Uniq: p.uniq})]
	if !ok {
		return links, conns
	}
	if cap(conns)-len(conns) < len(p.conn) { // what was cut off before stays where it is
		conns = make([]byte, 0, max(1<<20, len(p.conn)))
	}
	start := len(conns)
	conns = append(conns, p.conn...)
	x.conns = append(x.conns, netpoll.Kept{FD: fd, Record: conns[start:len(conns):len(conns)]})
	return links, conns
}

// carriedOf reads how far the shards have carried out what came from Managers.
func carriedOf(m *handover.Memory, parts []revivedShard) (all []relay.Carried) {
	for i := range parts {
		y := &parts[i].layout
		r := m.Records(i)
		for stream := range int(y.Shards * y.Managers) {
			from, manager := stream/int(y.Managers), stream%int(y.Managers)
			hot, _, err := r.Get(y.carriedAt()+stream, nil, nil)
			in := input{rest: hot}
			c := relay.Carried{Shard: i, From: from, Seq: in.u64(), Index: in.u32()}
			if err == nil && !in.bad && manager < len(parts[i].addresses) {
				c.Address = parts[i].addresses[manager]
				all = append(all, c)
			}
		}
	}
	return all
}

// restoration is netpoll's part of a revival, nil for none.
func (g *Gateway) restoration() *netpoll.Restoration {
	if g.past == nil || g.past.revival == nil {
		return nil
	}
	return &g.past.revival.conns
}

// loadKept takes one link over that outlived a crash. One whose connection does not is torn, and ended in the first turn.
func (s *shard) loadKept(in *input, x *legacy) {
	var r linkState
	y := *x
	y.now = linkpool.Millis(in.u32())
	bind, caught := in.u64(), in.u64()
	if r.readHead(in); in.bad || !s.belongs(&r, x) {
		return
	}
	s.readParts(in, &r, &y)
	if in.bad || !s.agrees(&r) || s.rooms.LoadRooms(in.rest, r.place) != nil {
		s.rooms.Drop(r.place)
		s.dropParts(&r)
		return
	}
	x.loaded[r.place/64] |= 1 << (r.place % 64)
	t := s.takeover
	t.binds[r.place] = bind
	if s.loop.Open(r.conn) && s.loop.Tag(r.conn) == r.place {
		if s.keep != nil {
			s.keep.restored(r.place, bind)
		}
	} else {
		r.conn = 0
		s.keep.letGo(r.place, r.uniq)
		t.torn = append(t.torn, linkName{r.place, r.uniq})
	}
	s.settleIn(&r)
	l := s.links.Get(r.place, r.uniq)
	s.unsync(r.place, l) // what was to be stored is not known
	s.deadlines.Set(r.place, s.nextDeadline(r.place, l, s.now()))
	if a := &s.casting; len(a.walks) > 0 && caught >= a.walks[0].number {
		if a.caught == nil {
			a.caught = map[uint32]uint64{}
		}
		a.caught[r.place] = caught
	}
}

// revived is what a takeover after a crash has beside that of a hand-over.
type revived struct {
	binds  []uint64        // by place, which of all binds the link's was; nil: there was no crash
	rivals []registry.Link // links of devices that have several
	torn   []linkName
	bare   []bareLink
}

// bareLink is a link that did not outlive the crash, and of which no more is known.
type bareLink struct {
	linkName
	manager uint8
}

func (s *shard) loadRevived(kind byte, in *input, x *legacy) {
	if t := s.takeover; t.binds == nil {
		t.binds = make([]uint64, s.links.Cap())
	}
	s.count.Restored++
	if kind == recordKept {
		s.loadKept(in, x)
	} else {
		s.loadBare(in, x)
	}
}

// loadBare notes a link of which nothing is known but whose it was.
func (s *shard) loadBare(in *input, x *legacy) {
	var r linkState
	if r.readHead(in); in.bad || !s.belongs(&r, x) {
		return
	}
	x.loaded[r.place/64] |= 1 << (r.place % 64)
	s.takeover.bare = append(s.takeover.bare, bareLink{linkName{r.place, r.uniq}, r.manager})
	s.links.Del(r.place, r.uniq)
	s.count.Ended[EndTorn]++
}

// restored notes a link that the keeper has.
func (k *keeping) restored(place uint32, bind uint64) {
	k.marks[place] |= markDeposit
	k.binds[place] = bind
	for old := k.all.binds.Load(); old < bind && !k.all.binds.CompareAndSwap(old, bind); old = k.all.binds.Load() {
	}
}

// letGo has the keeper let go of a link that it may have, and that is not gone on with.
func (k *keeping) letGo(place, uniq uint32) {
	if k != nil {
		k.deposit.stray = append(k.deposit.stray, k.s.keyOf(place, uniq))
	}
}

// inheritStrays has the shards let the keeper go of connections that nothing is known of.
func (g *Gateway) inheritStrays() {
	if g.past.revival == nil || g.kept == nil {
		return
	}
	for _, key := range g.past.revival.strays {
		shard, _ := linkpool.Place(uint32(key))
		x := &g.shards[min(shard, len(g.shards)-1)].keep.deposit
		x.stray = append(x.stray, key)
	}
}

// settleRivals finds out which of several links of one device is the latest, where a crash came between a bind and the end of the
// link before it.
func (g *Gateway) settleRivals() (outlived []registry.Link) {
	all := map[registry.Name]map[registry.Link]bool{}
	for _, s := range g.shards {
		for _, x := range s.takeover.rivals {
			t := g.shards[x.Shard]
			l := t.links.Get(x.Place, x.Uniq)
			n := registry.Name{User: string(t.sessions.Value(l.session, "user")), Device: string(t.sessions.Value(l.session, "device"))}
			if all[n] == nil {
				all[n] = map[registry.Link]bool{}
			}
			all[n][x] = true
		}
		s.takeover.rivals = nil
	}
	for name, links := range all {
		var last registry.Link
		latest := uint64(0)
		for x := range links {
			if bind := g.shards[x.Shard].takeover.binds[x.Place]; bind >= latest {
				last, latest = x, bind
			}
		}
		g.directory.Put([]byte(name.User), []byte(name.Device), last)
		delete(links, last)
		for x := range links {
			outlived = append(outlived, x)
		}
	}
	return outlived
}

// endTorn ends the links that did not outlive the crash, and puts right what the shards did not commit together. The names of free
// places that the predecessor may have given out are left out.
func (s *shard) endTorn(t *takeover) {
	if t.binds == nil {
		return
	}
	for _, n := range t.torn {
		if l := s.links.Get(n.place, n.uniq); l != nil {
			s.forget(n.place, n.uniq, l, ending{side: batch.SideGateway, evidence: tornEvidence, label: EndTorn})
		}
	}
	s.links.Age(reviveAge)
	if s.g.draining.Load() && !s.drain.active && s.links.Len() > 0 { // the crash came before this shard heard of it
		s.startDrain(s.g.cfg.DrainTimeout)
	}
}

const tornEvidence = "torn"
