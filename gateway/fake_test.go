package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"edged/batch"
	"edged/handover"
	"edged/relay"
	"edged/wire"
)

const patience = 5 * time.Second

// fakePort is a port whose Managers do what a test says. It is touched on the shard's thread alone, by bench.on.
type fakePort struct {
	managers []fakeManager
	events   []relay.Event
	free     []*relay.Batch
	recycle  bool // batches are used again at once instead of being kept
	batches  int
	commit   func() // the end of a turn
}

// fakeManager is one of them. Batches go from queue, as they are read, to kept, where they wait for a receipt.
type fakeManager struct {
	up, full, wanted bool
	process          int
	queue, kept      []*relay.Batch
}

func (p *fakePort) Managers() int { return len(p.managers) }
func (p *fakePort) Up(m int) bool { return p.managers[m].up }
func (p *fakePort) Pending() bool { return len(p.events) > 0 }

func (p *fakePort) Trim() {}

func (p *fakePort) Flush() {}

func (p *fakePort) Carried(func(stream int, seq uint64, index uint32)) {}

func (p *fakePort) Commit() {
	if p.commit != nil {
		p.commit()
	}
}

// Held is what was sent and not taken off the queue yet.
func (p *fakePort) Held(m int) (n int) {
	for _, b := range p.managers[m].queue {
		n += len(b.Items)
	}
	return n
}

func (p *fakePort) Take(m int) *relay.Batch {
	if p.managers[m].full {
		p.managers[m].wanted = true
		return nil
	}
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		b.Items = b.Items[:0]
		return b
	}
	return &relay.Batch{Items: make([]byte, 0, 20000)}
}

func (p *fakePort) Send(m int, b *relay.Batch) {
	p.batches++
	if p.recycle {
		p.free = append(p.free, b)
	} else if len(b.Items) > 0 {
		p.managers[m].queue = append(p.managers[m].queue, b)
	}
}

// Next also does what the relay does with an event's batches: those that were sent before the shard sees it are lost too.
func (p *fakePort) Next() (relay.Event, bool) {
	if len(p.events) == 0 {
		return relay.Event{}, false
	}
	e := p.events[0]
	p.events = p.events[1:]
	if e.Manager == relay.NoManager {
		return e, true
	}
	m := &p.managers[e.Manager]
	if e.Kind == relay.EventNew || e.Kind == relay.EventGone && len(p.managers) > 1 {
		e.Lost = append(m.kept, m.queue...)
		m.kept, m.queue = nil, nil
	}
	return e, true
}

func (p *fakePort) tell(k relay.EventKind, m int) {
	p.events = append(p.events, relay.Event{Kind: k, Manager: m})
}

// items is what a Manager says.
func (p *fakePort) items(m int, b []byte) {
	p.events = append(p.events, relay.Event{Kind: relay.EventItems, Manager: m, Items: b})
}

// bench is a shard on a real loop with a fake port.
type bench struct {
	testing.TB
	g    *Gateway
	s    *shard
	port *fakePort

	memories []*handover.Memory // written to
}

func newBench(t testing.TB, managers int, change ...func(*Config)) *bench {
	t.Helper()
	return newBenchOf(t, managers, func(o *Options) {
		for _, f := range change {
			f(&o.Config)
		}
	})
}

func newBenchOf(t testing.TB, managers int, change func(*Options)) *bench {
	t.Helper()
	o := Options{Config: Default(), Listeners: []Listener{DefaultListener()}, Managers: relay.Default(), Files: 20000,
		Log: slog.New(slog.DiscardHandler)}
	o.Config.Reactors, o.Config.Capacity = 1, 1000
	o.Listeners[0].Address = "127.0.0.1:0"
	o.Keep = &Keep{}
	if change(&o); o.Keep != nil {
		wantKeep(t, &o)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, g: g, s: g.shards[0], port: &fakePort{managers: make([]fakeManager, managers)}}
	for i := range b.port.managers {
		b.port.managers[i].up = true
	}
	b.s.port = b.port
	b.s.managers = newManagers(managers)
	if o.Keep != nil {
		b.keepAnew()
	}
	g.Start()
	t.Cleanup(func() {
		g.group.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		g.stopDesk(ctx)
		for _, m := range b.memories {
			_ = m.Close()
		}
	})
	return b
}

func newManagers(n int) managers { return managers{list: make([]manager, n), bound: 64 << 10} }

// on runs f on the shard's thread.
func (b *bench) on(f func()) {
	b.Helper()
	b.onShard(b.s, f)
}

func (b *bench) onShard(s *shard, f func()) {
	b.Helper()
	done := make(chan struct{})
	s.loop.Post(func() { defer close(done); f() })
	select {
	case <-done:
	case <-time.After(patience):
		b.Fatal("the shard does not answer")
	}
}

// turn runs f and lets the shard finish its turn.
func (b *bench) turn(f func()) {
	b.Helper()
	b.on(f)
	b.on(func() {})
}

// connect opens a connection.
func (b *bench) connect() net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", b.g.Addresses()[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(6 * patience))
	return conn
}

// dial opens a connection and returns its link, if it became one.
func (b *bench) dial() (net.Conn, linkName) {
	b.Helper()
	conn := b.connect()
	name, seen := linkName{}, false
	for end := time.Now().Add(patience); !seen && time.Now().Before(end); {
		b.on(func() {
			for _, n := range b.s.count.Refused {
				seen = seen || n > 0
			}
			b.s.links.Each(0, b.s.links.Cap(), func(place, uniq uint32, l *link) {
				if b.s.loop.Remote(l.conn).String() == conn.LocalAddr().String() {
					name, seen = linkName{place, uniq}, true
				}
			})
		})
	}
	if !seen {
		b.Fatal("the connection was not taken")
	}
	return conn, name
}

// read lends bytes of the client to the shard, as the loop would, and returns what it left. On the shard's thread.
func (b *bench) read(n linkName, in []byte) []byte {
	l := b.s.links.Get(n.place, n.uniq)
	if l == nil {
		return nil
	}
	b.s.keep.touch(n.place) // the loop would tell
	return in[b.s.Read(l.conn, in):]
}

// sent are the items that are on their way to a Manager. On the shard's thread.
func (b *bench) sent(m int) (all []batch.UpItem) {
	for _, q := range b.port.managers[m].queue {
		all = append(all, parse(b, q.Items)...)
	}
	return all
}

func parse(t testing.TB, items []byte) (all []batch.UpItem) {
	it := batch.UpItems(items)
	for {
		item, _, ok := it.Next()
		if !ok {
			break
		}
		var up batch.UpItem
		if err := batch.ParseUpItem(item, &up); err != nil {
			t.Fatal(err)
		}
		all = append(all, up)
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return all
}

// frames reads all that a client gets, in short.
func frames(t testing.TB, conn net.Conn) (all []string) {
	t.Helper()
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Error(err)
	}
	for len(b) > 0 {
		body, n, err := wire.Split(b, wire.MaxBody)
		if err != nil || n == 0 || wire.CheckGateway(body) != nil {
			t.Errorf("a broken frame: % x", b)
			return all
		}
		b = b[n:]
		all = append(all, inShort(body))
	}
	return all
}

func inShort(body []byte) string {
	if len(body) == 0 {
		return "beat"
	}
	k, rest := wire.Kind(body[0]), body[1:]
	switch k {
	case wire.KindPong:
		return fmt.Sprint("pong ", wire.ParsePing(rest))
	case wire.KindBye:
		return fmt.Sprint("bye ", byte(wire.ParseBye(rest).Reason))
	case wire.KindPush:
		p, _ := wire.ParsePush(rest)
		return fmt.Sprint("push ", p.TID, " ", string(p.Payload))
	case wire.KindData:
		return "data " + string(rest)
	}
	return k.String()
}
