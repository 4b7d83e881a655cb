package netpoll

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// reload makes a loop of records, one behind the other, each with its length.
func reload(t testing.TB, cfg Config, records []byte) *Loop {
	t.Helper()
	in := &Restoration{Version: StateVersion, Loops: make([][]Kept, 1)}
	for n := 0; ; n++ {
		b, rest, ok := nextRecord(records)
		if !ok {
			break
		}
		in.Loops[0] = append(in.Loops[0], Kept{FD: noFile + n, Record: b})
		records = rest
	}
	cfg.Piece, cfg.Restore = frame, in
	g, err := New(cfg, func(*Loop) Handler { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g.loops[0]
}

// records are those of all connections, each with its length.
func (l *Loop) records() (b []byte) {
	for _, c := range l.Everyone() {
		start := len(b)
		b = l.AppendConn(append(b, 0, 0, 0, 0), c)
		binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	}
	return b
}

// Whatever bytes there are for records, what is made of them is sound, and recorded and loaded again the same.
func FuzzRestore(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 0))
	for range 4 {
		l := still(f, Config{MaxConns: 20})
		for range 25 {
			l.invent(r, 100)
		}
		f.Add(l.records())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := Config{MaxConns: 64}
		l := reload(t, cfg, b)
		again := reload(t, cfg, l.records())
		if n := again.group.Dropped(); n != 0 || !bytes.Equal(again.records(), l.records()) {
			t.Errorf("loaded again it is another one: %d dropped, %v", n, again.group.Err())
		}
		sound(t, l)
		sound(t, again)
	})
}

// A loop that is restored has all that the records tell of.
func TestRestoreRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		cfg := Config{MaxConns: 1 + r.IntN(300)}
		l := still(t, cfg)
		for range r.IntN(400) {
			l.invent(r, 1500)
		}
		heir := reload(t, cfg, l.records())
		if n := heir.group.Dropped(); n != 0 || heir.stats.Conns != l.stats.Conns || heir.stats.Lingering != l.stats.Lingering {
			t.Fatalf("%d dropped: %v", n, heir.group.Err())
		}
		if !bytes.Equal(heir.records(), l.records()) {
			t.Error("recorded again it is another one")
		}
		sound(t, heir)
	}
}
