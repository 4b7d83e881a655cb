package netpoll_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// sink is a server that tells the test of its one connection, which the test then drives.
type sink struct {
	conn     chan netpoll.Conn
	backlogs []int // of Backlog, on the loop's thread
	ends     chan error
}

func newSink(t testing.TB, cfg netpoll.Config) (s *sink, l *netpoll.Loop, addr string) {
	s = &sink{conn: make(chan netpoll.Conn, 16), ends: make(chan error, 16)}
	l, addr = serve(t, cfg, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { s.conn <- c }
		h.backlog = func(_ netpoll.Conn, pending int) { s.backlogs = append(s.backlogs, pending) }
		h.closed = func(_ netpoll.Conn, why error) { s.ends <- why }
	})
	return s, l, addr
}

// writer fills a connection with pieces of random size and remembers what was accepted.
type writer struct {
	r    *rand.Rand
	sent bytes.Buffer
}

// fill writes until the loop refuses, in several turns so that the kernel has its say.
func (w *writer) fill(t testing.TB, l *netpoll.Loop, c netpoll.Conn) {
	t.Helper()
	until(t, l, "a refusal", func() bool {
		for range 8 {
			a, b := noise(w.r, w.r.IntN(20000)), noise(w.r, 1+w.r.IntN(300))
			if !l.Write(c, a, nil, b) {
				return true
			}
			w.sent.Write(a)
			w.sent.Write(b)
		}
		return false
	})
}

func TestPeerThatReadsLate(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  netpoll.Config
	}{
		{"default", netpoll.Config{}},
		{"small mark", netpoll.Config{HighWater: 1000}},
		{"large mark", netpoll.Config{HighWater: 512 << 10}},
		{"kernel bytes", netpoll.Config{KernelBytes: 16 << 10}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, l, addr := newSink(t, tc.cfg)
			c := dial(t, addr)
			conn := wait(t, s.conn, "the connection")
			on(t, l, func() { narrow(t, c, l.FD(conn)) })
			w := writer{r: random(t)}
			for range 3 {
				w.fill(t, l, conn)
				w.checkFull(t, l, s, conn)
				got := mustRead(t, c, w.sent.Len())
				if sha256.Sum256(got) != sha256.Sum256(w.sent.Bytes()) {
					t.Fatal("what was accepted is not what came")
				}
				w.sent.Reset()
				until(t, l, "word that all is taken", func() bool { return s.backlogs[len(s.backlogs)-1] == 0 })
				until(t, l, "the peer's word", func() bool { return l.Outstanding(conn) == 0 })
				on(t, l, func() {
					if l.Unsent(conn) != 0 || l.Stalled(conn) != 0 {
						t.Errorf("unsent %d, stalled %v after all was read", l.Unsent(conn), l.Stalled(conn))
					}
				})
			}
		})
	}
}

// narrow has the kernel take little for a connection: of its own accord that may be 10 MB.
func narrow(t testing.TB, peer *net.TCPConn, fd int) {
	t.Helper()
	if err := errors.Join(peer.SetReadBuffer(32<<10), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 32<<10)); err != nil {
		t.Fatal(err)
	}
}

// checkFull looks at a connection whose peer does not read, until it is full: for a while after a refusal its kernel may still
// take more, or have acknowledged all that the loop has sent so far.
func (w *writer) checkFull(t *testing.T, l *netpoll.Loop, s *sink, c netpoll.Conn) {
	t.Helper()
	until(t, l, "a full connection", func() bool {
		before := l.Stats().HighWater
		if more := noise(w.r, 5000); l.Write(c, more) {
			w.sent.Write(more)
			return false
		}
		st := l.Stats()
		if st.HighWater != before+1 || st.Blocked+st.Held == 0 {
			t.Errorf("%d refusals counted, %d blocked, %d held", st.HighWater-before, st.Blocked, st.Held)
		}
		last := s.backlogs[len(s.backlogs)-1]
		if last != l.Unsent(c) || last == 0 {
			t.Errorf("Backlog told %d, unsent are %d", last, l.Unsent(c))
		}
		return l.Outstanding(c) != 0 || st.Held != 0 // what is held waits although the peer's kernel has taken all that was sent
	})
}

func TestStalledGrowsUntilThePeerReads(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{})
	c := dial(t, addr)
	conn := wait(t, s.conn, "the connection")
	w := writer{r: random(t)}
	w.fill(t, l, conn)
	until(t, l, "a stall of 50 ms", func() bool { return l.Stalled(conn) >= 50*time.Millisecond })
	mustRead(t, c, w.sent.Len())
	until(t, l, "the end of the stall", func() bool { return l.Stalled(conn) == 0 })
	on(t, l, func() { l.Write(conn, []byte("fresh")) })
	on(t, l, func() { // acknowledged or not, it is no old stall
		if d := l.Stalled(conn); d >= 50*time.Millisecond && l.Outstanding(conn) != 0 {
			t.Errorf("stalled for %v with fresh output", d)
		}
	})
}

func TestKernelBytesBoundsWhatIsOutstanding(t *testing.T) {
	const bound, mark = 20 << 10, 10 << 10
	s, l, addr := newSink(t, netpoll.Config{KernelBytes: bound, HighWater: mark})
	c := dial(t, addr)
	_ = c.SetReadBuffer(4096)
	conn := wait(t, s.conn, "the connection")
	w := writer{r: random(t)}
	w.fill(t, l, conn)
	on(t, l, func() {
		most := bound + mark + 20300 // one more send beyond the bound, of all that may wait here
		if n := l.Outstanding(conn); n > most {
			t.Errorf("%d bytes outstanding, bound %d", n, most)
		}
		if st := l.Stats(); st.Held == 0 {
			t.Error("nothing was held")
		}
	})
	mustRead(t, c, w.sent.Len())
}

// A burst to a peer that reads goes out within the turn instead of being refused.
func TestBurstOverTheMarkInOneTurn(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{HighWater: 1000})
	c := dial(t, addr)
	conn := wait(t, s.conn, "the connection")
	piece := noise(random(t), 900)
	on(t, l, func() {
		for i := range 20 {
			if !l.Write(conn, piece) {
				t.Fatalf("write %d was refused", i)
			}
		}
	})
	if got := mustRead(t, c, 20*900); !bytes.Equal(got, bytes.Repeat(piece, 20)) {
		t.Error("the burst came torn")
	}
}

func TestWriteLargerThanAnyBuffer(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{})
	c := dial(t, addr)
	conn := wait(t, s.conn, "the connection")
	big := noise(random(t), 3<<20+17)
	on(t, l, func() {
		if !l.Write(conn, []byte("head"), big) {
			t.Error("refused")
		}
		l.Close(conn, big)
	})
	got := mustEnd(t, c)
	if want := append(append([]byte("head"), big...), big...); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

// All output of a turn leaves in one system call.
func TestOneSendPerTurn(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{})
	c := dial(t, addr)
	conn := wait(t, s.conn, "the connection")
	before := stats(t, l).Writes
	on(t, l, func() {
		for range 200 {
			l.Write(conn, []byte("many "), []byte("parts, several buffers"))
		}
	})
	mustRead(t, c, 200*27)
	if n := stats(t, l).Writes - before; n != 1 {
		t.Errorf("%d sends", n)
	}
}

// Write must not be the place where its caller learns of the end: it is in the middle of something.
func TestBrokenPeerIsToldOutsideOfWrite(t *testing.T) {
	ends := make(chan error, 1)
	conns := make(chan netpoll.Conn, 1)
	writing := false
	l, addr := serve(t, netpoll.Config{HighWater: 100}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { conns <- c }
		h.closed = func(_ netpoll.Conn, why error) {
			if writing {
				t.Error("Closed was called inside Write")
			}
			ends <- why
		}
	})
	c := dial(t, addr)
	conn := wait(t, conns, "the connection")
	_ = c.SetLinger(0)
	on(t, l, func() {
		_ = c.Close() // the reset is here before the loop hears of it
		writing = true
		for range 10 {
			l.Write(conn, make([]byte, 100))
		}
		writing = false
	})
	if why := wait(t, ends, "the end"); why == nil {
		t.Error("closed without a reason")
	}
}

// The handler may give a peer up when it hears of the backlog, which may be in the middle of its Write.
func TestEndInsideBacklog(t *testing.T) {
	const mark = 300 << 10
	r := random(t)
	for round := range 20 {
		gone := false
		conns := make(chan netpoll.Conn, 1)
		l, addr := serve(t, netpoll.Config{HighWater: mark, Linger: time.Millisecond}, func(h *hooks) {
			h.opened = func(c netpoll.Conn, _ int) { conns <- c }
			h.closed = func(_ netpoll.Conn, why error) {
				if gone = true; why != nil {
					t.Errorf("closed for %v", why)
				}
			}
			h.backlog = func(c netpoll.Conn, pending int) {
				if pending == 0 {
					t.Error("all was taken by a peer that does not read")
				}
				if round%2 == 0 {
					h.loop.Abort(c)
				} else {
					h.loop.Close(c)
				}
			}
		})
		dial(t, addr)
		conn := wait(t, conns, "the connection")
		on(t, l, func() {
			for total := 0; !gone; {
				n := 1 + r.IntN(mark)
				if took := l.Write(conn, make([]byte, n)); took == gone {
					t.Errorf("took %v, gone %v", took, gone)
				}
				if total += n; total > 1<<30 {
					t.Fatal("never refused")
				}
			}
		})
		until(t, l, "the slot to be free", func() bool { st := l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
	}
}
