package netpoll_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"edged/netpoll"
)

func TestPauseAndResume(t *testing.T) {
	var conn netpoll.Conn
	var lent []string
	take := 0
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { conn = c }
		h.read = func(c netpoll.Conn, in []byte) int {
			lent = append(lent, string(in))
			if take == 0 {
				h.loop.Pause(c)
			}
			return min(take, len(in))
		}
	})
	c := dial(t, addr)
	mustWrite(t, c, []byte("one"))
	until(t, l, "the first read", func() bool { return len(lent) == 1 })
	mustWrite(t, c, []byte("two"))
	for range 100 { // a paused connection is not read, however often the loop turns
		on(t, l, func() {})
	}
	on(t, l, func() {
		if len(lent) != 1 {
			t.Errorf("read while paused: %q", lent)
		}
		take = 3
		l.Resume(conn)
		l.Resume(conn)
	})
	until(t, l, "all input", func() bool { return len(lent) >= 3 })
	on(t, l, func() {
		if want := []string{"one", "one", "two"}; !slices.Equal(lent, want) {
			t.Errorf("lent %q, want %q", lent, want)
		}
	})
}

// What a client sent before it left must not be lost because nobody had room for it at that moment.
func TestResumeAfterThePeersEnd(t *testing.T) {
	var conn netpoll.Conn
	var got []byte
	waiting, room := true, false
	ends := make(chan error, 1)
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { conn = c }
		h.turn = func(time.Duration) time.Duration {
			if room { // the end is an event of the next turn
				waiting, room = false, false
				h.loop.Resume(conn)
			}
			return -1
		}
		h.read = func(c netpoll.Conn, in []byte) int {
			if waiting {
				h.loop.Pause(c)
				return 0
			}
			got = append(got, in...)
			return len(in)
		}
		h.closed = func(_ netpoll.Conn, why error) { ends <- why }
	})
	c := dial(t, addr)
	mustWrite(t, c, []byte("last will"))
	until(t, l, "the input", func() bool { return l.Stats().ReadBytes == 9 })
	_ = c.Close()
	on(t, l, func() { room = true })
	if why := wait(t, ends, "the end"); !errors.Is(why, io.EOF) {
		t.Errorf("closed for %v, want EOF", why)
	}
	on(t, l, func() {
		if string(got) != "last will" {
			t.Errorf("got %q", got)
		}
	})
}

func TestPausedPeerResets(t *testing.T) {
	ends := make(chan error, 1)
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { h.loop.Pause(c) }
		h.closed = func(_ netpoll.Conn, why error) { ends <- why }
	})
	c := dial(t, addr)
	until(t, l, "the connection", func() bool { return l.Stats().Conns == 1 })
	_ = c.SetLinger(0)
	_ = c.Close()
	if why := wait(t, ends, "the end"); why == nil {
		t.Error("closed without a reason")
	}
	if s := stats(t, l); s.Conns != 0 {
		t.Errorf("%d connections left", s.Conns)
	}
}

func TestEndsInsideRead(t *testing.T) {
	for _, tc := range []struct {
		name  string
		end   func(l *netpoll.Loop, c netpoll.Conn)
		reset bool
	}{
		{"close", func(l *netpoll.Loop, c netpoll.Conn) { l.Close(c) }, false},
		{"close with last words", func(l *netpoll.Loop, c netpoll.Conn) { l.Close(c, []byte("good"), []byte("bye")) }, false},
		{"abort", func(l *netpoll.Loop, c netpoll.Conn) { l.Abort(c) }, true},
		{"pause and close", func(l *netpoll.Loop, c netpoll.Conn) { l.Pause(c); l.Close(c) }, false},
		{"resume and abort", func(l *netpoll.Loop, c netpoll.Conn) { l.Pause(c); l.Resume(c); l.Abort(c) }, true},
	} {
		for _, kept := range []bool{false, true} {
			name := tc.name
			if kept {
				name += ", input kept"
			}
			t.Run(name, func(t *testing.T) {
				reads, ends := 0, 0
				l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
					h.read = func(c netpoll.Conn, _ []byte) int {
						if reads++; kept && reads == 1 {
							return 0
						}
						tc.end(h.loop, c)
						return 0 // "unused" input of what is no more
					}
					h.closed = func(c netpoll.Conn, why error) {
						if ends++; why != nil {
							t.Errorf("closed for %v", why)
						}
						h.loop.Close(c)
						h.loop.Abort(c)
						if h.loop.Write(c, []byte("x")) {
							t.Error("written to what is closed")
						}
					}
				})
				c := dial(t, addr)
				mustWrite(t, c, []byte("first"))
				if kept {
					until(t, l, "the first read", func() bool { return reads == 1 })
					mustWrite(t, c, []byte("second, and longer than the first"))
				}
				b, err := io.ReadAll(c)
				if tc.reset != (err != nil) {
					t.Errorf("the client read %q, %v", b, err)
				}
				_ = c.Close()
				until(t, l, "the slot to be free", func() bool { s := l.Stats(); return s.Conns == 0 && s.Lingering == 0 })
				on(t, l, func() {
					if ends != 1 {
						t.Errorf("closed %d times", ends)
					}
				})
			})
		}
	}
}

// One Read ends every other connection, some of which have events in the same batch.
func TestEndOthersInsideRead(t *testing.T) {
	for _, abort := range []bool{false, true} {
		all := map[netpoll.Conn]bool{}
		var first netpoll.Conn
		var reads int
		l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
			h.opened = func(c netpoll.Conn, _ int) { all[c] = true }
			h.closed = func(c netpoll.Conn, _ error) { delete(all, c) }
			h.read = func(c netpoll.Conn, in []byte) int {
				reads++
				if first == 0 {
					first = c
					for other := range all {
						if other != c && abort {
							h.loop.Abort(other)
						} else if other != c {
							h.loop.Close(other)
						}
					}
				} else if c != first {
					t.Error("read from what was closed")
				}
				return len(in)
			}
		})
		const n = 20
		clients := make([]io.WriteCloser, n)
		for i := range clients {
			clients[i] = dial(t, addr)
		}
		until(t, l, "the connections", func() bool { return len(all) == n })
		on(t, l, func() { // while the loop is here, all of them get input
			for _, c := range clients {
				mustWrite(t, c, []byte("hello"))
			}
		})
		until(t, l, "the ends", func() bool { return len(all) == 1 && reads > 0 })
		for _, c := range clients {
			_ = c.Close()
		}
		until(t, l, "the slots to be free", func() bool { return l.Stats().Conns == 0 })
	}
}

func TestWriteToOthersFromClosed(t *testing.T) {
	all := map[netpoll.Conn]bool{}
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { all[c] = true }
		h.closed = func(c netpoll.Conn, _ error) {
			delete(all, c)
			for other := range all {
				h.loop.Write(other, []byte("one left"))
			}
		}
	})
	stays := dial(t, addr)
	until(t, l, "the one that stays", func() bool { return len(all) == 1 })
	leaves := dial(t, addr)
	until(t, l, "the one that leaves", func() bool { return len(all) == 2 })
	_ = leaves.Close()
	if got := mustRead(t, stays, 8); string(got) != "one left" {
		t.Errorf("got %q", got)
	}
}

func TestReadBudget(t *testing.T) {
	var most int
	var got []byte
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.read = func(_ netpoll.Conn, in []byte) int {
			most = max(most, len(in))
			got = append(got, in...)
			return len(in)
		}
	})
	sent := noise(random(t), 100<<10)
	on(t, l, func() { l.SetReadBudget(512) })
	mustWrite(t, dial(t, addr), sent)
	until(t, l, "all bytes", func() bool { return len(got) == len(sent) })
	on(t, l, func() {
		if most > 512 || !bytes.Equal(got, sent) {
			t.Errorf("most %d bytes in a read, equal %v", most, bytes.Equal(got, sent))
		}
		l.SetReadBudget(0)
	})
	c := dial(t, addr)
	on(t, l, func() { mustWrite(t, c, sent) })
	until(t, l, "a large read", func() bool { return most > 512 })
}

// A stream that is half closed by its reader's side still gets what was written to it before.
func TestPeerEndsItsSideWithOutputPending(t *testing.T) {
	ends := make(chan error, 1)
	l, addr := serve(t, netpoll.Config{HighWater: 512 << 10, Linger: limit}, func(h *hooks) {
		h.read = func(c netpoll.Conn, in []byte) int {
			for h.loop.Write(c, make([]byte, 100<<10)) {
			}
			return len(in)
		}
		h.closed = func(_ netpoll.Conn, why error) { ends <- why }
	})
	c := dial(t, addr)
	mustWrite(t, c, []byte("all you have"))
	until(t, l, "the kernel to be full", func() bool { return l.Stats().Blocked > 0 })
	_ = c.CloseWrite()
	if why := wait(t, ends, "the end"); !errors.Is(why, io.EOF) {
		t.Errorf("closed for %v, want EOF", why)
	}
	got := mustEnd(t, c)
	if len(got)%(100<<10) != 0 || len(got) < 512<<10 {
		t.Errorf("got %d bytes of writes of 100 KiB", len(got))
	}
	until(t, l, "the slot to be free", func() bool { s := l.Stats(); return s.Conns == 0 && s.Lingering == 0 })
}
