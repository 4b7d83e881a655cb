package relay

import (
	"fmt"
	"testing"

	"edged/batch"
)

// newTestRelay is a relay without Managers, whose shards the test's own goroutine plays.
func newTestRelay(shards int, change func(o *Options)) *Relay {
	o := Options{Config: Default(), Shards: shards, ShardOf: func(index uint32) int { return int(index >> 24) }}
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	if err != nil {
		panic(err)
	}
	return r
}

// sweepPorts takes everything out of the lanes, and returns the number of events.
func sweepPorts(r *Relay) (n int) {
	for _, p := range r.ports {
		for _, ok := p.Next(); ok; _, ok = p.Next() {
			n++
		}
	}
	return n
}

// The price of an item between gRPC and the shards' lanes, in batches of 64 with 64 bytes each.
func BenchmarkSplit(b *testing.B) {
	const size = 64
	payload := make([]byte, size)
	kinds := map[string]func(i, shards int) []byte{
		"one shard": func(int, int) []byte {
			return batch.AppendData(nil, batch.Link{Index: 7, Uniq: 9}, 0, payload)
		},
		"all shards": func(i, shards int) []byte {
			return batch.AppendData(nil, batch.Link{Index: uint32(i%shards)<<24 | 7, Uniq: 9}, 0, payload)
		},
		"users": func(i, _ int) []byte {
			return batch.AppendDataTo(nil, batch.ToUser(fmt.Sprint("user-", i)), 0, payload)
		},
		"every 16th a cast": func(i, shards int) []byte {
			if i%16 == 15 {
				return batch.AppendDataTo(nil, batch.ToRoom("room"), 0, payload)
			}
			return batch.AppendData(nil, batch.Link{Index: uint32(i%shards)<<24 | 7, Uniq: 9}, 0, payload)
		},
		"casts": func(i, _ int) []byte {
			return batch.AppendDataTo(nil, batch.ToRoom("room"), 0, payload)
		},
		"binds and users": func(i, shards int) []byte {
			if i%2 == 0 {
				return batch.AppendBind(nil, batch.Link{Index: uint32(i%shards)<<24 | 7, Uniq: 9}, 0,
					batch.Bind{User: fmt.Append(nil, "user-", i), Device: []byte("phone")})
			}
			return batch.AppendDataTo(nil, batch.ToUser(fmt.Sprint("user-", i)), 0, payload)
		},
	}
	for _, shards := range []int{1, 4} {
		for _, name := range []string{"one shard", "all shards", "users", "every 16th a cast", "casts", "binds and users"} {
			b.Run(fmt.Sprintf("shards=%d/%s", shards, name), func(b *testing.B) {
				benchSplit(b, shards, func(i int) []byte { return kinds[name](i, shards) })
			})
		}
	}
}

func benchSplit(b *testing.B, shards int, item func(i int) []byte) {
	const items = 64
	var bytes []byte
	for i := range items {
		bytes = append(bytes, item(i)...)
	}
	value := new(int)
	r := newTestRelay(shards, func(o *Options) {
		o.UserShards = func(user, _ []byte) Shards { return Shards{1 << (user[len(user)-1] % byte(shards))} }
		o.Cast = func(int, []byte) any { return value }
	})
	s := newSplitter(r, 0, 0)
	s.waiting = r.life.kill.Done
	b.ReportAllocs()
	for n := 0; n < b.N; n += items {
		in := r.buffers.Get().(*inbound)
		in.b = append(in.b[:0], bytes...)
		if _, ok := s.deliver(in, batch.DownItems(in.b)); !ok {
			b.Fatal("no room")
		}
		sweepPorts(r)
	}
}
