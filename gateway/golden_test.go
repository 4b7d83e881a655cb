package gateway

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edged/batch"
	"edged/delivery"
	"edged/handover"
	"edged/linkpool"
	"edged/registry"
)

var update = flag.Bool("update", false, "write the golden state of the present version")

// TestGoldenStates: the state of every released version loads, for ever.
func TestGoldenStates(t *testing.T) {
	if *update {
		name := filepath.Join("testdata", fmt.Sprintf("state.v%d", stateVersion))
		b := newGoldenBench(t)
		var file []byte
		b.on(func() { file = b.writeGolden() })
		if err := os.WriteFile(name, file, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".ok", []byte(b.loadGolden(file)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for v := oldestState; v <= stateVersion; v++ {
		name := filepath.Join("testdata", fmt.Sprintf("state.v%d", v))
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name + ".ok")
		if err != nil {
			t.Fatal(err)
		}
		if got := newGoldenBench(t).loadGolden(file); got != string(want) {
			t.Errorf("%s is loaded as\n%s\nand not\n%s", name, got, want)
		}
	}
}

// golden is a shard on whose loop some connections are, in the places that the golden states name. What is loaded becomes
// another shard, which nobody runs.
type golden struct {
	*bench
	conns []linkName
}

const goldenLinks = 5

func newGoldenBench(t testing.TB) *golden {
	t.Helper()
	b := &golden{bench: newBenchOf(t, 2, func(o *Options) {
		o.Offline, o.Config.ID, o.Config.Advertise = &FakeLog{}, "golden", "192.0.2.1:7000"
		o.Listeners[0].PingInterval = time.Minute
	})}
	for range goldenLinks {
		_, name := b.dial()
		b.conns = append(b.conns, name)
	}
	b.on(func() { b.g.managerAddresses = []string{"one:1", "two:2"} })
	return b
}

// another returns a shard beside the bench's own one, on the same loop.
func (b *golden) another() *shard {
	x := newShard(b.g, b.s.loop, b.s.links.Cap())
	x.port, x.managers = b.port, newManagers(len(b.port.managers))
	return x
}

// writeGolden makes a state in which there is something of everything. The numbers mean nothing.
func (b *golden) writeGolden() []byte {
	s := b.filled()
	b.g.syncs.add(registry.Name{User: "ann", Device: "phone"}, 12)
	b.g.passed = map[string][]int{"main": {3, 4}}
	own := b.g.appendState(nil, &[maxListeners + 1]bool{true})
	return handover.Encode([]handover.Section{
		{Name: "gateway", Version: stateVersion, Bytes: own},
		{Name: "shard/0", Version: stateVersion, Bytes: s.appendState(nil, true)},
		{Name: "netpoll/0", Version: 1}, {Name: "relay", Version: 1},
	})
}

// filled is a shard with something of everything.
func (b *golden) filled() *shard {
	s := b.another()
	s.links = linkpool.New[link](100, 4_000_000_000)
	s.wall = 1_700_000_000_000
	s.managers.next, s.managers.list[0].items, s.managers.list[1].gone = 1, 77, true
	s.managers.list[1].held = batch.AppendClosed(nil, s.name(9, 9), nil, 1, batch.SideClient, "held")
	s.drain = drain{active: true, started: 5, within: time.Minute, links: 9, gone: 3, at: 2}
	s.shed = shed{active: true, started: 6, within: time.Hour, names: []linkName{{1, 2}, {3, 4}}, gone: 1, total: 2}
	s.count.Opened, s.count.Ended[3], s.count.Undelivered[2] = 10, 4, 5
	for i := range goldenLinks {
		from, _ := b.s.links.At(b.conns[i].place)
		place, uniq, l, _ := s.links.Add()
		*l = link{conn: from.conn, opened: 100, heard: 200, since: 300, pinged: 400, flags: welcomed | announced | latent, spent: 7, window: 8}
		l.tid, l.unacked = 0x7f000001, delivery.Ref(1000+i)
		s.deadlines.Set(place, 500)
		if i > 0 {
			b.enrich(s, place, uniq, l)
		}
	}
	s.links.Add()
	s.links.Del(goldenLinks, 4_000_000_000)
	return s
}

// enrich gives a link more than the one before it has.
func (b *golden) enrich(s *shard, place, uniq uint32, l *link) {
	now := delivery.Millis(s.now())
	s.settleAs(place, uniq, l, netip.MustParseAddrPort("[2001:db8::1]:77"))
	if place >= 2 {
		l.session, _ = s.sessions.Bind(l.session, fmt.Appendf(nil, "user %d", place), []byte("phone"))
		l.flags |= bound
		l.tid = 1000
		for tid := uint32(990); tid < 992; tid++ {
			l.unacked, _ = s.windows.Send(l.unacked, now, &delivery.Push{TID: tid, MsgID: []byte("id"), Frame: []byte("frame"), Sampled: tid == 991})
		}
	}
	if place >= 3 {
		l.order = s.orders.Start(l.order, now, 40)
		l.order, _ = s.orders.Version(l.order, now, 45, []byte("held back"))
		l.order, _ = s.orders.InPackage(l.order, now, delivery.Position{Package: 3, Seq: 1, Count: 2}, []byte("of a package"))
		l.flags |= stuck | unsynced | half | asked
		s.syncing.stuck[place] = 41
		_, _ = s.rooms.Join([]byte("den"), place)
	}
	if place >= 4 {
		l.flags = l.flags&^half | waiting | blocked | starved | loose | replaying
		s.slow.backlog[l.conn], s.slow.starving[place] = 3, 9
		_, _ = s.rooms.Join([]byte("hall"), place)
		l.manager = 1
		b.g.directory.Put([]byte("user 2"), []byte("phone"), s.listed(2, 4_000_000_000))
		b.g.directory.Put([]byte("user 3"), []byte("phone"), s.listed(3, 4_000_000_000))
		b.g.directory.Put([]byte("user 4"), []byte("phone"), s.listed(4, 4_000_000_001)) // a newer one
	}
}

// loadGolden tells what a state is loaded as.
func (b *golden) loadGolden(file []byte) string {
	b.Helper()
	sections, err := handover.Parse(file)
	if err != nil {
		b.Fatal(err)
	}
	p, err := readPast(&Inheritance{Sections: sections, Claim: func(int) error { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	var w strings.Builder
	p.epoch, p.loops, p.relay.Bytes = 0, nil, nil
	for i := range p.listeners {
		p.listeners[i].bound = ""
	}
	fmt.Fprintf(&w, "%d %d %v %q %q\n%+v %v %v\n%v %+v\n%d streams, %d inlets\n", p.reactors, p.capacity, p.draining, p.id, p.advertise,
		p.listeners, p.sources, p.passed, p.points, p.own, len(p.streams), len(p.inlets))
	b.on(func() {
		b.g.directory = registry.NewDirectory()
		x := b.another()
		if err := x.load(p.shards[0].Bytes, func(was int) int { return was }); err != nil {
			b.Error(err)
			return
		}
		b.tell(&w, x)
	})
	return w.String()
}

// tell writes what a shard has.
func (b *golden) tell(w *strings.Builder, s *shard) {
	t := s.takeover
	fmt.Fprintf(w, "wall %d, next %d, drain %+v, shed %+v\ncounts %d %d %d\n", s.wall, s.managers.next, s.drain, s.shed,
		s.count.Opened, s.count.Ended[3], s.count.Undelivered[2])
	fmt.Fprintf(w, "takeover: lost %v, outlived %v, replays %v, waiting %v %d, due %v, devices %d\n", t.lost, t.outlived, t.replays,
		s.waiting.list, s.waiting.n, s.syncing.due, b.g.directory.Devices())
	for i := range s.managers.list {
		m := &s.managers.list[i]
		fmt.Fprintf(w, "Manager %d: %d items, gone %v, full %v, held %q\n", i, m.items, m.gone, m.full, m.held)
	}
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, l *link) {
		pushes, size := 0, 0
		if l.flags&latent == 0 {
			pushes, size = s.windows.Outstanding(l.unacked)
		}
		from, to, _ := s.orders.Missing(l.order)
		var rooms []string
		for name := range s.rooms.Rooms(place) {
			rooms = append(rooms, string(name))
		}
		slices.Sort(rooms)
		fmt.Fprintf(w, "%d:%d %#x %d %d %d %d, tid %d, listener %d, Manager %d, spent %d %d, session %q\n", place, uniq, uint16(l.flags),
			l.opened, l.heard, l.since, l.pinged, l.tid, l.listener, l.manager, l.spent, l.window, s.sessions.Field(l.session))
		fmt.Fprintf(w, "    %d pushes of %d bytes, turn %d, missing %d to %d, stuck %d, starving %d, backlog %d, rooms %q\n", pushes, size,
			s.orders.Turn(l.order), from, to, s.syncing.stuck[place], s.slow.starving[place], s.slow.backlog[l.conn], rooms)
	})
	place, uniq, _, _ := s.links.Add()
	fmt.Fprintf(w, "next: %d:%d\n", place, uniq)
}
