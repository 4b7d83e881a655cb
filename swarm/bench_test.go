package swarm_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"edged/netpoll"
	"edged/swarm"
	"edged/wire"
)

// plain is a gateway with nothing for each link: it welcomes at once and sends back what it gets.
type plain struct{ loop *netpoll.Loop }

var plainWelcome = wire.AppendWelcome(nil, wire.Welcome{Heartbeat: 25 * time.Second, IdleTimeout: 30 * time.Second, MaxFrame: 65535})

func (p *plain) Opened(c netpoll.Conn, _ int)     { p.loop.Write(c, plainWelcome) }
func (p *plain) Closed(netpoll.Conn, error)       {}
func (p *plain) Backlog(netpoll.Conn, int)        {}
func (p *plain) Pending() bool                    { return false }
func (p *plain) Turn(time.Duration) time.Duration { return -1 }
func (p *plain) Read(c netpoll.Conn, in []byte) int {
	used := 0
	for {
		body, n, _ := wire.Split(in[used:], wire.MaxBody)
		if n == 0 {
			return used
		}
		if len(body) == 0 || body[0] != byte(wire.KindBye) {
			p.loop.Write(c, in[used:used+n])
		}
		used += n
	}
}

// plainGateway starts one.
type plainGateway struct{}

func (plainGateway) start(t testing.TB) (address string) {
	t.Helper()
	group, err := netpoll.New(netpoll.Config{MaxConns: 8192}, func(l *netpoll.Loop) netpoll.Handler { return &plain{l} })
	if err != nil {
		t.Fatal(err)
	}
	_, addr, err := group.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	group.Start()
	t.Cleanup(group.Stop)
	return addr.String()
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// heldBy returns what the heap has grown by while a swarm of so many links is up. The gateway's arrays are there before; the
// buffers that its loop keeps for lending count against the swarm.
func heldBy(b *testing.B, cfg swarm.Config, links int) float64 {
	b.Helper()
	cfg.Target, cfg.Links = []string{plainGateway{}.start(b)}, links
	before := heap()
	held := 0.0
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := swarm.Run(ctx, cfg, func(p swarm.Progress) {
		if p.Links == links && p.Phase == "run" {
			held = float64(heap()) - float64(before)
			cancel()
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return held
}

// BenchmarkMemory measures what a link costs in user space: a swarm of 5,000 links against one of 1,000 (B/link), and all
// that the larger one holds, which includes its buffers and histograms, by its links (B/link-all).
func BenchmarkMemory(b *testing.B) {
	for name, checker := range map[string]bool{"plain": false, "checker": true} {
		b.Run(name, func(b *testing.B) {
			cfg := swarm.Default()
			cfg.Login, cfg.Loops, cfg.Duration, cfg.Checker, cfg.Think = swarm.LoginNone, 1, time.Hour, checker, 2*time.Second
			for range b.N {
				few, many := heldBy(b, cfg, 1000), heldBy(b, cfg, 5000)
				b.ReportMetric((many-few)/4000, "B/link")
				b.ReportMetric(many/5000, "B/link-all")
			}
		})
	}
}

// BenchmarkMessage measures a message and its answer over loopback: swarm, kernel and an echo, all on this machine.
func BenchmarkMessage(b *testing.B) {
	cfg := swarm.Default()
	cfg.Target, cfg.Links, cfg.Login, cfg.Loops, cfg.Depth = []string{plainGateway{}.start(b)}, 100, swarm.LoginNone, 1, 16
	cfg.Duration = time.Second
	for range b.N {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rep, err := swarm.Run(context.Background(), cfg, nil)
		if err != nil {
			b.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		n := float64(rep.Messages.Answered)
		b.ReportMetric(rep.RunS*1e9/n, "ns/msg")
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/msg")
		b.ReportMetric(rep.Messages.PerS, "msg/s")
	}
}
