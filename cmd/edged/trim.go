package main

import (
	"os"
	"runtime"
	"runtime/debug"
	rt "runtime/metrics"
	"time"
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

// A collection is no pause, but for some milliseconds it takes a CPU, has the reactors wake and makes all stores of pointers slower. With
// a small heap there were several in a second, and their messages made the p99. So some garbage is let grow whatever lives.
const (
	garbageFloor = 64 << 20
	mostPercent  = 1600 // with little alive: the runtime begins with 4 MB
)

// gcPercent returns GOGC for so many bytes alive: garbage may grow to their size, as is usual, or to garbageFloor.
func gcPercent(live uint64) int {
	return int(min(max(garbageFloor*100/max(live, 1), 100), mostPercent))
}

// pacer keeps GOGC in step with what lives, unless the operator has set it.
type pacer struct {
	fixed bool
	set   int
}

func newPacer(gogc string) *pacer { return &pacer{fixed: gogc != ""} }

// follow sets GOGC if it is far from what it should be: setting it stops the world for a moment.
func (p *pacer) follow(live uint64) {
	want := gcPercent(live)
	if p.fixed || want*4 > p.set*3 && want*3 < p.set*4 {
		return
	}
	p.set = want
	debug.SetGCPercent(want)
}

// trim gives memory back when things are quiet, until stop is closed; drop lets go of buffers first.
func trim(stop <-chan struct{}, drop func()) {
	var t trimmer
	p := newPacer(os.Getenv("GOGC"))
	p.follow(0)
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
		p.follow(sample[1].Value.Uint64())
		if t.due(sample[0].Value.Uint64()) {
			drop()
			runtime.GC() // a sync.Pool keeps what it holds over one collection
			debug.FreeOSMemory()
		}
	}
}
