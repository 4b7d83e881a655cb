package netpoll_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"edged/netpoll"
)

// echoFrames sends whole frames back and leaves the rest. While the peer does not take them it reads no more.
func echoFrames(h *hooks) {
	h.read = func(c netpoll.Conn, in []byte) int {
		n := whole(in)
		if n > 0 && !h.loop.Write(c, in[:n]) {
			h.loop.Pause(c)
			return 0
		}
		return n
	}
	h.backlog = func(c netpoll.Conn, pending int) {
		if pending == 0 {
			h.loop.Resume(c)
		}
	}
}

// frames returns a stream of about n bytes in frames of 0 to most bytes.
func frames(r *rand.Rand, n, most int) (b []byte) {
	for len(b) < n {
		b = appendFrame(b, noise(r, r.IntN(most+1)))
	}
	return b
}

// checkEcho writes sent by write while it reads it back.
func checkEcho(t *testing.T, c *net.TCPConn, sent []byte, write func()) {
	t.Helper()
	got := make(chan [32]byte, 1)
	go func() {
		h := sha256.New()
		if n, err := io.CopyN(h, c, int64(len(sent))); err != nil {
			t.Errorf("read %d of %d bytes: %v", n, len(sent), err)
		}
		got <- [32]byte(h.Sum(nil))
	}()
	write()
	if wait(t, got, "the echo") != sha256.Sum256(sent) {
		t.Error("what came back is not what was sent")
	}
}

func TestEchoSplitsAndMerges(t *testing.T) {
	for _, tc := range []struct {
		name        string
		bytes, most int // of the stream, of a frame's body
		chunk       int // most bytes written at a time
		readBuffer  int
		highWater   int
	}{
		{"byte by byte", 64 << 10, 200, 1, 0, 0},
		{"bytes of one large frame", 65000, 0xffff, 1, 0, 0},
		{"chunks smaller than frames", 1 << 20, 60000, 9000, 0, 0},
		{"chunks larger than frames", 1 << 20, 100, 30000, 0, 1000},
		{"small reads of large frames", 256 << 10, 30000, 50000, 100, 0},
		{"reads of one byte", 8 << 10, 60, 3000, 1, 0},
		{"empty frames", 20000, 0, 3000, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := random(t)
			_, addr := serve(t, netpoll.Config{ReadBuffer: tc.readBuffer, HighWater: tc.highWater}, echoFrames)
			c := dial(t, addr)
			sent := frames(r, tc.bytes, tc.most)
			checkEcho(t, c, sent, func() {
				for rest := sent; len(rest) > 0; {
					n := min(len(rest), 1+r.IntN(tc.chunk))
					mustWrite(t, c, rest[:n])
					rest = rest[n:]
				}
			})
		})
	}
}

func TestEchoThousandFramesInOneSegment(t *testing.T) {
	l, addr := serve(t, netpoll.Config{}, echoFrames)
	c := dial(t, addr)
	sent := make([]byte, 0, 20000)
	for range 1000 {
		sent = appendFrame(sent, []byte("a frame of 18 byte"))
	}
	checkEcho(t, c, sent, func() { mustWrite(t, c, sent) })
	if s := stats(t, l); s.Writes > s.Reads {
		t.Errorf("%d sends for %d reads: the frames of a turn are to leave together", s.Writes, s.Reads)
	}
}

// The handler alternates between taking nothing and a random share, so that input is kept in every relation to what comes.
func TestKeptInputIsNeitherLostNorDoubled(t *testing.T) {
	r := random(t)
	takes := rand.New(rand.NewPCG(r.Uint64(), 1))
	_, addr := serve(t, netpoll.Config{HighWater: 512 << 10}, func(h *hooks) {
		h.read = func(c netpoll.Conn, in []byte) int {
			n := len(in)
			if n < 60<<10 {
				n = takes.IntN(n+1) * takes.IntN(2)
			}
			if !h.loop.Write(c, in[:n]) {
				h.loop.Pause(c)
				return 0
			}
			if n < len(in) { // the rest is lent again
				h.loop.Pause(c)
				h.loop.Resume(c)
			}
			return n
		}
		h.backlog = func(c netpoll.Conn, pending int) {
			if pending == 0 {
				h.loop.Resume(c)
			}
		}
	})
	c := dial(t, addr)
	sent := noise(r, 1<<20)
	checkEcho(t, c, sent, func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(40000))
			mustWrite(t, c, rest[:n])
			rest = rest[n:]
		}
	})
}

func TestInputOverMaxInput(t *testing.T) {
	ends := make(chan error, 1)
	var most int
	l, addr := serve(t, netpoll.Config{ReadBuffer: 1000, MaxInput: 4000}, func(h *hooks) {
		h.read = func(_ netpoll.Conn, in []byte) int { most = max(most, len(in)); return 0 }
		h.closed = func(_ netpoll.Conn, why error) { ends <- why }
	})
	c := dial(t, addr)
	mustWrite(t, c, make([]byte, 4000))
	until(t, l, "4,000 bytes", func() bool { return most == 4000 })
	mustWrite(t, c, []byte{0})
	if why := wait(t, ends, "the end"); !errors.Is(why, netpoll.ErrInputFull) {
		t.Errorf("closed for %v, want ErrInputFull", why)
	}
	if s := stats(t, l); s.Conns != 0 {
		t.Errorf("%d connections left", s.Conns)
	}
}

// The largest sizes that a Config may have: kept input and what is read behind it.
func TestLargestBuffers(t *testing.T) {
	const largest = 512 << 10
	r := random(t)
	cfg := netpoll.Config{ReadBuffer: largest, MaxInput: largest, HighWater: largest}
	_, addr := serve(t, cfg, func(h *hooks) {
		h.read = func(c netpoll.Conn, in []byte) int {
			if len(in) < largest {
				return 0
			}
			if !h.loop.Write(c, in) {
				t.Error("write refused")
			}
			return len(in)
		}
	})
	c := dial(t, addr)
	sent := noise(r, largest)
	checkEcho(t, c, sent, func() {
		mustWrite(t, c, sent[:largest-1])
		mustWrite(t, c, sent[largest-1:])
	})

	for _, bad := range []netpoll.Config{
		{ReadBuffer: largest + 1}, {MaxInput: largest + 1}, {HighWater: largest + 1}, {ReadBuffer: -1}, {HighWater: -1},
		{Loops: -1}, {MaxConns: -1}, {Linger: -1}, {KernelBytes: -1}, {Loops: 2, CPUs: []int{0}}, {CPUs: []int{-2}},
		{Steer: netpoll.SteerQueue + 1}, {Queues: netpoll.SteerMap{Base: 2}}, {Queues: netpoll.SteerMap{Queues: []netpoll.Queue{{Index: -1}}}},
		{BusyPoll: netpoll.BusyPoll{Time: -1}}, {BusyPoll: netpoll.BusyPoll{Budget: 1 << 16}},
	} {
		if _, err := netpoll.New(bad, func(*netpoll.Loop) netpoll.Handler { return nil }); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
