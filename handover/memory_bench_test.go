package handover_test

import (
	"testing"

	"edged/handover"
)

// BenchmarkRecords is what a reactor pays: for a message's record, one that is written again in its turn, one with cold bytes, and
// a turn of 64 messages with its end.
func BenchmarkRecords(b *testing.B) {
	const links = 15000
	records := newMemory(b, handover.Geometry{Shards: 1, Records: links, Blocks: links + 100}).Records(0)
	hot, cold := make([]byte, handover.HotBytes), make([]byte, 200)
	for i := range links {
		if !records.PutAll(i, hot, cold) {
			b.Fatal("full")
		}
	}
	records.Commit()
	run := func(name string, f func(i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f(i)
			}
		})
	}
	turn := func(i int) {
		if i%64 == 0 {
			records.Commit()
		}
	}
	run("put", func(i int) { records.Put(i%links, hot); turn(i) })
	run("put-one", func(i int) { records.Put(0, hot); turn(i) })
	run("put-again", func(i int) { records.Put(i/64*64%links, hot); turn(i) })
	run("all-200", func(i int) {
		if !records.PutAll(i%links, hot, cold) {
			b.Fatal("full")
		}
		turn(i)
	})
	run("turn-64", func(i int) {
		for j := range 64 {
			records.Put((i*64+j)%links, hot)
		}
		records.Commit()
	})
	run("commit", func(int) { records.Commit() })
}

func BenchmarkRing(b *testing.B) {
	m := newMemory(b, handover.Geometry{Shards: 1, Rings: 1, RingBytes: 1 << 20})
	ring := m.Ring(0, 0)
	body := make([]byte, 150)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, end, ok := ring.Append(body)
			if !ok {
				b.Fatal("full")
			}
			ring.Release(end)
		}
	})
	b.Run("note-300", func(b *testing.B) {
		note := make([]byte, 300)
		b.ReportAllocs()
		for b.Loop() {
			ring.PutNote(note)
		}
	})
}
