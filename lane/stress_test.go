package lane_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"edged/lane"
)

// patience bounds every wait of a test: who is still parked then was forgotten.
const patience = 30 * time.Second

type item struct{ producer, n int }

// consumer is a reactor in small: it sleeps until it is woken and then takes a
// bounded batch, so that each push and each pop has to wake the other side.
type consumer struct {
	lane  *lane.Lane[item]
	bell  chan struct{} // holds one ring, like an eventfd
	batch int
}

func newConsumer(slots, batch int) *consumer {
	c := &consumer{bell: make(chan struct{}, 1), batch: batch}
	c.lane = lane.New[item](slots, c.ring)
	return c
}

func (c *consumer) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// run takes the wanted number of items and checks each producer's order.
func (c *consumer) run(t *testing.T, producers, want int) {
	t.Helper()
	limit := time.After(patience)
	next := make([]int, producers)
	for got := 0; got < want; {
		select {
		case <-c.bell:
		case <-limit:
			t.Fatalf("%d of %d items after %v; %d in the lane: somebody was not woken", got, want, patience, c.lane.Len())
		}
		for range c.batch {
			v, ok := c.lane.Pop()
			if !ok {
				break
			}
			if v.n != next[v.producer] {
				t.Fatalf("producer %d: item %d comes where %d is due", v.producer, v.n, next[v.producer])
			}
			next[v.producer]++
			got++
		}
		if c.lane.Len() > 0 {
			c.ring() // the batch is over, the work is not
		}
	}
	if v, ok := c.lane.Pop(); ok || c.lane.Len() != 0 {
		t.Errorf("item %v is left over", v)
	}
}

func items(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func TestProducersWaitAndKeepTheirOrder(t *testing.T) {
	tests := []struct {
		name                    string
		slots, batch, producers int
	}{
		{"one producer, smallest lane", 2, 1, 1},
		{"many producers, smallest lane", 2, 1, 16},
		{"many producers, batches as large as the lane", 2, 2, 16},
		{"few producers", 8, 64, 3},
		{"as many as slots", 16, 5, 16},
		{"large lane", 1024, 256, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newConsumer(tt.slots, tt.batch)
			each := items(200_000) / tt.producers
			var all sync.WaitGroup
			for p := range tt.producers {
				all.Go(func() {
					for n := range each {
						if !c.lane.PushWait(nil, item{p, n}) {
							t.Errorf("producer %d was sent away at item %d", p, n)
							return
						}
					}
				})
			}
			c.run(t, tt.producers, each*tt.producers)
			all.Wait()
			if c.lane.Full() != 0 {
				t.Errorf("waiting was counted as %d refusals", c.lane.Full())
			}
		})
	}
}

// TestPushAndPushWaitTogether mixes those who wait with those who try again.
func TestPushAndPushWaitTogether(t *testing.T) {
	const producers = 6
	c := newConsumer(4, 3)
	each := items(200_000) / producers
	var all sync.WaitGroup
	var refused [producers]uint64
	for p := range producers {
		all.Go(func() {
			for n := range each {
				if p%2 == 0 {
					c.lane.PushWait(nil, item{p, n})
					continue
				}
				for !c.lane.Push(item{p, n}) {
					refused[p]++
					runtime.Gosched()
				}
			}
		})
	}
	c.run(t, producers, each*producers)
	all.Wait()
	want := uint64(0)
	for _, n := range refused {
		want += n
	}
	if c.lane.Full() != want {
		t.Errorf("Full is %d after %d refusals", c.lane.Full(), want)
	}
}

// TestImpatientProducers gives up and tries again all the time: a token that
// meets one who is leaving must still reach one who stays.
func TestImpatientProducers(t *testing.T) {
	const producers = 8
	c := newConsumer(2, 1)
	each := items(50_000) / producers
	stop := make(chan struct{})
	hurry := make(chan struct{}) // one value sends one waiter away
	var nagging, all sync.WaitGroup
	nagging.Go(func() {
		for {
			select {
			case hurry <- struct{}{}:
			case <-stop:
				return
			}
		}
	})
	for p := range producers {
		all.Go(func() {
			for n := range each {
				if p < producers/2 {
					c.lane.PushWait(nil, item{p, n})
					continue
				}
				for !c.lane.PushWait(hurry, item{p, n}) {
					runtime.Gosched()
				}
			}
		})
	}
	c.run(t, producers, each*producers)
	all.Wait()
	close(stop)
	nagging.Wait()
}

func TestReadersMayLookAnyTime(t *testing.T) {
	c := newConsumer(4, 4)
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			if n := c.lane.Len(); n < 0 || n > c.lane.Cap() {
				t.Errorf("length %d of %d", n, c.lane.Cap())
			}
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	})
	n := items(100_000)
	all.Go(func() {
		for i := range n {
			c.lane.PushWait(nil, item{0, i})
		}
	})
	c.run(t, 1, n)
	close(stop)
	all.Wait()
}
