// Package gcpace keeps the garbage collector from running all the time in a process in which little lives.
//
// The Go runtime lets garbage grow to the size of what lives, and to 4 MB at least. A process that has little alive and much to do
// thus collects ten times a second and more. A collection is no pause, but for some milliseconds it takes CPUs, and who has to
// wait for those makes the p99. Here garbage may grow to 64 MB whatever lives, and to the size of what lives when that is more.
package gcpace

import (
	"context"
	"os"
	"runtime/debug"
	rt "runtime/metrics"
	"time"
)

const (
	floor       = 64 << 20
	mostPercent = 1600 // with little alive: the runtime begins with 4 MB
	every       = 2 * time.Second
)

// percent returns GOGC for so many bytes alive.
func percent(live uint64) int {
	return int(min(max(floor*100/max(live, 1), 100), mostPercent))
}

// Pacer keeps GOGC of the process in step with what lives. There should be one.
type Pacer struct {
	fixed bool
	set   int
}

// New returns a Pacer that has set GOGC for a process in which nothing lives yet. One for which the operator has set GOGC in the
// environment changes nothing, ever.
func New() *Pacer {
	p := &Pacer{fixed: os.Getenv("GOGC") != ""}
	p.Follow(0)
	return p
}

// Follow is told how many bytes live, and sets GOGC if it is far from what it should be: setting it stops the world for a moment.
func (p *Pacer) Follow(live uint64) {
	want := percent(live)
	if p.fixed || want*4 > p.set*3 && want*3 < p.set*4 {
		return
	}
	p.set = want
	debug.SetGCPercent(want)
}

// Run paces until ctx ends, and leaves GOGC as it is then.
func Run(ctx context.Context) {
	p := New()
	sample := []rt.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			rt.Read(sample)
			p.Follow(sample[0].Value.Uint64())
		}
	}
}
