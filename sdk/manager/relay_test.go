package manager_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/linkpool"
	"edged/relay"
	"edged/sdk/manager"
)

// The kit and the gateway's own end of the protocol, over TCP that breaks: nothing is lost, doubled or out of order.
func TestWithRelay(t *testing.T) {
	const shards, total = 2, 3000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := manager.New(manager.Options{Handler: manager.Handler{Data: func(e *manager.Event) { _ = e.Data(e.Payload) }}})
	lis := listen(t)
	served := make(chan error, 1)
	go func() { served <- m.Serve(lis) }()
	cut := breaker(t, lis.Addr().String(), rand.New(rand.NewPCG(seed, 0)))

	wake := make([]chan struct{}, shards)
	for i := range wake {
		wake[i] = make(chan struct{}, 1)
	}
	config := relay.Default()
	config.Addresses = []string{cut.addr}
	r, err := relay.New(relay.Options{
		Config:  config,
		Hello:   batch.GatewayHello{ID: "gw", Address: "192.0.2.7:8000", Protocol: 1, Version: "test", Epoch: 5},
		Shards:  shards,
		ShardOf: func(index uint32) int { shard, _ := linkpool.Place(index); return shard },
		Wake: func(shard int) {
			select {
			case wake[shard] <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	var wg sync.WaitGroup
	for i := range shards {
		wg.Go(func() { talk(t, r.Port(i), batch.Link{Index: linkpool.Index(i, 3), Uniq: 4}, total, wake[i]) })
	}
	wg.Wait()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Errorf("relay: %v", err)
	}
	st := m.Stats()
	t.Logf("%d breaks; %d batches in, %d repeats dropped, %d sent again", cut.close(), st.BatchesIn, st.Repeats, st.Resent)
	if st.Holes+st.Garbage+st.Panics != 0 {
		t.Errorf("%+v", st)
	}
	stop(t, m)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// talk is a shard with one link: it says `total` numbers and wants them back in their order.
func talk(t *testing.T, p *relay.Port, l batch.Link, total int, wake <-chan struct{}) {
	limit := time.After(3 * patience)
	said, got := 0, 0
	for got < total {
		for said < total && said-got < 200 {
			b := p.Take(0)
			if b == nil {
				break
			}
			for range 1 + said%7 {
				b.Items = batch.AppendMessage(b.Items, l, nil, batch.KindData, fmt.Append(nil, said))
				said++
			}
			p.Send(0, b)
		}
		for {
			e, ok := p.Next()
			if !ok {
				break
			}
			if e.Kind == relay.EventItems {
				got = check(t, e.Items, l, got)
			}
		}
		select {
		case <-wake:
		case <-time.After(time.Millisecond):
		case <-limit:
			t.Errorf("link %v: %d of %d came back", l, got, total)
			return
		}
	}
}

func check(t *testing.T, items []byte, l batch.Link, got int) int {
	walk := batch.DownItems(items)
	for {
		raw, _, ok := walk.Next()
		if !ok {
			return got
		}
		var it batch.DownItem
		if err := batch.ParseDownItem(raw, &it); err != nil || it.Link != l || string(it.Data) != fmt.Sprint(got) {
			t.Errorf("link %v: %q for %v, want %d: %v", l, it.Data, it.Link, got, err)
		}
		got++
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// proxy passes connections on and cuts each after a random number of bytes.
type proxy struct {
	addr  string
	lis   net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cuts  int
}

func breaker(t *testing.T, to string, rnd *rand.Rand) *proxy {
	t.Helper()
	p := &proxy{lis: listen(t), conns: map[net.Conn]struct{}{}}
	p.addr = p.lis.Addr().String()
	p.wg.Go(func() {
		for {
			in, err := p.lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			up, down := 500+rnd.Int64N(20000), 500+rnd.Int64N(20000)
			p.mu.Lock()
			p.conns[in], p.conns[out] = struct{}{}, struct{}{}
			p.mu.Unlock()
			p.wg.Go(func() { p.pass(in, out, up) })
			p.wg.Go(func() { p.pass(out, in, down) })
		}
	})
	return p
}

func (p *proxy) pass(from, to net.Conn, most int64) {
	if n, _ := io.CopyN(to, from, most); n == most {
		p.mu.Lock()
		p.cuts++
		p.mu.Unlock()
	}
	_ = from.Close()
	_ = to.Close()
	p.mu.Lock()
	delete(p.conns, from)
	p.mu.Unlock()
}

func (p *proxy) close() (cuts int) {
	_ = p.lis.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	cuts = p.cuts
	p.mu.Unlock()
	p.wg.Wait()
	return cuts
}
