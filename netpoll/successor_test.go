package netpoll_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// claims is what a successor was passed: descriptors that are open and not closed on exec, each once.
func claims() func(fd int) error {
	claimed := map[int]bool{}
	return func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		switch {
		case err != nil:
			return err
		case flags&unix.FD_CLOEXEC != 0:
			return fmt.Errorf("file %d is not inherited", fd)
		case claimed[fd]:
			return fmt.Errorf("file %d is claimed twice", fd)
		}
		claimed[fd] = true
		return nil
	}
}

// inherit makes a group that goes on with states.
func inherit(t testing.TB, states [][]byte, cfg netpoll.Config, set func(h *hooks)) *netpoll.Group {
	t.Helper()
	cfg.Inherit = &netpoll.Inheritance{Version: netpoll.StateVersion, Loops: states, Claim: claims()}
	return newGroup(t, cfg, set)
}

// succeed has a new group go on in the place of an old one, which stood still before and does nothing any more.
func succeed(t testing.TB, old *netpoll.Group, cfg netpoll.Config, set func(h *hooks)) *netpoll.Group {
	t.Helper()
	mustFreeze(t, old)
	states := appendStates(old)
	g := inherit(t, states, cfg, set)
	for i, b := range appendStates(g) {
		if !bytes.Equal(b, states[i]) {
			t.Errorf("loop %d has another state than it inherited", i)
		}
	}
	if n := g.Dropped(); n != 0 || g.Err() != nil {
		t.Errorf("%d dropped: %v", n, g.Err())
	}
	old.Abandon()
	g.Start()
	return g
}

// Links that are in the middle of anything, and connections that come meanwhile, notice none of many successions.
func TestSuccessorsUnderLoad(t *testing.T) {
	cfg := netpoll.Config{Loops: 2, HighWater: 2000}
	g := newGroup(t, cfg, echoFrames)
	addrs := []string{listen(t, g)}
	for _, network := range []string{"[::1]:0", "[::]:0"} {
		_, addr, err := g.Listen("tcp", network)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, addr.String())
	}
	fd, addr := passed(t)
	if _, err := g.Adopt(fd); err != nil {
		t.Fatal(err)
	}
	g.Start()
	crowd := newCrowd(t, 20, append(addrs, addr)...)
	pass := newClock(t)
	for i := range 30 {
		pass(5 * time.Millisecond)
		cfg.HighWater = 2000 + i*1000
		g = succeed(t, g, cfg, echoFrames)
	}
	crowd.end()
	for _, l := range g.Loops() {
		until(t, l, "the end of all", func() bool { return l.Stats().Conns == 0 })
	}
}

// The model of thin_model_test.go, whose output changes hands in every state that it can be in.
func TestThinModelOverSuccessors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cfg   netpoll.Config
		kind  framing
		unix  int // size of a unix socket's buffer; 0 for TCP
		times int
	}{
		{"blocked, 4 KiB", netpoll.Config{HighWater: 4 << 10}, smallFrames, 1, 100},
		{"blocked, large", netpoll.Config{HighWater: 256 << 10}, largeFrames, 1, 15},
		{"held", netpoll.Config{KernelBytes: 8 << 10, HighWater: 16 << 10}, smallFrames, 20 << 10, 60},
		{"tcp", netpoll.Config{HighWater: 64 << 10}, smallFrames, 0, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := tc.kind.config(tc.cfg)
			cfg.Linger = time.Minute
			conns := make(chan netpoll.Conn, 1)
			set := func(h *hooks) { h.opened = func(c netpoll.Conn, _ int) { conns <- c } }
			g := newGroup(t, cfg, set)
			addr := listen(t, g)
			g.Start()
			var peer io.Reader
			if tc.unix != 0 {
				peer = socketPair(t, g.Loops()[0], tc.unix)
			} else {
				peer = dial(t, addr)
			}
			c := wait(t, conns, "the connection")
			if peer, ok := peer.(*net.TCPConn); ok {
				on(t, g.Loops()[0], func() { narrow(t, peer, g.Loops()[0].FD(c)) })
			}
			book := &ledger{framing: tc.kind, r: random(t)}
			for i := 0; i < tc.times || book.parted == 0 && i < 20*tc.times; i++ { // there is luck without a parted piece
				for range book.r.IntN(12) {
					book.step(t, g.Loops()[0], c, peer, tc.cfg.HighWater)
				}
				if book.r.IntN(2) == 0 {
					g = succeed(t, g, cfg, set)
				} else {
					g = revive(t, g, cfg, set)
				}
			}
			book.finish(t, g.Loops()[0], c, peer)
			if book.parted == 0 {
				t.Error("no piece was parted")
			}
		})
	}
}

// story is one connection's life before and after a succession.
type story struct {
	t      *testing.T
	peer   *net.TCPConn
	c      netpoll.Conn
	l      *netpoll.Loop
	events chan string
}

func (s *story) tell(format string, args ...any) { s.events <- fmt.Sprintf(format, args...) }

func (s *story) want(want string) {
	s.t.Helper()
	if got := wait(s.t, s.events, want); got != want {
		s.t.Errorf("got %q, want %q", got, want)
	}
}

func (s *story) on(f func()) { s.t.Helper(); on(s.t, s.l, f) }

// handler takes input in whole frames only and tells of everything.
func (s *story) handler(h *hooks) {
	h.opened = func(c netpoll.Conn, _ int) { s.c = c; s.tell("opened") }
	h.read = func(c netpoll.Conn, in []byte) int {
		s.tell("read %v", in)
		return whole(in)
	}
	h.backlog = func(c netpoll.Conn, pending int) {
		if pending == 0 {
			s.tell("sent")
		}
	}
	h.closed = func(c netpoll.Conn, why error) { s.tell("closed %v", why) }
}

func TestSuccessorTakesConnectionsAsTheyAre(t *testing.T) { storiesGoOn(t, false) }

// storiesGoOn has a connection in each state that it can be in go on after a succession, or after the process was killed.
func storiesGoOn(t *testing.T, killed bool) {
	big := noise(random(t), 8<<20)
	for name, half := range map[string]struct {
		cfg           netpoll.Config
		before, after func(s *story)
	}{
		"half a frame": {
			before: func(s *story) {
				mustWrite(s.t, s.peer, []byte{0, 3, 1})
				s.want("read [0 3 1]")
				s.on(func() { s.l.SetTag(s.c, 77) })
			},
			after: func(s *story) {
				mustWrite(s.t, s.peer, []byte{2, 3})
				s.want("read [0 3 1 2 3]")
				s.on(func() {
					if r, w := s.l.Flow(s.c); s.l.Tag(s.c) != 77 || r != 5 || w != 0 || s.l.Remote(s.c).String() != s.peer.LocalAddr().String() {
						s.t.Errorf("tag %d, %d read, %d written, peer %v", s.l.Tag(s.c), r, w, s.l.Remote(s.c))
					}
				})
			},
		},
		"output that the kernel does not take": {
			before: func(s *story) { s.on(func() { s.l.Write(s.c, big) }) },
			after: func(s *story) {
				s.on(func() {
					if s.l.Unsent(s.c) == 0 || s.l.Write(s.c, []byte("more")) {
						s.t.Errorf("%d bytes wait", s.l.Unsent(s.c))
					}
				})
				if !bytes.Equal(mustRead(s.t, s.peer, len(big)), big) {
					s.t.Error("other bytes came")
				}
				s.want("sent")
				s.on(func() { s.l.Write(s.c, []byte("more")) })
				mustRead(s.t, s.peer, 4)
			},
		},
		"held output": {
			cfg:    netpoll.Config{KernelBytes: 20 << 10},
			before: func(s *story) { s.on(func() { s.l.Write(s.c, big) }) },
			after: func(s *story) {
				until(s.t, s.l, "the kernel or the bound", func() bool { return s.l.Unsent(s.c) > 0 })
				mustRead(s.t, s.peer, len(big))
				s.want("sent")
			},
		},
		"paused with input left": {
			before: func(s *story) {
				mustWrite(s.t, s.peer, []byte{0, 3, 1})
				s.want("read [0 3 1]")
				s.on(func() { s.l.Pause(s.c) })
				mustWrite(s.t, s.peer, []byte{2})
			},
			after: func(s *story) {
				mustWrite(s.t, s.peer, []byte{3})
				waitIdle(s.t, s.l)
				s.on(func() { s.l.Resume(s.c) })
				s.want("read [0 3 1]")
				s.want("read [0 3 1 2 3]")
			},
		},
		"paused while the peer leaves": {
			before: func(s *story) { s.on(func() { s.l.Pause(s.c) }) },
			after: func(s *story) {
				_ = s.peer.SetLinger(0)
				_ = s.peer.Close()
				s.want("closed connection reset by peer")
			},
		},
		"closed with output left": {
			before: func(s *story) {
				s.on(func() { s.l.Close(s.c, big) })
				s.want("closed <nil>")
			},
			after: func(s *story) {
				if !bytes.Equal(mustEnd(s.t, s.peer), big) {
					s.t.Error("other bytes came")
				}
				mustWrite(s.t, s.peer, []byte("still here"))
				_ = s.peer.Close()
				s.gone()
			},
		},
		"closed with output that nobody reads": {
			cfg: netpoll.Config{Linger: 300 * time.Millisecond},
			before: func(s *story) {
				s.on(func() { s.l.Close(s.c, big) })
				s.want("closed <nil>")
			},
			after: func(s *story) { s.gone() },
		},
		"lingering": {
			before: func(s *story) {
				s.on(func() { s.l.Close(s.c, []byte("bye")) })
				s.want("closed <nil>")
				if string(mustEnd(s.t, s.peer)) != "bye" {
					s.t.Error("no bye")
				}
			},
			after: func(s *story) {
				mustWrite(s.t, s.peer, make([]byte, 100))
				s.on(func() {
					if st := s.l.Stats(); st.Lingering != 1 || s.l.Open(s.c) {
						s.t.Errorf("%d lingering", st.Lingering)
					}
				})
				_ = s.peer.Close()
				s.gone()
			},
		},
		"lingering for ever": {
			cfg: netpoll.Config{Linger: 300 * time.Millisecond},
			before: func(s *story) {
				s.on(func() { s.l.Close(s.c) })
				s.want("closed <nil>")
			},
			after: func(s *story) { s.gone() },
		},
		"gathering": {
			before: func(s *story) {
				s.on(func() { s.l.Gather(s.c, 3) })
				mustWrite(s.t, s.peer, []byte{0, 0})
			},
			after: func(s *story) {
				s.want("read [0 0]")
				s.on(func() {
					if s.l.Collect(s.c) {
						s.t.Error("it gathers on")
					}
				})
				mustWrite(s.t, s.peer, []byte{0})
				s.want("read [0]")
			},
		},
		"the peer's end unseen": {
			before: func(s *story) {},
			after:  func(s *story) { _ = s.peer.Close(); s.want("closed EOF"); s.gone() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &story{t: t, events: make(chan string, 100)}
			g := newGroup(t, half.cfg, s.handler)
			addr := listen(t, g)
			g.Start()
			s.l = g.Loops()[0]
			s.peer = dial(t, addr)
			s.want("opened")
			half.before(s)
			next := succeed
			if killed {
				next = revive
			}
			g = next(t, next(t, g, half.cfg, s.handler), half.cfg, s.handler)
			s.l = g.Loops()[0]
			half.after(s)
		})
	}
}

func (s *story) gone() {
	s.t.Helper()
	until(s.t, s.l, "the slot to be free", func() bool { st := s.l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
}

// Input that was left while paused is lent again by the successor if it was resumed right before.
func TestSuccessorLendsResumedInput(t *testing.T) {
	var c netpoll.Conn
	last := false
	opened, read := make(chan netpoll.Conn, 1), make(chan int, 1)
	g := newGroup(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { opened <- c }
		h.read = func(_ netpoll.Conn, in []byte) int {
			if !last {
				read <- len(in)
			}
			return 0
		}
		h.turn = func(time.Duration) time.Duration {
			if last {
				h.loop.Pause(c)
				h.loop.Resume(c)
			}
			return -1
		}
	})
	addr := listen(t, g)
	g.Start()
	mustWrite(t, dial(t, addr), []byte("some"))
	c = wait(t, opened, "the connection")
	if n := wait(t, read, "input"); n != 4 {
		t.Errorf("%d bytes", n)
	}
	on(t, g.Loops()[0], func() { last = true })
	again := make(chan string, 10)
	succeed(t, g, netpoll.Config{}, func(h *hooks) {
		h.read = func(x netpoll.Conn, in []byte) int {
			if x != c {
				t.Errorf("%#x read, not %#x", uint64(x), uint64(c))
			}
			again <- string(in)
			return len(in)
		}
	})
	if s := wait(t, again, "the input"); s != "some" {
		t.Errorf("lent %q", s)
	}
}

// A name that is stale stays so, and so does an event that names it.
func TestSuccessorKnowsStaleNames(t *testing.T) {
	conns := make(chan netpoll.Conn, 10)
	set := func(h *hooks) {
		echoFrames(h)
		h.opened = func(c netpoll.Conn, _ int) { conns <- c }
	}
	g := newGroup(t, netpoll.Config{}, set)
	addr := listen(t, g)
	g.Start()
	l := g.Loops()[0]
	var stale []netpoll.Conn
	for range 5 {
		_ = dial(t, addr).Close()
		stale = append(stale, wait(t, conns, "a connection"))
		until(t, l, "its end", func() bool { return l.Stats().Conns == 0 })
	}
	peer := dial(t, addr)
	c := wait(t, conns, "a connection")
	g = succeed(t, g, netpoll.Config{}, set)
	l = g.Loops()[0]

	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	_, _ = unix.Write(pipe[1], []byte{1})
	name := stale[len(stale)-1]
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(name)), Pad: int32(name >> 32)}
	if err := unix.EpollCtl(l.Epoll(), unix.EPOLL_CTL_ADD, pipe[0], &event); err != nil {
		t.Fatal(err)
	}
	until(t, l, "stale events", func() bool { return l.Stats().Events > 10 })
	if err := unix.EpollCtl(l.Epoll(), unix.EPOLL_CTL_DEL, pipe[0], nil); err != nil {
		t.Fatal(err)
	}
	on(t, l, func() {
		for _, x := range append(stale, 0, c+1) {
			if l.Open(x) || l.Write(x, []byte{0, 0}) {
				t.Errorf("%#x is open", uint64(x))
			}
			l.Abort(x)
		}
		if !l.Open(c) {
			t.Error("the connection is not open")
		}
		n := 0
		for x := range l.Connections() {
			if n++; x != c {
				t.Errorf("%#x among the connections", uint64(x))
			}
		}
		if n != 1 {
			t.Errorf("%d connections", n)
		}
	})
	mustWrite(t, peer, []byte{0, 0})
	mustRead(t, peer, 2)
	_ = peer.Close()
	until(t, l, "its end", func() bool { return l.Stats().Conns == 0 })
	dial(t, addr)
	if next := wait(t, conns, "a connection"); slices.Contains(stale, next) || next == c || uint32(next) != uint32(c) {
		t.Errorf("%#x came behind %#x", uint64(next), uint64(c))
	}
}
