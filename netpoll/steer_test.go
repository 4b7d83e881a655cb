package netpoll_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"edged/netpoll"
)

// steered makes a group whose connections' loops are told on a channel, and which judges what it sees at once.
func steered(t testing.TB, cfg netpoll.Config) (*netpoll.Group, chan int) {
	t.Helper()
	opened := make(chan int, 4096)
	g := newGroup(t, cfg, func(h *hooks) { h.opened = func(netpoll.Conn, int) { opened <- h.loop.Number() } })
	g.Settle(0)
	return g, opened
}

// road is how clients come to a listener: a line or a wire.
type road interface {
	// come has a connection come in by a queue, on a CPU; below 0 on any.
	come(to netip.AddrPort, queue, cpu int)
	// end is where the listener is, and its address.
	end() (s *space, ip string)
}

func listenAt(r road, g *netpoll.Group) netip.AddrPort {
	s, ip := r.end()
	return listenIn(s, g, ip+":0")
}

// queues is a map of n queues, that belong to the CPUs in turn or to none.
func queues(n, base int, cpus ...int) netpoll.SteerMap {
	m := netpoll.SteerMap{Base: base}
	for q := range n {
		cpu := -1
		if len(cpus) != 0 {
			cpu = cpus[q%len(cpus)]
		}
		m.Queues = append(m.Queues, netpoll.Queue{Index: q, CPU: cpu})
	}
	return m
}

// told fails unless the one listener is steered so.
func told(t testing.TB, g *netpoll.Group, mode netpoll.Steer, base int, handsOver bool, why string) netpoll.Steering {
	t.Helper()
	s := g.Steering()
	if len(s.Listeners) != 1 {
		t.Fatalf("%d listeners: %+v", len(s.Listeners), s)
	}
	l := s.Listeners[0]
	if s.Mode != mode || l.Mode != mode || l.Base != base || l.HandsOver != handsOver {
		t.Errorf("%+v", s)
	}
	if (why == "") != (s.Why == "") || !strings.Contains(s.Why, why) {
		t.Errorf("why: %q, want %q", s.Why, why)
	}
	return s
}

// given returns how many connections the loops handed over.
func given(s netpoll.Steering) (n int) {
	for _, l := range s.Loops {
		n += int(l.Given)
	}
	return n
}

// Each connection comes to the loop of the queue by which it came in, and the kernel brings it there: nobody hands it over. A
// veth notes the number of a queue as it is.
func TestSteerByQueue(t *testing.T) {
	const n, each = 4, 25
	x := newLine(t, n)
	for name, tc := range map[string]struct{ listen, to string }{
		"IPv4": {serverIP, serverIP}, "IPv6": {"[" + serverIP6 + "]", serverIP6}, "IPv4 of a listener for both": {"[::]", serverIP},
	} {
		t.Run(name, func(t *testing.T) {
			g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: queues(n, 0)})
			addr := listenIn(x.server, g, tc.listen+":0")
			addr = netip.AddrPortFrom(netip.MustParseAddr(tc.to), addr.Port())
			g.Start()
			for q := range n {
				for range each {
					x.come(addr, q, -1)
					if loop := wait(t, opened, "the connection"); loop != q {
						t.Errorf("by queue %d to loop %d", q, loop)
					}
				}
			}
			s := told(t, g, netpoll.SteerQueue, 0, false, "")
			for i, l := range s.Loops {
				if l.Conns != each || l.Given != 0 || !slices.Equal(l.Queues, []int{i}) {
					t.Errorf("loop %d: %+v", i, l)
				}
			}
			if s.Imbalance != 0 {
				t.Errorf("imbalance %v", s.Imbalance)
			}
		})
	}
}

// The same with what notes the number of a queue and one, as hardware does.
func TestSteerByQueueOfHardware(t *testing.T) {
	const n, each = 4, 25
	w := newWire(t, n)
	g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: queues(n, 1)})
	addr := listenAt(w, g)
	g.Start()
	for i := range n * each {
		w.connect(addr, i%n, -1, -1)
		if loop := wait(t, opened, "the connection"); loop != i%n {
			t.Errorf("by queue %d to loop %d", i%n, loop)
		}
	}
	if s := told(t, g, netpoll.SteerQueue, 1, false, ""); given(s) != 0 {
		t.Errorf("%+v", s)
	}
}

// The first connections show what the drivers add to a queue's number; from then on all are right.
func TestBaseIsFound(t *testing.T) {
	const n, most = 4, 60
	a, b := twoCPUs(t)
	for name, start := range map[string]func(t *testing.T) (road, netpoll.SteerMap, int){
		"hardware, by CPU": func(t *testing.T) (road, netpoll.SteerMap, int) { return newWire(t, n), queues(n, 0, a, b), 1 },
		"veth, by NAPI": func(t *testing.T) (road, netpoll.SteerMap, int) {
			x := newLine(t, n)
			return x, x.byNAPI(1), 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			road, m, right := start(t)
			said := make(chan netpoll.ListenerSteering, 10)
			g, opened := steered(t, netpoll.Config{
				Loops: n, Steer: netpoll.SteerQueue, Queues: m,
				Steered: func(l netpoll.ListenerSteering) { said <- l },
			})
			addr := listenAt(road, g)
			g.Start()
			took := 0
			for ; took < most && g.Steering().Listeners[0].Base != right; took++ {
				road.come(addr, took%n, []int{a, b}[took%2])
				wait(t, opened, "the connection")
			}
			t.Logf("found after %d connections", took)
			for i := range 40 {
				road.come(addr, i%n, []int{a, b}[i%2])
				if loop := wait(t, opened, "the connection"); loop != i%n {
					t.Errorf("by queue %d to loop %d", i%n, loop)
				}
			}
			st := told(t, g, netpoll.SteerQueue, right, false, "")
			if l := st.Listeners[0]; given(st) != 0 || l.Looked != 40 || l.Missed != 0 {
				t.Errorf("%+v", st)
			}
			if first, then := <-said, <-said; len(said) != 0 || first.Base != 1-right || then.Base != right {
				t.Errorf("told %+v and %+v", first, then)
			}
		})
	}
}

func TestSteerByCPU(t *testing.T) {
	a, b := twoCPUs(t)
	w := newWire(t, 2)
	g, opened := steered(t, netpoll.Config{Loops: 2, CPUs: []int{b, a}, Steer: netpoll.SteerCPU, Queues: queues(2, 1)})
	addr := listenAt(w, g)
	g.Start()
	for i := range 60 {
		cpu, want := a, 1
		if i%3 == 0 {
			cpu, want = b, 0
		}
		w.connect(addr, i%2, cpu, cpu)
		if loop := wait(t, opened, "the connection"); loop != want {
			t.Errorf("from CPU %d to loop %d", cpu, loop)
		}
	}
	s := told(t, g, netpoll.SteerCPU, 0, false, "")
	if s.OwnShare() != 1 || given(s) != 0 || s.Loops[0].CPU != b || s.Loops[1].CPU != a {
		t.Errorf("%+v", s)
	}
}

// What the map says is not what happens: steering gives way, step by step, and says why.
func TestSteerGivesWay(t *testing.T) {
	a, b := twoCPUs(t)
	w := newWire(t, 2)
	said := make(chan string, 10)
	g, opened := steered(t, netpoll.Config{
		Loops: 2, CPUs: []int{a, b}, Steer: netpoll.SteerQueue, Queues: queues(2, 1, a, b),
		Steered: func(l netpoll.ListenerSteering) { said <- fmt.Sprintf("%v %d", l.Mode, l.Base) },
	})
	addr := listenAt(w, g)
	g.Start()
	until := func(mode netpoll.Steer, connect func(i int)) {
		t.Helper()
		for i := 0; g.Steering().Mode != mode; i++ {
			if i > 200 {
				t.Fatalf("%+v", g.Steering())
			}
			connect(i)
			wait(t, opened, "the connection")
		}
	}
	// Any CPU works on any queue: that is what RPS makes of it.
	until(netpoll.SteerCPU, func(i int) {
		cpu := []int{a, b}[i/2%2]
		w.connect(addr, i%2, cpu, cpu)
	})
	told(t, g, netpoll.SteerCPU, 0, false, "queue: ")
	// A connection moves between its SYN and its accept: then there is no CPU to go by.
	until(netpoll.SteerHash, func(i int) {
		cpus := []int{a, b}
		w.connect(addr, i%2, cpus[i%2], cpus[1-i%2])
	})
	s := told(t, g, netpoll.SteerHash, 0, false, "; cpu: ")
	if s.Asked != netpoll.SteerQueue || given(s) != 0 {
		t.Errorf("%+v", s)
	}
	if got := drain(said); got[0] != "queue 1" || !slices.Equal(got[len(got)-2:], []string{"cpu 0", "hash 0"}) {
		t.Errorf("told %q", got)
	}
	seen := map[int]int{} // and the kernel's hash spreads
	for range 64 {
		w.connect(addr, 0, a, a)
		seen[wait(t, opened, "the connection")]++
	}
	if len(seen) != 2 || seen[0] < 8 || seen[1] < 8 {
		t.Errorf("by hash to %v", seen)
	}
	// The same map is no reason to try again, a new one is.
	if err := g.Resteer([]int{a, b}, queues(2, 1, a, b)); err != nil || g.Steering().Mode != netpoll.SteerHash {
		t.Errorf("%v, %+v", err, g.Steering())
	}
	if err := g.Resteer([]int{b, a}, queues(2, 1, b, a)); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		w.connect(addr, i%2, []int{b, a}[i%2], -1)
		if loop := wait(t, opened, "the connection"); loop != i%2 {
			t.Errorf("by queue %d to loop %d", i%2, loop)
		}
	}
	told(t, g, netpoll.SteerQueue, 1, false, "")
}

func drain(ch chan string) (all []string) {
	for len(ch) > 0 {
		all = append(all, <-ch)
	}
	return all
}

// Two listeners are steered each by what comes to it: what is wrong for clients of one is no reason for those of the other.
func TestListenersAreJudgedApart(t *testing.T) {
	a, b := twoCPUs(t)
	w := newWire(t, 2)
	g, opened := steered(t, netpoll.Config{Loops: 2, Steer: netpoll.SteerQueue, Queues: queues(2, 1, a, b)})
	good, bad := listenAt(w, g), listenAt(w, g)
	g.Start()
	for i := range 60 {
		w.come(bad, 1, a)
		wait(t, opened, "the connection")
		w.come(good, i%2, []int{a, b}[i%2])
		if loop := wait(t, opened, "the connection"); loop != i%2 {
			t.Errorf("by queue %d to loop %d", i%2, loop)
		}
	}
	s := g.Steering()
	if s.Listeners[0].Mode != netpoll.SteerQueue || s.Listeners[1].Mode != netpoll.SteerCPU || s.Mode != netpoll.SteerCPU {
		t.Errorf("%+v", s)
	}
	g.StopAccepting()
	if s := g.Steering(); len(s.Listeners) != 0 || s.Mode != netpoll.SteerQueue {
		t.Errorf("%+v", s)
	}
}

// What is asked while connections come and maps change is never torn: for the race detector.
func TestSteeringWhileItChanges(t *testing.T) {
	a, b := twoCPUs(t)
	g, opened := steered(t, netpoll.Config{Loops: 2, CPUs: []int{a, b}, Steer: netpoll.SteerQueue, Queues: queues(2, 0, a, b)})
	addr := listen(t, g)
	g.Start()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if s := g.Steering(); len(s.Loops) != 2 {
					t.Errorf("%+v", s)
				}
			}
		}
	}()
	for i := range 300 {
		if i%10 == 0 {
			cpus := []int{a, b}
			if i%20 == 0 {
				slices.Reverse(cpus)
			}
			if err := g.Resteer(cpus, queues(2, i/10%2, cpus...)); err != nil {
				t.Error(err)
			}
		}
		_ = dial(t, addr).Close()
		wait(t, opened, "the connection")
	}
	close(stop)
	wait(t, done, "the one who asks")
}

func TestSteerText(t *testing.T) {
	for s, name := range map[netpoll.Steer]string{
		netpoll.SteerOff: "off", netpoll.SteerHash: "hash", netpoll.SteerCPU: "cpu", netpoll.SteerQueue: "queue",
	} {
		text, err := s.MarshalText()
		var back netpoll.Steer
		if err != nil || string(text) != name || back.UnmarshalText(text) != nil || back != s {
			t.Errorf("%v: %q, %v, back %v", s, text, err, back)
		}
	}
	s := netpoll.SteerCPU
	if err := s.UnmarshalText([]byte("queues")); err == nil || !strings.Contains(err.Error(), `"hash"`) || s != netpoll.SteerCPU {
		t.Errorf("%v, %v", s, err)
	}
	if netpoll.Steer(9).String() != "Steer(9)" {
		t.Error(netpoll.Steer(9))
	}
}

// What cannot be done is said, and the next best is done.
func TestSteerReasons(t *testing.T) {
	const q, c = netpoll.SteerQueue, netpoll.SteerCPU
	for _, tc := range []struct {
		loops int
		cpus  []int
		asked netpoll.Steer
		m     netpoll.SteerMap
		mode  netpoll.Steer
		why   string
	}{
		{4, nil, q, queues(4, 1), q, ""},
		{4, nil, q, queues(8, 0), q, ""},
		{4, nil, q, queues(2, 1), netpoll.SteerHash, "queue: they are for 2 of 4 loops; cpu: no loop is pinned and no queue's CPU is known"},
		{4, nil, q, netpoll.SteerMap{}, netpoll.SteerHash, "queue: no queue is known; cpu: no loop"},
		{2, []int{0, 1}, q, twice(queues(2, 1, 0, 1), queues(2, 1, 1, 0)), c, "queue: their numbers are those of several devices"},
		{2, nil, q, queues(1, 1, 0), c, "queue: they are for 1 of 2 loops"},
		{2, []int{0, 0}, q, netpoll.SteerMap{}, c, "queue: no queue is known"},
		{2, []int{0, -1}, c, netpoll.SteerMap{}, c, ""},
		{2, nil, c, queues(2, 0, 0, 1), c, ""},
		{2, nil, netpoll.SteerHash, queues(2, 0), netpoll.SteerHash, ""},
		{4, nil, q, queues(3000, 0, 0), c, "queue: attach a program of 9"},
	} {
		g, _ := steered(t, netpoll.Config{Loops: tc.loops, CPUs: tc.cpus, Steer: tc.asked, Queues: tc.m})
		listen(t, g)
		s := told(t, g, tc.mode, tc.m.Base*btoi(tc.mode == q), false, tc.why)
		if s.Asked != tc.asked {
			t.Errorf("%+v", s)
		}
	}
	one, _ := steered(t, netpoll.Config{Steer: q, Queues: queues(1, 1, 0)})
	listen(t, one)
	if s := one.Steering(); s.Mode != netpoll.SteerOff || s.Why != "there is one loop" {
		t.Errorf("%+v", s)
	}
}

// twice is the map of two devices.
func twice(a, b netpoll.SteerMap) netpoll.SteerMap {
	return netpoll.SteerMap{Base: a.Base, Queues: slices.Concat(a.Queues, b.Queues)}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
