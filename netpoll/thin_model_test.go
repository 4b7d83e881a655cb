package netpoll_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edged/netpoll"
)

// framing is a kind of pieces: how a length is told and how long they are.
type framing struct {
	head int
	most int                    // bytes of the largest buffer that a piece is lent
	size func(r *rand.Rand) int // of a body
}

// small pieces lie in one buffer until Thin moves them; large ones never do.
var (
	smallFrames = framing{2, 128 << 10, func(r *rand.Rand) int {
		switch r.IntN(20) {
		case 0:
			return 0
		case 1:
			return r.IntN(1 << 16)
		case 2, 3, 4:
			return r.IntN(4000)
		}
		return r.IntN(200)
	}}
	largeFrames = framing{5, 1 << 20, func(r *rand.Rand) int {
		if r.IntN(4) == 0 {
			return 1<<20 - 1000 + r.IntN(2<<20)
		}
		return r.IntN(3000)
	}}
)

func (f framing) config(cfg netpoll.Config) netpoll.Config {
	cfg.PieceHead, cfg.Piece = f.head, f.length
	return cfg
}

func (f framing) length(head []byte) int {
	n := 0
	for _, b := range head[:f.head] {
		n = n<<8 | int(b)
	}
	return f.head + n
}

func (f framing) piece(r *rand.Rand) []byte {
	n := f.size(r)
	head := binary.BigEndian.AppendUint64(nil, uint64(n))
	return append(head[8-f.head:], noise(r, n)...)
}

// ledger is the naive twin of one output: the pieces that were written, but for those thinned out and those read.
type ledger struct {
	framing
	r      *rand.Rand
	pieces [][]byte
	read   int // of the first piece
	unread int // bytes of all, but for read
	shown  int // calls of drop
	parted int // times that Thin had a piece to leave alone
}

func (g *ledger) write(write func(parts ...[]byte) bool) (taken bool) {
	p := g.piece(g.r)
	i := g.r.IntN(len(p) + 1)
	if !write(p[:i], nil, p[i:]) {
		return false
	}
	g.pieces = append(g.pieces, p)
	g.unread += len(p)
	return true
}

// thin has up to n bytes freed of an output of which unsent bytes wait, and compares what it did with what was to be done.
func (g *ledger) thin(t testing.TB, unsent, n int, thin func(n int, drop func([]byte) bool) (int, int)) {
	t.Helper()
	first, at := 0, -g.read // first piece of which the kernel has no byte, and where it begins
	for ; first < len(g.pieces) && at < g.unread-unsent; first++ {
		at += len(g.pieces[first])
	}
	if at > g.unread-unsent {
		g.parted++
	}
	chance := g.r.IntN(5)
	kept, i, wantDropped, wantFreed := g.pieces[:first:first], first, 0, 0
	dropped, freed := thin(n, func(b []byte) bool {
		if i == len(g.pieces) || wantFreed >= n {
			t.Fatalf("shown a piece of %d bytes behind the last one", len(b))
		}
		p := g.pieces[i]
		i++
		g.shown++
		if len(b) < min(len(p), 64) || len(b) > len(p) || !bytes.Equal(b, p[:len(b)]) {
			t.Fatalf("shown %d bytes of piece %d, which has %d, or others", len(b), i, len(p))
		}
		if g.r.IntN(4) < chance {
			wantDropped++
			wantFreed += len(p)
			return true
		}
		kept = append(kept, p)
		return false
	})
	if i < len(g.pieces) && wantFreed < n {
		t.Fatalf("shown %d of %d pieces, %d bytes of %d freed", i-first, len(g.pieces)-first, wantFreed, n)
	}
	if dropped != wantDropped || freed != wantFreed {
		t.Fatalf("dropped %d pieces of %d bytes, want %d of %d", dropped, freed, wantDropped, wantFreed)
	}
	g.pieces = append(kept, g.pieces[i:]...)
	g.unread -= freed
}

// took compares what the peer read.
func (g *ledger) took(t testing.TB, b []byte) {
	t.Helper()
	g.unread -= len(b)
	for len(b) > 0 {
		p := g.pieces[0][g.read:]
		n := min(len(p), len(b))
		if !bytes.Equal(b[:n], p[:n]) {
			t.Fatalf("the peer read other bytes than those at %d of a piece of %d", g.read, len(g.pieces[0]))
		}
		b = b[n:]
		if g.read += n; g.read == len(g.pieces[0]) {
			g.pieces, g.read = g.pieces[1:], 0
		}
	}
}

// Every place at which a kernel can stop, without one.
func TestThinModel(t *testing.T) {
	for _, tc := range []struct {
		name string
		framing
		highWater, steps int
	}{
		{"4 KiB", smallFrames, 4 << 10, 20000},
		{"64 KiB", smallFrames, 64 << 10, 4000},
		{"256 KiB", smallFrames, 256 << 10, 1500},
		{"pieces beyond any buffer", largeFrames, 512 << 10, 500},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := netpoll.NewOutput(tc.config(netpoll.Config{HighWater: tc.highWater}), -1)
			g := &ledger{framing: tc.framing, r: random(t)}
			unsent := func() int { return o.Unsent(o.Conn) }
			for range tc.steps {
				switch g.r.IntN(4) {
				case 0, 1:
					for k := g.r.IntN(40); k > 0 && unsent() < tc.highWater; k-- {
						g.write(func(parts ...[]byte) bool { return o.Write(o.Conn, parts...) })
					}
				case 2:
					g.took(t, o.Take(g.r.IntN(unsent()+1)>>g.r.IntN(12)))
				case 3:
					g.thin(t, unsent(), g.r.IntN(2*tc.highWater)>>g.r.IntN(10), func(n int, drop func([]byte) bool) (int, int) {
						return o.Thin(o.Conn, n, drop)
					})
				}
				if unsent() != g.unread {
					t.Fatalf("%d bytes wait, want %d", unsent(), g.unread)
				}
				checkChain(t, o, tc.highWater, tc.most)
			}
			g.took(t, o.Take(unsent()))
			if n, room, _ := o.Chain(); n != 0 || room != 0 {
				t.Errorf("%d buffers of %d bytes for no output", n, room)
			}
			if g.shown == 0 || g.parted == 0 {
				t.Errorf("%d pieces shown, %d parted", g.shown, g.parted)
			}
		})
	}
}

// checkChain fails if the output needs more than one send or far more room than it is long.
func checkChain(t *testing.T, o *netpoll.Output, highWater, largest int) {
	t.Helper()
	n, room, most := o.Chain()
	if n > most {
		t.Fatalf("%d buffers, %d go into one send", n, most)
	}
	if waits := o.Unsent(o.Conn); room > 3*max(waits, highWater)+2*largest {
		t.Fatalf("%d buffers of %d bytes for %d of output", n, room, waits)
	}
}

// socketPair gives the loop one end of a pair of unix sockets, whose buffer is as small as the kernel lets it be, and returns
// the other.
func socketPair(t testing.TB, l *netpoll.Loop, sendBuffer int) *os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
		t.Error(err)
	}
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETFD, 0); err != nil { // as accepted ones
		t.Error(err)
	}
	peer := os.NewFile(uintptr(fds[1]), "peer")
	t.Cleanup(func() { _ = peer.Close() })
	if err := peer.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	on(t, l, func() { l.TakeOver(fds[0]) })
	return peer
}

// The same with a kernel, whose peer reads in amounts of its own.
func TestThinModelOverSockets(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cfg   netpoll.Config
		kind  framing
		unix  int // size of a unix socket's buffer; 0 for TCP
		steps int
	}{
		{"blocked, 4 KiB", netpoll.Config{HighWater: 4 << 10}, smallFrames, 1, 4000},
		{"blocked, 256 KiB", netpoll.Config{HighWater: 256 << 10}, smallFrames, 20 << 10, 3000},
		{"blocked, large", netpoll.Config{HighWater: 256 << 10}, largeFrames, 1, 150},
		{"held", netpoll.Config{KernelBytes: 8 << 10, HighWater: 16 << 10}, smallFrames, 20 << 10, 1000},
		{"tcp", netpoll.Config{HighWater: 64 << 10}, smallFrames, 0, 2000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.cfg.Linger = time.Minute // reading what is left takes as long as the machine is slow
			s, l, addr := newSink(t, tc.kind.config(tc.cfg))
			var peer io.Reader
			if tc.unix != 0 {
				peer = socketPair(t, l, tc.unix)
			} else {
				peer = dial(t, addr)
			}
			c := wait(t, s.conn, "the connection")
			if peer, ok := peer.(*net.TCPConn); ok {
				on(t, l, func() { narrow(t, peer, l.FD(c)) })
			}
			g := &ledger{framing: tc.kind, r: random(t)}
			for range tc.steps {
				g.step(t, l, c, peer, tc.cfg.HighWater)
			}
			g.finish(t, l, c, peer)
			st := stats(t, l)
			if g.parted == 0 || st.Blocked+st.Held == 0 || tc.cfg.KernelBytes != 0 && st.Held == 0 {
				t.Errorf("%d pieces parted, %d times blocked, %d held", g.parted, st.Blocked, st.Held)
			}
		})
	}
}

// step does some of what the loop's side can do in one turn, or reads some of what the kernel has.
func (g *ledger) step(t *testing.T, l *netpoll.Loop, c netpoll.Conn, peer io.Reader, highWater int) {
	t.Helper()
	inKernel, waits := 0, 0
	on(t, l, func() {
		for range g.r.IntN(3) {
			if g.r.IntN(3) == 0 {
				g.thin(t, l.Unsent(c), g.r.IntN(2*highWater)>>g.r.IntN(8), func(n int, drop func([]byte) bool) (int, int) {
					return l.Thin(c, n, drop)
				})
				continue
			}
			for k := g.r.IntN(30); k > 0 && g.write(func(parts ...[]byte) bool { return l.Write(c, parts...) }); k-- {
			}
		}
		waits = l.Unsent(c)
		inKernel = g.unread - waits
	})
	switch g.r.IntN(24) {
	case 0, 1, 2, 3, 4, 5, 6:
		g.took(t, mustRead(t, peer, g.r.IntN(inKernel+1)>>g.r.IntN(8)))
	case 7: // and the kernel takes more, be it only when a held connection is looked at again
		g.took(t, mustRead(t, peer, inKernel))
		until(t, l, "more output", func() bool { return waits == 0 || l.Unsent(c) < waits })
	}
}

// finish closes behind a last piece and reads all that is left.
func (g *ledger) finish(t *testing.T, l *netpoll.Loop, c netpoll.Conn, peer io.Reader) {
	t.Helper()
	on(t, l, func() {
		g.write(func(parts ...[]byte) bool { l.Close(c, parts...); return true })
		if dropped, freed := l.Thin(c, 1<<20, func([]byte) bool { return true }); dropped != 0 || freed != 0 {
			t.Errorf("%d pieces of a closed connection were taken out", dropped)
		}
	})
	g.took(t, mustEnd(t, peer))
	if g.unread != 0 {
		t.Errorf("%d bytes did not come", g.unread)
	}
}
