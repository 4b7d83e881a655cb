package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"edged/handover"
	"edged/registry"
)

// handOver has another shard go on with all that this one has, in its place: nobody outside may see a difference. On the
// shard's thread.
func (m *model) handOver() {
	s := m.s
	for s.Pending() {
		s.Turn(0)
	}
	m.g.managerAddresses = nil
	for i := range m.port.managers {
		m.g.managerAddresses = append(m.g.managerAddresses, fmt.Sprint("manager:", i))
	}
	bounds := 0
	s.links.Each(0, s.links.Cap(), func(_, _ uint32, l *link) {
		if l.flags&bound != 0 {
			bounds++
		}
	})
	state := s.appendState(nil, bounds != m.g.directory.Devices())
	if n := s.stateSize(); len(state) > n*5/4 {
		m.Errorf("the state has %d bytes, and %d were expected", len(state), n)
	}
	for _, r := range s.replays.by {
		r.over.Store(true) // who asked is no more
	}
	m.g.directory = registry.NewDirectory()
	before := s.stats()
	x := newShard(m.g, s.loop, s.links.Cap())
	x.port, x.managers = m.port, newManagers(len(m.port.managers))
	x.casting.perTurn, x.casting.atOnce, x.replays.retry = s.casting.perTurn, s.casting.atOnce, s.replays.retry
	if err := x.load(state, func(was int) int { return was }); err != nil {
		m.Error(err)
		return
	}
	if len(x.takeover.lost) > 0 {
		m.Errorf("links that were lost: %v", x.takeover.lost)
	}
	m.compareStates(state, x.appendState(nil, false))
	s.become(x)
	s.inheritItems()
	m.compare(&before, s.stats())
	if s.keep != nil {
		m.keepAnew()
	}
}

// compare looks at what must be the same on both sides.
func (m *model) compare(before *ShardStats, after ShardStats) {
	after.Replays, before.Replays = 0, 0
	after.Stalls, before.Stalls = 0, 0
	after.ItemsOut, before.ItemsOut = 0, 0 // what is held is counted when it goes
	after.Loop, before.Loop = before.Loop, after.Loop
	before.Loop = after.Loop
	after.SessionBytes, before.SessionBytes = 0, 0
	if fmt.Sprint(after) != fmt.Sprint(*before) {
		m.Errorf("before %+v\nafter %+v", *before, after)
	}
}

// become has a shard hold what another one does. What is static stays: other goroutines read it.
func (s *shard) become(x *shard) {
	s.links, s.deadlines, s.sessions, s.wall = x.links, x.deadlines, x.sessions, x.wall
	s.managers, s.waiting, s.drain, s.shed, s.count = x.managers, x.waiting, x.drain, x.shed, x.count
	s.rooms, s.casting, s.departed, s.pushing, s.lent = x.rooms, x.casting, x.departed, x.pushing, x.lent
	s.takeover, s.loopBefore = x.takeover, x.loopBefore
}

// compareStates looks at the records of two shards, of which the second one goes on with the first: they differ in what begins
// anew, and in the order of rooms.
func (m *model) compareStates(before, after []byte) {
	one, two := records(m, before), records(m, after)
	if len(one) != len(two) {
		m.Errorf("%d records, %d before", len(two), len(one))
		return
	}
	for i := range one {
		a, b := bytes.Clone(one[i]), bytes.Clone(two[i])
		switch a[0] {
		case recordRooms, recordLoop: // the loop is the same here, and counts twice
			continue
		case recordLink:
			for _, r := range [][]byte{a, b} {
				flags := linkFlags(binary.LittleEndian.Uint16(r[1+16:])) &^ replaying
				if r[linkHead]&hasOrders == 0 {
					flags &^= unsynced // there is nothing to store any more
				}
				binary.LittleEndian.PutUint16(r[1+16:], uint16(flags))
				clear(r[1+44 : 1+48])          // the deadline
				r[linkHead] &^= byte(outlived) // such a link ends in the first turn
			}
		}
		if !bytes.Equal(a, b) {
			m.Errorf("record %d: % x\nbefore: % x", i, b, a)
		}
	}
}

// records are the bodies of a section's records.
func records(t interface{ Fatal(...any) }, section []byte) (all [][]byte) {
	for len(section) > 0 {
		r, rest, err := handover.Next(section)
		if err != nil {
			t.Fatal(err)
		}
		all, section = append(all, r.Body), rest
	}
	return all
}
