package handover_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"edged/handover"

	"golang.org/x/sys/unix"
)

func newMemory(t testing.TB, g handover.Geometry) *handover.Memory {
	t.Helper()
	m, err := handover.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.FD() >= 0 {
			_ = m.Close()
		}
	})
	return m
}

// reopen is the next gateway's view of a memory.
func reopen(t testing.TB, m *handover.Memory) *handover.Memory {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := handover.OpenMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

type content struct{ hot, cold []byte }

func checkRecords(t *testing.T, r *handover.Records, want map[int]content) {
	t.Helper()
	for i := range r.Len() {
		hot, cold, err := r.Get(i, nil, nil)
		w, ok := want[i]
		if !ok {
			if !errors.Is(err, handover.ErrNoRecord) {
				t.Fatalf("record %d: %v", i, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(hot, w.hot) || !bytes.Equal(cold, w.cold) {
			t.Fatalf("record %d: %d and %d bytes, %v; want %d and %d", i, len(hot), len(cold), err, len(w.hot), len(w.cold))
		}
	}
}

// Random writes against a map, with successors in between.
func TestMemoryRecords(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	const blocks = 100
	m := newMemory(t, handover.Geometry{Shards: 2, Records: 64, Blocks: blocks})
	other := m.Records(1)
	other.PutAll(5, []byte("not to be touched"), bytes.Repeat([]byte("x"), 1000))
	records, want := m.Records(0), map[int]content{}
	full := 0
	for step := range 20_000 {
		i := r.IntN(64)
		switch r.IntN(8) {
		case 0:
			records.Clear(i)
			delete(want, i)
		case 1, 2, 3:
			hot, cold := random(r.IntN(handover.HotBytes+1)), random(r.IntN(4)*r.IntN(700))
			if records.PutAll(i, hot, cold) {
				want[i] = content{hot, cold}
			} else {
				full++
			}
		default:
			hot := random(r.IntN(handover.HotBytes + 1))
			records.Put(i, hot)
			want[i] = content{hot, want[i].cold}
		}
		if step%997 == 0 {
			m = reopen(t, m)
			records = m.Records(0)
			checkRecords(t, records, want)
		}
	}
	checkRecords(t, records, want)
	used := 0
	for _, c := range want {
		used += (len(c.cold) + handover.BlockBytes - 1) / handover.BlockBytes
	}
	if got := records.FreeBlocks(); got != blocks-used {
		t.Errorf("%d blocks are free, not %d", got, blocks-used)
	}
	for i := range 64 {
		records.Clear(i)
	}
	if got := records.FreeBlocks(); got != blocks {
		t.Errorf("%d blocks are free, not %d", got, blocks)
	}
	if hot, cold, err := m.Records(1).Get(5, nil, nil); err != nil || string(hot) != "not to be touched" || len(cold) != 1000 {
		t.Errorf("the other shard: %q %d %v", hot, len(cold), err)
	}
	if full == 0 {
		t.Error("there was always room")
	}
}

func TestRecordsAppend(t *testing.T) {
	records := newMemory(t, handover.Geometry{Shards: 1, Records: 2, Blocks: 10}).Records(0)
	if records.Used() != 0 || records.Len() != 2 {
		t.Errorf("%d of %d", records.Used(), records.Len())
	}
	records.PutAll(1, []byte("hot"), []byte("cold"))
	hot, cold, err := records.Get(1, []byte("a"), []byte("b"))
	if string(hot) != "ahot" || string(cold) != "bcold" || err != nil {
		t.Errorf("%q %q %v", hot, cold, err)
	}
	if records.Used() != 2 {
		t.Errorf("%d used", records.Used())
	}
	if records.PutAll(0, nil, make([]byte, handover.MostCold+1)) {
		t.Error("more than the most was stored")
	}
	defer func() {
		if recover() == nil {
			t.Error("more hot bytes than there is room for")
		}
	}()
	records.Put(0, make([]byte, handover.HotBytes+1))
}

// Whatever bytes stand in the memory, reading it neither fails nor loops, and what is no record is none.
func TestDamagedMemory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		m := newMemory(t, handover.Geometry{Shards: 1, Records: 16, Blocks: 40, Rings: 1, RingBytes: 4096})
		records, ring := m.Records(0), m.Ring(0, 0)
		for i := range 16 {
			records.PutAll(i, []byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 100*r.IntN(6)))
		}
		for ring.Free() > 100 {
			ring.Append(make([]byte, r.IntN(100)))
		}
		var st unix.Stat_t
		if err := unix.Fstat(m.FD(), &st); err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(40) { // behind the head of the file; often where marks and heads are
			at := r.Int64N(st.Size - 4096)
			if r.IntN(2) == 0 {
				at = at / 4096 * 4096
				at += r.Int64N(32)
			}
			_, _ = unix.Pwrite(m.FD(), []byte{byte(r.Uint32())}, 4096+at)
		}
		again := m.Records(0)
		for i := range 16 {
			hot, cold, err := again.Get(i, nil, nil)
			if err == nil && (len(hot) != 1 || hot[0] != byte(i) || bytes.Count(cold, hot) != len(cold)) {
				t.Errorf("record %d: %v and %d bytes", i, hot, len(cold))
			}
			again.PutAll(i, nil, make([]byte, 300))
		}
		if err := m.Ring(0, 0).Each(func(_, _, _ uint64, body []byte) {}); err != nil && !errors.Is(err, handover.ErrBadRing) {
			t.Error(err)
		}
		_ = m.Close()
	}
}

func TestOpenMemoryBelievesNothing(t *testing.T) {
	good := newMemory(t, handover.Geometry{Shards: 1, Records: 4, Blocks: 4, Rings: 1, RingBytes: 4096})
	file := make([]byte, 4096)
	if _, err := unix.Pread(good.FD(), file, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		m := newMemory(t, good.Geometry())
		_, _ = unix.Pwrite(m.FD(), []byte{file[i] ^ 1}, int64(i))
		if _, err := handover.OpenMemory(m.FD()); !errors.Is(err, handover.ErrMemory) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if _, err := handover.OpenMemory(memory(t, "unsealed")); !errors.Is(err, handover.ErrMemory) {
		t.Error(err)
	}
	for _, g := range []handover.Geometry{
		{}, {Shards: -1}, {Shards: 1, Records: -1}, {Shards: 1, Rings: 1}, {Shards: 1, Rings: 1, RingBytes: 100},
		{Shards: 1 << 30, Records: 1 << 30}, {Shards: 1, Rings: 1 << 30, RingBytes: 1 << 30},
	} {
		if _, err := handover.NewMemory(g); !errors.Is(err, handover.ErrMemory) {
			t.Errorf("%+v: %v", g, err)
		}
	}
}

// Memory that was not written to costs nothing.
func TestMemoryIsSparse(t *testing.T) {
	m := newMemory(t, handover.Geometry{Shards: 2, Records: 1 << 20, Blocks: 1 << 20, Rings: 4, RingBytes: 1 << 20})
	r := m.Records(0)
	r.PutAll(17, []byte("hot"), []byte("cold"))
	reopen(t, m).Records(0)
	var st unix.Stat_t
	if err := unix.Fstat(m.FD(), &st); err != nil {
		t.Fatal(err)
	}
	if got := st.Blocks * 512; got > 64<<10 {
		t.Errorf("%d bytes for one record", got)
	}
}

func TestRing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMemory(t, handover.Geometry{Shards: 1, Rings: 2, RingBytes: 8192})
	ring := m.Ring(0, 1)
	type entry struct {
		at, end, mark uint64
		body          []byte
	}
	var want []entry
	check := func() {
		t.Helper()
		i := 0
		err := reopen(t, m).Ring(0, 1).Each(func(at, end, mark uint64, body []byte) {
			if i >= len(want) || want[i].at != at || want[i].end != end || want[i].mark != mark || !bytes.Equal(want[i].body, body) {
				t.Fatalf("entry %d: %d to %d, mark %d, %d bytes", i, at, end, mark, len(body))
			}
			i++
		})
		if err != nil || i != len(want) {
			t.Fatalf("%d of %d entries, %v", i, len(want), err)
		}
	}
	full := 0
	for step := range 20_000 {
		switch r.IntN(4) {
		case 0, 1:
			body := make([]byte, r.IntN(900))
			for i := range body {
				body[i] = byte(step)
			}
			cut := r.IntN(len(body) + 1)
			free := ring.Free()
			at, end, ok := ring.Append(body[:cut], body[cut:])
			if ok {
				want = append(want, entry{at, end, 0, body})
			} else if full++; free > 2*len(body)+100 {
				t.Fatalf("%d bytes do not go in, %d are free", len(body), free)
			}
		case 2:
			if len(want) > 0 {
				e := &want[r.IntN(len(want))]
				e.mark = r.Uint64()
				ring.SetMark(e.at, e.mark)
			}
		case 3:
			if len(want) > 0 {
				n := r.IntN(len(want))
				ring.Release(want[n].end)
				want = want[n+1:]
			}
		}
		if step%499 == 0 {
			check()
		}
	}
	check()
	if full == 0 {
		t.Error("it was never full")
	}
	if _, _, ok := ring.Append(make([]byte, 4097)); ok {
		t.Error("more than half of the ring in one entry")
	}
	ring.Reset()
	want = nil
	check()
}

func BenchmarkRecordsPut(b *testing.B) {
	records := newMemory(b, handover.Geometry{Shards: 1, Records: 15000, Blocks: 15100}).Records(0)
	hot, cold := make([]byte, 80), make([]byte, 150)
	for i := range records.Len() {
		records.PutAll(i, hot, cold)
	}
	b.Run("hot", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			records.Put(i%15000, hot)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if !records.PutAll(i%15000, hot, cold) {
				b.Fatal("full")
			}
		}
	})
}

func BenchmarkRing(b *testing.B) {
	ring := newMemory(b, handover.Geometry{Shards: 1, Rings: 1, RingBytes: 1 << 20}).Ring(0, 0)
	body := make([]byte, 150)
	b.ReportAllocs()
	for b.Loop() {
		_, end, ok := ring.Append(body)
		if !ok {
			b.Fatal("full")
		}
		ring.Release(end)
	}
}
