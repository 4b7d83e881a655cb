package main

import (
	"runtime"
	"runtime/debug"
	rt "runtime/metrics"
	"time"

	"edged/gcpace"
)

// The Go runtime lets garbage grow up to the size of what lives before it collects, and gives memory back slowly. What lives here
// is mostly flat tables of links, so after a burst (everybody logs in) as much again can lie about for minutes. Once things
// are quiet it is given back at once: a collection costs next to nothing, because the tables hold no pointers.
const (
	trimEvery = 2 * time.Second
	trimFrom  = 1 << 20   // bytes allocated since the last time: below, there is nothing to gain
	trimQuiet = 256 << 10 // bytes allocated in trimEvery: above, they would be needed again at once
)

// trimmer decides when memory is given back.
type trimmer struct {
	last    uint64 // allocated in all, at the last look
	trimmed uint64 // allocated in all, at the last trim
}

// due says whether to give memory back now that so much was allocated in all.
func (t *trimmer) due(allocated uint64) bool {
	quiet := allocated-t.last < trimQuiet
	t.last = allocated
	if !quiet || allocated-t.trimmed < trimFrom {
		return false
	}
	t.trimmed = allocated
	return true
}

// trim gives memory back when things are quiet, until stop is closed; drop lets go of buffers first.
func trim(stop <-chan struct{}, drop func()) {
	var t trimmer
	p := gcpace.New()
	sample := []rt.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		rt.Read(sample)
		p.Follow(sample[1].Value.Uint64())
		if t.due(sample[0].Value.Uint64()) {
			drop()
			runtime.GC() // a sync.Pool keeps what it holds over one collection
			debug.FreeOSMemory()
		}
	}
}
