package linkpool_test

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"edged/linkpool"
)

func TestNothingAllocates(t *testing.T) {
	p := linkpool.New[link](1000, 0)
	for range 500 {
		mustAdd(t, p)
	}
	d := linkpool.NewDeadlines(1000)
	for i := range uint32(500) {
		d.Set(i, linkpool.Millis(i))
	}
	met := 0
	count := func(uint32, uint32, *link) { met++ }
	now := linkpool.Millis(1000)
	sink := uint32(4)

	tests := []struct {
		name string
		call func()
	}{
		{"Add and Del", func() {
			place, uniq, _, _ := p.Add()
			p.Del(place, uniq)
		}},
		{"Get", func() { p.Get(7, 0) }},
		{"Get of a stale link", func() { p.Get(7, 1) }},
		{"At", func() { p.At(7) }},
		{"Each", func() { p.Each(0, 100, count) }},
		{"Index and Place", func() { _, sink = linkpool.Place(linkpool.Index(3, sink)) }},
		{"Set of a new place", func() {
			d.Set(700, now)
			d.Remove(700)
		}},
		{"Set and Earlier", func() {
			d.Set(8, now+1)
			d.Earlier(8, now)
		}},
		{"Next, Due, At and Set", func() {
			now++
			if _, ok := d.Next(); ok {
				place, _ := d.Due(now)
				at, _ := d.At(place)
				d.Set(place, at.Deadline(1000))
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1000, tt.call); n != 0 {
				t.Errorf("%v allocations a run, want none", n)
			}
		})
	}
}

// scannable returns how much of the heap the garbage collector would look
// through for pointers.
func scannable() uint64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestCollectorScansNothing(t *testing.T) {
	before := scannable()
	p := linkpool.New[link](1<<20, 0)
	d := linkpool.NewDeadlines(1 << 20)
	for range p.Cap() {
		place, _, _, _ := p.Add()
		d.Set(place, linkpool.Millis(place))
	}
	if after := scannable(); after > before+64<<10 {
		t.Errorf("a million links add %d bytes to what is scanned", after-before)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(d)
}
