package lane_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"edged/lane"
)

// value is the size of a command to a shard: a slice and two words.
type value struct {
	bytes []byte
	words [2]uint64
}

var sample = value{bytes: make([]byte, 64), words: [2]uint64{1, 2}}

// queue is what the benchmarks compare: the lane, and the channel that it has to
// beat.
type queue struct {
	name string
	push func(v value) // waits for room
	pop  func() bool
}

func queues() []queue {
	l := lane.New[value](1024, func() {})
	ch := make(chan value, 1024)
	return []queue{{
		name: "lane",
		push: func(v value) { l.PushWait(nil, v) },
		pop: func() bool {
			_, ok := l.Pop()
			return ok
		},
	}, {
		name: "channel",
		push: func(v value) { ch <- v },
		pop: func() bool {
			select {
			case <-ch:
				return true
			default:
				return false
			}
		},
	}}
}

// BenchmarkAlone is the price of a push and a pop without anybody else.
func BenchmarkAlone(b *testing.B) {
	for _, q := range queues() {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q.push(sample)
				q.pop()
			}
		})
	}
}

// BenchmarkBatches is the usual life: producers push what they have, the
// consumer is woken and takes all of it.
func BenchmarkBatches(b *testing.B) {
	for _, producers := range []int{1, 4} {
		for _, q := range queues() {
			b.Run(fmt.Sprintf("producers=%d/%s", producers, q.name), func(b *testing.B) {
				b.ReportAllocs()
				const batch = 64
				var all sync.WaitGroup
				for n := 0; n < b.N; n += producers * batch {
					for range producers {
						all.Go(func() {
							for range batch {
								q.push(sample)
							}
						})
					}
					all.Wait()
					for q.pop() {
					}
				}
			})
		}
	}
}

// BenchmarkOverload has producers that are always faster than the consumer, so
// that the queue is full and they wait.
func BenchmarkOverload(b *testing.B) {
	for _, producers := range []int{1, 4} {
		for _, q := range queues() {
			b.Run(fmt.Sprintf("producers=%d/%s", producers, q.name), func(b *testing.B) {
				b.ReportAllocs()
				var all sync.WaitGroup
				for p := range producers {
					all.Go(func() {
						for range (b.N + p) / producers {
							q.push(sample)
						}
					})
				}
				for n := 0; n < b.N; {
					if q.pop() {
						n++
					} else {
						runtime.Gosched()
					}
				}
				all.Wait()
			})
		}
	}
}
