package netpoll

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// run does what the kernel does with a program for a packet with these marks, and returns the index that it answers with.
func (p program) run(t *testing.T, queue, cpu, random uint32) int {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(p); pc++ {
		switch s := p[pc]; s.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{askQueue: queue, askCPU: cpu, askRandom: random}[s.K]
		case unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K:
			a %= s.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(s.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == s.K {
				pc += int(s.Jt)
			} else {
				pc += int(s.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return int(int32(s.K))
		default:
			t.Fatalf("step %d: %+v", pc, s)
		}
	}
	t.Fatal("the program does not end")
	return 0
}

// random boxes: the program answers as the routes say, and the routes are what newRoutes promises.
func TestProgramAgainstRoutes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		cpus := make([]int, 1+r.IntN(8))
		index := make([]int, len(cpus))
		for i := range cpus {
			cpus[i] = r.IntN(6) - 1
			index[i] = i
		}
		r.Shuffle(len(index), func(i, j int) { index[i], index[j] = index[j], index[i] })
		queues := make([]Queue, r.IntN(12))
		for i := range queues {
			queues[i] = Queue{Index: r.IntN(16), CPU: r.IntN(8) - 1}
		}
		if r.IntN(3) == 0 {
			index[r.IntN(len(index))] = -1 // its socket is gone
		}
		checkProgram(t, r, cpus, index, queues)
	}
}

func checkProgram(t *testing.T, r *rand.Rand, cpus, index []int, queues []Queue) {
	t.Helper()
	routes := newRoutes(cpus, queues)
	base := r.IntN(2)
	byQueue, byCPU := newProgram(SteerQueue, base, routes, index), newProgram(SteerCPU, 0, routes, index)
	for raw := range uint32(20) {
		for cpu := range uint32(8) {
			random := r.Uint32()
			want := []int{noLoop}
			if loops := routes.cpu[int(cpu)]; len(loops) != 0 {
				if want = indexes(index, loops); len(want) == 0 {
					want = []int{noLoop}
				}
			}
			if got := byCPU.run(t, raw, cpu, random); !slices.Contains(want, got) {
				t.Fatalf("CPU %d: %d, want one of %v (%+v)", cpu, got, want, routes)
			}
			if loop, ok := routes.queue[int(raw)-base]; ok && index[loop] >= 0 {
				want = []int{index[loop]}
			}
			if got := byQueue.run(t, raw, cpu, random); !slices.Contains(want, got) {
				t.Fatalf("queue %d on CPU %d: %d, want one of %v (%+v)", raw, cpu, got, want, routes)
			}
		}
	}
}

func indexes(index, loops []int) (of []int) {
	for _, loop := range loops {
		if index[loop] >= 0 {
			of = append(of, index[loop])
		}
	}
	return of
}

func TestRoutes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cpus   []int // of the loops
		queues []Queue
		loops  []int // of the queues; -1: by CPU alone
		cpu    map[int][]int
	}{
		{"each has its own", []int{4, 5}, []Queue{{0, 0, 5}, {1, 0, 4}}, []int{1, 0}, map[int][]int{4: {0}, 5: {1}}},
		{"several on a CPU take turns", []int{0, 0, 0}, []Queue{{0, 0, 0}, {1, 0, 0}, {2, 0, 0}, {3, 0, 0}}, []int{0, 1, 2, 0}, map[int][]int{0: {0, 1, 2}}},
		{"more queues than loops", []int{0, 1}, []Queue{{0, 0, 0}, {1, 0, 1}, {2, 0, 2}, {3, 0, 3}}, []int{0, 1, 0, 1}, map[int][]int{0: {0}, 1: {1}, 2: {0}, 3: {1}}},
		{"nobody is pinned", []int{-1, -1}, []Queue{{0, 0, 7}, {1, 0, 8}}, []int{0, 1}, map[int][]int{7: {0}, 8: {1}}},
		{"no CPU is known", []int{-1, -1}, []Queue{{0, 0, -1}, {1, 0, -1}, {2, 0, -1}}, []int{0, 1, 0}, map[int][]int{}},
		{"one is pinned, the other one's queue is elsewhere", []int{3, -1}, []Queue{{0, 0, 3}, {1, 0, 9}}, []int{0, 1}, map[int][]int{3: {0}, 9: {1}}},
		{"two devices", []int{0, 1, 2}, []Queue{{0, 0, 0}, {1, 0, 1}, {0, 0, 2}, {1, 0, 1}}, []int{-1, 1, -1, 1}, map[int][]int{0: {0}, 1: {1}, 2: {2}}},
	} {
		r := newRoutes(tc.cpus, tc.queues)
		for i, q := range tc.queues {
			loop, ok := r.queue[q.Index]
			if !ok {
				loop = -1
			}
			if loop != tc.loops[i] {
				t.Errorf("%s: queue %d is for loop %d, want %d", tc.name, q.Index, loop, tc.loops[i])
			}
		}
		for cpu := range 10 {
			if !slices.Equal(r.home(0, cpu, true), tc.cpu[cpu]) {
				t.Errorf("%s: CPU %d is for loops %v, want %v", tc.name, cpu, r.home(0, cpu, true), tc.cpu[cpu])
			}
		}
	}
	r := newRoutes([]int{-1, -1}, []Queue{{0, 70, -1}, {1, 71, -1}})
	if !slices.Equal(r.home(71, 5, false), []int{1}) || r.home(71, 5, true) != nil || r.home(72, 5, false) != nil {
		t.Errorf("by NAPI: %+v", r)
	}
}

// A share of misses that is allowed never ends a mode, one well beyond it soon does.
func TestJudge(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, tc := range []struct {
		share float64
		most  int // connections until it fails; 0: never
	}{{0, 0}, {0.01, 0}, {0.03, 0}, {0.1, 3000}, {0.25, 300}, {0.6, 40}, {1, 32}} {
		var j judge
		n := 0
		for ; n < 200_000 && !j.failed(); n++ {
			j.look(r.Float64() < tc.share, false)
		}
		if j.failed() != (tc.most != 0) || tc.most != 0 && n > tc.most {
			t.Errorf("%v%% missed: failed %v after %d", 100*tc.share, j.failed(), n)
		}
	}
	var j judge // what was good for long may turn bad
	for range 1_000_000 {
		j.look(false, false)
	}
	n := 0
	for ; n < 1_000_000 && !j.failed(); n++ {
		j.look(true, false)
	}
	if n > 2000 {
		t.Errorf("all are missed: found after %d", n)
	}
}

func TestRungs(t *testing.T) {
	by := func(missed, shifted float64) *judge { return &judge{looked: 100, missed: missed, shifted: shifted} }
	for _, tc := range []struct {
		from   rung
		j      *judge
		passed bool
		want   rung
	}{
		{rung{mode: SteerQueue, base: 1}, by(75, 75), false, rung{mode: SteerQueue, base: 0, flipped: true}},
		{rung{mode: SteerQueue, base: 0}, by(75, 40), true, rung{mode: SteerQueue, base: 1, flipped: true}},
		{rung{mode: SteerQueue, base: 0, flipped: true}, by(75, 75), false, rung{mode: SteerCPU}},
		{rung{mode: SteerQueue, base: 1}, by(75, 30), true, rung{mode: SteerCPU}},
		{rung{mode: SteerCPU}, by(75, 0), false, rung{mode: SteerHash}},
		{rung{mode: SteerCPU}, by(75, 0), true, rung{mode: SteerHash, handOver: true}},
	} {
		if got := tc.from.below(tc.j, tc.passed); got != tc.want {
			t.Errorf("below %+v with %+v: %+v, want %+v", tc.from, tc.j, got, tc.want)
		}
	}
}

func TestEven(t *testing.T) {
	for _, tc := range []struct {
		conns    []int
		to, want int
	}{
		{[]int{0, 0}, 1, 1},
		{[]int{300, 0}, 0, 0},
		{[]int{513, 0}, 0, 1},           // 257 over the mean
		{[]int{2400, 1800, 1800}, 0, 0}, // a fifth over it
		{[]int{2402, 1799, 1800}, 0, 1},
		{[]int{2402, 1799, 1800}, 2, 2},
	} {
		e := even{conns: slices.Clone(tc.conns)}
		for _, n := range tc.conns {
			e.sum += n
		}
		if got := e.pick(tc.to); got != tc.want {
			t.Errorf("%v: for loop %d to loop %d, want %d", tc.conns, tc.to, got, tc.want)
		}
		if e.conns[tc.want] != tc.conns[tc.want]+1 {
			t.Errorf("%v: %v", tc.conns, e.conns)
		}
	}
}

// deal gives n connections to loops as a hash does that favours the first by so many shares, and returns how many were taken
// from their queue and by how much of the mean the fullest loop has more.
func deal(rnd *rand.Rand, n, loops, favour int) (given int, imbalance float64) {
	e := even{conns: make([]int, loops)}
	for range n {
		to := max(0, rnd.IntN(loops+favour)-favour)
		if e.pick(to) != to {
			given++
		}
	}
	return given, float64(slices.Max(e.conns)*loops)/float64(n) - 1
}

// What a hash does by chance is left as it is, from the first connection to the last; what is uneven is evened out once there
// are thousands.
func TestEvenIsForSkewNotForChance(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, loops := range []int{2, 4, 16, 64} {
		for _, n := range []int{50, 400, 2000, 10_000, 100_000} {
			if given, _ := deal(rnd, n, loops, 0); given*100 > n {
				t.Errorf("%d connections, %d loops: %d were given away", n, loops, given)
			}
		}
		if given, imbalance := deal(rnd, 2000*loops, loops, 1); given == 0 || imbalance > 0.21 {
			t.Errorf("%d loops of uneven queues: %d were given away, imbalance %.2f", loops, given, imbalance)
		}
	}
}

func TestFilesPreparedFor(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		conns         int
		limit, memory uint64
		want          int
	}{
		{1 << 20, 1 << 30, 16 * gib, 1<<20 + 1024},
		{1 << 25, 1 << 16, 16 * gib, 1<<16 - 1},
		{1 << 25, 1 << 30, gib, 279620 + 1024},
		{1 << 25, 1 << 63, 16 * gib, 4473924 + 1024},
	} {
		if got := lastFile(tc.conns, tc.limit, tc.memory); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}
