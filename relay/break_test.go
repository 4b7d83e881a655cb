package relay_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"edged/batch"
	"edged/relay"
)

// wire stands between gateway and Manager, and can be cut.
type wire struct {
	net.Listener
	to string
	wg sync.WaitGroup
	mu sync.Mutex
	on map[net.Conn]bool
}

func newWire(t *testing.T, to string) *wire {
	w := &wire{Listener: listen(t, "tcp", "127.0.0.1:0"), to: to, on: make(map[net.Conn]bool)}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		_ = w.Close()
		w.cut()
		w.wg.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		a, err := w.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = a.Close()
			continue
		}
		w.mu.Lock()
		w.on[a], w.on[b] = true, true
		w.mu.Unlock()
		w.wg.Go(func() { w.copy(a, b) })
		w.wg.Go(func() { w.copy(b, a) })
	}
}

func (w *wire) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from) // ends when either side is cut
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		delete(w.on, c)
		_ = c.Close()
	}
}

// cut breaks all connections; what is under way is lost.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.on {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, so that nothing unread arrives after all
		_ = c.Close()
	}
}

// With receipts on both sides streams may break at any time: nothing is lost, doubled or out of order.
func TestRandomBreaks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const shards, total = 2, 6000
	m := newManager(t, "m")
	m.lag = 16 // so that there is something to repeat
	w := newWire(t, start(t, m).address)
	g := newGateway(t, setup{addresses: []string{w.Addr().String()}, shards: shards})

	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rnd.IntN(150)) * time.Millisecond):
				w.cut()
			}
		}
	})
	for shard := range shards {
		wg.Go(func() { // the Manager pushes, at times for the other shard's links too
			for i := 0; i < total; i += 3 {
				m.push(uint32(shard), item(shard, fmt.Sprint(i)), item(shard, fmt.Sprint(i+1)), item(shard, fmt.Sprint(i+2)))
				time.Sleep(time.Millisecond) // so that it lasts for some breaks
			}
		})
	}
	var shardsDone sync.WaitGroup
	for shard := range shards {
		shardsDone.Go(func() { playShard(g, shard, total) })
	}
	shardsDone.Wait()
	for shard := range shards {
		same(t, m.untilPayloads(uint32(shard), total), series(0, total))
		m.push(uint32(shard))
		st := g.until(shard, 0, "receipts", func(s relay.StreamStats) bool { return s.HeldBatches == 0 && s.HeldBytes == 0 })
		if st.Streams < 3 || st.Again == 0 || st.Repeated == 0 {
			t.Errorf("too little broke: %+v", st)
		}
		if st.Holes != 0 || st.Garbage != 0 || st.Renewed != 0 {
			t.Errorf("stats: %+v", st)
		}
		t.Logf("shard %d: %d streams, %d sent again, %d repeated by the Manager", shard, st.Streams, st.Again, st.Repeated)
	}
}

// playShard sends and receives total payloads, in batches of any size.
func playShard(g *gateway, shard, total int) {
	rnd := rand.New(rand.NewPCG(uint64(shard), 2))
	p := g.relay.Port(shard)
	sent, got := 0, 0
	end := time.Now().Add(3 * patience)
	for (sent < total || got < total) && time.Now().Before(end) {
		if sent < total && sent <= got+60 { // in step with what comes, so that it lasts as long
			if b := p.Take(0); b != nil {
				for n := 1 + rnd.IntN(20); n > 0 && sent < total; n-- {
					b.Items = batch.AppendMessage(b.Items, batch.Link{Index: uint32(shard) << 24}, nil, 3, fmt.Append(nil, sent))
					sent++
				}
				p.Send(0, b)
			}
		}
		e, ok := g.tryNext(shard, 2*time.Millisecond)
		if !ok || e.Kind != relay.EventItems {
			continue
		}
		for _, d := range dataOf(g.t, e.Items) {
			if d != fmt.Sprint(got) {
				g.t.Errorf("shard %d: got %s, want %d", shard, d, got)
				return
			}
			got++
		}
	}
	if sent < total || got < total {
		g.t.Errorf("shard %d: %d sent, %d received", shard, sent, got)
	}
}
