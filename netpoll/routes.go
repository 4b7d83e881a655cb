package netpoll

import (
	"maps"
	"slices"
)

// routes says which loop is whose. Immutable.
type routes struct {
	queue map[int]int      // by number of a queue; one that several devices have, with several loops, is in cpu alone
	napi  map[uint32][]int // one loop each
	cpu   map[int][]int    // the loops pinned to a CPU, else those of the queues that it works on
	on    map[int][]int    // numbers of the queues that a CPU works on
	own   [][]int          // numbers of the queues of each loop
}

// newRoutes gives each queue a loop: one that is pinned to the queue's CPU, in turn where several are; else the one that has
// the fewest queues. cpus has the CPU that each loop is pinned to, -1 for none.
func newRoutes(cpus []int, queues []Queue) *routes {
	r := &routes{
		queue: map[int]int{}, napi: map[uint32][]int{}, cpu: map[int][]int{}, on: map[int][]int{}, own: make([][]int, len(cpus)),
	}
	for loop, cpu := range cpus {
		if cpu >= 0 {
			r.cpu[cpu] = append(r.cpu[cpu], loop)
		}
	}
	pinned := maps.Clone(r.cpu)
	turn := map[int]int{}
	loops := make([]int, len(queues))
	for i, q := range queues {
		loops[i] = -1
		if on := pinned[q.CPU]; len(on) != 0 {
			loops[i] = on[turn[q.CPU]%len(on)]
			turn[q.CPU]++
			r.give(q, loops[i])
		}
	}
	for i, q := range queues {
		if loops[i] < 0 {
			loops[i] = r.fewest()
			r.give(q, loops[i])
			if q.CPU >= 0 && !slices.Contains(r.cpu[q.CPU], loops[i]) {
				r.cpu[q.CPU] = append(r.cpu[q.CPU], loops[i])
			}
		}
	}
	for i, q := range queues {
		if first, ok := r.queue[q.Index]; !ok {
			r.queue[q.Index] = loops[i]
		} else if first != loops[i] {
			r.queue[q.Index] = -1
		}
	}
	maps.DeleteFunc(r.queue, func(_, loop int) bool { return loop < 0 })
	return r
}

// give notes that a queue is a loop's own.
func (r *routes) give(q Queue, loop int) {
	r.own[loop] = append(r.own[loop], q.Index)
	if q.NAPI != 0 {
		r.napi[q.NAPI] = []int{loop}
	}
	if q.CPU >= 0 {
		r.on[q.CPU] = append(r.on[q.CPU], q.Index)
	}
}

// fewest returns the loop with the fewest queues.
func (r *routes) fewest() int {
	least := 0
	for loop := range r.own {
		if len(r.own[loop]) < len(r.own[least]) {
			least = loop
		}
	}
	return least
}

// busy returns how many loops have queues.
func (r *routes) busy() int {
	n := 0
	for _, queues := range r.own {
		if len(queues) != 0 {
			n++
		}
	}
	return n
}

// home returns the loops that a connection is at home on whose packets came with these marks; none where that is not known.
// With byCPU the queue does not matter.
func (r *routes) home(napi uint32, cpu int, byCPU bool) []int {
	if !byCPU && napi != 0 {
		if loops := r.napi[napi]; loops != nil {
			return loops
		}
	}
	return r.cpu[cpu]
}

// shifted says whether a connection would have come to loop if the drivers added shift more to a queue's number than the
// program believes.
func (r *routes) shifted(napi uint32, cpu, loop, shift int) bool {
	for _, q := range r.queuesOf(napi, cpu) {
		if to, ok := r.queue[q+shift]; ok && to == loop {
			return true
		}
	}
	return false
}

// queuesOf returns the queues by which packets with these marks may have come.
func (r *routes) queuesOf(napi uint32, cpu int) []int {
	if loops := r.napi[napi]; napi != 0 && loops != nil {
		return r.own[loops[0]]
	}
	return r.on[cpu]
}
