//go:build !race

package linkpool_test

import (
	"bytes"
	"os"
	"runtime"
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

func TestPlacesCostNothingBeforeTheirFirstLink(t *testing.T) {
	type wide [256]byte
	const places = 4 << 20 // more than 1 GiB, so no freed part of the heap is used again
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
	runtime.KeepAlive(p)
	runtime.KeepAlive(d)
}
