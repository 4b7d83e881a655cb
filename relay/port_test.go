package relay

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newTestPort(buffer int) *Port {
	o := &Options{Config: Default(), Wake: func(int) {}}
	o.Addresses, o.Buffer = []string{"a", "b"}, buffer
	p, err := newPort(0, o, make(chan struct{}), newBuffers())
	if err != nil {
		panic(err)
	}
	return p
}

// sweep is a sender to which everything is receipted at once.
func sweep(o *outlet) {
	var l list
	o.queue.takeInto(&l)
	for b := l.pop(); b != nil; b = l.pop() {
		o.forget(b)
	}
}

func TestShardSideDoesNotAllocate(t *testing.T) {
	p := newTestPort(1 << 20)
	out := p.outlets[0]
	items := make([]byte, 1000)
	in := &inbound{b: make([]byte, 0, largeCap)}
	turn := func() {
		for range 3 {
			b := p.Take(0)
			b.Items = append(b.Items, items...)
			p.Send(0, b)
		}
		sweep(out)
		in.b = append(in.b[:0], items...)
		p.push(itemsEvent(0, in), cap(in.b), nil)
		if !p.Pending() {
			t.Fatal("nothing pending")
		}
		e, ok := p.Next()
		if !ok || len(e.Items) != len(items) {
			t.Fatalf("event %v with %d bytes", e.Kind, len(e.Items))
		}
		p.last = nil // in stays ours: the pool may be emptied by the collector
		p.quota.give(in.charge)
		if _, ok := p.Next(); ok || p.Pending() {
			t.Fatal("more than one event")
		}
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestBuffersFollowTheTraffic(t *testing.T) {
	p := newTestPort(1 << 20)
	out := p.outlets[0]
	send := func(n int) int {
		b := p.Take(0)
		size := cap(b.Items)
		b.Items = append(b.Items, make([]byte, n)...)
		p.Send(0, b)
		sweep(out)
		return size
	}
	send(100)
	if size := send(100); size != smallCap {
		t.Errorf("a small batch got %d bytes", size)
	}
	send(10000)
	if size := send(16000); size < frameLen {
		t.Errorf("a large batch got %d bytes", size)
	}
	send(1 << 20) // a giant's buffer must not stay
	if size := send(100); size > keepCap {
		t.Errorf("a buffer of %d bytes was kept", size)
	}
	send(100)
	if size := send(100); size != smallCap {
		t.Errorf("a small batch got %d bytes again", size)
	}
}

func TestEmptyBatchIsGivenBack(t *testing.T) {
	p := newTestPort(1 << 20)
	for range 3 * maxHeld {
		p.Send(0, p.Take(0))
	}
	p.Send(0, nil)
	if out := p.outlets[0]; out.batches.Load() != 0 || out.bytes.Load() != 0 || out.queue.head.Load() != nil {
		t.Errorf("%d batches are held", out.batches.Load())
	}
}

// A batch that gRPC never lets go holds no room and is never used again.
func TestLeakedReference(t *testing.T) {
	p := newTestPort(minBuffer)
	out := p.outlets[0]
	leaked := make(map[*Batch]bool)
	for range 1000 {
		b := p.Take(0)
		if b == nil {
			t.Fatal("leaks fill the bound")
		}
		if leaked[b] {
			t.Fatal("a lent batch was given out")
		}
		b.Items = append(b.Items, 1)
		b.ref()
		leaked[b] = true
		p.Send(0, b)
		sweep(out)
	}
	for b := range leaked {
		b.Put(nil)
	}
	if b := p.Take(0); !leaked[b] {
		t.Error("freed batches are not used again")
	}
}

// A foreign batch, made by hand or lost at another Manager, can be sent as well.
func TestForeignBatch(t *testing.T) {
	p := newTestPort(1 << 20)
	p.Send(0, &Batch{Items: []byte("abc")})
	var l list
	p.outlets[0].queue.takeInto(&l)
	b := l.pop()
	p.outlets[0].giveUp(b)
	if grown := append(b.Items, 'd'); &grown[0] == &b.Items[0] {
		t.Error("an append to a lost batch lands in what gRPC may read")
	}
	p.Send(1, b)
	sweep(p.outlets[1])
	for m, out := range p.outlets {
		if out.batches.Load() != 0 || out.bytes.Load() != 0 {
			t.Errorf("Manager %d: %d batches, %d bytes", m, out.batches.Load(), out.bytes.Load())
		}
	}
}

// The shard is told of room exactly when it asked, and not at the bound's edge.
func TestRoom(t *testing.T) {
	p := newTestPort(minBuffer)
	out := p.outlets[1]
	var held []*Batch
	for {
		b := p.Take(1)
		if b == nil {
			break
		}
		b.Items = append(b.Items, 1)
		p.Send(1, b)
		held = append(held, b)
	}
	if len(held) != minBuffer/smallCap {
		t.Fatalf("%d batches fit", len(held))
	}
	for i, b := range held {
		e, ok := p.Next()
		if ok != (i == len(held)/4) {
			t.Fatalf("event %v after %d of %d batches left", ok, i, len(held))
		}
		if ok && (e.Kind != EventRoom || e.Manager != 1) {
			t.Fatalf("event %v of Manager %d", e.Kind, e.Manager)
		}
		out.forget(b)
	}
}

// What is sent between an event with lost batches and its delivery is lost with them.
func TestReopen(t *testing.T) {
	p := newTestPort(1 << 20)
	out := p.outlets[0]
	send := func(item byte) *Batch {
		b := p.Take(0)
		b.Items = append(b.Items, item)
		p.Send(0, b)
		return b
	}
	early := send(1)
	var l list
	out.queue.takeInto(&l)
	out.giveUp(early)
	out.shut.Add(1)
	p.tell(Event{Kind: EventGone, Lost: []*Batch{early}, shut: true})
	send(2)
	send(3)
	e, _ := p.Next()
	var got []byte
	for _, b := range e.Lost {
		got = append(got, b.Items...)
	}
	if string(got) != "\x01\x02\x03" || out.shut.Load() != 0 || out.batches.Load() != 0 {
		t.Errorf("lost %v, shut %d, %d held", got, out.shut.Load(), out.batches.Load())
	}
}

// Whatever the sender does, a batch that was sent is never overlooked.
func TestRingIsNeverLost(t *testing.T) {
	p := newTestPort(1 << 30)
	out := p.outlets[0]
	const total = 20000
	var closed atomic.Bool
	patience := time.AfterFunc(20*time.Second, func() {
		closed.Store(true)
		_ = out.bell.Close()
	})
	defer patience.Stop()
	var wg sync.WaitGroup
	got := 0
	wg.Go(func() {
		for got < total {
			var l list
			if out.queue.takeInto(&l); l.n == 0 {
				out.nap.Store(napAsleep)
				if out.queue.takeInto(&l); l.n == 0 {
					out.bell.Wait(out.sleeps)
					if closed.Load() {
						t.Error("asleep for ever")
						return
					}
				}
				out.nap.Store(napAwake)
			}
			for b := l.pop(); b != nil; b = l.pop() {
				if int(b.Items[0]) != got%251 {
					t.Errorf("batch %d is %d", got, b.Items[0])
				}
				got++
				out.forget(b)
			}
		}
	})
	for i := range total {
		b := p.Take(0)
		for b == nil { // the number is bounded too
			b = p.Take(0)
		}
		b.Items = append(b.Items, byte(i%251))
		p.Send(0, b)
	}
	wg.Wait()
}

func TestQuota(t *testing.T) {
	q := newQuota(1000)
	done := make(chan struct{})
	if !q.take(5000, done) {
		t.Fatal("the largest message does not fit alone")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if !q.take(400, done) {
					t.Error("refused")
				}
				mu.Lock()
				taken++
				mu.Unlock()
				if held := q.held.Load(); held > 1000+400 {
					t.Errorf("%d bytes are held", held)
				}
				q.give(400)
			}
		})
	}
	time.Sleep(time.Millisecond)
	mu.Lock()
	if taken != 0 {
		t.Errorf("%d got in beyond the bound", taken)
	}
	mu.Unlock()
	q.give(5000)
	wg.Wait()
	if taken != 4000 || q.held.Load() != 0 {
		t.Errorf("%d taken, %d held", taken, q.held.Load())
	}
	q.take(1000, done)
	close(done)
	if q.take(1, done) {
		t.Error("taken beyond the bound at the end")
	}
}

// The price for the shard of one batch: Take, Send, and its share of the buffers that come back.
func BenchmarkTakeSend(b *testing.B) {
	p := newTestPort(1 << 20)
	b.ReportAllocs()
	for i := range b.N {
		out := p.Take(0)
		out.Items = append(out.Items, 1)
		p.Send(0, out)
		if i%16 == 0 {
			sweep(p.outlets[0])
		}
	}
}

func BenchmarkNext(b *testing.B) {
	p := newTestPort(1 << 20)
	in := &inbound{b: make([]byte, 1000)}
	b.ReportAllocs()
	for range b.N {
		p.push(itemsEvent(0, in), cap(in.b), nil)
		p.Next()
		p.last = nil
		p.quota.give(in.charge)
	}
}

func TestTrimDropsEmptyBuffers(t *testing.T) {
	p := newTestPort(1 << 20)
	out := p.outlets[0]
	send := func() {
		b := p.Take(0)
		b.Items = append(b.Items, "item"...)
		p.Send(0, b)
	}
	send()
	send()
	sweep(out)
	send() // takes one that came back; the other one is spare
	p.Trim()
	if out.small.n+out.large.n != 0 || out.returned != nil {
		t.Errorf("%d and %d buffers are kept", out.small.n, out.large.n)
	}
	if n := out.batches.Load(); n != 1 {
		t.Errorf("%d batches are held, not the one that was sent", n)
	}
	sweep(out)
	send()
	if n := out.batches.Load(); n != 1 {
		t.Errorf("%d batches are held", n)
	}
}
