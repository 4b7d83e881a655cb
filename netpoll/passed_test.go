package netpoll_test

import (
	"slices"
	"testing"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

// Sockets that a supervisor opened, and that listen already, are steered like our own.
func TestSteerPassedGroup(t *testing.T) {
	const n = 4
	w := newWire(t, n)
	for _, sockets := range []int{n, n + 1} {
		g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: queues(n, 1)})
		fds, addr := w.passed(wireIP, sockets)
		if _, err := g.Adopt(fds...); err != nil {
			t.Fatal(err)
		}
		g.Start()
		for i := range 60 {
			w.connect(addr, i%n, -1, -1)
			if loop := wait(t, opened, "the connection"); loop != i%n {
				t.Errorf("by queue %d to loop %d", i%n, loop)
			}
		}
		if s := told(t, g, netpoll.SteerQueue, 1, false, ""); given(s) != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Passed in another order than they began to listen in, they are seen through, and who accepts hands over.
func TestSteerPassedGroupInWrongOrder(t *testing.T) {
	a, b := twoCPUs(t)
	w := newWire(t, 2)
	g, opened := steered(t, netpoll.Config{Loops: 2, CPUs: []int{a, b}, Steer: netpoll.SteerQueue, Queues: queues(2, 1, a, b)})
	fds, addr := w.passed(wireIP, 2)
	slices.Reverse(fds)
	if _, err := g.Adopt(fds...); err != nil {
		t.Fatal(err)
	}
	g.Start()
	connect := func(i int) (loop int) {
		cpu := []int{a, b}[i%2]
		w.connect(addr, i%2, cpu, cpu)
		return wait(t, opened, "the connection")
	}
	for i := 0; g.Steering().Mode != netpoll.SteerHash; i++ {
		if i > 200 {
			t.Fatalf("%+v", g.Steering())
		}
		connect(i)
	}
	for i := range 60 {
		if loop := connect(i); loop != i%2 {
			t.Errorf("by queue %d to loop %d", i%2, loop)
		}
	}
	told(t, g, netpoll.SteerHash, 0, true, "cpu: ")
}

// With fewer sockets than loops who accepts looks where a connection came and hands it over.
func TestSteerFewPassedSockets(t *testing.T) {
	const n = 4
	a, b := twoCPUs(t)
	for name, start := range map[string]func() (road, netpoll.SteerMap){
		"by NAPI": func() (road, netpoll.SteerMap) { x := newLine(t, n); return x, x.byNAPI(0) },
		"by CPU":  func() (road, netpoll.SteerMap) { return newWire(t, n), queues(n, 1, a, b) },
	} {
		road, m := start()
		for _, sockets := range []int{1, 2} {
			g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: m})
			s, ip := road.end()
			fds, addr := s.passed(ip, sockets)
			if _, err := g.Adopt(fds...); err != nil {
				t.Fatal(err)
			}
			g.Start()
			for i := range 60 {
				road.come(addr, i%n, []int{a, b}[i%2])
				if loop := wait(t, opened, "the connection"); loop != i%n && (name == "by NAPI" || loop%2 != i%2) {
					t.Errorf("%s, %d sockets: by queue %d to loop %d", name, sockets, i%n, loop)
				}
			}
			if s := told(t, g, netpoll.SteerQueue, 0, true, ""); s.OwnShare() != 1 || given(s) == 0 {
				t.Errorf("%s, %d sockets: %+v", name, sockets, s)
			}
		}
	}
}

// A socket that goes changes the order of the others in the kernel's group: the last one takes its place.
func TestSteerAfterALostSocket(t *testing.T) {
	const n = 4
	w := newWire(t, n)
	g, opened := steered(t, netpoll.Config{Loops: n, Steer: netpoll.SteerQueue, Queues: queues(n, 1)})
	fds, addr := w.passed(wireIP, n)
	other, err := unix.Dup(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Adopt(fds...); err != nil {
		t.Fatal(err)
	}
	g.Start()
	if err := unix.Shutdown(other, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(other)
	until(t, g.Loops()[1], "the loss", func() bool { return g.Err() != nil })
	for i := range 60 {
		w.connect(addr, i%n, -1, -1)
		if loop := wait(t, opened, "the connection"); loop == 1 || i%n != 1 && loop != i%n {
			t.Errorf("by queue %d to loop %d", i%n, loop)
		}
	}
}

// Sockets may come from a predecessor, with its program.
func TestPassedProgramIsReplaced(t *testing.T) {
	const n = 4
	w := newWire(t, n)
	for _, mode := range []netpoll.Steer{netpoll.SteerOff, netpoll.SteerHash, netpoll.SteerQueue} {
		fds, addr := w.passed(wireIP, n)
		always3 := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 3}}
		err := unix.SetsockoptSockFprog(fds[0], unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: 1, Filter: &always3[0]})
		if err != nil {
			t.Fatal(err)
		}
		g, opened := steered(t, netpoll.Config{Loops: n, Steer: mode, Queues: queues(n, 1)})
		if _, err := g.Adopt(fds...); err != nil {
			t.Fatal(err)
		}
		g.Start()
		seen := map[int]int{}
		for i := range 60 {
			w.come(addr, i%n, -1)
			seen[wait(t, opened, "the connection")]++
		}
		if len(seen) != n {
			t.Errorf("%v: to %v", mode, seen)
		}
	}
}

func TestAdoptTogetherRefuses(t *testing.T) {
	g := newGroup(t, netpoll.Config{Loops: 2, Steer: netpoll.SteerQueue}, echoFrames)
	a, _ := passed(t)
	b, _ := passed(t)
	defer func() { _, _ = unix.Close(a), unix.Close(b) }()
	if _, err := g.Adopt(); err == nil {
		t.Error("no socket was adopted")
	}
	if _, err := g.Adopt(a, b); err == nil {
		t.Error("sockets of two addresses were adopted together")
	}
}

// Two descriptors of one socket are no group: they share what comes.
func TestAdoptOneSocketTwice(t *testing.T) {
	g, opened := steered(t, netpoll.Config{Loops: 2, Steer: netpoll.SteerQueue, Queues: queues(2, 1, 0, 1)})
	a, addr := passed(t)
	b, err := unix.Dup(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Adopt(a, b); err != nil {
		t.Fatal(err)
	}
	g.Start()
	for range 20 {
		dial(t, addr)
		wait(t, opened, "the connection")
	}
	told(t, g, netpoll.SteerQueue, 0, true, "")
}
