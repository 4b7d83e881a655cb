package offline_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"edged/offline"
)

// BenchmarkStore stores messages of 64 bytes for 100,000 users, 256 in a call, with a call under way while the next is being
// made. With -cpu 1 the program has one core; Redis needs another.
func BenchmarkStore(b *testing.B) {
	for _, users := range []int{100_000, 100} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			_, l := open(b)
			const perCall = 256
			payload := make([]byte, 64)
			var calls atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(3)
			b.RunParallel(func(pb *testing.PB) {
				messages := make([]offline.Message, 0, perCall)
				for more := true; more; {
					call := calls.Add(1) * perCall
					messages = messages[:0]
					for more = pb.Next(); more; more = pb.Next() {
						n := call + int64(len(messages))
						messages = append(messages, offline.Message{User: fmt.Sprint("user-", n*7919%int64(users)), MsgID: fmt.Sprint("message-", n), Payload: payload})
						if len(messages) == perCall {
							break
						}
					}
					for _, r := range l.Store(b.Context(), messages) {
						if r.Err != nil || r.Duplicate {
							b.Errorf("%+v", r)
							return
						}
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkPull reads 10,000 messages of 200 bytes.
func BenchmarkPull(b *testing.B) {
	_, l := open(b)
	messages := several("u", 10_000)
	for i := range messages {
		messages[i].Payload = make([]byte, 200)
	}
	store(b, l, messages...)
	b.ReportAllocs()
	for b.Loop() {
		if p := pull(b, l, "u", "d", 0, 0); len(p.Entries) != 10_000 {
			b.Fatal(len(p.Entries))
		}
	}
}

// BenchmarkSync moves 256 devices in a call.
func BenchmarkSync(b *testing.B) {
	s, l := open(b)
	const perCall = 256
	points := make([]offline.Point, perCall)
	for i := range points {
		user := fmt.Sprint("user-", i)
		s.Do("SET", "edged:ver:{"+user+"}", "9007199254740991")
		points[i] = offline.Point{User: user, Device: "d"}
	}
	version := uint64(0)
	for b.Loop() {
		version++
		for i := range points {
			points[i].Version = version
		}
		for _, err := range l.Sync(b.Context(), points) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*perCall)/b.Elapsed().Seconds(), "points/s")
}
