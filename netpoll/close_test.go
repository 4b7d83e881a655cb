package netpoll_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"edged/netpoll"
)

func TestCloseWithLastWordsBehindPendingOutput(t *testing.T) {
	for _, kernelBytes := range []int{0, 16 << 10} {
		s, l, addr := newSink(t, netpoll.Config{KernelBytes: kernelBytes, Linger: limit})
		c := dial(t, addr)
		conn := wait(t, s.conn, "the connection")
		w := writer{r: random(t)}
		w.fill(t, l, conn)
		on(t, l, func() {
			l.Close(conn, []byte("last "), []byte("words"))
			if l.Write(conn, []byte("x")) || l.Unsent(conn) != 0 {
				t.Error("written after Close")
			}
			if st := l.Stats(); st.Lingering != 1 || st.Conns != 1 {
				t.Errorf("lingering %d of %d", st.Lingering, st.Conns)
			}
		})
		if why := wait(t, s.ends, "the end"); why != nil {
			t.Errorf("closed for %v", why)
		}
		got := mustEnd(t, c)
		if want := append(w.sent.Bytes(), "last words"...); !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, want %d", len(got), len(want))
		}
		_ = c.Close()
		until(t, l, "the slot to be free", func() bool { st := l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
	}
}

// Without lingering the kernel answers the unread input with a reset, and the peer loses what it has not read yet.
func TestLastWordsReachAPeerThatGoesOnSending(t *testing.T) {
	for range 20 {
		s, l, addr := newSink(t, netpoll.Config{})
		c := dial(t, addr)
		conn := wait(t, s.conn, "the connection")
		sender := make(chan struct{})
		go func() {
			defer close(sender)
			for range 500 { // a peer that talks, not one that floods
				if _, err := c.Write(make([]byte, 1000)); err != nil {
					t.Errorf("the peer's write: %v", err)
					return
				}
			}
		}()
		on(t, l, func() {
			mustWrite(t, c, make([]byte, 5000)) // unread when the loop closes
			l.Close(conn, []byte("good bye"))
		})
		got, err := io.ReadAll(c)
		wait(t, sender, "the sender")
		_ = c.Close()
		if string(got) != "good bye" || err != nil {
			t.Fatalf("the peer read %q, %v", got, err)
		}
		until(t, l, "the slot to be free", func() bool { return l.Stats().Conns == 0 })
	}
}

func TestLingerEnds(t *testing.T) {
	const linger = 30 * time.Millisecond
	for _, pending := range []bool{false, true} {
		s, l, addr := newSink(t, netpoll.Config{Linger: linger})
		c := dial(t, addr)
		conn := wait(t, s.conn, "the connection")
		if pending {
			w := writer{r: random(t)}
			w.fill(t, l, conn)
		}
		var begin time.Duration
		on(t, l, func() { begin = l.Now(); l.Close(conn) })
		until(t, l, "the slot to be free", func() bool { return l.Stats().Conns == 0 })
		on(t, l, func() {
			if d := l.Now() - begin; d < linger {
				t.Errorf("gone after %v", d)
			}
			if st := l.Stats(); st.Lingering != 0 || st.BufferBytes > 8<<20 {
				t.Errorf("%+v", st)
			}
		})
		_, err := io.Copy(io.Discard, c)
		if reset := errors.Is(err, syscall.ECONNRESET); reset != pending {
			t.Errorf("output pending %v, the peer read %v", pending, err)
		}
	}
}

func TestFloodWhileLingering(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{Linger: time.Hour})
	c := dial(t, addr)
	conn := wait(t, s.conn, "the connection")
	on(t, l, func() { l.Close(conn) })
	b := make([]byte, 64<<10)
	sent := 0
	for {
		n, err := c.Write(b)
		if sent += n; err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("%d bytes and no end", sent)
			}
			break
		}
	}
	until(t, l, "the slot to be free", func() bool { st := l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
}

func TestAbortResets(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{})
	c := dial(t, addr)
	conn := wait(t, s.conn, "the connection")
	on(t, l, func() {
		l.Write(conn, []byte("never sent"))
		l.Abort(conn)
		if st := l.Stats(); st.Conns != 0 || st.Lingering != 0 {
			t.Errorf("%+v", st)
		}
	})
	if b, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) || len(b) != 0 {
		t.Errorf("the peer read %q, %v, want a reset", b, err)
	}
}

// A closed connection is a stale one, whether its slot is still lingering, free, or another's.
func TestStaleConns(t *testing.T) {
	s, l, addr := newSink(t, netpoll.Config{})
	poke := func(what string, c netpoll.Conn) {
		t.Helper()
		on(t, l, func() {
			l.SetTag(c, 7)
			l.Pause(c)
			l.Resume(c)
			if l.Write(c, []byte("x")) || l.Tag(c) != 0 || l.Remote(c).IsValid() || l.Unsent(c) != 0 || l.Outstanding(c) != 0 || l.Stalled(c) != 0 {
				t.Errorf("%s: not stale", what)
			}
			l.Close(c, []byte("last words"))
			l.Abort(c)
		})
	}
	poke("no connection", 0)
	poke("a slot that was never used", 1<<32|9)
	poke("a slot that cannot be", 1<<32|0xffffffff)

	first := dial(t, addr)
	old := wait(t, s.conn, "the first connection")
	on(t, l, func() { l.Close(old) })
	poke("lingering", old)
	_ = first.Close()
	until(t, l, "the slot to be free", func() bool { return l.Stats().Conns == 0 })
	poke("free", old)

	second := dial(t, addr)
	heir := wait(t, s.conn, "the second connection")
	if uint32(heir) != uint32(old) || heir == old {
		t.Fatalf("slot %#x was followed by %#x", old, heir)
	}
	poke("another's", old)
	on(t, l, func() {
		if !l.Write(heir, []byte("alive")) || l.Tag(heir) != 0 {
			t.Error("the heir was hurt")
		}
	})
	if got := mustRead(t, second, 5); string(got) != "alive" {
		t.Errorf("got %q", got)
	}
	if n := len(s.ends); n != 1 {
		t.Errorf("%d ends told, want 1", n)
	}
}

// The tag and the address are for the last call about a connection too: it is how its owner finds what was its.
func TestTagInsideClosed(t *testing.T) {
	type last struct {
		tag    uint32
		remote string
	}
	for name, end := range map[string]func(l *netpoll.Loop, c netpoll.Conn, peer *net.TCPConn){
		"close": func(l *netpoll.Loop, c netpoll.Conn, _ *net.TCPConn) { l.Close(c) },
		"abort": func(l *netpoll.Loop, c netpoll.Conn, _ *net.TCPConn) { l.Abort(c) },
		"peer":  func(_ *netpoll.Loop, _ netpoll.Conn, peer *net.TCPConn) { _ = peer.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan netpoll.Conn, 1)
			ends := make(chan last, 1)
			l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
				h.opened = func(c netpoll.Conn, _ int) { h.loop.SetTag(c, 4711); conns <- c }
				h.closed = func(c netpoll.Conn, _ error) { ends <- last{h.loop.Tag(c), h.loop.Remote(c).String()} }
			})
			c := dial(t, addr)
			local := c.LocalAddr().String()
			conn := wait(t, conns, "the connection")
			on(t, l, func() { end(l, conn, c) })
			if got := wait(t, ends, "the end"); got != (last{4711, local}) {
				t.Errorf("got %+v, want the tag and %s", got, local)
			}
		})
	}
}

// A slot that is given up and taken again within one batch of events gets no event of its old owner.
func TestSlotReusedWithinABatch(t *testing.T) {
	for range 50 {
		opened, aborted := []netpoll.Conn{}, false
		read := map[netpoll.Conn]string{}
		l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
			h.opened = func(c netpoll.Conn, _ int) {
				if opened = append(opened, c); len(opened) == 3 { // comes in the batch in which the others have input
					aborted = true
					h.loop.Abort(opened[0])
					h.loop.Abort(opened[1])
				}
			}
			h.read = func(c netpoll.Conn, in []byte) int {
				read[c] += string(in)
				if aborted && (c == opened[0] || c == opened[1]) {
					t.Error("read from what was aborted")
				}
				return len(in)
			}
		})
		a, b := dial(t, addr), dial(t, addr)
		until(t, l, "two connections", func() bool { return len(opened) == 2 })
		var c, d *net.TCPConn
		on(t, l, func() {
			c, d = dial(t, addr), dial(t, addr)
			mustWrite(t, a, []byte("old"))
			mustWrite(t, b, []byte("old"))
		})
		mustWrite(t, c, []byte("new"))
		mustWrite(t, d, []byte("new"))
		until(t, l, "the new input", func() bool {
			return len(opened) == 4 && read[opened[2]] == "new" && read[opened[3]] == "new"
		})
	}
}

// A peer that is gone needs no waiting for, whatever was still to be sent to it.
func TestPeerResetsWhileClosing(t *testing.T) {
	for _, kernelBytes := range []int{0, 16 << 10} {
		s, l, addr := newSink(t, netpoll.Config{Linger: time.Hour, KernelBytes: kernelBytes})
		c := dial(t, addr)
		conn := wait(t, s.conn, "the connection")
		w := writer{r: random(t)}
		w.fill(t, l, conn)
		on(t, l, func() { l.Close(conn, []byte("last words")) })
		_ = c.SetLinger(0)
		_ = c.Close()
		until(t, l, "the slot to be free", func() bool { st := l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
		on(t, l, func() {
			if n := len(s.ends); n != 1 {
				t.Errorf("%d ends told", n)
			}
		})
	}
}

// Input that is kept goes with its connection, and output that is held does not come to the slot's next owner.
func TestEndWithInputKeptAndOutputHeld(t *testing.T) {
	for _, abort := range []bool{false, true} {
		conns := make(chan netpoll.Conn, 2)
		l, addr := serve(t, netpoll.Config{KernelBytes: 16 << 10, Linger: time.Millisecond}, func(h *hooks) {
			h.opened = func(c netpoll.Conn, _ int) { conns <- c }
			h.read = func(netpoll.Conn, []byte) int { return 0 }
		})
		first := dial(t, addr)
		mustWrite(t, first, []byte("kept"))
		old := wait(t, conns, "the connection")
		until(t, l, "the input", func() bool { return l.Stats().ReadBytes == 4 })
		w := writer{r: random(t)}
		w.fill(t, l, old)
		on(t, l, func() {
			if abort {
				l.Abort(old)
			} else {
				l.Close(old)
			}
		})
		until(t, l, "the slot to be free", func() bool { st := l.Stats(); return st.Conns == 0 && st.Lingering == 0 })
		second := dial(t, addr)
		heir := wait(t, conns, "the next owner")
		if uint32(heir) != uint32(old) {
			t.Errorf("slot of %#x is not that of %#x", heir, old)
		}
		on(t, l, func() { l.Close(heir, []byte("mine")) })
		if got := mustEnd(t, second); string(got) != "mine" {
			t.Errorf("the next owner got %d bytes", len(got))
		}
	}
}

// Ends are kept in one list, whose gone entries are cut off from time to time.
func TestManyEndsAtOnce(t *testing.T) {
	const conns = 3000
	l, addr := serve(t, netpoll.Config{Linger: 20 * time.Millisecond}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { h.loop.Close(c, []byte("full")) }
	})
	peers := make([]*net.TCPConn, 0, conns)
	for range conns {
		peers = append(peers, dial(t, addr))
	}
	until(t, l, "the ends", func() bool { st := l.Stats(); return st.Accepts == conns && st.Conns == 0 && st.Lingering == 0 })
	for _, c := range peers {
		if got := mustEnd(t, c); string(got) != "full" {
			t.Fatalf("got %q", got)
		}
	}
}

// TestWhatDidNotArriveIsToldAtTheEnd: a handler that is told of a peer's end can still ask what had not reached it.
func TestWhatDidNotArriveIsToldAtTheEnd(t *testing.T) {
	for _, full := range []bool{false, true} {
		var conn netpoll.Conn
		told := make(chan [2]int, 1)
		l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
			h.opened = func(c netpoll.Conn, _ int) { conn = c }
			h.closed = func(c netpoll.Conn, _ error) { told <- [2]int{h.loop.Unsent(c), h.loop.Outstanding(c)} }
		})
		c := dial(t, addr)
		until(t, l, "the connection", func() bool { return conn != 0 })
		if full {
			w := writer{r: random(t)}
			w.fill(t, l, conn)
		} else {
			on(t, l, func() { l.Write(conn, []byte("x")) })
			mustRead(t, c, 1)
			until(t, l, "the peer's word", func() bool { return l.Outstanding(conn) == 0 })
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, told, "the end"); (got[0] > 0) != full || (got[1] > 0) != full {
			t.Errorf("full %v: %d bytes unsent, %d outstanding", full, got[0], got[1])
		}
	}
}
