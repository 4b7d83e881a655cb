package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"edged/batch"
	"edged/handover"
	"edged/registry"
	"edged/relay"
)

// goldenLayout is small.
var goldenLayout = keepLayout{Shards: 1, Managers: 2, Places: 128, Held: 2}

func goldenGeometry() handover.Geometry {
	return handover.Geometry{Shards: 1, Records: goldenLayout.records(), Blocks: 512, Rings: 2, RingBytes: relay.MinRingBytes}
}

// TestGoldenMemories: what every released version wrote down is gone on with, for ever.
func TestGoldenMemories(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("a memory is of a machine's own order of bytes")
	}
	if *update {
		name := filepath.Join("testdata", fmt.Sprintf("memory.v%d", keepVersion))
		b := newGoldenBench(t)
		file := b.writeMemory()
		var small bytes.Buffer
		z := gzip.NewWriter(&small)
		if _, err := z.Write(file); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".gz", small.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".ok", []byte(newGoldenBench(t).loadMemory(file)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for v := oldestKeep; v <= keepVersion; v++ {
		file := readMemory(t, v)
		want, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("memory.v%d.ok", v)))
		if err != nil {
			t.Fatal(err)
		}
		if got := newGoldenBench(t).loadMemory(file); got != string(want) {
			t.Errorf("version %d is gone on with as\n%s\nand not\n%s", v, got, want)
		}
	}
}

func readMemory(t testing.TB, version int) []byte {
	t.Helper()
	small, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("memory.v%d.gz", version)))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	file, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// writeMemory returns a memory in which there is something of everything.
func (b *golden) writeMemory() []byte {
	m, err := handover.NewMemory(goldenGeometry())
	if err != nil {
		b.Fatal(err)
	}
	b.memories = append(b.memories, m)
	b.on(func() {
		before, commit := b.g.kept, b.port.commit
		b.g.kept, b.port.commit = &kept{Keep: Keep{Memory: m}, layout: goldenLayout}, nil
		s := b.filled()
		for place := range uint32(goldenLinks) {
			s.keep.binds[place] = uint64(20 + place)
		}
		s.managers.list[1].known = 3
		b.walking(s)
		s.keep.carried(1, 77, 5)
		s.keep.endTurn(nil)
		b.g.kept, b.port.commit = before, commit
	})
	var st unix.Stat_t
	if err := unix.Fstat(m.FD(), &st); err != nil {
		b.Fatal(err)
	}
	file := make([]byte, st.Size)
	if n, err := unix.Pread(m.FD(), file, 0); err != nil || n != len(file) {
		b.Fatal(n, err)
	}
	return file
}

// walking has casts on their way.
func (b *golden) walking(s *shard) {
	for i, items := range [][]byte{
		batch.AppendDataTo(nil, batch.ToEveryone(), 0, []byte("to everyone")),
		batch.AppendPush(nil, batch.ToRoom("den"), 7, batch.Push{Payload: []byte("to the den")}),
	} {
		it := batch.DownItems(items)
		item, _, _ := it.Next()
		s.casting.begin(b.g.newCast(i, item).(*cast), i == 0)
	}
	w := s.casting.walks[0]
	w.begun, w.at, w.links = true, 2, 1
	s.casting.caught = map[uint32]uint64{3: 2}
}

// fill makes a memory of the bytes of one.
func fill(t testing.TB, file []byte) *handover.Memory {
	t.Helper()
	m, err := handover.NewMemory(goldenGeometry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if n, err := unix.Pwrite(m.FD(), file, 0); err != nil || n != len(file) {
		t.Fatal(n, err)
	}
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	x, err := handover.OpenMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// loadMemory tells what a memory is gone on with as.
func (b *golden) loadMemory(file []byte) string {
	b.Helper()
	m := fill(b, file)
	defer func() { _ = m.Close() }()
	in, err := Revive(m, nil)
	if err != nil {
		b.Fatal(err)
	}
	p, err := readPast(in)
	if err != nil {
		b.Fatal(err)
	}
	for i := range p.listeners {
		p.listeners[i].bound = ""
	}
	var w strings.Builder
	fmt.Fprintf(&w, "%d %d %v %q %q\n%+v, carried %+v\n", p.reactors, p.capacity, p.draining, p.id, p.advertise, p.listeners, p.revival.carried)
	b.on(func() {
		b.g.directory = registry.NewDirectory()
		b.g.past = p
		x := b.another()
		if err := x.load(p.shards[0].Bytes, func(was int) int { return was }); err != nil {
			b.Error(err)
			return
		}
		b.g.past = nil
		fmt.Fprintf(&w, "binds %v, torn %v, bare %v, caught %v\n", x.takeover.binds[:goldenLinks], x.takeover.torn, x.takeover.bare, x.casting.caught)
		for _, v := range x.casting.walks {
			fmt.Fprintf(&w, "walk %d: %v %q, begun %v, at %d, %d links, casts", v.number, v.everyone, v.room, v.begun, v.at, v.links)
			for _, c := range v.casts {
				fmt.Fprintf(&w, " %d:%q", c.origin, c.raw)
			}
			fmt.Fprintln(&w)
		}
		b.tell(&w, x)
	})
	return w.String()
}

// tryRevive goes on with a memory that may be damaged, uses what came of it, and ends all links: nothing may be left.
func (b *golden) tryRevive(m *handover.Memory) (links int, ok bool) {
	b.Helper()
	in, err := Revive(m, nil)
	if err != nil {
		return 0, false
	}
	p, err := readPast(in)
	if err != nil {
		return 0, false
	}
	b.on(func() {
		b.g.past = p
		defer func() { b.g.past = nil }()
		links, ok = b.useLoaded(p.shards[0].Bytes)
	})
	return links, ok
}

// TestDamagedMemories changes bytes of a memory. Records and rings prove themselves, so that not much of it gets far.
func TestDamagedMemories(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	good := readMemory(t, keepVersion)
	var used []int // bytes that say something
	for i, v := range good {
		if v != 0 {
			used = append(used, i)
		}
	}
	b := newGoldenBench(t)
	whole, fewer, refused := 0, 0, 0
	for round := range 300 {
		bad := bytes.Clone(good)
		for range min(round, 1+random.IntN(20)) { // nothing at first
			bad[used[random.IntN(len(used))]] = byte(random.Uint32())
		}
		m, err := handover.NewMemory(goldenGeometry())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = unix.Pwrite(m.FD(), bad[4096:], 4096) // the geometry stays
		switch n, ok := b.tryRevive(m); {
		case !ok:
			refused++
		case n == goldenLinks:
			whole++
		default:
			fewer++
		}
		_ = m.Close()
	}
	if whole == 0 || fewer == 0 || refused == 0 {
		t.Errorf("%d as before, %d with fewer links, %d refused", whole, fewer, refused)
	}
}

// FuzzRevive goes on with records that prove themselves, and say anything.
func FuzzRevive(f *testing.F) {
	b := newGoldenBench(f)
	good := fill(f, readMemory(f, keepVersion))
	defer func() { _ = good.Close() }()
	r := good.Records(0)
	for i := range uint16(goldenLayout.records()) {
		if hot, cold, err := r.Get(int(i), nil, nil); err == nil {
			f.Add(i, hot, cold)
		}
	}
	head, cold, err := r.Get(headAt, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	self, own, err := r.Get(ownAt, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	m, err := handover.NewMemory(goldenGeometry())
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	w := m.Records(0)
	f.Fuzz(func(t *testing.T, at uint16, hot, more []byte) {
		if len(hot) > handover.HotBytes || len(more) > handover.MostCold || int(at) >= w.Len() {
			return
		}
		b.TB = t
		w.PutAll(headAt, head, cold)
		w.PutAll(ownAt, self, own)
		w.PutAll(int(at), hot, more)
		w.Commit()
		b.tryRevive(m)
		w.Clear(int(at))
	})
}
