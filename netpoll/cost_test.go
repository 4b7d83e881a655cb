package netpoll_test

import (
	"io"
	"net"
	"runtime"
	"testing"

	"edged/netpoll"
)

// mallocs counts the allocations of the whole process while f runs.
func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

func TestNoAllocationPerMessage(t *testing.T) {
	const messages = 10_000
	frame := appendFrame(nil, make([]byte, 64))
	large := appendFrame(nil, make([]byte, 3000))
	for _, tc := range []struct {
		name string
		trip func(c *net.TCPConn, b []byte) error
	}{
		{"whole frames", func(c *net.TCPConn, b []byte) error { return trip(c, frame, b) }},
		{"frames in two parts", func(c *net.TCPConn, b []byte) error {
			if _, err := c.Write(large[:1000]); err != nil {
				return err
			}
			return trip(c, large, b)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, addr := serve(t, netpoll.Config{}, echoFrames)
			c := dial(t, addr)
			b := make([]byte, 4096)
			run := func() {
				for range messages {
					if err := tc.trip(c, b); err != nil {
						t.Fatal(err)
					}
				}
			}
			run() // buffers are lent for the first time
			if n := mallocs(run); n > messages/100 {
				t.Errorf("%d allocations for %d messages", n, messages)
			}
		})
	}
}

// trip sends frame, of which as much as is kept aside in b's length was sent before, and reads it back.
func trip(c *net.TCPConn, frame, b []byte) error {
	if len(frame) > 1000 {
		if _, err := c.Write(frame[1000:]); err != nil {
			return err
		}
	} else if _, err := c.Write(frame); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b[:len(frame)])
	return err
}

// Pausing, resuming and being held are on the way of messages too when somebody is slow.
func TestNoAllocationForPauseAndResume(t *testing.T) {
	var conn netpoll.Conn
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { conn = c }
		h.read = func(netpoll.Conn, []byte) int { return 0 }
	})
	c := dial(t, addr)
	mustWrite(t, c, []byte("kept"))
	until(t, l, "the input", func() bool { return l.Stats().ReadBytes == 4 })
	turn := func() {
		l.Pause(conn)
		l.Resume(conn)
		l.SetTag(conn, 1)
		_ = l.Tag(conn)
		_ = l.Stalled(conn)
		_ = l.Unsent(conn)
	}
	on(t, l, func() {
		turn()
		if n := testing.AllocsPerRun(100, turn); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestNoGoroutinePerConnection(t *testing.T) {
	const conns = 1000
	l, addr := serve(t, netpoll.Config{}, echoFrames)
	dial(t, addr)
	before := settled(t, func(testing.TB) int { return runtime.NumGoroutine() })
	for range conns {
		dial(t, addr)
	}
	until(t, l, "the connections", func() bool { return l.Stats().Conns == conns+1 })
	if n := settled(t, func(testing.TB) int { return runtime.NumGoroutine() }); n > before {
		t.Errorf("%d goroutines with %d connections, %d with one", n, conns, before)
	}
	if n := stats(t, l).BufferBytes; n != 0 {
		t.Errorf("%d bytes of buffers for connections that were never heard of", n)
	}
}

// A burst to many slow peers takes its memory with it.
func TestBuffersAreGivenBack(t *testing.T) {
	const conns, each = 40, 500 << 10
	keep := 8 << 20
	var all []netpoll.Conn
	l, addr := serve(t, netpoll.Config{HighWater: 512 << 10}, func(h *hooks) {
		h.opened = func(c netpoll.Conn, _ int) { all = append(all, c) }
	})
	var peers []*net.TCPConn
	for range conns {
		peers = append(peers, dial(t, addr))
	}
	until(t, l, "the connections", func() bool { return len(all) == conns })
	b := make([]byte, each)
	on(t, l, func() {
		for _, c := range all {
			if !l.Write(c, b) {
				t.Error("refused")
			}
		}
		if n := l.Stats().BufferBytes; n < conns*each {
			t.Errorf("%d bytes of buffers for %d of output", n, conns*each)
		}
	})
	for _, c := range peers[conns/2:] {
		mustRead(t, c, each)
	}
	for _, c := range peers[:conns/2] { // who leaves gives them back as well
		_ = c.Close()
	}
	until(t, l, "the buffers", func() bool { return l.Stats().BufferBytes <= keep })
}

func TestKeptInputIsGivenBack(t *testing.T) {
	const conns = 100
	l, addr := serve(t, netpoll.Config{}, func(h *hooks) {
		h.read = func(netpoll.Conn, []byte) int { return 0 }
	})
	round := func() (lent int) {
		var peers []*net.TCPConn
		before := stats(t, l).ReadBytes
		for range conns {
			c := dial(t, addr)
			mustWrite(t, c, make([]byte, 1000))
			peers = append(peers, c)
		}
		until(t, l, "the input", func() bool { return l.Stats().ReadBytes-before == conns*1000 })
		lent = stats(t, l).BufferBytes
		for _, c := range peers {
			_ = c.Close()
		}
		until(t, l, "the ends", func() bool { return l.Stats().Conns == 0 })
		return lent
	}
	first := round()
	if first < conns*1000 || first > 4*conns*1000 {
		t.Errorf("%d bytes of buffers for %d of input", first, conns*1000)
	}
	for range 3 {
		if n := round(); n > first {
			t.Errorf("%d bytes of buffers, %d at first", n, first)
		}
	}
}

// Trim drops what is kept for lending, and only that: half a frame stays, and the loop goes on lending.
func TestTrim(t *testing.T) {
	l, addr := serve(t, netpoll.Config{}, echoFrames)
	frame := appendFrame(nil, make([]byte, 5000))
	halfway, other := dial(t, addr), dial(t, addr)
	mustWrite(t, halfway, frame[:3000])
	mustWrite(t, other, frame)
	mustRead(t, other, len(frame))
	until(t, l, "half a frame", func() bool { return l.Stats().ReadBytes == uint64(len(frame)+3000) })
	on(t, l, func() {
		before := l.Stats().BufferBytes
		l.Trim()
		if after := l.Stats().BufferBytes; after == 0 || after >= before {
			t.Errorf("%d bytes of buffers before and %d after", before, after)
		}
	})
	mustWrite(t, halfway, frame[3000:])
	mustRead(t, halfway, len(frame))
	on(t, l, l.Trim)
	until(t, l, "an empty stock", func() bool { l.Trim(); return l.Stats().BufferBytes == 0 })
	mustWrite(t, other, frame)
	mustRead(t, other, len(frame))
}
