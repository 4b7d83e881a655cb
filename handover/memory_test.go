package handover_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
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
	t.Cleanup(func() {
		if again.FD() >= 0 {
			_ = again.Close()
		}
	})
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

// setTurn has a shard begin behind some turn, as after many of them. It must have no records yet.
func setTurn(t testing.TB, m *handover.Memory, turn uint64) {
	t.Helper()
	if _, err := unix.Pwrite(m.FD(), binary.NativeEndian.AppendUint64(nil, turn), 4096+8); err != nil {
		t.Fatal(err)
	}
}

// recordsModel is what one shard's records should be.
type recordsModel struct {
	open, committed map[int]content
	written         map[int]int // blocks that the open turn has written for a record
	blocks          int
}

func blocksOf(n int) int { return (n + handover.BlockBytes - 1) / handover.BlockBytes }

func (m *recordsModel) commit() {
	m.committed = maps.Clone(m.open)
	clear(m.written)
}

func (m *recordsModel) free() int {
	n := m.blocks
	for _, c := range m.committed {
		n -= blocksOf(len(c.cold))
	}
	for _, w := range m.written {
		n -= w
	}
	return n
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// step writes something to a record, and the same to the model; false: there was no room.
func (m *recordsModel) step(r *rand.Rand, records *handover.Records) bool {
	i := r.IntN(64)
	switch r.IntN(8) {
	case 0:
		records.Clear(i)
		delete(m.open, i)
		delete(m.written, i)
	case 1, 2, 3:
		hot, cold := randomBytes(r, r.IntN(handover.HotBytes+1)), randomBytes(r, r.IntN(4)*r.IntN(700))
		if !records.PutAll(i, hot, cold) {
			return false
		}
		m.open[i], m.written[i] = content{hot, cold}, blocksOf(len(cold))
	default:
		hot := randomBytes(r, r.IntN(handover.HotBytes+1))
		records.Put(i, hot)
		m.open[i] = content{hot, m.open[i].cold}
	}
	return true
}

// Random turns against a map: whoever looks, whenever, finds the last one that was committed, and no block is lost.
func TestMemoryRecords(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMemory(t, handover.Geometry{Shards: 2, Records: 64, Blocks: 120})
	turn := uint64(1)<<32 - 200
	setTurn(t, m, turn)
	other := m.Records(1)
	other.PutAll(5, []byte("not to be touched"), bytes.Repeat([]byte("x"), 1000))
	other.Commit()
	records, model := m.Records(0), recordsModel{map[int]content{}, map[int]content{}, map[int]int{}, 120}
	full := 0
	for step := range 20_000 {
		if !model.step(r, records) {
			full++
		}
		if got, want := records.FreeBlocks(), model.free(); got != want {
			t.Fatalf("step %d: %d blocks are free, not %d", step, got, want)
		}
		if r.IntN(1+step%97) == 0 {
			records.Commit()
			model.commit()
			turn++
		}
		if step%97 == 0 {
			again := reopen(t, m)
			checkRecords(t, again.Records(0), model.committed)
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if full == 0 || turn < 1<<32 || records.Committed() != turn {
		t.Errorf("%d times full, turn %d, not %d", full, records.Committed(), turn)
	}
	for i := range 64 {
		records.Clear(i)
	}
	records.Commit()
	if got := records.FreeBlocks(); got != model.blocks {
		t.Errorf("%d blocks are free, not %d", got, model.blocks)
	}
	if hot, cold, err := reopen(t, m).Records(1).Get(5, nil, nil); err != nil || string(hot) != "not to be touched" || len(cold) != 1000 {
		t.Errorf("the other shard: %q %d %v", hot, len(cold), err)
	}
}

// get returns what a reader finds, for comparison.
func get(r *handover.Records, i int) string {
	hot, cold, err := r.Get(i, nil, nil)
	if errors.Is(err, handover.ErrNoRecord) {
		return "-"
	}
	return fmt.Sprintf("%s %s %v", hot, cold, err)
}

// A turn is found as a whole or not at all, as often as it writes the same record.
func TestTurns(t *testing.T) {
	m := newMemory(t, handover.Geometry{Shards: 1, Records: 4, Blocks: 4})
	records, reader := m.Records(0), reopen(t, m).Records(0)
	put := func(i int, hot, cold string) {
		t.Helper()
		if !records.PutAll(i, []byte(hot), []byte(cold)) {
			t.Fatalf("no room for %s", cold)
		}
	}
	for turn, tc := range []struct {
		do   func()
		want string // of records 0, 1, 2
		free int
	}{
		{func() {}, "-,-,-", 4},
		{func() { put(0, "a", "b"); records.Put(1, []byte("c")) }, "a b <nil>,c  <nil>,-", 3},
		{func() {}, "a b <nil>,c  <nil>,-", 3},
		{func() { put(0, "A", "B"); put(0, "D", "E"); records.Put(0, []byte("F")); records.Clear(1) }, "F E <nil>,-,-", 3},
		{func() { records.Put(0, []byte("G")); put(0, "H", ""); records.Put(0, []byte("I")) }, "I  <nil>,-,-", 4},
		{func() { put(2, "a", "b"); records.Clear(2); records.Clear(2) }, "I  <nil>,-,-", 4},
		{func() { records.Clear(0); put(0, "J", "K"); put(2, "L", "M") }, "J K <nil>,-,L M <nil>", 2},
		{func() { records.Clear(0); records.Put(0, []byte("N")); records.Clear(2) }, "N  <nil>,-,-", 4},
	} {
		look := func() string { return strings.Join([]string{get(reader, 0), get(reader, 1), get(reader, 2)}, ",") }
		before := look()
		tc.do()
		if got := look(); got != before {
			t.Errorf("turn %d: before its end %s became %s", turn+1, before, got)
		}
		if own := get(records, 0); own != get(reader, 0) {
			t.Errorf("turn %d: the writer finds %s", turn+1, own)
		}
		records.Commit()
		if got := look(); got != tc.want || records.FreeBlocks() != tc.free || reader.Committed() != uint64(turn+1) {
			t.Errorf("turn %d: %s and %d free, not %s and %d; committed %d", turn+1, got, records.FreeBlocks(), tc.want, tc.free, reader.Committed())
		}
	}
}

// What another process wrote is only read.
func TestMemoryOfAnotherIsRead(t *testing.T) {
	m := newMemory(t, handover.Geometry{Shards: 1, Records: 1, Blocks: 1})
	records := reopen(t, m).Records(0)
	for name, f := range map[string]func(){
		"Put":    func() { records.Put(0, nil) },
		"PutAll": func() { records.PutAll(0, nil, nil) },
		"Clear":  func() { records.Clear(0) },
		"Commit": records.Commit,
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s wrote", name)
				}
			}()
			f()
		}()
	}
}

func TestRetire(t *testing.T) {
	m := newMemory(t, handover.Geometry{Shards: 1})
	next := reopen(t, m)
	for _, tc := range []struct {
		do   func()
		want bool
	}{{func() {}, false}, {m.Retire, true}, {m.Retire, true}, {m.Unretire, false}, {next.Retire, true}} {
		tc.do()
		if m.Retired() != tc.want || next.Retired() != tc.want || reopen(t, m).Retired() != tc.want {
			t.Errorf("retired is %v, %v", m.Retired(), next.Retired())
		}
	}
}

func TestRecordsAppend(t *testing.T) {
	records := newMemory(t, handover.Geometry{Shards: 1, Records: 2, Blocks: 10}).Records(0)
	if records.Used() != 0 || records.Len() != 2 {
		t.Errorf("%d of %d", records.Used(), records.Len())
	}
	records.PutAll(1, []byte("hot"), []byte("cold"))
	records.Commit()
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
		records.Commit()
		ring.PutNote([]byte("note"))
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
		next := reopen(t, m)
		again := next.Records(0)
		for i := range 16 {
			hot, cold, err := again.Get(i, nil, nil)
			if err == nil && (len(hot) != 1 || hot[0] != byte(i) || bytes.Count(cold, hot) != len(cold)) {
				t.Errorf("record %d: %v and %d bytes", i, hot, len(cold))
			}
		}
		if err := next.Ring(0, 0).Each(func(_, _, _ uint64, body []byte) {}); err != nil && !errors.Is(err, handover.ErrBadRing) {
			t.Error(err)
		}
		if note := next.Ring(0, 0).Note(); note != nil && string(note) != "note" {
			t.Errorf("note %q", note)
		}
		_, _ = next.Close(), m.Close()
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
	r.Commit()
	reopen(t, m).Records(0)
	var st unix.Stat_t
	if err := unix.Fstat(m.FD(), &st); err != nil {
		t.Fatal(err)
	}
	if got := st.Blocks * 512; got > 64<<10 {
		t.Errorf("%d bytes for one record", got)
	}
}
