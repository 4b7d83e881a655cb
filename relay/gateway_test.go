package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"edged/api/edgedpb"
	"edged/batch"
	"edged/relay"
)

// gateway is a relay with its shards, which the test's own goroutine plays.
type gateway struct {
	t     *testing.T
	relay *relay.Relay
	wakes []chan struct{}
	seen  []map[relay.EventKind]int // by shard
}

type setup struct {
	addresses []string
	shards    int
	change    func(o *relay.Options)
}

// shardOf puts the shard into the top byte of an index, as the gateway does.
func shardOf(index uint32) int { return int(index >> 24) }

func newGateway(t *testing.T, s setup) *gateway {
	t.Helper()
	noLeaks(t)
	g := &gateway{t: t}
	s.shards = max(s.shards, 1)
	for range s.shards {
		g.wakes = append(g.wakes, make(chan struct{}, 1))
		g.seen = append(g.seen, make(map[relay.EventKind]int))
	}
	o := relay.Options{
		Config: relay.Default(),
		Hello:  batch.GatewayHello{ID: "gw", Address: "192.0.2.7:8000", Protocol: 1, Version: "test", Epoch: 7},
		Shards: s.shards, ShardOf: shardOf,
		Wake: func(shard int) {
			select {
			case g.wakes[shard] <- struct{}{}:
			default:
			}
		},
		Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
	o.Config.Addresses = s.addresses
	if s.change != nil {
		s.change(&o)
	}
	start := lend(t, &o)
	var err error
	if g.relay, err = relay.New(o); err != nil {
		t.Fatal(err)
	}
	start(g.relay)
	g.relay.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = g.relay.Stop(ctx) // what waits is of no interest any more
	})
	return g
}

// testLog writes to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// noLeaks fails the test if goroutines of it live on after its clean-ups.
func noLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<20)
				t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

// next waits for the next event of a shard.
func (g *gateway) next(shard int) relay.Event {
	g.t.Helper()
	e, ok := g.tryNext(shard, patience)
	if !ok {
		g.t.Fatalf("shard %d waited in vain for an event; %+v", shard, g.relay.Stats())
	}
	return e
}

func (g *gateway) tryNext(shard int, wait time.Duration) (relay.Event, bool) {
	p := g.relay.Port(shard)
	late := time.NewTimer(wait)
	defer late.Stop()
	for {
		if e, ok := p.Next(); ok {
			g.seen[shard][e.Kind]++
			return e, true
		}
		select {
		case <-g.wakes[shard]:
		case <-late.C:
			return relay.Event{}, false
		}
	}
}

func (g *gateway) want(shard int, kind relay.EventKind) relay.Event {
	g.t.Helper()
	e := g.next(shard)
	if e.Kind != kind {
		g.t.Fatalf("shard %d: event %v, want %v", shard, e.Kind, kind)
	}
	return e
}

// data returns the payloads of a shard's next n data items.
func (g *gateway) data(shard, n int) (out []string) {
	g.t.Helper()
	for len(out) < n {
		out = append(out, dataOf(g.t, g.want(shard, relay.EventItems).Items)...)
	}
	return out
}

func dataOf(t testing.TB, items []byte) (out []string) {
	t.Helper()
	it := batch.DownItems(items)
	for {
		item, _, ok := it.Next()
		if !ok {
			break
		}
		var d batch.DownItem
		if err := batch.ParseDownItem(item, &d); err != nil {
			t.Fatal(err)
		}
		out = append(out, string(d.Data))
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return out
}

// send sends a batch of messages of one link.
func (g *gateway) send(shard, m int, payloads ...string) {
	g.t.Helper()
	b := g.relay.Port(shard).Take(m)
	if b == nil {
		g.t.Fatal("no batch to be had")
	}
	for _, p := range payloads {
		b.Items = batch.AppendMessage(b.Items, batch.Link{Index: uint32(shard)<<24 | 5, Uniq: 9}, nil, 3, []byte(p))
	}
	g.relay.Port(shard).Send(m, b)
}

func (g *gateway) stats(shard, m int) relay.StreamStats {
	for _, s := range g.relay.Stats().Streams {
		if s.Shard == shard && s.Manager == m {
			return s
		}
	}
	g.t.Fatalf("no stream of shard %d to Manager %d", shard, m)
	return relay.StreamStats{}
}

// until waits for a condition on a stream's statistics.
func (g *gateway) until(shard, m int, what string, ok func(s relay.StreamStats) bool) relay.StreamStats {
	g.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s := g.stats(shard, m)
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			g.t.Fatalf("waited in vain for %s; have %+v", what, s)
		}
	}
}

func (g *gateway) stop() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.relay.Stop(ctx); err != nil {
		g.t.Fatalf("stop: %v", err)
	}
}

func item(shard int, payload string) *edgedpb.DownItem {
	return &edgedpb.DownItem{
		Target: &edgedpb.DownItem_Link{Link: &edgedpb.LinkRef{Index: uint32(shard)<<24 | 5, Uniq: 9}},
		What:   &edgedpb.DownItem_Data{Data: []byte(payload)},
	}
}

// upPayloads returns the messages of lost batches.
func upPayloads(t *testing.T, lost []*relay.Batch) (out []string) {
	t.Helper()
	for _, b := range lost {
		it := batch.UpItems(b.Items)
		for {
			item, _, ok := it.Next()
			if !ok {
				break
			}
			var u batch.UpItem
			if err := batch.ParseUpItem(item, &u); err != nil {
				t.Fatal(err)
			}
			out = append(out, string(u.Payload))
		}
	}
	return out
}

// series is "first", "first+1", …
func series(first, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(first+i))
	}
	return out
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("differ at %d: got %d %.300q, want %d %.300q", i, len(got), got[min(i, len(got)):], len(want), want[min(i, len(want)):])
		}
	}
}
