package room_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"edged/room"
)

const members = 100_000

// spread returns the places of a crowd in an order that no prefetcher follows: every
// third of the shard's links.
func spread() []uint32 {
	places := make([]uint32, members)
	for i, v := range rand.Perm(members) {
		places[i] = 3 * uint32(v)
	}
	return places
}

// perMember reports what a benchmark whose iteration is the whole crowd spends on one.
func perMember(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/member")
}

func full(b *testing.B, name []byte, places []uint32) *room.Table {
	b.Helper()
	r := room.New(room.Default())
	for _, place := range places {
		if _, err := r.Join(name, place); err != nil {
			b.Fatal(err)
		}
	}
	return r
}

func BenchmarkJoin(b *testing.B) {
	name := []byte("live-1234567")
	rising := upTo(members)
	for _, tt := range []struct {
		name   string
		places []uint32
	}{{"random", spread()}, {"rising", rising}} {
		b.Run(tt.name, func(b *testing.B) {
			held := 0
			for b.Loop() {
				held = full(b, name, tt.places).Held()
			}
			perMember(b)
			b.ReportMetric(float64(held)/members, "B/membership")
		})
	}
}

// emptied times what makes a full room empty.
func emptied(b *testing.B, leave func(r *room.Table, name []byte, place uint32)) {
	name := []byte("live-1234567")
	places, order := spread(), spread()
	for range b.N {
		b.StopTimer()
		r := full(b, name, places)
		b.StartTimer()
		for _, place := range order {
			leave(r, name, place)
		}
		if r.Len() != 0 {
			b.Fatal("somebody is left")
		}
	}
	perMember(b)
}

func BenchmarkLeave(b *testing.B) {
	emptied(b, func(r *room.Table, name []byte, place uint32) { r.Leave(name, place) })
}

func BenchmarkDrop(b *testing.B) {
	emptied(b, func(r *room.Table, _ []byte, place uint32) { r.Drop(place) })
}

// BenchmarkWalk is a broadcast in slices of 1,000.
func BenchmarkWalk(b *testing.B) {
	name := []byte("live-1234567")
	r := full(b, name, spread())
	met := 0
	b.ReportAllocs()
	for b.Loop() {
		for c := r.Walk(name, 0); r.Each(&c, 1000, func(uint32) { met++ }); {
		}
	}
	perMember(b)
}

// BenchmarkManyRooms is one link that joins and leaves one of a million rooms.
func BenchmarkManyRooms(b *testing.B) {
	const rooms = 1_000_000
	r := room.New(room.Default())
	name := make([]byte, 36)
	for i := range uint32(rooms) {
		binary.LittleEndian.PutUint32(name, i)
		if _, err := r.Join(name, i/10); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint32(name, uint32(i*7919)%rooms)
		_, _ = r.Join(name, rooms)
		r.Leave(name, rooms)
	}
	b.ReportMetric(float64(r.Held())/rooms, "B/membership")
}

func BenchmarkAppendState(b *testing.B) {
	r := full(b, []byte("live-1234567"), spread())
	var state []byte
	for b.Loop() {
		state = r.AppendState(state[:0])
	}
	perMember(b)
	b.ReportMetric(float64(len(state))/members, "B/membership")
}

func BenchmarkLoad(b *testing.B) {
	state := full(b, []byte("live-1234567"), spread()).AppendState(nil)
	for b.Loop() {
		if _, _, err := room.Load(room.Default(), state); err != nil {
			b.Fatal(err)
		}
	}
	perMember(b)
}
