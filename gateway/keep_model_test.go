package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"testing"

	"edged/handover"
	"edged/linkpool"
	"edged/registry"
	"edged/relay"
)

// wantKeep has a bench keep what its shard has.
func wantKeep(t testing.TB, o *Options) {
	t.Helper()
	o.Keep = nil
	g, err := KeepGeometry(*o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := handover.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	o.Keep = &Keep{Memory: m}
}

// keepAnew gives the shards new memory, in which there is room for what is held for the fake Managers. On the shard's thread, or
// before there is one.
func (b *bench) keepAnew() {
	cfg := b.managersConfig()
	y := layoutOf(len(b.g.shards), b.s.links.Cap(), cfg)
	m, err := handover.NewMemory(y.geometry(cfg))
	if err != nil {
		b.Fatal(err)
	}
	b.memories = append(b.memories, m)
	b.g.managerAddresses = cfg.Addresses
	last := b.g.kept.binds.Load()
	b.g.kept = &kept{Keep: Keep{Memory: m}, layout: y}
	b.g.kept.binds.Store(last)
	for _, s := range b.g.shards {
		old := s.keep
		s.keep = newKeeping(s, s.links.Cap())
		copy(s.keep.binds, old.binds)
	}
	b.port.commit = b.checkKept
}

// managersConfig is that of a relay with as many Managers as the bench has.
func (b *bench) managersConfig() relay.Config {
	cfg := relay.Default()
	for i := range b.port.managers {
		cfg.Addresses = append(cfg.Addresses, fmt.Sprint("manager:", i))
	}
	return cfg
}

// checkKept looks whether what is written down is what the shard has, at the end of a turn.
func (b *bench) checkKept() {
	b.s.keep.check(func(format string, args ...any) { b.Helper(); b.Errorf(format, args...) })
}

// begunAnew are flags that may be written as they were.
const begunAnew = loose | unsynced | replaying

// check compares all records with what they should be.
func (k *keeping) check(fail func(format string, args ...any)) {
	s := k.s
	for place := range uint32(s.links.Used()) {
		hot, cold, err := k.records.Get(k.links+int(place), nil, nil)
		if err != nil {
			fail("place %d: %v", place, err)
			return
		}
		l, uniq := s.links.At(place)
		if l == nil {
			if hot[4] != keptFree || binary.LittleEndian.Uint32(hot) != s.links.Uniq(place) {
				fail("place %d is free: % x", place, hot)
			}
			continue
		}
		if hot[4] == keptBare {
			continue
		}
		k.conn = s.loop.AppendConn(k.conn[:0], l.conn)
		want := k.appendHot(nil, keptLink, place, uniq, l)
		known := uint16(0)
		if len(s.managers.list) > 0 {
			known = s.managers.of(l).known
		}
		if binary.LittleEndian.Uint16(hot[10:]) != known {
			hot[6] &^= byte(announced)
			binary.LittleEndian.PutUint16(hot[10:], known)
		}
		for _, h := range [][]byte{hot, want} {
			binary.LittleEndian.PutUint16(h[6:], binary.LittleEndian.Uint16(h[6:])&^uint16(begunAnew))
			if walks := s.casting.walks; len(walks) == 0 || binary.LittleEndian.Uint64(h[40:]) < walks[0].number {
				clear(h[40:48])
			}
			h[hotConn+17] &^= 2               // to be read again once more: costs nothing
			clear(h[hotConn+28 : hotConn+36]) // when the kernel was asked last how far the client is
		}
		now := s.now()
		if len(cold) > 0 {
			now = linkpool.Millis(binary.LittleEndian.Uint32(cold))
		}
		if more := k.appendCold(nil, now, place, uniq, l, k.conn[len(want)-hotConn:]); !bytes.Equal(hot, want) || !bytes.Equal(cold, more) {
			fail("place %d, flags %#x: hot bytes differ from %d on, cold ones from %d of %d on, of %d",
				place, l.flags, differ(hot, want), differ(cold, more), len(cold), len(more))
		}
	}
	for i := range s.managers.list {
		if b := getBlob(k.records, k.written.held[i].at, k.written.held[i].room); !bytes.Equal(b, s.managers.list[i].held) {
			fail("Manager %d: %d bytes are held, and %d written", i, len(s.managers.list[i].held), len(b))
		}
	}
}

// crash has another shard go on with what this one has written down, in its place. On the shard's thread, after turns in which
// some operations have begun; what is sent in them has not left the loop, which stays.
func (m *model) crash() {
	s, y := m.s, &m.g.kept.layout
	if len(m.twins) > 0 {
		m.rush()
	}
	s.keep.markAll()
	s.keep.endTurn(nil)
	fds := map[uint64]int{}
	s.links.Each(0, s.links.Cap(), func(place, uniq uint32, _ *link) { fds[s.keyOf(place, uniq)] = 1 })
	left := reviveShard(m.g.kept.Memory, 0, fds)
	if left.err != nil || left.layout != *y || len(left.conns) != s.keep.stats.Links {
		m.Errorf("%v, %+v, %d connections", left.err, left.layout, len(left.conns))
	}
	for _, r := range s.replays.by {
		r.over.Store(true)
	}
	state := s.appendState(nil, false)
	walks := len(s.casting.walks)
	m.g.directory = registry.NewDirectory()
	x := newShard(m.g, s.loop, s.links.Cap())
	x.port, x.managers = m.port, newManagers(len(m.port.managers))
	x.casting.perTurn, x.casting.atOnce, x.replays.retry = s.casting.perTurn, s.casting.atOnce, s.replays.retry
	m.g.shards[0], m.g.past = x, &past{}
	if err := x.load(left.section, func(was int) int { return was }); err != nil {
		m.Error(err)
		return
	}
	outlived := m.g.settleRivals()
	m.g.past.casts.finishPast(1)
	m.g.shards[0], m.g.past = s, nil
	if t := x.takeover; len(t.lost)+len(t.bare)+len(t.torn) > 0 || walks != len(x.casting.walks) {
		m.Errorf("lost %v, bare %v, torn %v, %d of %d walks", t.lost, t.bare, t.torn, len(x.casting.walks), walks)
	}
	m.compareRevived(state, x.appendState(nil, false))
	x.takeover.outlived = append(x.takeover.outlived, outlived...)
	count := s.count
	count.Restored = 0
	s.become(x)
	s.count = count
	s.keep.binds = x.keep.binds
	m.g.kept.unwritten.Store(1)
	m.keepAnew()
	s.inheritItems()
	m.g.links.Store(int64(s.links.Len()))
}

// compareRevived is compareStates for what begins anew after a crash.
func (m *model) compareRevived(before, after []byte) {
	one, two := m.byLink(before), m.byLink(after)
	if !maps.EqualFunc(one, two, bytes.Equal) {
		for name, a := range one {
			if !bytes.Equal(a, two[name]) {
				m.Errorf("link %s: % x\nbefore: % x", name, two[name], a)
			}
		}
	}
}

// byLink is the records of a section's links, without what begins anew.
func (m *model) byLink(section []byte) map[string][]byte {
	all := map[string][]byte{}
	for _, r := range records(m, section) {
		if r[0] != recordLink {
			continue
		}
		r = bytes.Clone(r)
		flags := linkFlags(binary.LittleEndian.Uint16(r[1+16:])) &^ begunAnew
		binary.LittleEndian.PutUint16(r[1+16:], uint16(flags))
		clear(r[1+44 : 1+48])
		all[fmt.Sprint(binary.LittleEndian.Uint32(r[1:]), ":", binary.LittleEndian.Uint32(r[5:]))] = r
	}
	return all
}

// differ is where two rows of bytes begin to differ.
func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
