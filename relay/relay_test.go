package relay_test

import (
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/relay"
)

// Generated code that knows nothing of receipts understands us, and we it.
func TestPlainManager(t *testing.T) {
	m := newMute(t)
	m.during = func(m *manager, r uint32, b *edgedpb.Upstream) error {
		for _, it := range b.Items {
			m.push(r, item(0, "re "+string(it.GetMessage().GetPayload())))
		}
		return nil
	}
	g := newGateway(t, setup{addresses: []string{start(t, m).address}})
	g.want(0, relay.EventUp)
	if !g.relay.Port(0).Up(0) || g.relay.Port(0).Managers() != 1 {
		t.Error("the port does not show the Manager")
	}
	for i := range 50 {
		g.send(0, 0, series(10*i, 10)...)
		for _, p := range g.data(0, 10) {
			if len(p) < 4 {
				t.Fatalf("got %q back", p)
			}
		}
	}
	same(t, m.untilPayloads(0, 500), series(0, 500))
	m.until(0, "the hello", func(b *book) bool {
		h := b.hello
		return h.GetGatewayId() == "gw" && h.Address == "192.0.2.7:8000" && h.Protocol == 1 && h.Version == "test" && h.Epoch == 7 && h.Reactor == 0
	})
	for i, up := range m.books[0].batches {
		if up.Seq != uint64(i+1) || len(up.Items) == 0 {
			t.Fatalf("batch %d has number %d, %d items", i, up.Seq, len(up.Items))
		}
	}
	// The Manager has the last item before our own sender has counted it.
	st := g.until(0, 0, "the counters", func(s relay.StreamStats) bool { return s.Sent.Items == 500 && s.KeptBatches == 0 && s.HeldBatches == 0 })
	if st.Received.Items != 500 || st.HeldBytes != 0 || st.State != relay.StateUp || !st.Reachable {
		t.Errorf("stats: %+v", st)
	}
	if st.ItemsPerBatch.Count != st.Sent.Batches || st.ItemsPerBatch.Sum != 500 {
		t.Errorf("histogram: %+v", st.ItemsPerBatch)
	}
}

func TestReceiptsBothWays(t *testing.T) {
	m := newManager(t, "m1")
	g := newGateway(t, setup{addresses: []string{start(t, m).address}})
	g.want(0, relay.EventUp)
	for i := range 300 {
		g.send(0, 0, series(i, 1)...)
		m.push(0, item(0, series(i, 1)[0]))
	}
	same(t, g.data(0, 300), series(0, 300))
	same(t, m.untilPayloads(0, 300), series(0, 300))
	m.until(0, "our receipts", func(b *book) bool { return b.receipt == 300 && len(b.unsure) == 0 })
	st := g.until(0, 0, "its receipts", func(s relay.StreamStats) bool { return s.KeptBatches == 0 })
	if st.HeldBatches != 0 || st.HeldBytes != 0 {
		t.Errorf("still held: %+v", st)
	}
	if st.ReceiptMicros.Count == 0 || st.Again != 0 || st.Repeated != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// A Manager that only sends is told what we have, after a while or after a number of batches.
func TestBareReceipts(t *testing.T) {
	m := newManager(t, "m1")
	g := newGateway(t, setup{addresses: []string{start(t, m).address}})
	g.want(0, relay.EventUp)
	m.push(0, item(0, "0"))
	g.data(0, 1)
	begin := time.Now()
	m.until(0, "a receipt for one", func(b *book) bool { return b.receipt == 1 })
	if d := time.Since(begin); d < 20*time.Millisecond {
		t.Errorf("the receipt came after %v", d)
	}
	for range 320 {
		m.push(0, item(0, "x"))
	}
	g.data(0, 320)
	m.until(0, "receipts for all", func(b *book) bool { return b.receipt == 321 })
}

func TestManagerBackWithItsBooks(t *testing.T) {
	m := newManager(t, "m1")
	s := start(t, m)
	g := newGateway(t, setup{addresses: []string{s.address}})
	g.want(0, relay.EventUp)
	for round := range 3 {
		g.send(0, 0, series(20*round, 10)...)
		m.push(0, item(0, series(round, 1)[0]))
		s.kill()
		g.send(0, 0, series(20*round+10, 10)...)
		s = serve(t, listen(t, "tcp", s.address), m)
		same(t, m.untilPayloads(0, 20*round+20), series(0, 20*round+20))
	}
	same(t, g.data(0, 3), series(0, 3))
	if e, ok := g.tryNext(0, 50*time.Millisecond); ok {
		t.Errorf("unexpected event %v", e.Kind)
	}
	st := g.until(0, 0, "receipts", func(s relay.StreamStats) bool { return s.KeptBatches == 0 })
	if st.Streams < 4 || st.Renewed != 0 || st.Gone != 0 {
		t.Errorf("stats: %+v", st)
	}
}

func TestAnotherManagerComes(t *testing.T) {
	a := newManager(t, "a")
	s := start(t, a)
	g := newGateway(t, setup{addresses: []string{s.address}})
	g.want(0, relay.EventUp)
	g.send(0, 0, series(0, 10)...)
	g.until(0, 0, "receipts", func(s relay.StreamStats) bool { return s.Sent.Items == 10 && s.KeptBatches == 0 })
	s.kill()
	g.until(0, 0, "the end", func(s relay.StreamStats) bool { return s.State == relay.StateDown })
	g.send(0, 0, series(10, 5)...)
	g.send(0, 0, series(15, 5)...)

	b := newManager(t, "b")
	serve(t, listen(t, "tcp", s.address), b)
	// Sent before the shard knows that another one is there: not for that one without an announcement.
	g.until(0, 0, "the new one", func(s relay.StreamStats) bool { return s.Renewed == 1 })
	g.send(0, 0, series(20, 5)...)
	e := g.want(0, relay.EventNew)
	same(t, upPayloads(t, e.Lost), series(10, 15))

	p := g.relay.Port(0)
	hello := p.Take(0)
	hello.Items = batch.AppendOpened(hello.Items, batch.Link{Index: 5, Uniq: 9}, nil)
	p.Send(0, hello)
	for _, l := range e.Lost {
		p.Send(0, l)
	}
	g.send(0, 0, "25")
	same(t, b.untilPayloads(0, 17), append([]string{"opened"}, series(10, 16)...))
	g.until(0, 0, "receipts", func(s relay.StreamStats) bool { return s.KeptBatches == 0 && s.HeldBatches == 0 && s.HeldBytes == 0 })
}

func TestGoneToAnotherManager(t *testing.T) {
	a, b := newManager(t, "a"), newManager(t, "b")
	sa, sb := start(t, a), start(t, b)
	g := newGateway(t, setup{addresses: []string{sa.address, sb.address}, change: func(o *relay.Options) {
		o.Config.Grace = 300 * time.Millisecond
	}})
	g.want(0, relay.EventUp)
	g.want(0, relay.EventUp)
	a.until(0, "the hello", func(b *book) bool { return b.stream != nil })
	a.set(func() { a.receipts = false }) // what it takes in now, it never admits
	g.send(0, 0, "0")
	g.send(0, 0, "1")
	a.untilPayloads(0, 2)
	sa.kill()
	g.send(0, 0, "2")
	e := g.want(0, relay.EventGone)
	if e.Manager != 0 || g.relay.Port(0).Up(0) {
		t.Errorf("gone: %d, up: %v", e.Manager, g.relay.Port(0).Up(0))
	}
	same(t, upPayloads(t, e.Lost), series(0, 3))
	for _, l := range e.Lost {
		g.relay.Port(0).Send(1, l)
	}
	same(t, b.untilPayloads(0, 3), series(0, 3))

	// The numbers that were taken back go out empty: no hole, nothing twice.
	g.send(0, 0, "3")
	a.set(func() { a.receipts = true })
	serve(t, listen(t, "tcp", sa.address), a)
	if e := g.want(0, relay.EventUp); e.Manager != 0 {
		t.Errorf("up: %d", e.Manager)
	}
	same(t, a.untilPayloads(0, 3), []string{"0", "1", "3"})
	st := g.until(0, 0, "receipts", func(s relay.StreamStats) bool { return s.KeptBatches == 0 })
	if st.Gone != 1 || st.Lost < 2 || st.Lost > 3 {
		t.Errorf("stats: %+v", st)
	}
}

func TestGoneWhenAlone(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	address := l.Addr().String()
	_ = l.Close()
	g := newGateway(t, setup{addresses: []string{address}, change: func(o *relay.Options) {
		o.Config.Grace = 200 * time.Millisecond
	}})
	g.send(0, 0, "0")
	if e := g.want(0, relay.EventGone); len(e.Lost) != 0 {
		t.Errorf("%d batches lost", len(e.Lost))
	}
	g.send(0, 0, "1")
	m := newManager(t, "m")
	serve(t, listen(t, "tcp", address), m)
	g.want(0, relay.EventUp)
	same(t, m.untilPayloads(0, 2), series(0, 2))
}

func TestItemsGoToTheirShards(t *testing.T) {
	m := newManager(t, "m")
	g := newGateway(t, setup{addresses: []string{start(t, m).address}, shards: 2})
	g.want(0, relay.EventUp)
	g.want(1, relay.EventUp)
	room := &edgedpb.DownItem{Target: &edgedpb.DownItem_Room{Room: "r"}, What: &edgedpb.DownItem_Data{Data: []byte("room")}}
	m.until(0, "the stream", func(b *book) bool { return b.stream != nil })
	m.push(0, item(0, "a"), item(0, "b"))
	m.push(0, item(1, "c"), item(1, "d"))
	m.push(0, item(1, "e"), item(0, "f"), item(1, "g"), room, item(0, "h"))
	m.push(0, item(77, "no such shard"))
	same(t, g.data(0, 6), []string{"a", "b", "f", "room", "h", "no such shard"})
	same(t, g.data(1, 4), []string{"c", "d", "e", "g"})
	m.push(1, room, item(0, "i"))
	same(t, g.data(1, 1), []string{"room"})
	same(t, g.data(0, 1), []string{"i"})
	if h := m.books[1].hello; h.Reactor != 1 {
		t.Errorf("hello of shard 1: %v", h)
	}
}

func TestUnixSocket(t *testing.T) {
	m := newManager(t, "m")
	path := t.TempDir() + "/m.sock"
	serve(t, listen(t, "unix", path), m)
	g := newGateway(t, setup{addresses: []string{"unix:" + path}})
	g.want(0, relay.EventUp)
	g.send(0, 0, "0")
	same(t, m.untilPayloads(0, 1), series(0, 1))
}
