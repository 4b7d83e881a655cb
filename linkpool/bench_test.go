package linkpool_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"edged/linkpool"
)

const million = 1 << 20

func fullPool(b *testing.B, links int) *linkpool.Pool[[64]byte] {
	b.Helper()
	p := linkpool.New[[64]byte](million, 0)
	for range links {
		p.Add()
	}
	return p
}

// order returns places in an order that no prefetcher follows.
func order(n int) []uint32 {
	places := make([]uint32, n)
	for i, v := range rand.Perm(n) {
		places[i] = uint32(v)
	}
	return places
}

// BenchmarkAddDel lets one link come and one go, at random places of a million.
func BenchmarkAddDel(b *testing.B) {
	p := fullPool(b, million)
	places := order(million)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		place := places[i%million]
		_, uniq := p.At(place)
		p.Del(place, uniq)
		p.Add()
	}
}

func BenchmarkGet(b *testing.B) {
	p := fullPool(b, million)
	places := order(million)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if p.Get(places[i%million], 0) == nil {
			b.Fatal("a link is gone")
		}
	}
}

// BenchmarkEach walks over a million links; the time is that of one link.
func BenchmarkEach(b *testing.B) {
	p := fullPool(b, million)
	at := 0
	for n := 0; n < b.N; n += 1000 {
		at = p.Each(at, 1000, func(uint32, uint32, *[64]byte) {})
	}
}

func fullDeadlines(at func(place uint32) linkpool.Millis) *linkpool.Deadlines {
	d := linkpool.NewDeadlines(million)
	for _, place := range order(million) {
		d.Set(place, at(place))
	}
	return d
}

// BenchmarkDeadlinesSet moves deadlines of a million to random times.
func BenchmarkDeadlinesSet(b *testing.B) {
	d := fullDeadlines(func(uint32) linkpool.Millis { return linkpool.Millis(rand.Uint32N(60_000)) })
	places := order(million)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.Set(places[i%million], linkpool.Millis(places[(i+7*(i/million)+1)%million]%60_000))
	}
}

// BenchmarkDeadlinesDue is the life of a timer: of a million links each comes up
// once in 30 s and gets a deadline for a stamp some seconds old.
func BenchmarkDeadlinesDue(b *testing.B) {
	d := fullDeadlines(func(uint32) linkpool.Millis { return linkpool.Millis(rand.Uint32N(30_000)) })
	stale := order(million)
	now := linkpool.Millis(0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		place, ok := d.Due(now)
		for ; !ok; place, ok = d.Due(now) {
			now, _ = d.Next()
		}
		d.Set(place, (now - linkpool.Millis(stale[i%million]%25_000)).Deadline(30*time.Second))
	}
}

// BenchmarkDeadlinesComeAndGo sets and removes one deadline beside a million.
func BenchmarkDeadlinesComeAndGo(b *testing.B) {
	d := fullDeadlines(func(uint32) linkpool.Millis { return linkpool.Millis(rand.Uint32N(30_000)) })
	places := order(million)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		place := places[i%million]
		d.Remove(place)
		d.Set(place, linkpool.Millis(places[(i+7*(i/million)+1)%million]%30_000))
	}
}
