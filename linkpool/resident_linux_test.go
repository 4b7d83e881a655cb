//go:build !race

package linkpool_test

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"testing"

	"edged/linkpool"
)

// resident returns the bytes of memory that the process occupies. Under the race
// detector each byte has a shadow that is touched at once, hence the build tag.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(b)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// unused stays reachable: memory that was freed and is used again has to be cleared,
// and is touched by that, which a process that just started need not fear. For the same
// reason the pool is larger than anything that other tests left behind.
var unused []any

func TestPlacesCostNothingBeforeTheirFirstLink(t *testing.T) {
	type wide [64]byte
	const places = linkpool.MaxPlaces
	before := resident(t)
	p := linkpool.New[wide](places, 99)
	d := linkpool.NewDeadlines(places)
	for range 1000 {
		place, uniq, _, _ := p.Add()
		d.Set(place, 0)
		if place%2 == 0 {
			p.Del(place, uniq)
		}
	}
	for place := range uint32(places) {
		p.Get(place, 99)
		p.At(place)
	}
	p.Each(0, places, func(uint32, uint32, *wide) {})
	// 8 MiB leave room for whole huge pages.
	if grown := resident(t) - before; grown > 8<<20 {
		t.Errorf("1000 links of %d places occupy %d bytes", places, grown)
	}
	unused = append(unused, p, d)
}
