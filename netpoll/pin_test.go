package netpoll_test

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

// affinity returns what a loop's thread may use.
func affinity(t *testing.T, l *netpoll.Loop) (set unix.CPUSet) {
	t.Helper()
	on(t, l, func() {
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			t.Error(err)
		}
	})
	return set
}

func only(cpu int) (set unix.CPUSet) {
	set.Set(cpu)
	return set
}

func TestResteerPins(t *testing.T) {
	a, b := twoCPUs(t)
	g := newGroup(t, netpoll.Config{Loops: 3, CPUs: []int{a, -1, b}}, echoFrames)
	g.Start()
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
	free := affinity(t, g.Loops()[1])
	if free.Count() < 2 {
		t.Errorf("loop 1 may use %d CPUs", free.Count())
	}
	for _, tc := range []struct {
		cpus []int
		want []unix.CPUSet
	}{
		{[]int{a, -1, b}, []unix.CPUSet{only(a), free, only(b)}},
		{[]int{b, a, -1}, []unix.CPUSet{only(b), only(a), free}},
		{nil, []unix.CPUSet{free, free, free}},
		{[]int{-1, -1, a}, []unix.CPUSet{free, free, only(a)}},
	} {
		if err := g.Resteer(tc.cpus, netpoll.SteerMap{}); err != nil {
			t.Error(err)
		}
		for i, l := range g.Loops() {
			if got := affinity(t, l); got != tc.want[i] {
				t.Errorf("%v: loop %d may use %d CPUs", tc.cpus, i, got.Count())
			}
			want := -1
			if len(tc.cpus) != 0 {
				want = tc.cpus[i]
			}
			if got := g.Steering().Loops[i].CPU; got != want {
				t.Errorf("%v: loop %d is told to be on CPU %d", tc.cpus, i, got)
			}
		}
	}
	err := g.Resteer([]int{a, 1000, b}, netpoll.SteerMap{})
	if !errors.Is(err, unix.EINVAL) || affinity(t, g.Loops()[1]) != free || affinity(t, g.Loops()[2]) != only(b) {
		t.Errorf("CPU 1000: %v", err)
	}
	for _, cpus := range [][]int{{a}, {a, b, -2}} {
		if err := g.Resteer(cpus, netpoll.SteerMap{}); err == nil || affinity(t, g.Loops()[0]) != only(a) {
			t.Errorf("%v: %v", cpus, err)
		}
	}
	g.Stop()
	if err := g.Resteer(nil, netpoll.SteerMap{}); !errors.Is(err, netpoll.ErrStopped) {
		t.Errorf("after Stop: %v", err)
	}
}

// Before Start it only changes what Start will do.
func TestResteerBeforeStart(t *testing.T) {
	a, b := twoCPUs(t)
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{a, a}, Steer: netpoll.SteerCPU}, echoFrames)
	listen(t, g)
	if err := g.Resteer([]int{b, a}, netpoll.SteerMap{}); err != nil {
		t.Fatal(err)
	}
	g.Start()
	if affinity(t, g.Loops()[0]) != only(b) || affinity(t, g.Loops()[1]) != only(a) {
		t.Error("not pinned as asked for last")
	}
	told(t, g, netpoll.SteerCPU, 0, false, "")
}

// restrict leaves the process one CPU, as taskset does, and tells whether there was a thread that had others.
func restrict(t *testing.T, cpu int) (any bool) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	set := only(cpu)
	for _, thread := range threads {
		id, _ := strconv.Atoi(thread.Name())
		var has unix.CPUSet
		if err := unix.SchedGetaffinity(id, &has); err == nil && has != set {
			any = true
			_ = unix.SchedSetaffinity(id, &set)
		}
	}
	return any
}

// A CPU that an administrator has not given to the process is not taken, and connections are steered by what was.
func TestPinsStayWithinTheAffinity(t *testing.T) {
	a, b := twoCPUs(t)
	if !isChild() {
		child(t)
		return
	}
	for restrict(t, b) { // until no thread is left that a thread started which was not yet restricted
	}
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{a, b}, Steer: netpoll.SteerCPU}, echoFrames)
	addr := listen(t, g)
	if s := g.Steering(); s.Loops[0].CPU != a {
		t.Errorf("before Start: %+v", s)
	}
	g.Start()
	if err := g.Err(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Err is %v", err)
	}
	for i, l := range g.Loops() {
		if affinity(t, l) != only(b) {
			t.Errorf("loop %d may use other CPUs", i)
		}
	}
	s := told(t, g, netpoll.SteerCPU, 0, false, "")
	if s.Loops[0].CPU != -1 || s.Loops[1].CPU != b {
		t.Errorf("%+v", s)
	}
	for range 10 { // all that come are from CPU b
		c := dial(t, addr)
		mustWrite(t, c, []byte{0, 0})
		mustRead(t, c, 2)
	}
	if s := g.Steering(); s.Loops[1].Conns != 10 {
		t.Errorf("%+v", s)
	}
}
