package relay

import (
	"testing"
	"time"

	"edged/batch"
	"edged/handover"
)

// sink is a call to which nothing is really sent.
type sink struct{}

func (sink) SendMsg(any) error { return nil }
func (sink) RecvMsg(any) error { panic("nothing comes") }
func (sink) CloseSend() error  { return nil }

// mill is a relay of which every part of a message's way is turned by hand, with a Manager that receipts everything.
type mill struct {
	r       *Relay
	records []*handover.Records
	attempt *attempt
	up      []byte // what a shard sends in a turn
	down    []byte // what the Manager sends
	sent    uint64
	each    func(int, uint64, uint32)
}

func newMill(tb testing.TB, shards int, rings bool) *mill {
	tb.Helper()
	m := &mill{each: func(int, uint64, uint32) {}}
	o := Options{Config: Default(), Shards: shards, ShardOf: func(i uint32) int { return int(i >> 24) }}
	o.Addresses = []string{goldenOne}
	value := new(int)
	o.Cast = func(int, []byte) any { return value }
	if rings {
		memory, err := handover.NewMemory(handover.Geometry{Shards: shards, Records: 1, Blocks: 1, Rings: 1, RingBytes: 2 * MinRingBytes})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = memory.Close() })
		o.Rings = memory.Ring
		for i := range shards {
			m.records = append(m.records, memory.Records(i))
		}
	}
	var err error
	if m.r, err = New(o); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { discard(m.r) })
	m.attempt = &attempt{call: sink{}, start: time.Now()}
	m.r.streams[0].admit(m.attempt, &batch.ManagerHello{ID: "manager", Protocol: 1, Receipts: true})
	for range 4 {
		m.up = batch.AppendMessage(m.up, batch.Link{Index: 5, Uniq: 9}, nil, batch.KindData, make([]byte, 64))
		m.down = batch.AppendData(m.down, batch.Link{Index: 5, Uniq: 9}, 0, make([]byte, 64))
	}
	m.turn(tb)
	return m
}

// turn brings a batch up, its receipt and a batch down.
func (m *mill) turn(tb testing.TB) {
	s, p := m.r.streams[0], m.r.ports[0]
	b := p.Take(0)
	b.Items = append(b.Items, m.up...)
	p.Send(0, b)
	m.commit()
	if did, _, err := s.sendNext(m.attempt); !did || err != nil {
		tb.Fatal("nothing is sent")
	}
	m.sent++
	in := s.buffers.Get().(*inbound)
	in.b = batch.AppendDownstreamSeq(append(in.b[:0], m.down...), m.sent, m.sent)
	d, err := batch.ParseDownstream(in.b)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.accept(m.attempt, &intake{in: in, d: d, now: time.Now()}, true); err != nil {
		tb.Fatal(err)
	}
	for _, p := range m.r.ports {
		for _, ok := p.Next(); ok; _, ok = p.Next() {
		}
	}
	m.commit()
}

func (m *mill) commit() {
	for i, p := range m.r.ports {
		p.Carried(m.each)
		if m.records != nil {
			m.records[i].Commit()
		}
		p.Commit()
	}
}

// A message's way through a relay with rings, and the one without, takes no allocation: items for one shard and for several,
// and casts.
func TestTurnsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	for _, rings := range []bool{false, true} {
		m := newMill(t, 3, rings)
		m.down = batch.AppendData(m.down, batch.Link{Index: 1 << 24, Uniq: 9}, 0, make([]byte, 64))
		m.down = batch.AppendDataTo(m.down, batch.ToEveryone(), 0, make([]byte, 64))
		for range 100 {
			m.turn(t)
		}
		if n := testing.AllocsPerRun(1000, func() { m.turn(t) }); n != 0 {
			t.Errorf("rings %v: %v allocations in a turn", rings, n)
		}
		s := m.r.streams[0]
		s.mu.Lock()
		s.tidy()
		s.mu.Unlock()
		if st := s.stats(); st.HeldBatches != 0 || st.Unkept != 0 {
			t.Errorf("rings %v: %+v", rings, st)
		}
		if in := &s.state.inbox; in.last != m.sent || in.done < m.sent-1 {
			t.Errorf("rings %v: %+v after %d", rings, in, m.sent)
		}
	}
}

// What it costs to have rings: a turn with four items up, their receipt, and four items down.
func BenchmarkTurn(b *testing.B) {
	for _, rings := range []bool{false, true} {
		name := map[bool]string{false: "rings=off", true: "rings=on"}[rings]
		b.Run(name, func(b *testing.B) {
			m := newMill(b, 1, rings)
			b.ReportAllocs()
			for b.Loop() {
				m.turn(b)
			}
		})
	}
}
