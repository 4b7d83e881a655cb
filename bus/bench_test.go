package bus_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"edged/batch"
	"edged/bus"
	"edged/redisconn/redistest"
)

// BenchmarkBus is one batch from a Publisher to the Receiver of one gateway, by a Redis of its own, with both ends on one core.
// The number in the name is the pushes of 100 bytes in a batch.
func BenchmarkBus(b *testing.B) {
	for _, pushes := range []int{1, 10, 100} {
		for _, sharded := range []bool{true, false} {
			b.Run(fmt.Sprintf("pushes=%d/sharded=%v", pushes, sharded), func(b *testing.B) { benchmark(b, pushes, sharded) })
		}
	}
}

// counter is a Receiver that counts.
type counter struct {
	n, want int
	all     chan struct{}
}

func (c *counter) Batch(bus.Source, []byte) {
	if c.n++; c.n == c.want {
		close(c.all)
	}
}

func (c *counter) Missed(bus.Source) { panic("interrupted") }

func benchmark(b *testing.B, pushes int, sharded bool) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := redistest.Start(b, "--client-output-buffer-limit", "pubsub 0 0 0")
	if !sharded {
		forbid(s)
	}
	cl := dial(b, s.Addr)
	c := &counter{want: b.N, all: make(chan struct{})}
	sub := bus.NewSubscriber(cl, "g", c, nil)
	sub.Start()
	defer sub.Stop()
	eventually(b, "subscribed", func() bool { return sub.Heard(bus.FromOwn).Up })
	p := publisher(b, cl)
	var down []byte
	for range pushes {
		down = batch.AppendPush(down, batch.ToUser("user-4711"), 0, batch.Push{Payload: make([]byte, 100)})
	}
	to(b, p, "other", "warm")
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := p.To(context.Background(), "g", down, nil); err != nil {
			b.Fatal(err)
		}
	}
	await(b, c.all)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "batches/s")
	b.ReportMetric(float64(b.N*pushes)/b.Elapsed().Seconds(), "pushes/s")
}
