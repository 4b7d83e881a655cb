package netpoll

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// noFile is beyond all descriptors that there can be: what is made of it in a test is never used.
const noFile = 1 << 30

// frame is Config.Piece: two bytes of length, then as many.
func frame(head []byte) int { return 2 + int(binary.BigEndian.Uint16(head)) }

// still returns a loop that does not run, of a group that ends with the test.
func still(t testing.TB, cfg Config) *Loop {
	t.Helper()
	cfg.Piece = frame
	g, err := New(cfg, func(*Loop) Handler { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g.loops[0]
}

// load makes a loop of a state, with the epoll and the bell of another one.
func load(t testing.TB, cfg Config, state []byte, of *Loop) (*Loop, error) {
	state = bytes.Clone(state)
	if len(state) >= headBytes {
		binary.LittleEndian.PutUint32(state[12:], uint32(of.ep))
		binary.LittleEndian.PutUint32(state[16:], uint32(of.bell.fd))
	}
	claimed := map[int]bool{}
	cfg.Piece = frame
	cfg.Inherit = &Inheritance{Version: StateVersion, Loops: [][]byte{state}, Claim: func(fd int) error {
		if claimed[fd] {
			return unix.EBADF
		}
		claimed[fd] = true
		return nil
	}}
	g, err := New(cfg, func(*Loop) Handler { return nil })
	if err != nil {
		return nil, err
	}
	t.Cleanup(g.Stop)
	return g.loops[0], nil
}

// invent gives a loop a connection in some state that it can be in between two turns, with pieces of up to most bytes.
func (l *Loop) invent(r *rand.Rand, most int) {
	slot, ok := l.take(noFile + int(r.Uint32()>>2))
	if !ok {
		return
	}
	c := &l.conns[slot]
	c.gen = max(r.Uint32(), 1)
	name := makeConn(slot, c.gen)
	c.tag, c.read, c.written, c.acked, c.progress = r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()
	l.stats.Conns++
	switch r.IntN(8) {
	case 0:
		c.flags, c.discard = lingering, uint16(r.Uint32())
		l.inventEnd(r, name)
		return
	case 1:
		c.flags = closing
		l.inventEnd(r, name)
	default:
		c.flags = open
		if r.IntN(4) == 0 {
			c.flags |= paused
		}
		if r.IntN(3) == 0 {
			c.in = l.lend(1 + r.IntN(most))
			b := l.at(c.in)
			b.data = b.data[:1+r.IntN(cap(b.data))]
			l.inventBytes(r, b.data)
			if r.IntN(2) == 0 {
				c.flags |= resumed
			}
		}
	}
	if c.flags&closing != 0 || r.IntN(3) == 0 {
		l.inventOutput(r, most, name, c)
	}
	l.relist(name, c)
}

func (l *Loop) inventBytes(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func (l *Loop) inventEnd(r *rand.Rand, c Conn) {
	l.stats.Lingering++
	end := l.now
	if n := len(l.work.linger); n != 0 {
		end = l.work.linger[n-1].end
	}
	l.work.linger = append(l.work.linger, lingerer{c, end + time.Duration(r.IntN(1000))})
}

func (l *Loop) inventOutput(r *rand.Rand, most int, name Conn, c *conn) {
	for range 1 + r.IntN(20) {
		body := make([]byte, 2+r.IntN(most))
		l.inventBytes(r, body)
		binary.BigEndian.PutUint16(body, uint16(len(body)-2))
		l.appendOutput(name, c, [][]byte{body})
	}
	c.flags &^= dirty
	l.work.dirty = l.work.dirty[:0]
	l.dropSent(c, r.IntN(int(c.pending)))
	c.flags |= []flags{dirty, blocked, held}[r.IntN(3)]
}

// contents are a connection's input and output, the bytes to where the first piece begins, and the pieces behind.
func (l *Loop) contents(c *conn) (in, out []byte, torn uint32) {
	if c.in != 0 {
		in = l.at(c.in).data
	}
	for ref := c.out; ref != 0; ref = l.at(ref).next {
		out = append(out, l.at(ref).data[l.at(ref).off:]...)
	}
	if c.out != 0 {
		torn = l.at(c.out).torn
	}
	return in, out, torn
}

// equal compares all that a loop had with what its successor has.
func equal(t *testing.T, a, b *Loop) {
	t.Helper()
	if a.used != b.used || !slices.Equal(a.free, b.free) || a.stats.Conns != b.stats.Conns || a.stats.Lingering != b.stats.Lingering {
		t.Fatalf("%d slots, %d free, %d connections, %d lingering; of %d, %d, %d, %d", b.used, len(b.free), b.stats.Conns, b.stats.Lingering,
			a.used, len(a.free), a.stats.Conns, a.stats.Lingering)
	}
	sorted := func(list []Conn) []Conn { return slices.Sorted(slices.Values(list)) }
	w, v := &a.work, &b.work
	slices.Sort(w.dirty)
	if !slices.Equal(w.dirty, v.dirty) || !slices.Equal(sorted(w.resumed), sorted(v.resumed)) || !slices.Equal(sorted(w.held), sorted(v.held)) || !slices.Equal(w.linger, v.linger) {
		t.Fatalf("lists %v, of %v", v, w)
	}
	for i := range a.used {
		x, y := a.conns[i], b.conns[i]
		inX, outX, tornX := a.contents(&x)
		inY, outY, tornY := b.contents(&y)
		x.in, x.out, x.outLast, y.in, y.out, y.outLast = 0, 0, 0, 0, 0, 0
		if x != y || !bytes.Equal(inX, inY) || !bytes.Equal(outX, outY) || tornX != tornY {
			t.Fatalf("slot %d is %+v with %d and %d bytes, %d torn; was %+v with %d and %d, %d torn",
				i, y, len(inY), len(outY), tornY, x, len(inX), len(outX), tornX)
		}
	}
}

// What is written is read as it was, whatever it was.
func TestStateRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		cfg := Config{MaxConns: 1 + r.IntN(300)}
		l := still(t, cfg)
		for range r.IntN(400) {
			l.invent(r, 1500)
			if slot := r.Uint32N(max(l.used, 1)); r.IntN(5) == 0 && l.conns[slot].flags&open != 0 {
				l.release(makeConn(slot, l.conns[slot].gen), false)
			}
		}
		l.work.dirty = l.work.dirty[:0]
		l.work.resumed, l.work.held = nil, nil
		for slot := range l.used { // as they are when they are made anew: without those that ended meanwhile
			if c := &l.conns[slot]; c.flags != 0 {
				l.relist(makeConn(slot, c.gen), c)
			}
		}
		state := l.AppendState([]byte("before"), StateVersion)[6:]
		if most := l.StateBytes(); len(state) > most {
			t.Errorf("%d bytes, expected were %d", len(state), most)
		}
		heir, err := load(t, cfg, state, l)
		if err != nil || heir.group.Dropped() != 0 {
			t.Fatalf("%v, %v", err, heir.group.Err())
		}
		equal(t, l, heir)
		if !bytes.Equal(heir.AppendState(nil, StateVersion), state) {
			t.Error("written again it is another state")
		}
		sound(t, heir)
	}
}

// sound fails if a loop that was loaded could come to harm.
func sound(t *testing.T, l *Loop) {
	t.Helper()
	conns, closed := 0, 0
	for slot := range l.used {
		c := &l.conns[slot]
		name := makeConn(slot, c.gen)
		if c.flags == 0 {
			if l.find(name) != nil {
				t.Fatalf("slot %d is free and found", slot)
			}
			continue
		}
		in, out, torn := l.contents(c)
		if conns++; l.find(name) != c || c.fd < 0 || len(out) != int(c.pending) || torn > c.pending || len(in) > maxConfigured {
			t.Fatalf("slot %d: %+v with %d and %d bytes", slot, c, len(in), len(out))
		}
		waits := slices.Contains(l.work.held, name)
		if waits != (c.flags&held != 0) || !waits && c.flags&blocked == 0 && c.pending != 0 && !slices.Contains(l.work.dirty, slot) {
			t.Fatalf("slot %d: nothing would send its output: %+v", slot, c)
		}
		if c.flags&(closing|lingering) != 0 {
			closed++
		}
		l.Thin(name, 1<<20, func(p []byte) bool { return len(p)%2 == 0 })
	}
	if conns != l.stats.Conns || closed != l.stats.Lingering || closed != len(l.work.linger) {
		t.Fatalf("%d connections, %d closed, counted are %+v, %d are to end", conns, closed, l.stats, len(l.work.linger))
	}
	seen := map[uint32]bool{}
	for _, slot := range l.free {
		if c := l.conns[slot]; c.flags != 0 || seen[slot] || slot >= l.used {
			t.Fatalf("slot %d is no free one: %+v", slot, c)
		}
		seen[slot] = true
	}
}

// golden is a loop of which the file testdata/state.v1 was written.
func golden(t testing.TB) *Loop {
	l := still(t, Config{MaxConns: 100})
	r := rand.New(rand.NewPCG(1, 0))
	l.now = time.Second
	for range 40 {
		l.invent(r, 60)
	}
	for slot := uint32(0); slot < 40; slot += 7 {
		if l.conns[slot].flags&open != 0 {
			l.release(makeConn(slot, l.conns[slot].gen), false)
		}
	}
	s := &source{number: 2, tcp: true, passed: true, members: []member{{noFile, 0}}}
	l.group.sources = 3
	l.accepts.fds = append(l.accepts.fds, accepter{noFile, s})
	return l
}

// The states of each version that was ever written can be read.
func TestGoldenState(t *testing.T) {
	const file = "testdata/state.v1"
	l := golden(t)
	state := l.AppendState(nil, 1)
	l.accepts.fds = nil
	clear(state[12:20]) // epoll and bell
	if *update {
		if err := os.WriteFile(file, state, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(state, want) {
		t.Errorf("the state of version 1 is not what it was: %d bytes, %d in %s", len(state), len(want), file)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(want[headBytes:], uint32(fd))
	heir, err := load(t, Config{MaxConns: 100}, want, l)
	if err != nil || heir.group.Dropped() != 0 {
		t.Fatalf("%v, %v", err, heir.group.Err())
	}
	again := heir.AppendState(nil, 1)
	clear(again[12:20])
	if !bytes.Equal(again, want) {
		t.Error("written again it is another state")
	}
	if list := heir.group.Listeners(); len(list) != 1 || list[0].Source != 2 || !heir.accepts.fds[0].source.passed {
		t.Errorf("listeners %+v", list)
	}
	heir.accepts.fds = nil
	sound(t, heir)
}

// Whatever bytes there are, what is loaded is sound, and written and loaded again the same.
func FuzzState(f *testing.F) {
	of := still(f, Config{})
	r := rand.New(rand.NewPCG(2, 0))
	for range 4 {
		l := still(f, Config{MaxConns: 20})
		for range 25 {
			l.invent(r, 100)
		}
		f.Add(l.AppendState(nil, StateVersion))
	}
	if b, err := os.ReadFile("testdata/state.v1"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := Config{MaxConns: 64}
		l, err := load(t, cfg, b, of)
		if err != nil {
			return
		}
		state := l.AppendState(nil, StateVersion)
		again, err := load(t, cfg, state, of)
		if err != nil || again.group.Dropped() != 0 {
			t.Fatalf("%v, %v", err, again.group.Err())
		}
		if !bytes.Equal(again.AppendState(nil, StateVersion), state) {
			t.Error("loaded again it is another state")
		}
		sound(t, l)
		sound(t, again)
	})
}

// crowded is a loop of 15,000 connections: one in ten has half a frame, one in a hundred output that is not sent.
func crowded(b *testing.B) *Loop {
	l := still(b, Config{MaxConns: 1 << 15})
	for i := range 15000 {
		slot, _ := l.take(noFile + i)
		c := &l.conns[slot]
		c.flags = open
		l.stats.Conns++
		if i%10 == 0 {
			c.in = l.lend(100)
			b := l.at(c.in)
			b.data = b.data[:100]
		}
		if i%100 == 0 {
			c.flags |= blocked
			l.appendOutput(makeConn(slot, c.gen), c, [][]byte{make([]byte, 5000)})
		}
	}
	return l
}

func BenchmarkAppendState(b *testing.B) {
	l := crowded(b)
	room := make([]byte, 0, l.StateBytes())
	b.ReportAllocs()
	for b.Loop() {
		room = l.AppendState(room[:0], StateVersion)
	}
	b.ReportMetric(float64(len(room)), "bytes/state")
}

func BenchmarkLoadState(b *testing.B) {
	of := crowded(b)
	in := &Inheritance{Version: StateVersion, Loops: [][]byte{of.AppendState(nil, StateVersion)}}
	for b.Loop() {
		g, err := New(Config{MaxConns: 1 << 15, Inherit: in}, func(*Loop) Handler { return nil })
		if err != nil || g.Dropped() != 0 || g.loops[0].stats.Conns != 15000 {
			b.Fatal(err, g.Err())
		}
		g.Stop()
	}
}

// BenchmarkNote is what Config.Note costs of a message that is answered, and with it a record of the connection.
func BenchmarkNote(b *testing.B) {
	for name, use := range map[string]func(l *Loop, c Conn, r *conn, room []byte){
		"off":   func(l *Loop, c Conn, r *conn, _ []byte) { l.note(c, r) },
		"noted": func(l *Loop, c Conn, r *conn, _ []byte) { l.note(c, r); l.note(c, r); l.tellNoted() },
		"record": func(l *Loop, c Conn, r *conn, room []byte) {
			l.note(c, r)
			l.tellNoted()
			l.appendRecord(room, c.slot(), r)
		},
	} {
		b.Run(name, func(b *testing.B) {
			l := crowded(b)
			if name != "off" {
				l.group.cfg.Note = func(*Loop, []Conn) {}
			}
			room := make([]byte, 0, 4096)
			slot := uint32(0)
			for b.Loop() {
				slot = (slot*5 + 1) % 8192 // not one that is at hand in the cache
				r := &l.conns[slot]
				use(l, makeConn(slot, r.gen), r, room[:0])
			}
		})
	}
}
