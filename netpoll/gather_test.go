package netpoll_test

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// gathering is a loop with one connection, and what its handler was told.
type gathering struct {
	t      *testing.T
	l      *netpoll.Loop
	c      netpoll.Conn
	peer   io.ReadWriteCloser
	told   []string // on the loop's thread, like got
	got    []byte
	opened chan netpoll.Conn
}

func newGathering(t *testing.T, local bool) *gathering {
	t.Helper()
	g := &gathering{t: t, opened: make(chan netpoll.Conn, 1)}
	set := func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { g.opened <- c }
		h.read = func(_ netpoll.Conn, in []byte) int {
			g.told, g.got = append(g.told, fmt.Sprintf("read %d", len(in))), append(g.got, in...)
			return len(in)
		}
		h.closed = func(_ netpoll.Conn, why error) { g.told = append(g.told, fmt.Sprintf("closed %v", why)) }
	}
	if local {
		group := newGroup(t, netpoll.Config{}, set)
		path := unixPath(t)
		if _, _, err := group.Listen("unix", path); err != nil {
			t.Fatal(err)
		}
		group.Start()
		g.l, g.peer = group.Loops()[0], dialUnix(t, path)
	} else {
		var addr string
		g.l, addr = serve(t, netpoll.Config{}, set)
		g.peer = dial(t, addr)
	}
	g.c = wait(t, g.opened, "the connection")
	return g
}

func (g *gathering) write(n int) { g.t.Helper(); mustWrite(g.t, g.peer, make([]byte, n)) }

// gather and collect are called on the loop's thread.
func (g *gathering) gather(least int) { g.t.Helper(); on(g.t, g.l, func() { g.l.Gather(g.c, least) }) }

func (g *gathering) collect() (was bool) {
	g.t.Helper()
	on(g.t, g.l, func() { was = g.l.Collect(g.c) })
	return was
}

// want waits until the handler was told this and no more.
func (g *gathering) want(told ...string) {
	g.t.Helper()
	var all []string
	until(g.t, g.l, fmt.Sprintf("%v", told), func() bool { all = slices.Clone(g.told); return len(all) >= len(told) })
	if !slices.Equal(all, told) {
		g.t.Fatalf("told %q, want %q", all, told)
	}
}

// settled lets the loop take a turn whose wait began after what was written: it has been told of it then, if it ever will be. The
// first of the two may run in a turn that had begun before.
func (g *gathering) settled() {
	g.t.Helper()
	for range 2 {
		on(g.t, g.l, func() {})
	}
}

// ended waits, on the loop's thread, until the peer's end has come.
func (g *gathering) ended() {
	g.t.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(g.l.FD(g.c)), Events: unix.POLLRDHUP}}, int(limit.Milliseconds())); n != 1 {
		g.t.Errorf("the peer's end: %d, %v", n, err)
	}
}

func TestGather(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]func(g *gathering){
		"short input waits for Collect": func(g *gathering) {
			g.gather(3)
			g.write(2)
			g.settled()
			g.want()
			if !g.collect() || g.collect() {
				g.t.Error("Collect says something else than what was")
			}
			g.want("read 2")
			g.write(1) // told again as it comes
			g.want("read 2", "read 1")
		},
		"longer input does not wait": func(g *gathering) {
			g.gather(3)
			g.write(3)
			g.want("read 3")
			g.write(2) // it gathers on
			g.settled()
			g.want("read 3")
			g.write(1)
			g.want("read 3", "read 3")
			g.collect()
			g.want("read 3", "read 3")
		},
		"nothing has come": func(g *gathering) {
			g.gather(3)
			if !g.collect() {
				g.t.Error("it was not gathering")
			}
			g.write(1)
			g.want("read 1")
		},
		"what lay there before": func(g *gathering) {
			on(g.t, g.l, func() {
				g.write(2)
				g.l.Gather(g.c, 3)
			})
			g.settled()
			g.want()
			g.collect()
			g.want("read 2")
		},
		"the peer ends": func(g *gathering) {
			g.gather(3)
			g.write(2)
			g.settled()
			_ = g.peer.Close()
			g.want("read 2", "closed EOF")
		},
		"the peer is cut off": func(g *gathering) {
			g.gather(3)
			renew(g.t, g.peer)
			_ = g.peer.(interface{ SetLinger(int) error }).SetLinger(0)
			_ = g.peer.Close()
			g.want("closed connection reset by peer")
		},
		"the peer's end is collected": func(g *gathering) {
			on(g.t, g.l, func() {
				g.l.Gather(g.c, 3)
				_ = g.peer.Close()
				g.ended()
				if !g.l.Collect(g.c) || g.l.Open(g.c) || g.l.Collect(g.c) {
					g.t.Error("it did not end")
				}
			})
			g.want("closed EOF")
		},
		"a paused one is not read": func(g *gathering) {
			g.gather(3)
			on(g.t, g.l, func() { g.l.Pause(g.c) })
			g.write(2)
			g.settled()
			if !g.collect() {
				g.t.Error("it was not gathering")
			}
			g.want()
			on(g.t, g.l, func() { g.l.Resume(g.c) })
			g.want("read 2")
		},
		"closed": func(g *gathering) {
			g.gather(3)
			on(g.t, g.l, func() {
				g.l.Close(g.c)
				g.l.Gather(g.c, 3)
				if g.l.Collect(g.c) {
					g.t.Error("a closed connection gathers")
				}
			})
			g.want("closed <nil>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(newGathering(t, false))
		})
	}
	t.Run("unix", func(t *testing.T) { // whose kernel tells of every byte
		t.Parallel()
		g := newGathering(t, true)
		g.gather(3)
		g.write(2)
		g.want("read 2")
		g.collect()
		g.want("read 2")
	})
}

// TestGatherModel writes, gathers, collects, pauses and resumes at random: while it does not gather all is told, while it does what
// makes it long enough; after Collect all is, in its order.
func TestGatherModel(t *testing.T) {
	t.Parallel()
	r := random(t)
	g := newGathering(t, false)
	var sent []byte
	seen, least, paused := 0, 0, false // least: 0 while it does not gather
	all := func(what string) {
		t.Helper()
		until(t, g.l, what, func() bool { return len(g.got) == len(sent) })
		seen = len(sent)
	}
	for step := range 2000 {
		switch what := fmt.Sprintf("step %d of %d bytes, gathering %d, paused %v", step, len(sent), least, paused); r.IntN(6) {
		case 0, 1:
			b := noise(r, 1+r.IntN(5))
			sent = append(sent, b...)
			mustWrite(t, g.peer, b)
			if !paused && (least == 0 || len(sent)-seen >= least) {
				all(what + ", written")
			}
		case 2:
			if least == 0 {
				least = 2 + r.IntN(6)
				g.gather(least)
			}
		case 3:
			if g.collect() != (least != 0) {
				t.Fatal(what)
			}
			if least = 0; !paused {
				all(what + ", collected")
			}
		case 4:
			on(t, g.l, func() { g.l.Pause(g.c) })
			paused = true
		case 5:
			on(t, g.l, func() { g.l.Resume(g.c) })
			if paused = false; least == 0 || len(sent)-seen >= least {
				all(what + ", resumed")
			}
		}
	}
	on(t, g.l, func() {
		g.l.Resume(g.c)
		g.l.Collect(g.c)
	})
	all("the end")
	on(t, g.l, func() {
		if !slices.Equal(g.got, sent) {
			t.Error("other bytes came")
		}
	})
}

// TestGatherAllocates nothing, neither when it begins nor when it ends.
func TestGatherAllocates(t *testing.T) {
	g := newGathering(t, false)
	on(t, g.l, func() {
		if n := testing.AllocsPerRun(100, func() { g.l.Gather(g.c, 3); g.l.Collect(g.c) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
