package netpoll_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"edged/netpoll"

	"golang.org/x/sys/unix"
)

// Posted work runs on the loop's thread, where system calls about the calling thread are about the loop's.
func TestPinningAndBatch(t *testing.T) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{cpu, cpu}, SchedBatch: true}, echoFrames)
	g.Start()
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
	threads := map[int]bool{}
	for _, l := range g.Loops() {
		on(t, l, func() {
			threads[unix.Gettid()] = true
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() != 1 || !set.IsSet(cpu) {
				t.Errorf("loop %d: CPUs %v, %v", l.Number(), set, err)
			}
			attr, err := unix.SchedGetAttr(0, 0)
			if err != nil || attr.Policy != unix.SCHED_BATCH {
				t.Errorf("loop %d: %+v, %v", l.Number(), attr, err)
			}
		})
	}
	told := g.Threads()
	if len(threads) != 2 || len(told) != 2 || !threads[told[0]] || !threads[told[1]] || told[0] == told[1] {
		t.Errorf("2 loops on threads %v, told %v", threads, told)
	}
	// Pinned threads must not hand their CPU on to threads that the runtime starts.
	seen := make(chan int, 8)
	for range cap(seen) {
		go func() {
			runtime.LockOSThread()
			var set unix.CPUSet
			_ = unix.SchedGetaffinity(0, &set)
			seen <- set.Count()
		}()
	}
	for range cap(seen) {
		if n := wait(t, seen, "a thread"); n != allowed.Count() {
			t.Errorf("a thread of the runtime may use %d CPUs, want %d", n, allowed.Count())
		}
	}
}

// Connections from a shared listener go to the loop on the CPU that their packets came to.
func TestPinnedLoopsShareAListener(t *testing.T) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	if !allowed.IsSet(0) || !allowed.IsSet(1) {
		t.Skip("CPUs 0 and 1 are not ours")
	}
	opened := make(chan int, 1)
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{1, 0}}, func(h *hooks) {
		h.opened = func(netpoll.Conn, int) { opened <- h.loop.Number() }
	})
	fd, addr := passed(t)
	if _, err := g.Adopt(fd); err != nil {
		t.Fatal(err)
	}
	g.Start()
	for cpu := range 2 {
		var set unix.CPUSet
		set.Set(cpu)
		done := make(chan net.Conn, 1)
		go func() { // on the loopback the packets come to the CPU that sends them
			runtime.LockOSThread()
			_ = unix.SchedSetaffinity(0, &set)
			c, err := net.DialTimeout("tcp", addr, limit)
			if err != nil {
				t.Error(err)
			}
			done <- c
		}()
		loop := wait(t, opened, "the connection")
		if c := wait(t, done, "the client"); c != nil {
			_ = c.Close()
		}
		t.Logf("from CPU %d to loop %d", cpu, loop)
		if want := 1 - cpu; loop != want {
			t.Errorf("from CPU %d to loop %d, want %d", cpu, loop, want)
		}
	}
}

func TestBadCPUIsReported(t *testing.T) {
	g := newGroup(t, netpoll.Config{Loops: 2, CPUs: []int{0, 1000}, SchedBatch: true}, echoFrames)
	addr := listen(t, g)
	g.Start()
	if err := g.Err(); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "loop 1 to CPU 1000") {
		t.Errorf("Err is %v", err)
	}
	on(t, g.Loops()[1], func() { // what can be done is done
		if attr, err := unix.SchedGetAttr(0, 0); err != nil || attr.Policy != unix.SCHED_BATCH {
			t.Errorf("%+v, %v", attr, err)
		}
	})
	c := dial(t, addr)
	mustWrite(t, c, []byte{0, 0})
	mustRead(t, c, 2)
}

// A group that stops takes every descriptor and every goroutine with it, whatever its connections are at.
func TestStopLeavesNothing(t *testing.T) {
	full := fullListener(t)
	first, err := net.Listen("tcp", "127.0.0.1:0") // the runtime's own poller is there from now on
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	files, goroutines := settled(t, openFiles), settled(t, func(testing.TB) int { return runtime.NumGoroutine() })

	const clients = 20
	conns := make(chan netpoll.Conn, 4*clients)
	g, err := netpoll.New(netpoll.Config{Loops: 2, KernelBytes: 16 << 10}, func(l *netpoll.Loop) netpoll.Handler {
		return &hooks{loop: l, opened: func(c netpoll.Conn, _ int) { conns <- c; l.SetTag(c, uint32(l.Number())) }}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, g)
	if _, _, err := g.Listen("unix", t.TempDir()+"/edge"); err != nil {
		t.Fatal(err)
	}
	g.Start()
	var peers []net.Conn
	for range clients {
		peers = append(peers, dial(t, addr))
	}
	for i := range clients {
		leaveIn(t, g, wait(t, conns, "a connection"), i%4)
	}
	for _, l := range g.Loops() {
		on(t, l, func() {
			if _, err := l.Dial(netip.MustParseAddrPort(full), netip.Addr{}, 0); err != nil {
				t.Error(err)
			}
		})
	}
	g.Stop()
	g.Stop()
	for _, c := range peers {
		_ = c.Close()
	}
	for _, l := range g.Loops() {
		if l.Post(func() { t.Error("ran after Stop") }) {
			t.Error("a stopped loop took work")
		}
		l.Wake()
	}
	if _, _, err := g.Listen("tcp", "127.0.0.1:0"); !errors.Is(err, netpoll.ErrStopped) {
		t.Errorf("Listen after Stop: %v", err)
	}
	g.StopAccepting()
	if n := settled(t, openFiles); n != files {
		t.Errorf("%d descriptors, %d before", n, files)
	}
	if n := settled(t, func(testing.TB) int { return runtime.NumGoroutine() }); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}

// leaveIn brings c into one of four states. It is one of one loop only; for the other one it is another, or stale.
func leaveIn(t *testing.T, g *netpoll.Group, c netpoll.Conn, state int) {
	t.Helper()
	for _, l := range g.Loops() {
		on(t, l, func() {
			switch state {
			case 0:
				l.Close(c, make([]byte, 100))
			case 1:
				l.Write(c, make([]byte, 3<<20))
			case 2:
				l.Write(c, make([]byte, 3<<20))
				l.Close(c)
			}
		})
	}
}

// settled returns a count once it stays: what earlier tests left to end is ending.
func settled(t testing.TB, count func(testing.TB) int) int {
	last, same := -1, 0
	for end := time.Now().Add(limit); same < 1000 && time.Now().Before(end); runtime.Gosched() {
		if n := count(t); n == last {
			same++
		} else {
			last, same = n, 0
		}
	}
	return last
}

func TestStopBeforeStart(t *testing.T) {
	files := settled(t, openFiles)
	g, err := netpoll.New(netpoll.Config{Loops: 3}, func(*netpoll.Loop) netpoll.Handler { return &hooks{} })
	if err != nil {
		t.Fatal(err)
	}
	listen(t, g)
	fd, _ := passed(t)
	if _, err := g.Adopt(fd); err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.Start() // too late
	if fd, _ := passed(t); g.Loops()[0].Post(func() {}) {
		t.Error("took work")
	} else if _, err := g.Adopt(fd); !errors.Is(err, netpoll.ErrStopped) {
		t.Errorf("Adopt after Stop: %v", err)
	} else {
		_ = unix.Close(fd) // still ours
	}
	g.Stop()
	if n := settled(t, openFiles); n != files {
		t.Errorf("%d descriptors, %d before", n, files)
	}
}

// Loops that could be made go when another could not.
func TestNewOutOfFiles(t *testing.T) {
	if !isChild() {
		child(t)
		return
	}
	files := settled(t, openFiles)
	leaveFiles(t, 20)
	_, err := netpoll.New(netpoll.Config{Loops: 50}, func(*netpoll.Loop) netpoll.Handler { return &hooks{} })
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("New: %v", err)
	}
	if n := settled(t, openFiles); n != files {
		t.Errorf("%d descriptors, %d before", n, files)
	}
}

// Work that was posted before Stop runs, on the loop's thread or not at all.
func TestStopRunsWhatWasPosted(t *testing.T) {
	for range 50 {
		g := newGroup(t, netpoll.Config{Loops: 2}, echoFrames)
		g.Start()
		done := make(chan struct{}, 2)
		for _, l := range g.Loops() {
			if !l.Post(func() { done <- struct{}{} }) {
				t.Fatal("refused")
			}
		}
		g.Stop()
		if len(done) != 2 {
			t.Fatalf("%d of 2 ran", len(done))
		}
	}
}
