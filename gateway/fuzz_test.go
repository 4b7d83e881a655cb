package gateway

import (
	"bytes"
	"net"
	"testing"

	"edged/batch"
	"edged/delivery"
	"edged/linkpool"
	"edged/relay"
	"edged/wire"
)

// FuzzRead gives a shard any bytes of a client, cut anywhere: it must not fall over, and what it tells the Manager and what it
// counts must fit together.
func FuzzRead(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, uint16(1), true)
	f.Add(wire.Append(hello("ann"), wire.KindData, []byte("x")), uint16(3), true)
	f.Add(wire.Append(nil, wire.KindData, []byte("x")), uint16(2), false)
	f.Add(wire.AppendBye(wire.AppendPing(nil, 7), 200, 9, "why"), uint16(5), true)
	f.Add(wire.AppendAck(nil, 1, 2, 3), uint16(1), true)
	f.Add([]byte{255, 255, 3, 1}, uint16(9), false)
	f.Add(wire.AppendAck(wire.AppendAck(nil, 4, 2, 2, 99), 0, 1<<31), uint16(7), true)
	b := newBench(f, 1, func(c *Config) { c.MaxFrame = 300 })
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, welcomed bool) {
		name := fresh(t, b)
		b.turn(func() {
			if welcomed {
				b.s.carryOut(0, batch.AppendBind(nil, b.s.name(name.place, name.uniq), 0, batch.Bind{}))
				for i := range 5 { // so that an ACK may mean something
					p := batch.Push{MsgID: []byte{'m', byte('0' + i)}, Ack: batch.AckRequired}
					b.s.carryOut(0, batch.AppendPush(nil, batch.ToLink(b.s.name(name.place, name.uniq)), 0, p))
				}
			}
			var kept []byte
			for rest := in; len(rest) > 0; {
				n := min(len(rest), 1+int(cut)%(1+len(rest)))
				kept = append(kept, rest[:n]...)
				rest = rest[n:]
				kept = bytes.Clone(b.read(name, kept))
				if len(kept) > wire.HeadLen+300 {
					t.Fatalf("%d bytes are left", len(kept))
				}
			}
		})
		b.on(func() { b.finish(t, name) })
	})
}

// FuzzCarryOut gives a shard any bytes of a Manager behind good items for a link.
func FuzzCarryOut(f *testing.F) {
	l := batch.Link{Index: linkpool.Index(0, 0), Uniq: 1}
	f.Add(batch.AppendData(nil, l, 1, []byte("x")))
	f.Add(batch.AppendPush(nil, batch.ToLink(l), 2, batch.Push{Payload: []byte("x"), MsgID: []byte("m"), Ack: batch.AckRequired}))
	f.Add(batch.AppendPatch(nil, l, 3, []batch.KV{{Key: "a.b", Value: "c"}, {Key: "user"}}, []string{"x.y"}))
	f.Add(batch.AppendBind(nil, l, 4, batch.Bind{User: []byte("u"), Device: []byte("d")}))
	f.Add(batch.AppendClose(nil, batch.ToLink(l), 5, batch.Close{Reason: 300, Text: []byte("t")}))
	f.Add(batch.AppendJoin(nil, batch.ToEveryone(), 6, "room"))
	f.Add(batch.AppendLeave(batch.AppendJoin(nil, batch.ToUser("u"), 0, "room"), batch.ToRoom("room"), 0, "room"))
	f.Add(batch.AppendDataTo(batch.AppendPush(nil, batch.ToUser("u"), 2, batch.Push{Version: 3, MsgID: []byte("m"), Ack: batch.AckRequired}), batch.ToRoom("r"), 0, nil))
	f.Add(batch.AppendPush(nil, batch.ToDevice("u", ""), 2, batch.Push{PackageID: 1, SeqID: 2, Count: 3, Version: 7, AllowGzip: true, TTLMs: 1}))
	f.Add(batch.AppendPush(nil, batch.ToEveryone(), 2, batch.Push{Payload: make([]byte, 290), MsgID: []byte("m"), Ack: batch.AckSampled, AllowGzip: true}))
	f.Add(batch.AppendClose(nil, batch.ToRoom("r"), 0, batch.Close{}))
	f.Add(batch.AppendBind(batch.AppendPush(nil, batch.ToLink(l), 0, batch.Push{Version: 1}), l, 0, batch.Bind{User: []byte("v"), Synced: 1 << 63}))
	log := &FakeLog{}
	b := newBenchOf(f, 1, func(o *Options) {
		o.Config.MaxFrame, o.Offline = 300, log
		o.Delivery = delivery.Default()
		o.Delivery.Window, o.Delivery.GzipMin, o.Delivery.Sample = 2, 1, 1
	})
	b.on(func() { b.s.casting.atOnce = 0 })
	f.Fuzz(func(t *testing.T, in []byte) {
		name := fresh(t, b)
		b.turn(func() {
			target := b.s.name(name.place, name.uniq)
			items := batch.AppendBind(nil, target, 0, batch.Bind{User: []byte("u")})
			items = append(items, in...)
			b.s.carryOut(0, items)
			// The same, all of it for the live link.
			for it := batch.DownItems(in); ; {
				item, raw, ok := it.Next()
				if !ok {
					break
				}
				var d batch.DownItem
				if batch.ParseDownItem(item, &d) == nil {
					d.Target, d.Link = batch.TargetLink, target
					b.s.writtenOf = nil
					b.s.operation(0, &d)
				}
				// And as what goes to all shards.
				b.s.carryOut(relay.NoManager, batch.AppendJoin(nil, batch.ToLink(target), 0, string(d.Room)))
				if c, ok := b.g.newCast(0, item).(*cast); ok {
					b.s.takeCast(c)
				}
				b.s.carryOut(relay.NoManager, raw)
			}
		})
		b.on(func() { b.finish(t, name) })
	})
}

// fresh opens a link for one input.
func fresh(t *testing.T, b *bench) linkName {
	b.TB = t // the fuzz target's own must not be used in it
	conn, err := net.Dial("tcp", b.g.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	t.Cleanup(func() { _ = conn.Close() })
	for {
		var name linkName
		found := false
		b.on(func() {
			b.s.links.Each(0, b.s.links.Cap(), func(place, uniq uint32, l *link) {
				if b.s.loop.Remote(l.conn).String() == conn.LocalAddr().String() {
					name, found = linkName{place, uniq}, true
				}
			})
		})
		if found {
			return name
		}
	}
}

// finish ends the link, if it has not ended, and looks at what the Manager was told of it.
func (b *bench) finish(t *testing.T, name linkName) {
	for len(b.s.casting.walks) > 0 {
		b.s.runWalks()
	}
	if l := b.s.links.Get(name.place, name.uniq); l != nil {
		b.s.end(name.place, name.uniq, l, ending{reason: wire.ByeKicked})
	}
	if b.s.links.Len() == 0 {
		if n := b.s.rooms.Len() + b.s.windows.Pushes() + b.s.orders.Len() + len(b.s.replays.by) + len(b.s.syncing.stuck) + b.s.casting.bytes + b.g.directory.Devices(); n != 0 {
			t.Errorf("left behind: %+v", b.s.stats())
		}
	}
	b.s.managers.flush(b.s)
	opened, closed := 0, 0
	for _, i := range b.sent(0) {
		if i.Link != b.s.name(name.place, name.uniq) {
			continue
		}
		switch i.What {
		case batch.UpOpened:
			opened++
		case batch.UpClosed:
			closed++
		case batch.UpMessage:
			if opened != 1 || closed != 0 {
				t.Errorf("a message behind %d opened and %d closed", opened, closed)
			}
		}
	}
	b.port.managers[0].queue = nil
	ended := uint64(0)
	for _, n := range b.s.count.Ended {
		ended += n
	}
	if opened != 1 || closed != 1 || ended+uint64(b.s.links.Len()) != b.s.count.Opened ||
		b.s.sessions.Len() != b.s.links.Len() || b.s.deadlines.Len() != b.s.links.Len() {
		t.Errorf("opened %d, closed %d; counted: opened %d, ended %d, links %d, sessions %d, deadlines %d", opened, closed,
			b.s.count.Opened, ended, b.s.links.Len(), b.s.sessions.Len(), b.s.deadlines.Len())
	}
}
