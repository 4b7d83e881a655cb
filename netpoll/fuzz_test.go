package netpoll_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"edged/netpoll"
)

// twin is the naive picture of one connection: two streams of bytes that say their own place, and who has ended what.
type twin struct {
	peer net.Conn
	conn netpoll.Conn

	// Owned by the loop's thread.
	taken    int // of what the peer sent
	accepted int // of what was written to the peer
	most     int // taken by one Read
	opened   chan struct{}
	ends     int
	why      error
	wrong    string

	// Owned by the test.
	sent, received     int
	peerGone, peerDone bool // closed; ended its side
	aborted            bool
}

// at is the byte at place i of every stream.
func at(i int) byte { return byte(i*7 + i>>8*13) }

func stretch(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = at(from + i)
	}
	return b
}

// check says where b, which is to begin at place from, is not what it should be.
func check(from int, b []byte) string {
	for i, v := range b {
		if v != at(from+i) {
			return fmt.Sprintf("byte %d is %d, want %d", from+i, v, at(from+i))
		}
	}
	return ""
}

// bench is one loop with its listener, used for every input.
type bench struct {
	loop          *netpoll.Loop
	network, addr string
	twins         map[netpoll.Conn]*twin // owned by the loop
	next          *twin                  // the one that dials; owned by the loop
}

func newBench(f *testing.F, network string, cfg netpoll.Config) *bench {
	b := &bench{network: network, twins: map[netpoll.Conn]*twin{}}
	g := newGroup(f, cfg, func(h *hooks) {
		b.loop = h.loop
		h.opened = func(c netpoll.Conn, _ int) {
			tw := b.next
			tw.conn, b.twins[c] = c, tw
			close(tw.opened)
		}
		h.read = func(c netpoll.Conn, in []byte) int {
			tw := b.twins[c]
			if tw == nil || tw.ends != 0 {
				panic(fmt.Sprintf("read from %#x, which is closed", uint64(c)))
			}
			n := min(len(in), tw.most)
			if wrong := check(tw.taken, in); wrong != "" && tw.wrong == "" {
				tw.wrong = "server: " + wrong
			}
			if tw.taken += n; n < len(in) {
				h.loop.Pause(c)
			}
			return n
		}
		h.closed = func(c netpoll.Conn, why error) {
			tw := b.twins[c]
			tw.ends++
			tw.why = why
			delete(b.twins, c)
		}
	})
	address := "127.0.0.1:0"
	if network == "unix" {
		address = f.TempDir() + "/edge"
	}
	_, addr, err := g.Listen(network, address)
	if err != nil {
		f.Fatal(err)
	}
	b.addr = addr.String()
	g.Start()
	return b
}

func (b *bench) dial(t *testing.T) *twin {
	tw := &twin{opened: make(chan struct{}), most: 1 << 20}
	on(t, b.loop, func() { b.next = tw })
	peer, err := net.DialTimeout(b.network, b.addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	tw.peer = peer
	_ = peer.SetDeadline(time.Now().Add(limit))
	wait(t, tw.opened, "the connection")
	return tw
}

// read takes n bytes at the peer's side.
func (tw *twin) read(t *testing.T, n int) {
	t.Helper()
	buf := make([]byte, n)
	got, err := io.ReadFull(tw.peer, buf)
	if wrong := check(tw.received, buf[:got]); wrong != "" {
		t.Fatalf("peer: %s", wrong)
	}
	tw.received += got
	if err != nil && !tw.aborted {
		t.Fatalf("peer: %d of %d bytes, %v", tw.received, tw.accepted, err)
	}
}

// step does what one operation of the input says.
func (b *bench) step(t *testing.T, tw *twin, op byte, arg int) {
	l, c := b.loop, tw.conn
	var accepted, taken int
	on(t, l, func() { accepted, taken = tw.accepted, tw.taken })
	switch op % 12 {
	case 0, 1: // what nobody reads must fit into the kernel, or the peer would wait for ever
		if n := 1 + arg*arg/8; !tw.peerGone && !tw.peerDone && tw.sent+n-taken < 48<<10 {
			got, err := tw.peer.Write(stretch(tw.sent, n))
			if tw.sent += got; err != nil && !tw.aborted {
				t.Errorf("the peer's write: %v", err)
			}
		}
	case 2:
		if !tw.peerGone {
			tw.read(t, min(arg*40, accepted-tw.received))
		}
	case 3, 4:
		on(t, l, func() { b.write(tw, 1+arg*arg/4) })
	case 5:
		on(t, l, func() { l.Pause(c) })
	case 6:
		on(t, l, func() { l.Resume(c) })
	case 7:
		on(t, l, func() { tw.most = arg * 4 })
	case 8:
		on(t, l, func() {
			if tw.ends == 0 {
				words := stretch(tw.accepted, arg)
				tw.accepted += arg
				l.Close(c, words[:arg/2], words[arg/2:])
			}
			l.Close(c, []byte("stale"))
		})
	case 9:
		on(t, l, func() {
			tw.aborted = tw.aborted || tw.ends == 0
			l.Abort(c)
		})
	case 10:
		if s, ok := tw.peer.(interface{ CloseWrite() error }); ok && !tw.peerGone {
			_ = s.CloseWrite()
			tw.peerDone = true
		}
	case 11:
		if arg < 32 {
			_ = tw.peer.Close()
			tw.peerGone = true
		}
	}
}

// write runs on the loop's thread.
func (b *bench) write(tw *twin, n int) {
	p := stretch(tw.accepted, n)
	if b.loop.Write(tw.conn, p[:n/3], p[n/3:]) {
		tw.accepted += n
	}
}

// end brings a connection to its end and compares.
func (b *bench) end(t *testing.T, tw *twin) {
	t.Helper()
	l := b.loop
	on(t, l, func() { tw.most = 1 << 20; l.Resume(tw.conn) })
	byServer := false
	on(t, l, func() { byServer = tw.ends != 0 && tw.why == nil })
	if s, ok := tw.peer.(interface{ CloseWrite() error }); ok && !tw.peerGone {
		_ = s.CloseWrite()
	}
	until(t, l, "the end", func() bool { return tw.ends != 0 })
	if !tw.peerGone {
		rest, err := io.ReadAll(tw.peer)
		if wrong := check(tw.received, rest); wrong != "" {
			t.Errorf("peer: %s", wrong)
		}
		tw.received += len(rest)
		_ = tw.peer.Close()
		if !tw.aborted && (err != nil || tw.received != tw.accepted) {
			t.Errorf("the peer read %d of %d bytes, %v", tw.received, tw.accepted, err)
		}
		if !byServer && !errors.Is(tw.why, io.EOF) {
			t.Errorf("ended for %v, want EOF", tw.why)
		}
		if !byServer && tw.taken != tw.sent {
			t.Errorf("the server took %d of %d bytes", tw.taken, tw.sent)
		}
	}
	on(t, l, func() {
		if tw.ends != 1 || tw.wrong != "" || tw.taken > tw.sent {
			t.Errorf("ended %d times, took %d of %d bytes, %s", tw.ends, tw.taken, tw.sent, tw.wrong)
		}
	})
}

// FuzzStreams drives one loop with two connections through any order of what both sides can do, and compares with twins.
func FuzzStreams(f *testing.F) {
	small := netpoll.Config{ReadBuffer: 300, HighWater: 2000, Linger: limit}
	held := small
	held.KernelBytes = 4 << 10
	benches := []*bench{
		newBench(f, "tcp", small), newBench(f, "unix", small), newBench(f, "tcp", held),
		newBench(f, "tcp", netpoll.Config{Linger: limit}),
	}
	f.Add([]byte("\x000 write"))
	f.Add([]byte{0, 0, 200, 3, 200, 2, 255, 5, 0, 0, 100, 10, 0, 6, 0})    // pause, input, end of the peer's side, resume
	f.Add([]byte{1, 7, 3, 0, 200, 0, 200, 10, 0, 6, 0, 6, 0})              // input kept, resumed
	f.Add([]byte{2, 3, 255, 3, 255, 3, 255, 3, 255, 3, 255, 8, 90, 2, 80}) // output held, last words
	f.Add([]byte{3, 3, 255, 16, 90, 11, 0, 27, 9, 9, 0, 15, 200, 24, 44})  // both connections
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) < 3 || len(ops) > 200 {
			return
		}
		b := benches[int(ops[0])%len(benches)]
		twins := []*twin{b.dial(t), b.dial(t)}
		for ops = ops[1:]; len(ops) >= 2; ops = ops[2:] {
			b.step(t, twins[ops[0]/12%2], ops[0], int(ops[1]))
		}
		for _, tw := range twins {
			b.end(t, tw)
		}
		until(t, b.loop, "the slots to be free", func() bool { s := b.loop.Stats(); return s.Conns == 0 && s.Lingering == 0 })
	})
}
